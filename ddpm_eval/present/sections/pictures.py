"""What the model sees: samples, progressive generation, reconstructions, interpolation, kin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.present import contents, figures, frames, grids
from ddpm_eval.present.frames import Frames
from ddpm_eval.present.parts import Section
from ddpm_eval.present.sections.shared import (
    Place,
    grid,
    listed,
    panels_caption,
    quantities,
    seeded,
    sized,
)
from ddpm_eval.record.schema1 import Measurement, Report
from ddpm_eval.record.scores import Grid

_PROGRESSIVE = (
    "x̂₀ along the chain (the paper's Figure 6): one sample a row, from noise on the left to the "
    "finished sample on the right."
)
_SHARED = (
    "Samples that share a latent x_t (the paper's Figure 7): each row freezes x_t and goes on "
    "from there with new noise. What varies is not yet decided at t."
)
_PATH = (
    "Interpolation (the paper's Figure 8): in each row the source images stand at the ends, "
    "beside their reconstructions at λ = 0 and λ = 1, with the path between them."
)
_COARSE = (
    "Coarse to fine (the paper's Figure 9): the more steps of noise before mixing, from top to "
    "bottom, the more the model makes up."
)
_FLICKERED = 8  # pairs in one place
_NEAREST = "a sample, then the training images nearest to it; the distance is under each."


def samples(found: Measurement, place: Place) -> Iterator[Section]:
    """Samples, not chosen."""
    pictures = tuple(grid(found, name, place) for name in sorted(found.grids))
    yield Section("Samples", tables=quantities(found, place), pictures=pictures)


def side_by_side(reports: Sequence[Report], most_bytes: int) -> Iterator[Section]:
    """Samples of several runs in the same places, where the seed is the same."""
    measured = {r.name: r.measurements["samples"] for r in reports if "samples" in r.measurements}
    found = {
        name: each.grids["samples"] for name, each in measured.items() if "samples" in each.grids
    }
    seeds = {measured[name].settings.get("seed") for name in found}
    shapes = {each.images.shape[1:] for each in found.values()}
    if len(found) < 2 or len(shapes) > 1 or len(seeds) > 1:
        return
    n = min(2 * _FLICKERED, *(len(each.images) for each in found.values()))
    strips = [
        frames.strip(grids.shrunk(_first(each, n), most_bytes)[0].images, _FLICKERED)
        for each in found.values()
    ]
    names = tuple(found)
    caption = (
        f"The first {n} samples of each run in the same places, of seed {seeds.pop()}. Space or "
        "the arrow keys flicker between the runs."
    )
    shown = Frames(
        title="Samples",
        names=names,
        files=tuple(content for content, _ in strips),
        shape=strips[0][1],
        width=frames.shown_width(strips[0][1][0]),
        caption=caption,
        label="Run",
        last=names[-1],
    )
    yield Section("Samples, run against run", frames=(shown,))


def _first(found: Grid, n: int) -> Grid:
    return replace(found, images=found.images[:n], labels=found.labels[:n])


def progressive(found: Measurement, place: Place) -> Iterator[Section]:
    """Figures 6 and 7, and Figure 10 as panels."""
    texts = {"progressive": _PROGRESSIVE, "shared latents": _SHARED}
    pictures = [grid(found, name, place, texts.get(name, "")) for name in _ordered(found, texts)]
    if found.curves:
        ordered = dict(sorted(found.curves.items(), key=lambda item: (_rank(item[0]), item[0])))
        first = next(iter(ordered.values()))
        text = f"{listed(list(ordered))} of x̂₀ over {first.x_name} (the paper's Figure 10)."
        key = place.key(found.name, "quality")
        pictures.append(figures.panels(key, ordered, seeded(panels_caption(text, ordered), found)))
    yield Section(
        "Progressive generation", tables=quantities(found, place), pictures=tuple(pictures)
    )


def reconstructions(found: Measurement, place: Place) -> Iterator[Section]:
    """Lossy reconstructions: a slider through the rate, and the strip of all rates."""
    shown = tuple(_slider(found, place))
    pictures = tuple(grid(found, name, place, _strip(found)) for name in sorted(found.grids))
    yield Section(
        "Lossy reconstructions",
        frames=shown,
        tables=quantities(found, place),
        pictures=pictures,
    )


def interpolation(found: Measurement, place: Place) -> Iterator[Section]:
    """Figures 8 and 9."""
    texts = {"path": _PATH, "coarse to fine": _COARSE}
    pictures = tuple(
        grid(found, name, place, texts.get(name, "")) for name in _ordered(found, texts)
    )
    yield Section("Interpolation", tables=quantities(found, place), pictures=pictures)


def neighbours(found: Measurement, place: Place) -> Iterator[Section]:
    """The verdict on memorisation, then the pictures that it rests on."""
    verdict = found.settings.get("verdict")
    texts = {
        "pixels": f"In pixels: in each row {_NEAREST}",
        "features": f"In features: in each row {_NEAREST}",
    }
    names = _ordered(found, texts)
    yield Section(
        "Nearest training images",
        (str(verdict),) if verdict else (),
        frames=tuple(
            _nearest(found, name, place) for name in names if found.grids[name].columns > 1
        ),
        tables=quantities(found, place),
        pictures=tuple(grid(found, name, place, texts.get(name, "")) for name in names),
    )


def _nearest(found: Measurement, name: str, place: Place) -> Frames:
    """Samples and the training images nearest to them, in the same places."""
    whole = found.grids[name]
    firsts = range(0, len(whole.images), whole.columns)
    rows = [i for i in firsts if i + 1 < len(whole.images)][:_FLICKERED]
    both = replace(whole, images=whole.images[[*rows, *(i + 1 for i in rows)]], labels=())
    small, side = grids.shrunk(both, place.image_bytes)
    n = len(rows)
    pair = [frames.strip(part, n) for part in (small.images[:n], small.images[n:])]
    caption = (
        f"{len(rows)} samples, those of the picture below, and the training image nearest to each "
        f"in {name}. Space or the arrow keys flicker between them: what stays is what they share."
    ) + sized(side)
    return Frames(
        title=f"Nearest in {name}",
        names=("samples", "nearest training images"),
        files=(pair[0][0], pair[1][0]),
        shape=pair[0][1],
        width=frames.shown_width(pair[0][1][0]),
        caption=seeded(caption, found),
        label=f"Samples or nearest training images ({name})",
        last="nearest training images",
    )


def _ordered(found: Measurement, first: Mapping[str, str]) -> list[str]:
    """The grids that are known, in their order, then the others."""
    return [*(n for n in first if n in found.grids), *sorted(found.grids.keys() - first.keys())]


def _rank(name: str) -> int:
    return next((i for i, head in enumerate(("FID", "FD", "IS", "RMSE")) if head in name), 9)


# ------------------------------------------------------------------------------------ the slider


def _strip(found: Measurement) -> str:
    told = found.settings.get("frames")
    columns = told["columns"] if isinstance(told, Mapping) else 0
    return (
        f"x̂₀ decoded from x_t of {columns} test images, at more bits from row to row; under each "
        "its bits/dim and its RMSE. The last row shows the originals."
    )


def _slider(found: Measurement, place: Place) -> Iterator[Frames]:
    told = found.settings.get("frames")
    whole = found.grids.get(str(told["grid"])) if isinstance(told, Mapping) else None
    if not isinstance(told, Mapping) or whole is None:
        return
    rows, columns = int(str(told["rows"])), int(str(told["columns"]))
    steps, rates, errors = (_numbers(told[name]) for name in ("reverse_steps", "rate", "rmse"))
    if len(whole.images) != rows * columns or not len(steps) == len(rates) == rows - 1:
        return
    small, side = grids.shrunk(replace(whole, columns=columns), place.image_bytes)
    kept = grids.first_columns(small, place.image_bytes)
    fit = kept.columns
    strips = [frames.strip(kept.images[i * fit : (i + 1) * fit], fit) for i in range(rows)]
    names = [
        f"{rate:.4g} bits/dim, RMSE {error:.3g}, after {step:,.0f} reverse steps"
        for step, rate, error in zip(steps, rates, errors, strict=True)
    ]
    few = "" if fit == columns else f" Here {fit} of {columns}."
    caption = (
        f"{fit} test images as a receiver sees them after so many bits. Drag the slider or press "
        "the arrow keys; the space bar flickers between them and the originals."
        f"{few}{sized(side)} The points are means over these {columns} images"
        f"{_measured_on(place, ', the curve over {:,}')}."
    )
    shape = strips[0][1]
    yield Frames(
        title="Reconstructions at a rate",
        names=(*names, "the originals"),
        files=tuple(content for content, _ in strips),
        shape=shape,
        width=frames.shown_width(shape[0]),
        caption=seeded(caption, found),
        label="Bits received",
        last="originals",
        track=_track(place, rates, errors),
    )


def _measured_on(place: Place, text: str) -> str:
    """How many images the rate-distortion curve is a mean over, if it is measured."""
    whole = _whole(place)
    return "" if whole is None else text.format(whole.curves["distortion"].n)


def _whole(place: Place) -> Measurement | None:
    """Rate and distortion over all steps, if they are measured."""
    found = place.others.get("rate_distortion")
    if found is None or "distortion" not in found.curves or not contents.rates(found):
        return None
    return found


def _track(place: Place, rates: Sequence[float], errors: Sequence[float]) -> frames.Track:
    """The whole rate-distortion curve where it is measured, else the slider's own stops."""
    stops = list(zip(rates, errors, strict=True))
    x, y = rates, errors
    whole = _whole(place)
    if whole is not None:
        rate = next(iter(contents.rates(whole).values()))
        x, y = rate.y.tolist(), whole.curves["distortion"].y.tolist()
    return frames.track(x, y, stops, "rate (bits/dim)|RMSE (0–255)")


def _numbers(found: object) -> list[float]:
    return [float(each) for each in found] if isinstance(found, Sequence) else []
