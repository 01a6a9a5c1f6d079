"""The rows of each table: published numbers beside ours."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddpm_eval import references
from ddpm_eval.present import comparable
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.results import Curve, Measurement, Quantity, Report

_TABLE_1 = {
    "is": Column("IS", "higher"),
    "fid": Column("FID", "lower"),
    "nll_test": Column("NLL test", "lower"),
    "nll_train": Column("NLL train", "lower"),
}
_TERMS = {
    "prior": "Prior (what x_T still says)",
    "kl": "Steps (sum of their KL terms)",
    "decoder": "Decoder (the last step, to pixels)",
    "total": "Total bound",
    "total of these images": "Total bound of these images (the error is the estimate's alone)",
    "total (fixedlarge)": "Total with σ² = β (fixedlarge)",
    "total (fixedsmall)": "Total with σ² = β̃ (fixedsmall)",
    "total (optimal)": "Total with the best isotropic σ²",
    "variance mismatch (fixedlarge)": "of which σ² = β costs a perfect mean",
}


def table_1(reports: Sequence[Report]) -> Table:
    """The paper's Table 1 with our runs in it, and why a number of ours may not be compared."""
    published, columns = references.tables()["cifar10"], tuple(_TABLE_1.values())
    rows = [
        Row(row.name, tuple(_published(row.numbers.get(c)) for c in _TABLE_1), row.block)
        for row in published.rows
    ]
    notes: list[str] = []
    for report in reports:
        found = comparable.standings(report)
        cells = tuple(_standing(found.get(column), notes) for column in _TABLE_1)
        rows.append(Row(report.name, cells, "Unconditional", ours=True))
    caption = (
        "NLL in bits/dim; ≤ marks an upper bound; ± is a standard error over images for our NLL, "
        f"and as printed elsewhere. Published rows: {published.rows[0].source}. The best of each "
        "block is bold among what may be compared. Numbers that may not be are set apart, each "
        "with its reason."
    )
    return Table("table1", published.title, columns, _best(rows, columns), tuple(notes), caption)


def bits(reports: Sequence[Report]) -> Table | None:
    """Where the bits of the bound go, and what trivial models need; None if nothing is measured."""
    rows: list[Row] = []
    for report in reports:
        run = f"{report.name}: " if len(reports) > 1 else ""
        scale = report.measurements.get("baselines")
        for name, block in (("nll", "The bound"), ("nll-train", "The bound on training images")):
            nll = report.measurements.get(name)
            if nll is not None:
                found = nll.quantities
                terms = {text: found[key] for key, text in _TERMS.items() if key in found}
                rows += [_measured_row(t, q, f"{run}{block}") for t, q in terms.items()]
        if scale is not None:
            ordered = sorted(scale.quantities.items(), key=lambda item: (item[1].value, item[0]))
            rows += [_measured_row(t, q, f"{run}For scale") for t, q in ordered]
    if not rows:
        return None
    caption = (
        "± is a standard error over images. Prior, steps and decoder are the paper's L_T, the sum "
        "of L_1 to L_T−1, and L_0; they add up to the total."
    )
    columns = (Column("bits/dim", "lower"), Column("images"))
    return Table("bits", "Bits/dim", columns, tuple(rows), (), caption)


def table_4(key: str, measured: Measurement) -> Table:
    """The paper's Table 4 with our rates and distortions, one block for each variance."""
    published = references.tables()["rate_distortion"]
    columns = (Column("Rate (bits/dim)", "lower"), Column("RMSE (0–255)", "lower"))
    rows = [
        Row(row.name, (_published(row.numbers["rate"]), _published(row.numbers["rmse"])), "Paper")
        for row in published.rows
    ]
    distortion = measured.curves["distortion"]
    T = int(distortion.x[-1])
    for name, rate in measured.curves.items():
        if name.startswith("rate ("):
            variance = name.removeprefix("rate (").removesuffix(")")
            block = f"{measured.settings['dataset']}, {rate.n:,} images, {variance}"
            for steps in sorted({max(1, round(T * part / 10)) for part in range(1, 11)})[::-1]:
                cells = (_at(rate, steps, "bits/dim"), _at(distortion, steps, ""))
                rows.append(Row(str(steps), cells, block, ours=True))
    caption = (
        "Rate spent after so many reverse steps and the error of x̂₀ decoded there, "
        f"{measured.settings['distortion']}; ± is a standard error over images. "
        f"Published rows: {published.rows[0].source}; {published.rows[0].protocol}."
    )
    return Table(key, published.title, columns, tuple(rows), (), caption)


def _at(curve: Curve, steps: int, unit: str) -> Cell:
    i = int(np.abs(curve.x - steps).argmin())
    if curve.x[i] != steps:
        return Cell()
    error = None if curve.stderr is None else float(curve.stderr[i])
    return Cell(*Quantity(float(curve.y[i]), unit, curve.n, error).texts)


def decomposition(measured: Measurement) -> str:
    """Rate and distortion as the paper quotes them, for the model's own variance.

    >>> found = {"rate": Quantity(1.78, "bits/dim", 9), "distortion": Quantity(1.97, "bits/dim", 9),
    ...          "RMSE": Quantity(0.95, "grey levels", 9)}
    >>> print(decomposition(Measurement("rate_distortion", found)))
    The bound is 1.780 bits/dim of rate and 1.970 bits/dim of distortion, the latter at an RMSE of
    0.950 grey levels. The paper's model: 1.78 and 1.97 at 0.95.
    """
    rate, left, rmse = (measured.quantities[name] for name in ("rate", "distortion", "RMSE"))
    return (
        f"The bound is {_plain(rate)} bits/dim of rate and {_plain(left)} bits/dim of distortion, "
        f"the latter at an RMSE of {_plain(rmse)} grey levels. The paper's model: 1.78 and 1.97 at "
        "0.95."
    )


def _plain(quantity: Quantity) -> str:
    return " ± ".join(text for text in quantity.texts if text)


def quantities(measurement: Measurement) -> Table:
    """Every quantity of a measurement that has no table of its own."""
    rows = tuple(
        _measured_row(name if found.unit in ("", name) else f"{name} ({found.unit})", found, "")
        for name, found in sorted(measurement.quantities.items())
    )
    columns: tuple[Column, ...] = (Column("value"), Column("n"))
    if all(found.n == 1 for found in measurement.quantities.values()):  # n says nothing then
        rows, columns = tuple(replace(row, cells=row.cells[:1]) for row in rows), columns[:1]
    return Table(measurement.name, "In numbers", columns, rows)


def _measured_row(name: str, quantity: Quantity, block: str) -> Row:
    cell = Cell(*quantity.texts, bold=name == _TERMS["total"])
    return Row(name, (cell, Cell(f"{quantity.n:,}")), block)


def _published(found: references.Published | None) -> Cell:
    if found is None:
        return Cell()
    spread = "" if found.spread is None else str(found.spread)
    return Cell(str(found.value), spread, at_most=found.at_most)


def _standing(found: comparable.Standing | None, notes: list[str]) -> Cell:
    if found is None:
        return Cell()
    reasons = (*found.obstacles, *found.remarks)
    notes += [reason for reason in reasons if reason not in notes]
    return Cell(
        *found.quantity.texts,
        found.quantity.n,
        at_most=found.quantity.unit == "bits/dim",
        notes=tuple(sorted(notes.index(reason) + 1 for reason in reasons)),
        muted=bool(found.obstacles),
    )


def _best(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Mark the best comparable number of each block and column."""
    best: dict[tuple[str, Column], float] = {}
    for row in rows:
        for cell, column in zip(row.cells, columns, strict=True):
            if cell.number and not cell.muted:
                pick = max if column.better == "higher" else min
                key, value = (row.block, column), _value(cell)
                best[key] = pick(best.get(key, value), value)

    def marked(row: Row) -> Row:
        cells = [
            replace(cell, bold=bool(cell.number) and _value(cell) == best[row.block, column])
            for cell, column in zip(row.cells, columns, strict=True)
        ]
        return replace(row, cells=tuple(cells))

    return tuple(marked(row) for row in rows)


def _value(cell: Cell) -> float:
    return float("nan" if cell.muted else cell.number.replace(",", ""))
