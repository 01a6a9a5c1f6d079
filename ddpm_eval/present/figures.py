"""Figures as one would publish them: vector where it is a curve, exact where it is pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from ddpm_eval.present.canvas import (
    BLUE,
    COLUMN_INCHES,
    GREEN,
    INK,
    ORANGE,
    Picture,
    finish,
    power,
    style,
    with_looks,
)
from ddpm_eval.present.wording import axis, over
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.scores import Curve

_PAPER = "paper, CIFAR-10"
_LOOKS = ((ORANGE, "-"), (BLUE, "--"), (GREEN, "-."), (INK, ":"))
_LONG = 24  # letters beside an axis
_DECADE = 10
_POINTS = 400  # as many as a column can show


def curve(key: str, curve: Curve, caption: str = "") -> Picture:
    """Draw y over x, with a band of one standard error where there is one."""
    with style():
        figure, axes = _axes(curve)
        _line(axes, curve)
        return finish(key, figure, (_alt(curve), caption))


def panels(
    key: str, curves: Sequence[Curve], caption: str = "", *, mark: float | None = None
) -> Picture:
    """Draw curves side by side, each with its own y; ``mark`` is an x to point out."""
    with style():
        width = min(len(curves), 3) * 0.7 * COLUMN_INCHES
        rows = -(-len(curves) // 3)
        figure = Figure(figsize=(max(COLUMN_INCHES, width), 1.9 * rows), layout="constrained")
        places = figure.subplots(rows, min(len(curves), 3), squeeze=False).flat
        for curve in curves:
            axes = next(places)
            _scales(axes, curve.log)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlabel(axis(curve.over), parse_math=False)
            axes.set_ylabel(_broken(axis(curve.metric, curve.label)), parse_math=False)
            if mark is not None:
                axes.axvline(mark, color=ORANGE, linestyle="--", linewidth=0.9)
            _line(axes, curve)
        for axes in places:
            axes.set_axis_off()
        several = f"{len(curves)} panels. " * (len(curves) > 1)
        alt = f"{several}{'. '.join(map(_alt, curves))}"
        return replace(finish(key, figure, (alt, caption)), wide=len(curves) > 1)


def rate_distortion(
    key: str,
    distortion: Curve,
    rates: Mapping[str, Curve],
    published: Sequence[tuple[int, float, float]],
    caption: str,
) -> Picture:
    """The paper's Figure 5: distortion and rate over reverse steps, and distortion over rate.

    Args:
        key: The name of the files.
        distortion: RMSE over the steps.
        rates: For each variance the rate over the same steps; the first is the model's own.
        published: Steps, rate and RMSE of the paper's Table 4.
        caption: What the figure shows.
    """
    paper = np.array(published).T
    with style():
        figure = Figure(figsize=(2.1 * COLUMN_INCHES, 2.1), layout="constrained")
        first, second, third = figure.subplots(1, 3)
        _band(first, distortion, BLUE, "this run")
        for (name, rate), (colour, line) in with_looks(rates.items(), _LOOKS):
            _band(second, rate, colour, name, line)
            third.plot(rate.y, distortion.y, color=colour, linestyle=line, label=name)
            _rate_band(third, rate, distortion, colour)
        points = {"color": INK, "marker": "o", "markersize": 2.5, "linestyle": "none"}
        if distortion.x[-1] == paper[0].max():  # the same number of steps
            first.plot(paper[0], paper[2], label=_PAPER, **points)
            second.plot(paper[0], paper[1], label=_PAPER, **points)
        published_points = third.plot(paper[1], paper[2], label=_PAPER, **points)
        for axes, x, y in (
            (first, axis(distortion.over), axis("rmse")),
            (second, axis(distortion.over), axis("rate")),
            (third, axis("rate"), axis("rmse")),
        ):
            axes.set_xlabel(x, parse_math=False)
            axes.set_ylabel(y, parse_math=False)
            axes.set_ylim(bottom=0)
        first.legend()
        second.legend()
        third.legend(handles=published_points)
        rate = next(iter(rates.values()))
        alt = (
            f"Three panels. {_alt(distortion)}. {_alt(rate)}. Distortion falls over rate from "
            f"{distortion.y[0]:.3g} to {distortion.y[-1]:.3g}; points are the paper's Table 4"
        )
        return replace(finish(key, figure, (alt, caption)), wide=True)


def _line(axes: Axes, curve: Curve) -> None:
    axes.plot(curve.x, curve.y, color=BLUE, marker="." if len(curve.x) < 30 else "")
    if curve.error is not None:
        low, high = curve.y - curve.error, curve.y + curve.error
        if "y" in curve.log:
            low = np.maximum(low, curve.y / 10)  # a logarithm has no place for less
        _fill(axes, curve.x, low, high, BLUE)


def _band(axes: Axes, curve: Curve, colour: str, label: str, line: str = "-") -> None:
    axes.plot(curve.x, curve.y, color=colour, linestyle=line, label=label)
    if curve.error is not None:
        _fill(axes, curve.x, curve.y - curve.error, curve.y + curve.error, colour)


def _rate_band(axes: Axes, rate: Curve, distortion: Curve, colour: str) -> None:
    if distortion.error is not None:
        low, high = distortion.y - distortion.error, distortion.y + distortion.error
        _fill(axes, rate.y, low, high, colour)


def _fill(axes: Axes, x: Array, low: Array, high: Array, colour: str) -> None:
    """Draw a band by as many points as a column can show: it is smooth, and large in a file."""
    points = np.unique(np.linspace(0, len(x) - 1, min(len(x), _POINTS)).round().astype(int))
    axes.fill_between(x[points], low[points], high[points], color=colour, alpha=0.25, linewidth=0)


def loss(key: str, curve: Curve, caption: str = "") -> Picture:
    """Draw a noisy curve: its values faintly, their running average over 1% of it clearly.

    The axis is logarithmic where the values span a decade, so that it has a tick.
    """
    is_wide = 0 < _DECADE * curve.y.min() <= curve.y.max()
    average = pd.Series(curve.y).ewm(span=max(10.0, len(curve.y) / 100)).mean().to_numpy()
    with style():
        figure, axes = _axes(replace(curve, log="y") if is_wide else curve)
        axes.plot(*thin(curve.x, curve.y), color=BLUE, alpha=0.45, linewidth=0.6, label="as logged")
        axes.plot(*thin(curve.x, average), color=ORANGE, label="running average")
        axes.legend()
        return finish(key, figure, (_alt(curve), caption))


def thin(x: Array, y: Array) -> tuple[Array, Array]:
    """Keep the lowest and highest y of every stretch of x, so that a long curve stays small.

    >>> thin(np.arange(3), np.array([5, 4, 6]))[1]
    array([5, 4, 6])
    """
    if len(x) <= 2 * _POINTS:
        return x, y
    keep = []
    for part in np.array_split(np.arange(len(x)), _POINTS):
        keep += sorted({part[y[part].argmin()], part[y[part].argmax()]})
    return x[keep], y[keep]


def _axes(curve: Curve) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(COLUMN_INCHES, 2.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(axis(curve.over), parse_math=False)
    axes.set_ylabel(_broken(axis(curve.metric, curve.label)), parse_math=False)
    _scales(axes, curve.log)
    return figure, axes


def _broken(name: str) -> str:
    r"""A long name of an axis in two lines, its unit in the second.

    >>> _broken("RMSE to the final sample (0-255)"), _broken("RMSE (0-255)")
    ('RMSE to the final sample\n(0-255)', 'RMSE (0-255)')
    """
    return name.replace(" (", "\n(") if len(name) > _LONG else name


def _scales(axes: Axes, log: str) -> None:
    """Few ticks, whole numbers with commas; powers of ten without mathtext, which is slow."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    for name, side in (("x", axes.xaxis), ("y", axes.yaxis)):
        if name in log:
            axes.set(**{f"{name}scale": "log"})
            side.set_major_formatter(FuncFormatter(lambda x, _: power(x)))
            side.set_minor_formatter(NullFormatter())


def _alt(curve: Curve) -> str:
    x, y = curve.x, curve.y
    return (
        f"Curve of {axis(curve.metric, curve.label)} over {over(curve.over)}: {y[0]:.3g} at "
        f"{x[0]:.6g}, {y[-1]:.3g} at {x[-1]:.6g}; lowest {y.min():.3g}, highest {y.max():.3g}"
    )
