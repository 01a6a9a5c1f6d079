"""The bound over the number of steps: a table, and a figure with the published curve."""

from collections.abc import Sequence

from matplotlib.figure import Figure

from ddpm_eval.present import references
from ddpm_eval.present.canvas import (
    BLUE,
    COLUMN_INCHES,
    GREEN,
    INK,
    ORANGE,
    Picture,
    finish,
    style,
    with_looks,
)
from ddpm_eval.present.published import published_cell
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.present.wording import axis
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve

_COLOURS = (BLUE, ORANGE, GREEN)


def placements(measurement: Measurement) -> dict[str, Curve]:
    """The curves of bits/dim by where the steps are, the best first."""
    return {curve.of.whose: curve for curve in measurement.curves if curve.of.whose}


def table(key: str, measurement: Measurement) -> Table:
    """The bound of so many steps: by each placement, then as published for another model."""
    curves = placements(measurement)
    counts = sorted({int(x) for curve in curves.values() for x in curve.x})
    images = measurement.protocol.images
    dataset = "unnamed data" if images is None else images.dataset or "unnamed data"
    rows = []
    for count in counts:
        scores = [
            measurement.score("bits_per_dim", whose=whose, at=("steps", float(count)))
            for whose in curves
        ]
        cells = tuple(Cell() if score is None else Cell(*score.texts) for score in scores)
        rows.append(Row(f"{count:,}", cells, dataset, ours=True))
    whole = measurement.score("bits_per_dim", whose="all steps")
    if whole is not None:
        blank = tuple(Cell() for _ in list(curves)[1:])
        rows.append(Row("all", (Cell(*whole.texts, bold=True), *blank), dataset, ours=True))
    published = references.tables()["strides"]
    place = list(curves).index("even steps") if "even steps" in curves else 0
    for row in published.rows:
        cells = tuple(
            published_cell(row.numbers["bits"]) if i == place else Cell()
            for i in range(len(curves))
        )
        rows.append(Row(f"{int(row.name):,}", cells, "Improved DDPM, CIFAR-10, T = 4,000"))
    caption = (
        "The bound of a chain of so many steps, its variance fitted to each stride; ± is a "
        "standard error over images. Published rows have a learned variance and even steps: "
        f"{published.rows[0].source}."
    )
    columns = tuple(Column(name.capitalize(), "lower") for name in curves)
    return Table(key, "Fewer steps", columns, tuple(rows), (), caption)


def figure(key: str, curves: Sequence[Curve], caption: str) -> Picture:
    """Draw bits/dim over the number of steps, one line for each placement."""
    with style():
        canvas = Figure(figsize=(COLUMN_INCHES, 2.1), layout="constrained")
        axes = canvas.add_subplot()
        for curve, colour in with_looks(curves, _COLOURS):
            axes.plot(curve.x, curve.y, color=colour, marker=".", label=curve.of.whose)
        axes.set_xscale("log")
        ticks = sorted({int(x) for curve in curves for x in curve.x})
        axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks], color=INK)
        axes.minorticks_off()
        axes.set_xlabel(axis("steps"), parse_math=False)
        axes.set_ylabel(axis("bits_per_dim"), parse_math=False)
        axes.legend()
        alt = "Bits/dim over the number of steps. " + "; ".join(
            f"{curve.of.whose}: {curve.y[0]:.3f} at {curve.x[0]:g}, {curve.y[-1]:.3f} at "
            f"{curve.x[-1]:g}"
            for curve in curves
        )
        return finish(key, canvas, (alt, caption))
