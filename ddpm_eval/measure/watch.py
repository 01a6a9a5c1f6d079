"""Quality over training: a point for each checkpoint that was measured, and which is the best.

The paper reports the checkpoint with the lowest FID; this finds it. A point is what other measures
say of one checkpoint, on few images; points come in any order and outlive the files.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity

NAME = "watch"
X_NAME = "training step"
FOUND = ("best", "best_steps", "checkpoints", "units")
"""Settings of the record that were found, not chosen."""
HIGHER_IS_BETTER = ("IS", "precision", "recall")


@dataclass(frozen=True, slots=True)
class Point:
    """What was measured of the checkpoint at a step."""

    step: int
    checkpoint: str  # digest of the weights
    quantities: Mapping[str, Quantity]


def best(points: Iterable[Point], name: str) -> Point:
    """The point with the best value of a quantity, the earliest among equals.

    >>> made = [Point(s, "", {"FID": Quantity(v, "", 9)}) for s, v in ((10, 5.0), (20, 3.0))]
    >>> best(made, "FID").step
    20
    """
    sign = -1 if name.startswith(HIGHER_IS_BETTER) else 1
    have = [point for point in points if name in point.quantities]
    return min(have, key=lambda point: (sign * point.quantities[name].value, point.step))


def measurement(points: Iterable[Point], settings: Mapping[str, Json], by: str) -> Measurement:
    """Lay points out as curves over the training step.

    Args:
        points: At least one; of two at the same step the later counts.
        settings: How all of them were measured.
        by: The quantity that decides which checkpoint is the best.
    """
    at = {point.step: point for point in points}
    ordered = [at[step] for step in sorted(at)]
    names = dict.fromkeys(name for point in ordered for name in point.quantities)
    first = best(ordered, by)
    marked = {name: best(ordered, name).step for name in names}
    return Measurement(
        name=NAME,
        quantities={f"best {by}": first.quantities[by]},
        curves={name: _curve(ordered, name) for name in names},
        settings={
            **settings,
            "best": {"by": by, "step": first.step, "checkpoint": first.checkpoint},
            "best_steps": marked,
            "checkpoints": {str(point.step): point.checkpoint for point in ordered},
            "units": {name: _unit(ordered, name) for name in names},
        },
    )


def points(found: Measurement) -> list[Point]:
    """The points that a measurement was made of."""
    digests: Any = found.settings["checkpoints"]
    units: Any = found.settings["units"]
    quantities: dict[int, dict[str, Quantity]] = {int(step): {} for step in digests}
    for name, curve in found.curves.items():
        for i, step in enumerate(curve.x):
            error = None if curve.stderr is None else float(curve.stderr[i])
            quantity = Quantity(float(curve.y[i]), units[name], curve.n, error)
            quantities[int(step)][name] = quantity
    return [Point(step, digests[str(step)], quantities[step]) for step in sorted(quantities)]


def _curve(ordered: list[Point], name: str) -> Curve:
    have = [(point.step, point.quantities[name]) for point in ordered if name in point.quantities]
    errors = [quantity.stderr for _, quantity in have if quantity.stderr is not None]
    return Curve(
        x=np.array([step for step, _ in have]),
        y=np.array([quantity.value for _, quantity in have]),
        x_name=X_NAME,
        y_name=name,
        n=have[-1][1].n,
        stderr=np.array(errors) if len(errors) == len(have) else None,
    )


def _unit(ordered: list[Point], name: str) -> str:
    return next(p.quantities[name].unit for p in ordered if name in p.quantities)
