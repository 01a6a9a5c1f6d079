"""The paper's Table 4: rate and distortion after so many reverse steps, theirs and ours."""

from dataclasses import replace

import numpy as np

from ddpm_eval.metrics.registry import definition
from ddpm_eval.present import contents, references
from ddpm_eval.present.published import published_cell
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, number_texts


def table_4(key: str, measurement: Measurement) -> Table:
    """The paper's Table 4, then our rates under each variance and our distortion."""
    published = references.tables()["rate_distortion"]
    rates = contents.rates(measurement)
    own, *others = rates
    columns = (
        Column("Rate (bits/dim)", "lower"),
        *(Column(f"Rate, {name}", "lower") for name in others),
        Column("RMSE (0–255)", "lower"),
    )
    between = tuple(Cell() for _ in others)
    rows = [
        Row(
            row.name,
            (published_cell(row.numbers["rate"]), *between, published_cell(row.numbers["rmse"])),
            "Paper",
        )
        for row in published.rows
    ]
    distortion = measurement.curve("rmse")
    if distortion is None:
        raise ValueError("Table 4 of a measurement without distortion")
    T, images = int(distortion.x[-1]), measurement.protocol.images
    dataset = "unnamed data" if images is None else images.dataset or "unnamed data"
    block = f"{dataset}, {distortion.n:,} images, {own}"
    for steps in sorted({max(1, round(T * part / 10)) for part in range(1, 11)})[::-1]:
        first, *rest = (_at(curve, steps) for curve in rates.values())
        bare = (replace(cell, spread="") for cell in rest)
        cells = (first, *bare, _at(distortion, steps))
        rows.append(Row(str(steps), cells, block, ours=True))
    caption = (
        "Rate spent after so many reverse steps and the error of x̂₀ decoded there, 127.5 times the "
        "root of the mean squared error; ± is a standard error over images, hardly another for the "
        "other variances. "
        f"Published rows: {published.rows[0].source}; {published.rows[0].protocol}."
    )
    return Table(key, published.title, columns, tuple(rows), (), caption)


def _at(curve: Curve, steps: int) -> Cell:
    i = int(np.abs(curve.x - steps).argmin())
    if curve.x[i] != steps:
        return Cell()
    error = None if curve.error is None else float(curve.error[i])
    return Cell(*number_texts(float(curve.y[i]), error, least=definition(curve.metric).decimals))
