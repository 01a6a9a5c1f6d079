"""Schema 2: a record as plain JSON values and the arrays that they point at."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ddpm_eval.record import arrays, protocol
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Error, Grid, Qualifiers, Score
from ddpm_train.errors import FixableError

SCHEMA = 2
"""The version of the layout; a reader refuses a newer one."""


def encode(record: Record) -> tuple[dict[str, Any], dict[str, Array]]:
    """Split a record into JSON values and arrays by their keys; equal records give equal values.

    Raises:
        FixableError: A number is NaN or infinite.
    """
    pointed: dict[str, Array] = {}
    ordered = sorted(record.measurements, key=lambda item: item.key)
    plain = {
        "schema": SCHEMA,
        "name": record.name,
        "subjects": _plain(record.subjects, "subjects", {}),
        "measurements": [_plain(item, item.measure, pointed) for item in ordered],
    }
    return plain, pointed


def decode(plain: Mapping[str, Any], array: Callable[[str], Array]) -> Record:
    """Read what ``encode`` gave; ``array`` reads an array by its key."""
    return Record(
        name=plain["name"],
        subjects=plain["subjects"],
        measurements=tuple(_measurement(item, array) for item in plain["measurements"]),
    )


def _plain(value: Any, place: str, pointed: dict[str, Array]) -> Any:
    """Turn dataclasses into dictionaries without their defaults, and arrays into pointers."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise _not_finite(place, "NaN or infinite in places")
        key = arrays.key(place, value)
        pointed[key] = value
        return {"array": key}
    if dataclasses.is_dataclass(value):
        value = protocol.stated(value)
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{place}.{key}", pointed) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}.{_name(item, i)}", pointed) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _not_finite(place, str(value))
    return value


def _name(item: Any, place: int) -> str:
    """What an item of a list is called: scores and curves by their metric."""
    return str(getattr(item, "metric", place))


def _not_finite(place: str, what: str) -> FixableError:
    return FixableError(
        f"{place} is {what}; the record was left as it is",
        "check the checkpoint and the images for NaN, then measure again",
    )


def _measurement(plain: Mapping[str, Any], array: Callable[[str], Array]) -> Measurement:
    def read(values: Mapping[str, Any]) -> dict[str, Any]:
        pairs = values.items()
        return {name: array(item["array"]) if _points(item) else item for name, item in pairs}

    return Measurement(
        measure=plain["measure"],
        protocol=protocol.read(plain["protocol"]),
        scores=tuple(_score(item) for item in plain.get("scores", ())),
        curves=tuple(_curve(read(item)) for item in plain.get("curves", ())),
        grids={name: Grid(**read(item)) for name, item in plain.get("grids", {}).items()},
        arrays=read(plain.get("arrays", {})),
        facts=plain.get("facts", {}),
        warnings=tuple(plain.get("warnings", ())),
        provenance=plain.get("provenance", {}),
    )


def _points(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"array"}


def _score(plain: Mapping[str, Any]) -> Score:
    error = plain.get("error")
    parts = {"error": None if error is None else Error(**error), "of": _of(plain)}
    return Score(**{**plain, **parts})


def _curve(values: Mapping[str, Any]) -> Curve:
    return Curve(**{**values, "of": _of(values)})


def _of(plain: Mapping[str, Any]) -> Qualifiers:
    values = dict(plain.get("of", {}))
    if "at" in values:
        axis, x = values["at"]
        values["at"] = (axis, x)
    return Qualifiers(**values)
