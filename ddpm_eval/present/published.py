"""Published tables with our runs in them: what may be compared, and why the rest may not."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.metrics.registry import METRICS
from ddpm_eval.present import comparable, references
from ddpm_eval.present.comparable import Standing
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.protocol import Json

Ours = tuple[str, str, Mapping[str, Standing]]
"""A run in a published table: its name, its block, its numbers by column."""

_BOUNDS = {"nll_test": Column("NLL test", "lower"), "nll_train": Column("NLL train", "lower")}
_TABLE_3 = {name: Column(name.capitalize(), "lower") for name in ("bedroom", "church", "cat")}
_ADM = {"fid": "fid", "sfid": "sfid", "precision": "precision", "recall": "recall"}
"""The metrics of ADM's table, by column."""
_LSUN = ("bedroom", "church", "cat", "horse")
_PREDICTIONS = {"eps": "ε prediction", "mu_tilde": "μ̃ prediction"}
_SET_APART = (
    "The best of each block is bold among what may be compared. Numbers that may not be are set "
    "apart, each with its reason."
)
_OTHER_EVALUATOR = "ours is not the ADM evaluator: its numbers differ in the last digits"


def tables(runs: Sequence[Run]) -> Iterator[Table]:
    """Table 1, and Tables 2, 3 and ADM's where a run has numbers for them."""
    yield table_1(runs)
    for table in (table_2(runs), table_3(runs), adm(runs)):
        if table is not None:
            yield table


def _columns(metrics: Mapping[str, str]) -> dict[str, Column]:
    """The columns of metrics, as the registry calls them."""
    return {
        column: Column(METRICS[metric].title, METRICS[metric].better)
        for column, metric in metrics.items()
    }


def table_1(runs: Sequence[Run]) -> Table:
    """The paper's Table 1 with our runs in it."""
    ours = [(run.name, comparable.block(run), comparable.standings(run)) for run in runs]
    caption = (
        "NLL in bits/dim; ≤ marks an upper bound; ± is a standard error over images for our NLL, "
        "and as printed elsewhere."
    )
    columns = _columns(comparable.TABLE_1) | _BOUNDS
    return _beside("table1", "cifar10", columns, ours, caption)


def table_2(runs: Sequence[Run]) -> Table | None:
    """The paper's Table 2, where a run has the objective of a row and samples of CIFAR-10."""
    ours = []
    for run in runs:
        subject = next(iter(run.record.subjects.values()), {})
        place = objective_row(subject)
        standing = comparable.sampled(run, comparable.TABLE_1, comparable.DATASET)
        if place and standing and comparable.dataset(run) == comparable.DATASET:
            ours.append((f"{run.name}: {place[1]}", place[0], standing))
    caption = "What the network predicts, and the loss it is trained with."
    columns = _columns(comparable.TABLE_1)
    return _beside("table2", "ablation", columns, ours, caption) if ours else None


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
    rows = {(item.block, item.name) for item in references.tables()["ablation"].rows}
    return (block, row) if block and row and (block, row) in rows else None


def table_3(runs: Sequence[Run]) -> Table | None:
    """The paper's Table 3, where a run's samples are of LSUN."""
    ours = []
    for run in runs:
        column = lsun_class(comparable.dataset(run))
        if column in _TABLE_3:
            standing = comparable.sampled(run, {"fid": "fid"}, comparable.dataset(run))
            ours += [(run.name, "", {column: item}) for item in _of_size(standing, run).values()]
    return _beside("table3", "lsun", _TABLE_3, ours, "") if ours else None


def adm(runs: Sequence[Run]) -> Table | None:
    """The ADM paper's table: the blocks of data sets that our runs have FID and its kin for."""
    ours = []
    for run in runs:
        block = adm_block(run)
        standing = comparable.sampled(run, _ADM, comparable.dataset(run))
        if block and standing:
            sized = _of_size(standing, run) if block.startswith("LSUN") else standing
            remarked = {
                column: replace(item, remarks=(*item.remarks, _OTHER_EVALUATOR))
                for column, item in sized.items()
            }
            ours.append((run.name, block, remarked))
    if not ours:
        return None
    caption = (
        "The ADM evaluator's numbers differ from those of Table 3 for the same samples. n counts "
        "samples, and for recall reference images."
    )
    table = _beside("adm", "adm", _columns(_ADM), ours, caption)
    blocks = {block for _, block, _ in ours}
    return replace(table, rows=tuple(row for row in table.rows if row.block in blocks))


def lsun_class(dataset: str) -> str:
    """The class of LSUN that a data set's name says it is, if it is LSUN.

    >>> [lsun_class(name) for name in ("church_outdoor_train_lmdb", "LSUN bedrooms", "cat")]
    ['church', 'bedroom', '']
    """
    words = re.findall(r"[a-z]+", dataset.casefold())
    if not {"lsun", "lmdb"} & set(words):
        return ""
    return next((word.rstrip("s") for word in words if word.rstrip("s") in _LSUN), "")


def adm_block(run: Run) -> str:
    """The block of ADM's table for a run's data set and size of images, if there is one."""
    name, pixels = comparable.dataset(run), comparable.image_size(run)
    lsun = lsun_class(name)
    wanted = f"LSUN {lsun}s 256x256" if lsun else f"ImageNet {pixels}x{pixels}"
    blocks = {row.block for row in references.tables()["adm"].rows}
    is_published = wanted in blocks and (lsun or "imagenet" in name.casefold())
    return wanted if is_published else ""


def _of_size(standing: Mapping[str, Standing], run: Run) -> dict[str, Standing]:
    """LSUN's published numbers are of 256 pixels."""
    pixels = comparable.image_size(run)
    wrong = () if pixels == 256 else (f"images of {pixels or 'unnamed'} pixels, not 256",)
    return {
        column: replace(item, obstacles=(*item.obstacles, *wrong))
        for column, item in standing.items()
    }


def _beside(
    key: str, name: str, columns: Mapping[str, Column], ours: Sequence[Ours], caption: str
) -> Table:
    """A published table with our rows at the end of their blocks."""
    published = references.tables()[name]
    rows = [
        Row(
            f"{row.name} ({row.note})" if row.note else row.name,
            tuple(published_cell(row.numbers.get(column)) for column in columns),
            row.block,
        )
        for row in published.rows
    ]
    notes: list[str] = []
    for run, block, standing in ours:
        cells = tuple(_standing(standing.get(column), notes) for column in columns)
        rows.append(Row(run, cells, block, ours=True))
    order = list(dict.fromkeys(row.block for row in rows))
    rows.sort(key=lambda row: order.index(row.block))
    heads = tuple(columns.values())
    texts = (caption, f"Published rows: {published.rows[0].source}.", _SET_APART)
    text = " ".join(filter(None, texts))
    return Table(key, published.title, heads, _best(rows, heads), tuple(notes), text)


def published_cell(number: references.Published | None) -> Cell:
    """A published number as it was printed."""
    if number is None:
        return Cell()
    spread = "" if number.spread is None else str(number.spread)
    return Cell(str(number.value), spread, at_most=number.at_most)


def _standing(standing: Standing | None, notes: list[str]) -> Cell:
    if standing is None:
        return Cell()
    reasons = (*standing.obstacles, *standing.remarks)
    notes += [reason for reason in reasons if reason not in notes]
    return Cell(
        *standing.score.texts,
        standing.score.n,
        at_most=standing.score.metric == "bits_per_dim",
        notes=tuple(sorted(notes.index(reason) + 1 for reason in reasons)),
        muted=bool(standing.obstacles),
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
