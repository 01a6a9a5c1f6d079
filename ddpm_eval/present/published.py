"""Published tables with our runs in them: what may be compared, and why the rest may not."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ddpm_eval.present import comparable, contents, references
from ddpm_eval.present.comparable import Standing
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity, Report

Ours = tuple[str, str, Mapping[str, Standing]]
"""A run in a published table: its name, its block, its numbers by column."""

_TABLE_1 = {
    "is": Column("IS", "higher"),
    "fid": Column("FID", "lower"),
    "nll_test": Column("NLL test", "lower"),
    "nll_train": Column("NLL train", "lower"),
}
_TABLE_2 = {"is": Column("IS", "higher"), "fid": Column("FID", "lower")}
_TABLE_3 = {name: Column(name.capitalize(), "lower") for name in ("bedroom", "church", "cat")}
_ADM = {
    "fid": Column("FID", "lower"),
    "sfid": Column("sFID", "lower"),
    "precision": Column("Precision", "higher"),
    "recall": Column("Recall", "higher"),
}
_ADM_NAMES = {"fid": "FID", "sfid": "sFID", "precision": "precision", "recall": "recall"}
_LSUN = ("bedroom", "church", "cat", "horse")
_PREDICTIONS = {"eps": "ε prediction", "mu_tilde": "μ̃ prediction"}
_SET_APART = (
    "The best of each block is bold among what may be compared. Numbers that may not be are set "
    "apart, each with its reason."
)
_OTHER_EVALUATOR = "ours is not the ADM evaluator: its numbers differ in the last digits"


def tables(reports: Sequence[Report]) -> Iterator[Table]:
    """Table 1, and Tables 2, 3 and ADM's where a run has numbers for them."""
    yield table_1(reports)
    for table in (table_2(reports), table_3(reports), adm(reports)):
        if table is not None:
            yield table


def table_1(reports: Sequence[Report]) -> Table:
    """The paper's Table 1 with our runs in it."""
    ours = [(r.name, "Unconditional", comparable.standings(r)) for r in reports]
    caption = (
        "NLL in bits/dim; ≤ marks an upper bound; ± is a standard error over images for our NLL, "
        "and as printed elsewhere."
    )
    return _beside("table1", "cifar10", _TABLE_1, ours, caption)


def table_2(reports: Sequence[Report]) -> Table | None:
    """The paper's Table 2, where a run has the objective of a row and samples of CIFAR-10."""
    ours = []
    for report in reports:
        place = objective_row(report.subject)
        found = comparable.sampled(report, {"is": "IS", "fid": "FID"}, comparable.DATASET)
        if place and found and comparable.dataset(report) == comparable.DATASET:
            ours.append((f"{report.name}: {place[1]}", place[0], found))
    caption = "What the network predicts, and the loss it is trained with."
    return _beside("table2", "ablation", _TABLE_2, ours, caption) if ours else None


def objective_row(subject: Mapping[str, Json]) -> tuple[str, str] | None:
    """The block and row of Table 2 that a model's objective is.

    >>> objective_row({"model": {"objective": {"prediction": "eps", "loss": "L_simple"}}})
    ('ε prediction', 'L_simple')
    >>> objective_row({"model": {"objective": {"prediction": "mu_tilde", "loss": "L",
    ...                                        "variance": "learned"}}})
    ('μ̃ prediction', 'L, learned diagonal Σ')
    """
    model = subject.get("model")
    objective = model.get("objective") if isinstance(model, Mapping) else None
    if not isinstance(objective, Mapping):
        return None
    variance = str(objective.get("variance", "fixedlarge"))
    row = {
        ("L_simple", "fixed"): "L_simple",
        ("mse", "fixed"): "MSE on μ̃",
        ("L", "fixed"): "L, fixed isotropic Σ",
        ("L", "learned"): "L, learned diagonal Σ",
    }.get((str(objective.get("loss")), "fixed" if variance.startswith("fixed") else variance))
    block = _PREDICTIONS.get(str(objective.get("prediction")))
    rows = {(each.block, each.name) for each in references.tables()["ablation"].rows}
    return (block, row) if block and row and (block, row) in rows else None


def table_3(reports: Sequence[Report]) -> Table | None:
    """The paper's Table 3, where a run's samples are of LSUN."""
    ours = []
    for report in reports:
        column = _lsun(comparable.dataset(report))
        if column in _TABLE_3:
            found = comparable.sampled(report, {"fid": "FID"}, comparable.dataset(report))
            ours += [(report.name, "", {column: each}) for each in _of_size(found, report).values()]
    return _beside("table3", "lsun", _TABLE_3, ours, "") if ours else None


def adm(reports: Sequence[Report]) -> Table | None:
    """The ADM paper's table: the blocks of data sets that our runs have FID and its kin for."""
    ours = []
    for report in reports:
        block = _adm_block(report)
        found = comparable.sampled(report, _ADM_NAMES, comparable.dataset(report))
        if block and found:
            kept = _of_size(found, report) if block.startswith("LSUN") else found
            remarked = {
                column: replace(each, remarks=(*each.remarks, _OTHER_EVALUATOR))
                for column, each in kept.items()
            }
            ours.append((report.name, block, remarked))
    if not ours:
        return None
    caption = (
        "The ADM evaluator's numbers differ from those of Table 3 for the same samples. n counts "
        "samples, and for recall reference images."
    )
    table = _beside("adm", "adm", _ADM, ours, caption)
    blocks = {block for _, block, _ in ours}
    return replace(table, rows=tuple(row for row in table.rows if row.block in blocks))


def _lsun(dataset: str) -> str:
    """The class of LSUN that a data set's name says it is, if it is LSUN.

    >>> [_lsun(name) for name in ("church_outdoor_train_lmdb", "LSUN bedrooms", "cat", "digits")]
    ['church', 'bedroom', '', '']
    """
    words = re.findall(r"[a-z]+", dataset.casefold())
    if not {"lsun", "lmdb"} & set(words):
        return ""
    return next((word.rstrip("s") for word in words if word.rstrip("s") in _LSUN), "")


def _adm_block(report: Report) -> str:
    """The block of ADM's table for a run's data set and size of images, if there is one."""
    name, size = comparable.dataset(report), _image_size(report)
    wanted = f"LSUN {_lsun(name)}s 256x256" if _lsun(name) else f"ImageNet {size}x{size}"
    blocks = {row.block for row in references.tables()["adm"].rows}
    known = wanted in blocks and (_lsun(name) or "imagenet" in name.casefold())
    return wanted if known else ""


def _image_size(report: Report) -> Json:
    model = report.subject.get("model")
    unet = model.get("unet") if isinstance(model, Mapping) else None
    return unet.get("image_size") if isinstance(unet, Mapping) else None


def _of_size(found: Mapping[str, Standing], report: Report) -> dict[str, Standing]:
    """LSUN's published numbers are of 256 pixels."""
    size = _image_size(report)
    wrong = () if size == 256 else (f"images of {size or 'unnamed'} pixels, not 256",)
    return {
        column: replace(each, obstacles=(*each.obstacles, *wrong)) for column, each in found.items()
    }


def _beside(
    key: str, name: str, columns: Mapping[str, Column], ours: Sequence[Ours], caption: str
) -> Table:
    """A published table with our rows at the end of their blocks."""
    published = references.tables()[name]
    rows = [
        Row(
            f"{row.name} ({row.note})" if row.note else row.name,
            tuple(_published(row.numbers.get(column)) for column in columns),
            row.block,
        )
        for row in published.rows
    ]
    notes: list[str] = []
    for run, block, found in ours:
        cells = tuple(_standing(found.get(column), notes) for column in columns)
        rows.append(Row(run, cells, block, ours=True))
    order = list(dict.fromkeys(row.block for row in rows))
    rows.sort(key=lambda row: order.index(row.block))
    heads = tuple(columns.values())
    texts = (caption, f"Published rows: {published.rows[0].source}.", _SET_APART)
    text = " ".join(filter(None, texts))
    return Table(key, published.title, heads, _best(rows, heads), tuple(notes), text)


def table_4(key: str, measured: Measurement) -> Table:
    """The paper's Table 4, then our rates under each variance and our distortion."""
    published = references.tables()["rate_distortion"]
    rates = contents.rates(measured)
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
            (_published(row.numbers["rate"]), *between, _published(row.numbers["rmse"])),
            "Paper",
        )
        for row in published.rows
    ]
    distortion, told = measured.curves["distortion"], measured.settings
    T = int(distortion.x[-1])
    block = f"{told.get('dataset', 'unnamed data')}, {distortion.n:,} images, {own}"
    for steps in sorted({max(1, round(T * part / 10)) for part in range(1, 11)})[::-1]:
        first, *rest = (_at(curve, steps, "bits/dim") for curve in rates.values())
        bare = (replace(cell, spread="") for cell in rest)
        cells = (first, *bare, _at(distortion, steps, ""))
        rows.append(Row(str(steps), cells, block, ours=True))
    caption = (
        "Rate spent after so many reverse steps and the error of x̂₀ decoded there, "
        f"{told.get('distortion', 'its root mean square')}; ± is a standard error over images, "
        "hardly another for the other variances. "
        f"Published rows: {published.rows[0].source}; {published.rows[0].protocol}."
    )
    return Table(key, published.title, columns, tuple(rows), (), caption)


def _at(curve: Curve, steps: int, unit: str) -> Cell:
    i = int(np.abs(curve.x - steps).argmin())
    if curve.x[i] != steps:
        return Cell()
    error = None if curve.stderr is None else float(curve.stderr[i])
    return Cell(*Quantity(float(curve.y[i]), unit, curve.n, error).texts)


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
