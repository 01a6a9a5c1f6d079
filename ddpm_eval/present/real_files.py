"""Real files beside other codecs: a table, rate against error, each file over its own bound."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from ddpm_eval.present import references
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
from ddpm_eval.present.published_codecs import published_codecs
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.present.wording import axis, listed
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Score

OURS, RATE = ".ddpm", "file_bits_per_dim"
_YARDSTICK = "JPEG XL"
_LOOKS = ((ORANGE, "-"), (GREEN, "-"), (INK, "-"), (ORANGE, "--"), (GREEN, "--"), (INK, ":"))
"""Colours and lines of the others."""
_FEWEST_BITS = 5e-3  # bits/dim of a curve's beginning: below it all is noise
_BITS = 8


# ------------------------------------------------------------------------------------- the table


def table(key: str, measurement: Measurement) -> Table:
    """Bits/dim of lossless files and their sizes beside JPEG XL's; published ends of curves."""
    images = measurement.protocol.images
    dataset = "unnamed data" if images is None else images.dataset or "unnamed data"
    rows = (
        *_files(measurement, f"Lossless files, {dataset}"),
        *_bounds(measurement, f"Bounds, {dataset}"),
        *_published(),
    )
    columns = (Column("Bits/dim", "lower"), Column(f"Size beside {_YARDSTICK}'s", "lower"))
    return Table(key, "Lossless files", (*columns, Column("images")), rows, (), _caption())


def _files(measurement: Measurement, block: str) -> Iterator[Row]:
    """Our files and those of other codecs, the smallest first."""
    sizes = {score.of.whose: score for score in measurement.scores if score.metric == "size_ratio"}
    files = [score for score in measurement.scores if score.metric == RATE and score.of.at is None]
    for score in sorted(files, key=lambda score: score.value):
        whose, is_ours = score.of.whose, score.of.whose == OURS
        size = Cell("1.000") if whose == _YARDSTICK else _cell(sizes.get(whose))
        yield Row(whose, (_cell(score, bold=is_ours), size, _count(score)), block, ours=is_ours)


def _bounds(measurement: Measurement, block: str) -> Iterator[Row]:
    """The bound of the same images, and how much larger the files are."""
    for score in measurement.scores:
        if score.metric == "bits_per_dim":
            variance = score.of.variance or measurement.protocol.variance
            yield Row(f"{variance} σ²", (_cell(score), Cell(), _count(score)), block, ours=True)


def _published() -> Iterator[Row]:
    """The last point of published curves, with what it counts where that is not bytes."""
    for curve in published_codecs().curves:
        end = "" if curve.is_lossless else f", PSNR {curve.psnr[-1]:.1f} dB"
        if curve.is_lossless or not curve.is_counted_in_bytes:
            kind = "" if curve.is_counted_in_bytes else ", no files"
            name = f"{curve.name}{end}{kind}"
            yield Row(name, (Cell(f"{curve.last:.2f}"), Cell(), Cell()), "Published, CIFAR-10")


def _caption() -> str:
    published = published_codecs()
    counted: dict[str, list[str]] = {}
    for curve in published.curves:
        if not curve.is_counted_in_bytes:
            counted.setdefault(curve.counted, []).append(curve.name)
    texts = "; ".join(f"{listed(names)}: {text}" for text, names in counted.items())
    return (
        "Every byte of a file counts: head, container, tables. ± is a standard error over images, "
        f"of a ratio of the same images by the delta method. Published: {published.source}; "
        f"{published.protocol}. {texts}."
    )


def _cell(score: Score | None, *, bold: bool = False) -> Cell:
    return Cell() if score is None else Cell(*score.texts, bold=bold)


def _count(score: Score) -> Cell:
    return Cell(f"{score.n:,}")


def lossy_table(key: str, measurement: Measurement) -> Table | None:
    """Bits/dim at the same error, codec by codec; None where none reaches it."""
    scores = {
        (score.of.whose, score.of.at[1]): score
        for score in measurement.scores
        if score.metric == RATE and score.of.at is not None
    }
    if not scores:
        return None
    codecs = dict.fromkeys(whose for whose, _ in scores)
    levels = sorted({level for _, level in scores}, reverse=True)
    rows = tuple(
        Row(
            whose,
            tuple(_cell(scores.get((whose, level))) for level in levels),
            ours=whose == OURS,
        )
        for whose in codecs
    )
    columns = tuple(Column(f"at RMSE {level:g}", "lower") for level in levels)
    n = next(iter(scores.values())).n
    caption = (
        f"Bits/dim, all bytes counted, with which each of {n:,} images has that RMSE (in grey "
        "levels), between two of its files by lines through the logarithms; ± is a standard error "
        "over images. Blank where some image does not reach it."
    )
    return Table(key, "Lossy files at the same error", columns, rows, (), caption)


# ----------------------------------------------------------------------------------- the figures


def curves_of(measurement: Measurement, metric: str) -> dict[str, Curve]:
    """Curves of a metric over the bytes of files, by codec, ours first."""
    curves = {
        curve.of.whose: curve
        for curve in measurement.curves
        if curve.metric == metric and curve.over == RATE
    }
    return dict(sorted(curves.items(), key=lambda item: item[0] != OURS))


def figure(key: str, measurement: Measurement, caption: str) -> Picture:
    """Error over bits/dim: files and the bound, files and other codecs, published curves."""
    ours = curves_of(measurement, "rmse")[OURS]
    with style():
        canvas = Figure(figsize=(2.1 * COLUMN_INCHES, 2.5), layout="constrained")
        first, second, third = canvas.subplots(1, 3)
        _line(first, ours, BLUE, "real files", marker=".")
        for variance, x, y in _bound(measurement):
            first.plot(x, y, color=ORANGE, linestyle="--", label=f"bound, {variance}")
        paper = [
            (float(row.numbers["rate"].value), float(row.numbers["rmse"].value))
            for row in references.tables()["rate_distortion"].rows
        ]
        points = np.array([point for point in paper if point[0] > _FEWEST_BITS]).T
        first.plot(
            *points, color=INK, marker="o", markersize=2.5, linestyle="", label="paper, CIFAR-10"
        )
        curves, looks = curves_of(measurement, "psnr"), [(BLUE, "-"), *_LOOKS]
        for (name, curve), (colour, line) in with_looks(curves.items(), looks):
            _line(second, curve, colour, name, line)
            if name == OURS:
                _line(third, curve, colour, name, line)
        for published, (colour, line) in with_looks(published_codecs().curves, _LOOKS):
            x, y = np.array([point for point in published.points if point[0] > _FEWEST_BITS]).T
            third.plot(x, y, color=colour, linestyle=line, linewidth=0.9, label=published.name)
        for axes, metric in ((first, "rmse"), (second, "psnr"), (third, "psnr")):
            _decorate(axes, axis("rate"), axis(metric))
        first.set_ylim(bottom=0)
        alt = (
            f"Three panels. RMSE of real files over their bits/dim: {ours.y[0]:.3g} at "
            f"{ours.x[0]:.3g}, {ours.y[-1]:.3g} at {ours.x[-1]:.3g}. PSNR of other codecs on the "
            "same images. Published PSNR of codecs on CIFAR-10"
        )
        return replace(finish(key, canvas, (alt, caption)), wide=True)


def scatter(key: str, measurement: Measurement, caption: str) -> Picture:
    """Bits/dim of every image's file over its own bound, ours and JPEG XL's."""
    bound, sizes = measurement.arrays["bound"], measurement.arrays["bytes"]
    dims = float(np.prod(measurement.grids["prefixes"].images.shape[1:]))
    own = _BITS * sizes / dims
    with style():
        canvas = Figure(figsize=(COLUMN_INCHES, 2.6), layout="constrained")
        axes = canvas.add_subplot()
        ends = min(bound.min(), own.min()), max(bound.max(), own.max())
        axes.plot(ends, ends, color=INK, linewidth=0.6, label="the bound itself")
        axes.plot(bound, own, color=BLUE, linestyle="", marker=".", markersize=4, label="its file")
        axes.set_xlabel(f"own bound ({measurement.facts['variance']} σ²), bits/dim")
        axes.set_ylabel("file, bits/dim")
        axes.legend()
        over = own / bound
        alt = (
            f"{len(own)} images: bits/dim of each file over its own bound, from {over.min():.3f} "
            f"to {over.max():.3f} times it"
        )
        return finish(key, canvas, (alt, caption))


def _bound(measurement: Measurement) -> Iterator[tuple[str, Array, Array]]:
    """The bound's curve under the variance that the files are compared with."""
    variance = str(measurement.facts["variance"])
    for rate in measurement.curves:
        if rate.metric == "rate" and rate.of.variance == variance:
            error = measurement.curve("rmse", whose="model")
            if error is not None:
                visible = rate.y > _FEWEST_BITS
                yield variance, rate.y[visible], error.y[visible]


def _line(
    axes: Axes, curve: Curve, colour: str, label: str, line: str = "-", marker: str = ""
) -> None:
    axes.plot(curve.x, curve.y, line, color=colour, label=label, marker=marker, markersize=2.5)
    if curve.error is not None:
        low, high = curve.y - curve.error, curve.y + curve.error
        axes.fill_between(curve.x, low, high, color=colour, alpha=0.2, linewidth=0)


def _decorate(axes: Axes, x: str, y: str) -> None:
    """A logarithmic axis of rates, and a small legend."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(x, parse_math=False)
    axes.set_ylabel(y, parse_math=False)
    axes.legend(fontsize=5.5, handlelength=1.6, labelspacing=0.2, borderaxespad=0.2)
