"""The record: what measurements write and everything else reads.

``reports/NAME/results.json`` holds every number, setting and origin; ``arrays.npz`` holds the
arrays that it points at, under keys that end in a digest: the old record stays readable until the
new one has taken its name, and damage is noticed.
"""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from ddpm_eval.record import arrays
from ddpm_eval.record.arrays import Array
from ddpm_train.errors import FixableError
from ddpm_train.files import explain, write_text

SCHEMA = 1
"""The version of the record's layout; a reader refuses a newer one."""
RECORD, ARRAYS = "results.json", "arrays.npz"
OF_RUN = ("watch",)
"""Measurements of a whole training run: they outlive the checkpoint that a record is about."""
_RUN = ("preset", "seed", "data", "schedule", "unet", "objective")  # settings that name a run

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that travels with its unit, its sample size and, where there is one, its error.

    Attributes:
        value: The number; an ``int`` is a count and is shown whole.
        unit: Its unit; empty where it has none.
        n: How many images (or other independent things) it was measured on.
        stderr: The standard error of ``value``, in the same unit.

    >>> print(Quantity(3.7512, "bits/dim", n=10_000, stderr=0.0041))
    3.751 ± 0.004 bits/dim (n=10,000)
    >>> print(Quantity(9.4612, "", n=50_000, stderr=0.112))
    9.46 ± 0.11 (n=50,000)
    >>> print(Quantity(3.1712, "", n=50_000), Quantity(0.95136, "grey levels", n=9_984))
    3.17 (n=50,000) 0.951 grey levels (n=9,984)
    >>> print(Quantity(35_746_307, "parameters", n=1))
    35,746,307 parameters (n=1)
    """

    value: float
    unit: str
    n: int
    stderr: float | None = None

    @property
    def texts(self) -> tuple[str, str]:
        """The number and its error (empty where there is none), down to the same digit.

        That is the error's first digit, or its second after a 1; bits/dim have three decimals at
        least. Numbers below 1e-4 have an exponent.

        >>> [Quantity(12.3456, "", n=9, stderr=e).texts for e in (3, 0.3, 0.1)]
        [('12', '3'), ('12.3', '0.3'), ('12.35', '0.10')]
        >>> Quantity(3.1e-5, "bits/dim", n=9, stderr=2e-7).texts
        ('3.10e-05', '0.02e-05')
        """
        size = max(abs(self.value), self.stderr or 0)
        if 0 < size < 1e-4:
            power = math.floor(math.log10(size))
            error = None if self.stderr is None else self.stderr / 10.0**power
            number, spread = Quantity(self.value / 10.0**power, "", self.n, error).texts
            return f"{number}e{power:03}", f"{spread}e{power:03}" if spread else ""
        spread = "" if self.stderr is None else f"{self.stderr:,.{self._decimals}f}"
        return f"{self.value:,.{self._decimals}f}", spread

    @property
    def _decimals(self) -> int:
        least = 3 if self.unit == "bits/dim" else 0
        if self.stderr:
            first = math.floor(math.log10(self.stderr))
            return max(least, -first + (self.stderr < 1.95 * 10.0**first))
        if isinstance(self.value, int):
            return 0
        return max(least, 2, 2 - math.floor(math.log10(abs(self.value) or 1)))

    def __str__(self) -> str:
        number, spread = self.texts
        pieces = [number, f"± {spread}" if spread else "", self.unit, f"(n={self.n:,})"]
        return " ".join(piece for piece in pieces if piece)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """y over x, both [K] and kept in float64; names carry their units, as in ``rate (bits/dim)``.

    ``n`` counts what each point is a mean over; ``stderr`` [K] is each mean's standard error.
    ``log`` names the axes that are drawn logarithmically.
    """

    x: Array
    y: Array
    x_name: str
    y_name: str
    n: int
    stderr: Array | None = None
    log: Literal["", "x", "y", "xy"] = ""

    def __post_init__(self) -> None:
        for name in ("x", "y", "stderr"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        shapes = {
            self.x.shape,
            self.y.shape,
            self.y.shape if self.stderr is None else self.stderr.shape,
        }
        if len(shapes) > 1 or self.y.ndim != 1 or not self.y.size:
            raise ValueError(f"a curve of shapes {shapes}")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Images uint8 [N, H, W, C] in rows of ``columns``; C is 1 or 3.

    ``labels`` has one text for each image, or none; ``caption`` says what the images are.
    """

    images: Array
    columns: int
    labels: Sequence[str] = ()
    caption: str = ""

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise ValueError(f"a grid of {self.images.dtype} {shape}, not uint8 [N, H, W, 1 or 3]")
        if 0 in shape or self.columns < 1:
            raise ValueError(f"a grid of shape {shape} in {self.columns} columns")
        if self.labels and len(self.labels) != len(self.images):
            raise ValueError(f"{len(self.labels)} labels for {len(self.images)} images")


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What one measure found, the settings it was found with, and where it comes from."""

    name: str
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    grids: Mapping[str, Grid] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    settings: Mapping[str, Json] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Every measurement of one checkpoint.

    ``subject["checkpoint"]`` is the checkpoint's digest; measurements of another checkpoint never
    share a report.
    """

    name: str
    subject: Mapping[str, Json]
    measurements: Mapping[str, Measurement] = field(default_factory=dict)


def save(folder: Path, report: Report) -> None:
    """Write the record; the same record gives the same bytes.

    Raises:
        FixableError: A number is NaN or infinite, or the folder cannot be written. The record that
            was there is untouched.
    """
    plain, new = _encode(report)
    with _locked(folder):
        old: dict[str, Array] = {}
        with contextlib.suppress(FixableError):
            old = _encode(load(folder))[1]
        _write(folder, plain, new, old)


def add(
    folder: Path, name: str, subject: Mapping[str, Json], measurement: Measurement
) -> tuple[str, ...]:
    """Add a measurement to the record in ``folder``, replacing the one of the same name.

    Two commands may add at once. Measurements of another checkpoint leave the record, but for
    those of the whole run (``OF_RUN``), which leave what is there alone in turn.

    Returns:
        Warnings for the user: what left the record, and why.

    Raises:
        FixableError: The record that is there is damaged, a number is NaN or infinite, or the
            folder cannot be written.
    """
    with _locked(folder):
        old = load(folder) if (folder / RECORD).exists() else Report(name, subject)
        kept = dict(old.measurements)
        if old.subject.get("checkpoint") != subject.get("checkpoint"):
            if measurement.name in OF_RUN and same_run(old.subject, subject):
                subject = old.subject
            else:
                stays = OF_RUN if same_run(old.subject, subject) else ()
                kept = {name: kept[name] for name in stays if name in kept}
        report = Report(name, subject, kept | {measurement.name: measurement})
        _write(folder, *_encode(report), _encode(old)[1])
    gone = ", ".join(sorted(set(old.measurements) - set(report.measurements)))
    return (f"{folder}: measured on another checkpoint and removed: {gone}",) if gone else ()


def same_run(a: Mapping[str, Json], b: Mapping[str, Json]) -> bool:
    """Whether two subjects are checkpoints of one training run, as far as its settings tell."""
    one, two = a.get("run"), b.get("run")
    if not isinstance(one, Mapping) or not isinstance(two, Mapping):
        return False
    return all(one.get(key) == two.get(key) for key in _RUN)


def load(folder: Path) -> Report:
    """Read a record and check every digest in it.

    Raises:
        FixableError: There is none, it is damaged or edited, or a newer version wrote it.
    """
    while True:
        text = _read(folder / RECORD)
        try:
            return _decode(folder, text)
        except FixableError:
            if _read(folder / RECORD) == text:
                raise  # otherwise a writer came between our two reads


def to_json(report: Report) -> str:
    """The text of ``results.json``."""
    return _dump(_encode(report)[0])


# ------------------------------------------------------------------------------------- writing


def _write(
    folder: Path, plain: dict[str, Any], new: dict[str, Array], old: dict[str, Array]
) -> None:
    """Replace the record so that a crash leaves the old or the new one, each with its arrays."""
    arrays.write(folder / ARRAYS, old | new)
    write_text(folder / RECORD, _dump(plain))
    if old.keys() - new.keys():
        arrays.write(folder / ARRAYS, new)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait for our turn to change the record; the lock dies with its process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("a")
    except OSError as error:
        raise explain(error, folder) from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _encode(report: Report) -> tuple[dict[str, Any], dict[str, Array]]:
    """Split a record into plain JSON values and the arrays that they point at."""
    found: dict[str, Array] = {}
    body = {"schema": SCHEMA, "name": report.name, "subject": _plain(report.subject, "subject", {})}
    body["measurements"] = {
        name: _plain(measurement, name, found) for name, measurement in report.measurements.items()
    }
    return body | {"digest": _digest(body)}, found


def _plain(value: Any, where: str, found: dict[str, Array]) -> Any:
    """Turn dataclasses into dictionaries and arrays into pointers; refuse NaN and infinity."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise _not_finite(where, "NaN or infinite in places")
        key = arrays.key(where, value)
        found[key] = value
        return {"array": key}
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{where}.{key}", found) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{where}.{i}", found) for i, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _not_finite(where, str(value))
    return value


def _not_finite(where: str, what: str) -> FixableError:
    return FixableError(
        f"{where} is {what}; the record was left as it is",
        "check the checkpoint and the images for NaN, then measure again",
    )


def _dump(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _digest(body: Mapping[str, Any]) -> str:
    """The digest of all of a record but the digest itself."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------------------- reading


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("ascii", "replace")  # the digest sees to the rest
    except FileNotFoundError as error:
        raise FixableError(
            f"{path}: there is no record", "measure something first: ddpm-eval nll, or sample"
        ) from error
    except OSError as error:
        raise FixableError(
            f"{path}: cannot be read ({error.strerror})", "check its permissions"
        ) from error


def _decode(folder: Path, text: str) -> Report:
    path = folder / RECORD
    try:
        plain = json.loads(text)
        schema = plain["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "it is cut short or not a record") from error
    if not isinstance(schema, int) or schema > SCHEMA:
        raise FixableError(
            f"{path}: a newer ddpm-eval wrote it (schema {schema}; this one reads {SCHEMA})",
            "update ddpm-eval, or measure again into another folder",
        )
    if plain.pop("digest", None) != _digest(plain):
        raise _damaged(path, "its content and its digest differ: it was edited or damaged")
    try:
        return _report(plain, lambda key: _array(folder / ARRAYS, key))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"its layout is wrong ({error})") from error


def _report(plain: Mapping[str, Any], array: Callable[[str], Array]) -> Report:
    def revive(value: Any) -> Any:
        if isinstance(value, Mapping):
            return array(value["array"]) if value.keys() == {"array"} else value
        return value

    def fields(found: Mapping[str, Any]) -> dict[str, Any]:
        return {key: revive(value) for key, value in found.items()}

    def measurement(found: Mapping[str, Any]) -> Measurement:
        return Measurement(
            found["name"],
            {key: Quantity(**value) for key, value in found["quantities"].items()},
            {key: Curve(**fields(value)) for key, value in found["curves"].items()},
            {key: Grid(**fields(value)) for key, value in found["grids"].items()},
            fields(found["arrays"]),
            found["settings"],
            tuple(found["warnings"]),
            found["provenance"],
        )

    found = {key: measurement(value) for key, value in plain["measurements"].items()}
    return Report(plain["name"], plain["subject"], found)


def _array(path: Path, key: str) -> Array:
    try:
        return arrays.read(path, key)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, how: str) -> FixableError:
    return FixableError(
        f"{path}: {how}",
        f"restore it from a copy, or delete {path.parent} and measure again",
    )
