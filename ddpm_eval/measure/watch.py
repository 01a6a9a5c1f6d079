"""Quality over training: a point for each checkpoint that was measured, and which is the best.

The paper reports the checkpoint with the lowest FID; this finds it. A point is what other measures
say of one checkpoint, on few images; points come in any order and outlive the files.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from ddpm_eval.metrics.estimate import Error, ErrorKind
from ddpm_eval.metrics.registry import METRICS
from ddpm_eval.record.protocol import Json, Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Qualifiers, Score

NAME, VERSION = "watch", 2

Key: TypeAlias = tuple[str, Qualifiers]
"""A metric and what it is of: one curve."""


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of the checkpoint at a step.

    Attributes:
        step: The training step.
        checkpoint: The digest of the weights.
        scores: What was measured.
    """

    step: int
    checkpoint: str
    scores: tuple[Score, ...]

    def score(self, key: Key) -> Score | None:
        """The score of a metric and its qualifiers."""
        return next((score for score in self.scores if key_of(score) == key), None)


def key_of(score: Score | Curve) -> Key:
    """Which curve a score belongs to."""
    return score.metric, score.of


def best(points: Iterable[Point], key: Key) -> Point:
    """The point with the best value of a metric, the earliest among equals.

    >>> def point(step, value):
    ...     return Point(step, "", (Score(metric="fid", value=value, n=9),))
    >>> best([point(10, 5.0), point(20, 3.0)], ("fid", Qualifiers())).step
    20
    """
    sign = -1 if METRICS[key[0]].better == "higher" else 1
    pairs = [(point, point.score(key)) for point in points]
    measured = [(point, score) for point, score in pairs if score is not None]
    return min(measured, key=lambda pair: (sign * pair[1].value, pair[0].step))[0]


def measurement(points: Iterable[Point], protocol: Protocol, by: Key) -> Measurement:
    """Lay points out as curves over the training step.

    Args:
        points: At least one; of two at the same step the later counts.
        protocol: How all of them were measured.
        by: The metric that decides which checkpoint is the best.
    """
    latest = {point.step: point for point in points}
    ordered = [latest[step] for step in sorted(latest)]
    keys = dict.fromkeys(key_of(score) for point in ordered for score in point.scores)
    first = best(ordered, by)
    score = first.score(by)
    marked = () if score is None else (_at(score, first.step),)
    checkpoints: dict[str, Json] = {str(point.step): point.checkpoint for point in ordered}
    return Measurement(
        measure=NAME,
        protocol=protocol,
        scores=marked,
        curves=tuple(_curve(ordered, key) for key in keys),
        facts={
            "best": {"step": first.step, "checkpoint": first.checkpoint},
            "checkpoints": checkpoints,
        },
    )


def points(measurement: Measurement) -> list[Point]:
    """The points that a measurement was made of."""
    digests: Any = measurement.facts["checkpoints"]
    scores: dict[int, list[Score]] = {int(step): [] for step in digests}
    for curve in measurement.curves:
        for i, step in enumerate(curve.x.astype(int).tolist()):
            scores[step].append(_score(curve, i))
    return [Point(step, digests[str(step)], tuple(scores[step])) for step in sorted(scores)]


def _at(score: Score, step: int) -> Score:
    return replace(score, of=replace(score.of, at=("training_steps", step)))


def _score(curve: Curve, i: int) -> Score:
    error = None
    if curve.error is not None:
        error = Error(size=float(curve.error[i]), kind=curve.error_kind)
    return Score(metric=curve.metric, value=float(curve.y[i]), n=curve.n, error=error, of=curve.of)


def _curve(ordered: Sequence[Point], key: Key) -> Curve:
    pairs = [(point.step, point.score(key)) for point in ordered]
    scores = [(step, score) for step, score in pairs if score is not None]
    errors = [score.error for _, score in scores if score.error is not None]
    kind: ErrorKind = errors[0].kind if errors else "standard error"
    whole = len(errors) == len(scores)
    return Curve(
        metric=key[0],
        over="training_steps",
        x=np.array([step for step, _ in scores]),
        y=np.array([score.value for _, score in scores]),
        n=scores[-1][1].n,
        error=np.array([error.size for error in errors]) if whole else None,
        error_kind=kind,
        of=key[1],
    )
