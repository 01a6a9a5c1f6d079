"""Arrays in an .npz file that is, byte for byte, a function of its content.

A key ends in a digest of its array, so that arrays of an old and a new record fit into one file and
damage is noticed.
"""

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from ddpm_train.archives import read_arrays
from ddpm_train.errors import FixableError
from ddpm_train.files import write_atomically

Array: TypeAlias = npt.NDArray[Any]


def key(name: str, array: Array) -> str:
    """The key of an array: its name and a digest of its type, shape and content.

    >>> key("terms", np.zeros(3))
    'terms@7e9aa2083e24b77c'
    """
    kind = f"{array.dtype.str}{array.shape}".encode()
    content = np.ascontiguousarray(array).data
    return f"{name}@{hashlib.sha256(kind + content).hexdigest()[:16]}"


def write(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays by their keys: no dates and no compression, which differs between machines."""

    def put(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(arrays):
                member = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                with archive.open(member, "w", force_zip64=True) as out:
                    np.lib.format.write_array(out, np.asarray(arrays[name], order="C"))

    write_atomically(path, put)


def read(path: Path, name: str) -> Array:
    """Read one array by its key, never a pickle; the CRC and the digest are checked.

    Raises:
        ValueError: It is missing or damaged, or the file is.
    """
    array = _members(path, [name])[name]
    if key(name.rpartition("@")[0], array) != name:
        raise ValueError(f"{name} does not have the content of its digest")
    return array


def read_all(path: Path) -> dict[str, Array]:
    """Read every array of a file, never a pickle; the CRCs are checked.

    Raises:
        ValueError: The file is missing or damaged.
    """
    return _members(path, None)


def _members(path: Path, names: Sequence[str] | None) -> dict[str, Array]:
    try:
        return read_arrays(path, names)
    except FixableError as error:
        raise ValueError(error.problem) from error
