"""Records on the disk: ``results.json`` with every number, ``arrays.npz`` with the arrays.

Keys of arrays end in a digest: the old record stays readable until the new one has taken its name,
and damage is noticed.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpm_eval.record import arrays, layout, schema1
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.identity import related
from ddpm_eval.record.ranking import question
from ddpm_eval.record.record import Measurement, Record, Subjects
from ddpm_eval.record.schema1.convert import convert
from ddpm_train.errors import FixableError
from ddpm_train.files import held, write_text
from ddpm_train.reading import read_bytes

RECORD, ARRAYS = "results.json", "arrays.npz"


def save(folder: Path, record: Record) -> None:
    """Write a record; the same record gives the same bytes.

    Raises:
        FixableError: A number is NaN or infinite, or the folder cannot be written. The record that
            was there is untouched.
    """
    plain, new = layout.encode(record)
    with _locked(folder):
        old: dict[str, Array] = {}
        with contextlib.suppress(FixableError):
            old = layout.encode(load(folder))[1]
        _write(folder, plain, new, old)


def add(
    folder: Path, measurement: Measurement, subjects: Subjects, *, replace: bool = False
) -> tuple[str, ...]:
    """Add a measurement to the record in a folder; several commands may add at once.

    A measurement of the same measure and protocol gives way to this one, and no other does.

    Args:
        folder: Of the record.
        measurement: What is added.
        subjects: What is known of the models or images that it is of, by digest.
        replace: Let go of weaker and stronger answers to the same question about the same model.

    Returns:
        Warnings for the user: what left the record.

    Raises:
        FixableError: The record is of another model or other images, or damaged; a number is NaN
            or infinite, or the folder cannot be written.
    """
    with _locked(folder):
        old = load(folder) if exists(folder) else Record(name=folder.resolve().name)
        if not related(old.subjects, subjects):
            raise FixableError(
                f"{folder}: a record of another model or other images",
                f"choose another name than {old.name}",
            )
        gone = [item for item in old.measurements if replace and _rivals(item, measurement)]
        stays = [
            item for item in old.measurements if item not in gone and item.key != measurement.key
        ]
        described = {key: facts for key, facts in subjects.items() if facts}
        new = Record(
            name=old.name,
            subjects={**subjects, **old.subjects, **described},
            measurements=(*stays, measurement),
        )
        _write(folder, *layout.encode(new), layout.encode(old)[1])
    return (f"{folder}: replaced {len(gone)} of {measurement.measure}",) if gone else ()


def _rivals(one: Measurement, other: Measurement) -> bool:
    """Whether two measurements answer one question about one model, by different protocols."""
    a, b = one.protocol, other.protocol
    return (
        (one.measure, a.model) == (other.measure, b.model)
        and question(a) == question(b)
        and one.key != other.key
    )


def exists(folder: Path) -> bool:
    """Whether there is a record in a folder."""
    return (folder / RECORD).is_file()


def load(folder: Path) -> Record:
    """Read a record, of this schema or the first, and check every digest in it.

    Raises:
        FixableError: There is none, it is damaged or edited, or a newer version wrote it.
    """
    while True:
        text = _read(folder / RECORD)
        try:
            return _decode(folder, text)
        except FixableError:
            if _read(folder / RECORD) == text:
                raise  # otherwise a writer came between the two reads


def to_json(record: Record) -> str:
    """The text of ``results.json``."""
    return _dump(layout.encode(record)[0])


def place(reports: Path, name: str, subjects: Subjects) -> str:
    """The name of the record that measurements of these subjects belong in.

    That is ``name``, unless a record of another model or other images has it: then the name with
    the beginning of the digest, which nobody else has.
    """
    folder = reports / name
    if not exists(folder) or related(load(folder).subjects, subjects):
        return name
    return f"{name}-{next(iter(subjects))[:8]}"


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
    """Wait for the turn to change the record; the lock dies with its process."""
    with held(folder / ".lock"):
        yield


def _dump(plain: Mapping[str, Any]) -> str:
    whole = {**plain, "digest": _digest(plain)}
    return json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _digest(body: Mapping[str, Any]) -> str:
    """The digest of all of a record but the digest itself."""
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


# ------------------------------------------------------------------------------------- reading


def _read(path: Path) -> str:
    if not path.exists():
        raise FixableError(
            f"{path}: there is no record", "measure something first: ddpm-eval nll, or sample"
        )
    return read_bytes(path).decode("ascii", "replace")  # the digest sees to the rest


def _decode(folder: Path, text: str) -> Record:
    path = folder / RECORD
    try:
        plain = json.loads(text)
        schema = plain["schema"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path, "it is cut short or not a record") from error
    if not isinstance(schema, int) or schema > layout.SCHEMA:
        raise FixableError(
            f"{path}: a newer ddpm-eval wrote it (schema {schema}; this one reads {layout.SCHEMA})",
            "update ddpm-eval, or measure again into another folder",
        )
    if plain.pop("digest", None) != _digest(plain):
        raise _damaged(path, "its content and its digest differ: it was edited or damaged")

    def array(key: str) -> Array:
        return _array(folder / ARRAYS, key)

    try:
        if schema == schema1.SCHEMA:
            return convert(schema1.decode(plain, array))
        return layout.decode(plain, array)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"its layout is wrong ({error})") from error


def _array(path: Path, key: str) -> Array:
    try:
        return arrays.read(path, key)
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, problem: str) -> FixableError:
    return FixableError(
        f"{path}: {problem}",
        f"restore it from a copy, or delete {path.parent} and measure again",
    )
