"""Figures as one would publish them: vector where it is a curve, exact where it is pixels."""

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ddpm_eval.arrays import Array
from ddpm_eval.results import Curve, Grid

COLUMN_INCHES = 3.3
"""The width of a column in a two-column paper; text is readable at this width."""
INK, FAINT, BLUE, ORANGE = "#222222", "#d9d9d9", "#0072b2", "#d55e00"  # after Okabe and Ito
GREEN = "#009e73"  # likewise
GREY = "#767676"  # labels of images: readable on white and on black

_GRID_PIXELS = 640  # a grid of small images is enlarged to about this width
_POINTS = 400  # as many as a column can show
_STYLE: dict[Any, object] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.hashsalt": "ddpm-eval",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A finished figure: its files by suffix (png, svg, pdf), and its texts.

    ``shape`` is the width and height of the PNG in pixels; ``images`` says that it shows some.
    ``reduced`` stands in for a picture that is too large for a page.
    """

    key: str
    files: Mapping[str, bytes]
    alt: str
    caption: str
    shape: tuple[int, int]
    images: bool = False
    reduced: "Picture | None" = None


def curve(key: str, found: Curve, caption: str = "") -> Picture:
    """Draw y over x, with a band of one standard error where there is one."""
    with _style():
        figure, axes = _axes(found)
        axes.plot(found.x, found.y, color=BLUE, marker="." if len(found.x) < 30 else "")
        if found.stderr is not None:
            low, high = found.y - found.stderr, found.y + found.stderr
            if "y" in found.log:
                low = np.maximum(low, found.y / 10)  # a logarithm has no place for less
            axes.fill_between(found.x, low, high, color=BLUE, alpha=0.25, linewidth=0)
        return _picture(key, figure, _alt(found), caption, dpi=300)


def rate_distortion(
    key: str,
    found: Mapping[str, Curve],
    published: Sequence[tuple[int, float, float]],
    caption: str,
) -> Picture:
    """The paper's Figure 5: distortion and rate over reverse steps, and distortion over rate.

    Args:
        key: The name of the files.
        found: ``distortion`` and, for each variance, ``rate (NAME)``, all over the same steps.
        published: Steps, rate and RMSE of the paper's Table 4.
        caption: What the figure shows.
    """
    distortion = found["distortion"]
    rates = {name: curve for name, curve in found.items() if name.startswith("rate (")}
    paper = np.array(published).T
    with _style():
        figure = Figure(figsize=(2.1 * COLUMN_INCHES, 2.1), layout="constrained")
        first, second, third = figure.subplots(1, 3)
        _band(first, distortion, BLUE, "this run")
        for colour, line, (name, rate) in zip(
            (ORANGE, BLUE, GREEN, INK), ("-", "--", "-.", ":"), rates.items(), strict=False
        ):
            label = name.removeprefix("rate (").removesuffix(")")
            _band(second, rate, colour, label, line)
            third.plot(rate.y, distortion.y, color=colour, linestyle=line, label=label)
            _rate_band(third, rate, distortion, colour)
        points = {"color": INK, "marker": "o", "markersize": 2.5, "linestyle": "none"}
        if distortion.x[-1] == paper[0].max():  # the same number of steps
            first.plot(paper[0], paper[2], label="paper", **points)
            second.plot(paper[0], paper[1], label="paper", **points)
        third.plot(paper[1], paper[2], label="paper", **points)
        for axes, x, y in (
            (first, distortion.x_name, distortion.y_name),
            (second, distortion.x_name, "rate (bits/dim)"),
            (third, "rate (bits/dim)", distortion.y_name),
        ):
            axes.set_xlabel(x, parse_math=False)
            axes.set_ylabel(y, parse_math=False)
            axes.set_ylim(bottom=0)
        first.legend()
        second.legend()
        rate = next(iter(rates.values()))
        alt = (
            f"Three panels. {_alt(distortion)}. {_alt(rate)}. Distortion falls over rate from "
            f"{distortion.y[0]:.3g} to {distortion.y[-1]:.3g}; points are the paper's Table 4"
        )
        return _picture(key, figure, alt, caption, dpi=300)


def _band(axes: Axes, found: Curve, colour: str, label: str, line: str = "-") -> None:
    axes.plot(found.x, found.y, color=colour, linestyle=line, label=label)
    if found.stderr is not None:
        low, high = found.y - found.stderr, found.y + found.stderr
        axes.fill_between(found.x, low, high, color=colour, alpha=0.25, linewidth=0)


def _rate_band(axes: Axes, rate: Curve, distortion: Curve, colour: str) -> None:
    if distortion.stderr is not None:
        low, high = distortion.y - distortion.stderr, distortion.y + distortion.stderr
        axes.fill_between(rate.y, low, high, color=colour, alpha=0.25, linewidth=0)


def loss(key: str, found: Curve, caption: str = "") -> Picture:
    """Draw a noisy curve: its values faintly, their running average over 1% of it clearly."""
    average = pd.Series(found.y).ewm(span=max(10.0, len(found.y) / 100)).mean().to_numpy()
    with _style():
        figure, axes = _axes(replace(found, log="y") if found.y.min() > 0 else found)
        axes.plot(*thin(found.x, found.y), color=BLUE, alpha=0.45, linewidth=0.6, label="as logged")
        axes.plot(*thin(found.x, average), color=ORANGE, label="running average")
        axes.legend()
        return _picture(key, figure, _alt(found), caption, dpi=300)


def grid(key: str, found: Grid, caption: str = "") -> Picture:
    """Set images in rows, each pixel a whole number of pixels, labels underneath."""
    n, height, width = found.images.shape[:3]
    columns = min(found.columns, n)
    scale = max(1, _GRID_PIXELS // (columns * width))
    gap = max(2, scale * width // 16)
    wide = columns * (scale * width + gap) - gap
    font = wide * 6.5 / (72 * COLUMN_INCHES)  # 6.5 points once the figure is a column wide
    lines = max((label.count("\n") + 1 for label in found.labels), default=0)
    step = scale * height + gap + round(lines * 1.3 * font)
    tall = -(-n // columns) * step - gap
    canvas = np.zeros((tall, wide, 4), np.uint8)  # transparent between the images
    with _style():  # at 72 dpi a pixel is a point, so that no backend resamples
        figure = Figure(figsize=(wide / 72, tall / 72), dpi=72, facecolor="none")
        for i, image in enumerate(found.images):
            row, column = divmod(i, columns)
            top, left = row * step, column * (scale * width + gap)
            bottom, right = top + scale * height, left + scale * width
            canvas[top:bottom, left:right, :3] = image.repeat(scale, 0).repeat(scale, 1)
            canvas[top:bottom, left:right, 3] = 255
            if found.labels:
                middle, under = (left + right) / 2 / wide, 1 - (bottom + 0.15 * font) / tall
                style = {"ha": "center", "va": "top", "color": GREY, "fontsize": font}
                figure.text(middle, under, found.labels[i], **style, parse_math=False)
        figure.figimage(canvas, origin="upper")
        alt = f"{n} images in {-(-n // columns)} rows of {columns}"
        return replace(_picture(key, figure, alt, caption, dpi=72), images=True)


def first_rows(found: Grid, most_bytes: int) -> Grid:
    """The rows of a grid that need at most so many bytes uncompressed, at least one image."""
    fit = most_bytes // found.images[0].nbytes
    if fit >= len(found.images):
        return found
    n = max(1, fit // found.columns * found.columns or fit)
    return replace(found, images=found.images[:n], labels=found.labels[:n])


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


@contextmanager
def _style() -> Iterator[None]:
    """Our style on matplotlib's defaults, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def _axes(found: Curve) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(COLUMN_INCHES, 2.1), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(found.x_name, parse_math=False)
    axes.set_ylabel(found.y_name, parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}"))
    if "x" in found.log:
        axes.set_xscale("log", nonpositive="mask")
    if "y" in found.log:
        axes.set_yscale("log", nonpositive="mask")
    return figure, axes


def _alt(found: Curve) -> str:
    x, y = found.x, found.y
    return (
        f"Curve of {found.y_name} over {found.x_name}: {y[0]:.3g} at {x[0]:.6g}, "
        f"{y[-1]:.3g} at {x[-1]:.6g}; lowest {y.min():.3g}, highest {y.max():.3g}"
    )


def _picture(key: str, figure: Figure, alt: str, caption: str, *, dpi: int) -> Picture:
    files: dict[str, bytes] = {}
    for suffix, undated in _UNDATED.items():
        out = io.BytesIO()
        figure.savefig(out, format=suffix, dpi=dpi if suffix == "png" else 72, metadata=undated)
        files[suffix] = out.getvalue()
    inches = figure.get_size_inches()
    return Picture(key, files, alt, caption, (round(inches[0] * dpi), round(inches[1] * dpi)))
