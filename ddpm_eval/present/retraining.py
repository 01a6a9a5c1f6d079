"""Trainings of one configuration that differ by their seed alone: their mean and their spread.

The error of one run says what other images or other samples would change. What another seed of
training would change is in none of them: it moves FID 3.2 times as much as drawing the samples
again, and differences below 1.3% of FID decide nothing (arXiv 2606.20536). Several trainings show
it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_eval.present import alike, wording
from ddpm_eval.present.differences import name_of, tells
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Error, Score

_NO_PART = ("seed", "compute", "log")  # of a run's settings: no part of its configuration
_CAPTION = (
    "Each score is the mean over trainings of one configuration that differ by their seed. "
    "Between trainings is their standard deviation; within one is the error that each run states, "
    "their root mean square. Where the first is larger, one training of each does not decide "
    "between two configurations."
)


@dataclass(frozen=True, slots=True)
class Training:
    """One training of a configuration, as far as a measurement's model tells.

    Attributes:
        configuration: Every setting but the seed, the training images, the step and the weights.
        seed: The seed of training.
    """

    configuration: str
    seed: int


def training(record: Record, measurement: Measurement) -> Training | None:
    """Name the training that a measurement's model comes from; None where it is not known."""
    subject = record.subjects.get(measurement.protocol.model, {})
    run, facts = subject.get("run"), subject.get("facts")
    seed = run.get("seed") if isinstance(run, Mapping) else None
    if not isinstance(run, Mapping) or not isinstance(seed, int):
        return None
    settings: dict[str, Json] = {key: run[key] for key in run.keys() - set(_NO_PART)}
    digest = facts.get("data_digest") if isinstance(facts, Mapping) else None
    data = run.get("data")
    if digest is not None and isinstance(data, Mapping):  # then the path is a name
        settings["data"] = {**data, "path": digest}
    state = [subject.get("step"), subject.get("weights")]
    return Training(json.dumps([settings, state], sort_keys=True), seed)


def table(runs: Sequence[Run]) -> Table | None:
    """Mean and spread over trainings of one configuration; None where there are no two."""
    rows = [row for measure in alike.COMPARED for row in _rows(runs, measure)]
    if not rows:
        return None
    columns = tuple(map(Column, ("mean", "between trainings", "within one", "trainings")))
    return Table("trainings", "Seeds of training", columns, tuple(rows), (), _CAPTION)


def remark(one: Record, other: Record) -> str:
    """Say what one training on each side cannot decide; empty where nothing was trained."""
    pairs = [pair for measure in alike.COMPARED for pair in alike.pairs(one, other, measure)]
    trainings = [(training(one, a), training(other, b)) for a, b in pairs]
    named = [(a, b) for a, b in trainings if a is not None and b is not None and a != b]
    if not named:
        return ""
    if all(a.configuration == b.configuration for a, b in named):
        return (
            "The two differ by the seed of training alone: their differences are what training "
            "again changes."
        )
    return (
        "Each side is one training. What another seed of training would change is in none of "
        "these errors: it moves FID about three times as much as other samples do, and a "
        "difference of FID below 1.3% decides nothing (arXiv 2606.20536). Train each with several "
        "seeds, and write them up with report --together."
    )


def _rows(runs: Sequence[Run], measure: str) -> Iterator[Row]:
    """The rows of a measure, one group of trainings after the other."""
    groups: dict[tuple[object, ...], dict[int, tuple[Run, Measurement]]] = {}
    for run in runs:
        for item in run.of(measure):
            source = training(run.record, item)
            if source is not None:
                key = (source.configuration, alike.family(item.protocol))
                groups.setdefault(key, {}).setdefault(source.seed, (run, item))
    for group in groups.values():
        members = [group[seed] for seed in sorted(group)]
        first = members[0][1]
        same = [
            (run, item)
            for run, item in members
            if not wording.differing(first.protocol, item.protocol)
        ]
        if len(same) > 1:
            block = wording.listed([run.name for run, _ in same])
            yield from _scores([item for _, item in same], block)


def _scores(measurements: Sequence[Measurement], block: str) -> Iterator[Row]:
    for one in measurements[0].scores:
        scores = [score for item in measurements for score in item.scores if _same(score, one)]
        if tells(measurements[0], one) and len(scores) == len(measurements):
            yield _row(name_of(measurements[0], one), scores, block)


def _same(one: Score, other: Score) -> bool:
    return (one.metric, one.of) == (other.metric, other.of)


def _row(name: str, scores: Sequence[Score], block: str) -> Row:
    values = np.array([score.value for score in scores], np.float64)
    k, spread, metric = len(values), float(values.std(ddof=1)), scores[0].metric
    error = Error(size=spread / k**0.5, over="trainings")
    mean = Score(metric=metric, value=float(values.mean()), n=k, error=error)
    sizes = [score.error.standard for score in scores if score.error is not None]
    own = [size for size in sizes if size is not None]
    within = float(np.sqrt(np.mean(np.square(own)))) if len(own) == k else None
    unit = f" ({mean.definition.unit})" if mean.definition.unit else ""
    parts = [_size(metric, spread), "" if within is None else _size(metric, within)]
    cells = (Cell(*mean.texts), *map(Cell, parts), Cell(str(k)))
    return Row(f"{name}{unit}", cells, block, ours=True)


def _size(metric: str, size: float) -> str:
    return Score(metric=metric, value=size, n=1).texts[0]
