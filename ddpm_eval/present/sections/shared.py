"""What the builders of sections share: pictures with captions, quantities as a table."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ddpm_eval.present import contents, figures, grids
from ddpm_eval.present.figures import Picture
from ddpm_eval.present.parts import Section, key
from ddpm_eval.present.tables import Table
from ddpm_eval.record.schema1 import Curve, Measurement, Report
from ddpm_eval.record.scores import Grid

FIGURE_BYTES = 13_000_000
"""What the images of a figure may need uncompressed: 64 of 256 pixels, each pixel as it is."""
_ROWS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where a section stands.

    Attributes:
        prefix: What the names of its files begin with: the run's number if there are several.
        image_bytes: What each of its pictures may need in the page, uncompressed.
        others: The other measurements of the run.
    """

    prefix: str
    image_bytes: int
    others: Mapping[str, Measurement]

    def fitted(self, whole: Grid) -> tuple[Grid, int]:
        """Images as small as it takes for three rows to fit, and by how much."""
        rows = -(-len(whole.images) // whole.columns)
        return grids.shrunk(whole, self.image_bytes * max(1, rows // _ROWS))

    def key(self, measurement: str, name: str = "") -> str:
        """The name of a file."""
        return f"{self.prefix}{key(measurement, name)}"


def a_model(reports: Sequence[Report]) -> bool:
    """Whether any record is of a model, which can draw and be measured: not of images alone.

    >>> a_model([Report("pngs", {"checkpoint": "d1", "file": "pngs", "images": 1_280})])
    False
    """
    return any("images" not in report.subject for report in reports)


def grid(found: Measurement, name: str, place: Place, text: str = "") -> Picture:
    """A grid of images; a page shows as many of its rows as it has room for.

    Args:
        found: The measurement.
        name: Of the grid.
        place: Where it stands.
        text: The caption of a grid that has none.
    """
    whole = found.grids[name]
    file = place.key(found.name, name)
    caption = seeded(whole.caption or text or f"{len(whole.images):,} images.", found)
    figure, side = grids.shrunk(whole, FIGURE_BYTES)
    picture = grids.draw(file, figure, caption + sized(side))
    cut = grids.first_columns if "frames" in found.settings else grids.first_rows
    thumbs, more = place.fitted(figure)
    small = cut(thumbs, place.image_bytes)
    if small is figure:
        return picture
    parts = (
        f"the first {len(small.images):,} of {len(whole.images):,}" * (small is not thumbs),
        f"at 1/{side * more} of their size" * (side * more > 1),
    )
    caption += f" Here {' '.join(filter(None, parts))}; all are in figures/{file}.png."
    return replace(picture, reduced=grids.draw(file, small, caption, suffixes=("png",)))


def sized(side: int) -> str:
    """What a caption says of images that are averaged over squares.

    >>> sized(1), sized(4)
    ('', ' At 1/4 of their size.')
    """
    return f" At 1/{side} of their size." if side > 1 else ""


def seeded(caption: str, found: Measurement) -> str:
    """A caption that names the seed.

    >>> seeded("Eight pairs.", Measurement("m", settings={"seed": 3}))
    'Eight pairs. Seed 3.'
    """
    if "seed" in caption.casefold() or "seed" not in found.settings:
        return caption
    return f"{caption} Seed {found.settings['seed']}."


def curve_caption(text: str, curve: Curve, of: str = "images") -> str:
    """What a curve shows and how many each of its points is a mean over."""
    if curve.stderr is None:
        return f"{text} Each point is a mean over {curve.n:,} {of}." if curve.n > 1 else text
    return f"{text} Means over {curve.n:,} {of}; the band is one standard error."


def panels_caption(text: str, curves: Mapping[str, Curve]) -> str:
    """What curves side by side show, on how many images each, and what their bands are.

    >>> x = [1.0, 2.0]
    >>> found = {name: Curve(x, x, "step", name, n, x) for name, n in (("FID", 9), ("IS", 9))}
    >>> print(panels_caption("Quality.", found))
    Quality. FID and IS on 9 images. Bands are one standard error; of IS the spread over its
    parts.
    """
    counts: dict[int, list[str]] = {}
    for name, curve in curves.items():
        counts.setdefault(curve.n, []).append(name)
    known = {n: names for n, names in counts.items() if n > 1}
    told = ", ".join(f"{listed(names)} on {n:,} images" for n, names in known.items())
    banded = [name for name, curve in curves.items() if curve.stderr is not None]
    spread = [name for name in banded if name.startswith("IS")]
    bands = " Bands are one standard error" * (len(banded) > len(spread))
    parts = f"{'; of IS' if bands else ' The band of IS is'} the spread over its parts"
    lead = f"{text} {told}." if told else text
    return f"{lead}{bands}{parts * bool(spread)}{'.' * bool(banded)}"


def listed(names: Sequence[str]) -> str:
    """Names as a sentence has them.

    >>> listed(["FID", "IS", "RMSE"])
    'FID, IS and RMSE'
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def quantities(found: Measurement, place: Place) -> tuple[Table, ...]:
    """The table of a measurement's quantities, if it has any."""
    if not found.quantities:
        return ()
    return (replace(contents.quantities(found), key=place.key(found.name)),)


def plain(found: Measurement, place: Place) -> Iterator[Section]:
    """A measurement that has no builder."""
    shown = [grid(found, name, place) for name in sorted(found.grids)]
    for name, curve in sorted(found.curves.items()):
        text = curve_caption(f"{curve.y_name} over {curve.x_name}.", curve)
        shown.append(figures.curve(place.key(found.name, name), curve, text))
    title = found.name.replace("_", " ").capitalize()
    yield Section(title, tables=quantities(found, place), pictures=tuple(shown))
