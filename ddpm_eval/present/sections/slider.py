"""Lossy reconstructions: a slider through the rate, and the strip of all rates."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.present import contents, frames, grids
from ddpm_eval.present.frames import Frames
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections.shared import grid, scores, seeded, sized
from ddpm_eval.present.wording import axis
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve


def reconstructions(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Lossy reconstructions: a slider through the rate, and the strip of all rates."""
    yield Section(
        "Lossy reconstructions",
        frames=tuple(_slider(measurement, run)),
        tables=scores(measurement, run),
        pictures=tuple(
            grid(measurement, name, run, _strip(measurement)) for name in sorted(measurement.grids)
        ),
    )


def _strip(measurement: Measurement) -> str:
    stops = measurement.facts.get("frames")
    columns = stops["columns"] if isinstance(stops, Mapping) else 0
    return (
        f"x̂₀ decoded from x_t of {columns} test images, at more bits from row to row; below each "
        "its bits/dim and its RMSE. The last row shows the originals."
    )


def _slider(measurement: Measurement, run: Run) -> Iterator[Frames]:
    stops = measurement.facts.get("frames")
    if not isinstance(stops, Mapping):
        return
    columns = int(str(stops["columns"]))
    steps, rates, errors = (numbers(stops[name]) for name in ("reverse_steps", "rate", "rmse"))
    strips, fit, side = rows_of(measurement, run, stops)
    names = [
        f"{rate:.4g} bits/dim, RMSE {error:.3g}, after {step:,.0f} reverse steps"
        for step, rate, error in zip(steps, rates, errors, strict=True)
    ]
    few = "" if fit == columns else f" Here {fit} of {columns}."
    curves = _curves(run)
    whole = "" if curves is None else f", the curve over {curves[1].n:,}"
    caption = (
        f"{fit} test images as a receiver sees them after so many bits. Drag the slider or press "
        "the arrow keys; the space bar flickers between them and the originals."
        f"{few}{sized(side)} The points are means over these {columns} images{whole}."
    )
    shape = strips[0][1]
    yield Frames(
        title="Reconstructions at a rate",
        names=(*names, "the originals"),
        files=tuple(content for content, _ in strips),
        shape=shape,
        width=frames.shown_width(shape[0]),
        caption=seeded(caption, measurement),
        label="Bits received",
        last="originals",
        track=_track(curves, rates, errors),
    )


def rows_of(
    measurement: Measurement, run: Run, stops: Mapping[str, Json]
) -> tuple[list[tuple[bytes, tuple[int, int]]], int, int]:
    """Draw the rows of a grid as pictures in one place, as many of their images as fit.

    Args:
        measurement: What holds the grid.
        run: Where it stands.
        stops: The fact ``frames``: the grid's name, its rows and columns.

    Returns:
        Each row as a PNG with its shape, the images in a row, and by how much they were shrunk.
    """
    whole = measurement.grids[str(stops["grid"])]
    rows, columns = int(str(stops["rows"])), int(str(stops["columns"]))
    small, side = grids.shrunk(replace(whole, columns=columns), run.image_bytes)
    thumbs = grids.first_columns(small, run.image_bytes)
    fit = thumbs.columns
    strips = [frames.strip(thumbs.images[i * fit : (i + 1) * fit], fit) for i in range(rows)]
    return strips, fit, side


def _curves(run: Run) -> tuple[Curve, Curve] | None:
    """Rate and distortion over all steps, if they are measured."""
    for measurement in run.of("rate_distortion"):
        distortion, rates = measurement.curve("rmse"), contents.rates(measurement)
        if distortion is not None and rates:
            return next(iter(rates.values())), distortion
    return None


def _track(
    curves: tuple[Curve, Curve] | None, rates: Sequence[float], errors: Sequence[float]
) -> frames.Track:
    """The whole rate-distortion curve where it is measured, else the slider's own stops."""
    stops = list(zip(rates, errors, strict=True))
    x, y = (rates, errors) if curves is None else (curve.y.tolist() for curve in curves)
    return frames.track(x, y, stops, f"{axis('rate')}|{axis('rmse')}")


def numbers(values: Json) -> list[float]:
    """A list of numbers in the facts of a measurement."""
    return [float(str(item)) for item in values] if isinstance(values, Sequence) else []
