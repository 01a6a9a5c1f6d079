"""What the model sees: samples, progressive generation, reconstructions, interpolation, kin."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.present import figures, frames, grids, verdicts
from ddpm_eval.present.frames import Frames
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run, has_model
from ddpm_eval.present.sections.shared import (
    grid,
    panels_caption,
    scores,
    seeded,
    sized,
)
from ddpm_eval.present.wording import listed, over
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Grid

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
_NEAREST = "a sample, then the training images nearest to it; the distance is below each."


def samples(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Samples, not chosen."""
    shown = tuple(grid(measurement, name, run) for name in sorted(measurement.grids))
    yield Section("Samples", tables=scores(measurement, run), pictures=shown)


def no_samples(runs: Sequence[Run]) -> Iterator[Section]:
    """How to draw samples, where no run has any."""
    if has_model(runs) and not any(run.of("samples") for run in runs):
        yield Section("Samples", ("Not measured: run ddpm-eval sample",))


def side_by_side(runs: Sequence[Run]) -> Iterator[Section]:
    """Samples of several runs in the same places, where the seed is the same."""
    drawn = {
        run.name: (_seed(measurement), measurement.grids["samples"])
        for run in runs
        for measurement in run.of("samples")[:1]
        if "samples" in measurement.grids
    }
    seeds = {seed for seed, _ in drawn.values()}
    shapes = {item.images.shape[1:] for _, item in drawn.values()}
    if len(drawn) < 2 or len(shapes) > 1 or len(seeds) > 1:
        return
    n = min(2 * _FLICKERED, *(len(item.images) for _, item in drawn.values()))
    strips = [
        frames.strip(grids.shrunk(_first(item, n), runs[0].image_bytes)[0].images, _FLICKERED)
        for _, item in drawn.values()
    ]
    names = tuple(drawn)
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


def _seed(measurement: Measurement) -> int | None:
    sampling = measurement.protocol.sampling
    return measurement.protocol.seed if sampling is None else sampling.seed


def _first(whole: Grid, n: int) -> Grid:
    return replace(whole, images=whole.images[:n], labels=whole.labels[:n])


def progressive(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Figures 6 and 7, and Figure 10 as panels."""
    texts = {"progressive": _PROGRESSIVE, "shared latents": _SHARED}
    shown = [
        grid(measurement, name, run, texts.get(name, "")) for name in _ordered(measurement, texts)
    ]
    if measurement.curves:
        curves = sorted(measurement.curves, key=_rank)
        names = listed([curve.label for curve in curves])
        text = f"{names} of x̂₀ over {over(curves[0].over)} (the paper's Figure 10)."
        caption = seeded(panels_caption(text, curves), measurement)
        shown.append(figures.panels(run.key(measurement, "quality"), curves, caption))
    yield Section("Progressive generation", tables=scores(measurement, run), pictures=tuple(shown))


def interpolation(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Figures 8 and 9."""
    texts = {"path": _PATH, "coarse to fine": _COARSE}
    shown = tuple(
        grid(measurement, name, run, texts.get(name, "")) for name in _ordered(measurement, texts)
    )
    yield Section("Interpolation", tables=scores(measurement, run), pictures=shown)


def neighbours(measurement: Measurement, run: Run) -> Iterator[Section]:
    """The verdict on memorisation, then the pictures that it rests on."""
    texts = {
        "pixels": f"In pixels: in each row {_NEAREST}",
        "features": f"In features: in each row {_NEAREST}",
    }
    names = _ordered(measurement, texts)
    yield Section(
        "Nearest training images",
        tuple(verdicts.sentences(measurement)),
        frames=tuple(
            _nearest(measurement, name, run)
            for name in names
            if measurement.grids[name].columns > 1
        ),
        tables=scores(measurement, run),
        pictures=tuple(grid(measurement, name, run, texts.get(name, "")) for name in names),
    )


def _nearest(measurement: Measurement, name: str, run: Run) -> Frames:
    """Samples and the training images nearest to them, in the same places."""
    whole = measurement.grids[name]
    firsts = range(0, len(whole.images), whole.columns)
    rows = [i for i in firsts if i + 1 < len(whole.images)][:_FLICKERED]
    pairs = replace(whole, images=whole.images[[*rows, *(i + 1 for i in rows)]], labels=())
    small, side = grids.shrunk(pairs, run.image_bytes)
    n = len(rows)
    strips = [frames.strip(part, n) for part in (small.images[:n], small.images[n:])]
    caption = (
        f"{len(rows)} samples, those of the picture below, and the training image nearest to each "
        f"in {name}. Space or the arrow keys flicker between them: what stays is what they share."
    ) + sized(side)
    return Frames(
        title=f"Nearest in {name}",
        names=("samples", "nearest training images"),
        files=(strips[0][0], strips[1][0]),
        shape=strips[0][1],
        width=frames.shown_width(strips[0][1][0]),
        caption=seeded(caption, measurement),
        label=f"Samples or nearest training images ({name})",
        last="nearest training images",
    )


def _ordered(measurement: Measurement, first: Mapping[str, str]) -> list[str]:
    """The grids that are known, in their order, then the others."""
    grids = measurement.grids
    return [*(name for name in first if name in grids), *sorted(grids.keys() - first.keys())]


def _rank(curve: Curve) -> int:
    """The order of the paper's Figure 10."""
    order = ("fid", "inception_score", "rmse")
    return order.index(curve.metric) if curve.metric in order else len(order)
