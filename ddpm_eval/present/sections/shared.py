"""What the builders of sections share: pictures with captions, scores as a table."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ddpm_eval.present import contents, figures, grids, verdicts
from ddpm_eval.present.canvas import Picture
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Table
from ddpm_eval.present.wording import axis, listed, over
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Grid

FIGURE_BYTES = 13_000_000
"""What the images of a figure may need uncompressed: 64 of 256 pixels, each pixel as it is."""
_ROWS = 3


def grid(measurement: Measurement, name: str, run: Run, text: str = "") -> Picture:
    """A grid of images; a page shows as many of its rows as it has room for.

    Args:
        measurement: What holds it.
        name: Of the grid.
        run: Where it stands.
        text: The caption of a grid that has none.
    """
    whole = measurement.grids[name]
    file = run.key(measurement, name)
    caption = seeded(whole.caption or text or f"{len(whole.images):,} images.", measurement)
    figure, side = grids.shrunk(whole, FIGURE_BYTES)
    picture = grids.draw(file, figure, caption + sized(side))
    cut = grids.first_columns if "frames" in measurement.facts else grids.first_rows
    thumbs, more = _fitted(figure, run.image_bytes)
    small = cut(thumbs, run.image_bytes)
    if small is figure:
        return picture
    parts = (
        f"the first {len(small.images):,} of {len(whole.images):,}" * (small is not thumbs),
        f"at 1/{side * more} of their size" * (side * more > 1),
    )
    caption += f" Here {' '.join(filter(None, parts))}; all are in figures/{file}.png."
    return replace(picture, reduced=grids.draw(file, small, caption, suffixes=("png",)))


def _fitted(whole: Grid, image_bytes: int) -> tuple[Grid, int]:
    """Shrink images until three rows fit; give them and by how much."""
    rows = -(-len(whole.images) // whole.columns)
    return grids.shrunk(whole, image_bytes * max(1, rows // _ROWS))


def sized(side: int) -> str:
    """What a caption says of images that are averaged over squares.

    >>> sized(1), sized(4)
    ('', ' At 1/4 of their size.')
    """
    return f" At 1/{side} of their size." if side > 1 else ""


def seeded(caption: str, measurement: Measurement) -> str:
    """A caption that names the seed.

    >>> from ddpm_eval.record.protocol import Protocol
    >>> seeded("Eight pairs.", Measurement(measure="m", protocol=Protocol(version=1, seed=3)))
    'Eight pairs. Seed 3.'
    """
    sampling = measurement.protocol.sampling
    seed = measurement.protocol.seed if sampling is None else sampling.seed
    if "seed" in caption.casefold() or seed is None:
        return caption
    return f"{caption} Seed {seed}."


def curve_text(curve: Curve) -> str:
    """What a curve shows.

    >>> curve_text(Curve(metric="rmse", over="reverse_steps", x=[1], y=[2], n=1))
    'RMSE (grey levels) over reverse steps (T − t + 1).'
    """
    return f"{axis(curve.metric, curve.label)} over {over(curve.over)}."


def curve_caption(text: str, curve: Curve, counted: str = "images") -> str:
    """What a curve shows and how many each of its points is a mean over."""
    if curve.error is None:
        return f"{text} Each point is a mean over {curve.n:,} {counted}." if curve.n > 1 else text
    return f"{text} Means over {curve.n:,} {counted}; the band is one {curve.error_kind}."


def panels_caption(text: str, curves: Sequence[Curve]) -> str:
    """What curves side by side show, on how many images each, and what their bands are.

    >>> x = [1.0, 2.0]
    >>> parts = {"over": "training_steps", "x": x, "y": x, "n": 9, "error": x}
    >>> curves = [Curve(metric="fid", **parts),
    ...           Curve(metric="inception_score", error_kind="spread", **parts)]
    >>> print(panels_caption("Quality.", curves))
    Quality. FID and IS on 9 images. Bands are one standard error for FID and one spread over parts
    for IS.
    """
    counts: dict[int, list[str]] = {}
    kinds: dict[str, list[str]] = {}
    for curve in curves:
        if curve.n > 1:
            counts.setdefault(curve.n, []).append(curve.label)
        if curve.error is not None:
            kind = "spread over parts" if curve.error_kind == "spread" else curve.error_kind
            kinds.setdefault(kind, []).append(curve.label)
    sizes = ", ".join(f"{listed(names)} on {n:,} images" for n, names in counts.items())
    bands = listed([f"one {kind} for {listed(names)}" for kind, names in kinds.items()])
    if len(kinds) == 1:
        bands = f"one {next(iter(kinds))}"
    parts = (text, f"{sizes}." * bool(sizes), f"Bands are {bands}." * bool(kinds))
    return " ".join(part for part in parts if part)


def scores(measurement: Measurement, run: Run) -> tuple[Table, ...]:
    """The table of a measurement's scores, if it has any."""
    if not measurement.scores:
        return ()
    return (contents.scores(run.key(measurement), measurement),)


def plain(measurement: Measurement, run: Run, title: str = "") -> Iterator[Section]:
    """A measurement as it is: its conclusions, scores, pictures and curves."""
    shown = [grid(measurement, name, run) for name in sorted(measurement.grids)]
    for curve in measurement.curves:
        caption = curve_caption(curve_text(curve), curve)
        shown.append(figures.curve(run.key(measurement, curve.label), curve, caption))
    yield Section(
        title or contents.title(measurement),
        tuple(verdicts.sentences(measurement)),
        tables=scores(measurement, run),
        pictures=tuple(shown),
    )
