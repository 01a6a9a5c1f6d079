"""The door for zips that others wrote: every member whole, checked, and none left out.

``zipfile`` checks the CRC of a member at its last byte, follows a directory that damage made
shorter, and inflates whatever is claimed. Here the members are counted against the archive's own
count, read whole and bounded by what deflate can make of their bytes.
"""

import io
import math
import struct
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from ddpm_train.errors import FixableError
from ddpm_train.reading import AGAIN, damaged, open_file, reading, require_memory

Array: TypeAlias = npt.NDArray[Any]
Members: TypeAlias = list[zipfile.ZipInfo]

_TAIL = (1 << 16) + 22  # the end record is at most so far from the end
_DEFLATE = 1032  # bytes that one deflated byte can become
_PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@contextmanager
def open_zip(
    path: Path, *, fix: str = AGAIN, what: str = "damaged"
) -> Iterator[tuple[zipfile.ZipFile, Members]]:
    """Open a zip and list its members, all of them.

    Raises:
        FixableError: It is missing or damaged, or a member is encrypted or packed in an unusual
            way, or claims to be larger than it can be.
    """
    with open_file(path, fix=fix, what=what) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        _check_count(file, members, path, fix)
        for member in members:
            _check_member(member, path)
        yield archive, members


def members_of(path: Path, *, fix: str = AGAIN, what: str = "damaged") -> Members:
    """List the members of a zip, all of them.

    Raises:
        FixableError: As ``open_zip``.
    """
    with open_zip(path, fix=fix, what=what) as (_, members):
        return members


def check(path: Path, *, fix: str = AGAIN) -> None:
    """Read every member of a zip once and compare its CRC.

    Raises:
        FixableError: As ``open_zip``, or a member is damaged.
    """
    with open_zip(path, fix=fix) as (archive, members):
        require_memory(sum(member.file_size for member in members), path)
        broken = archive.testzip()
        if broken is not None:
            raise damaged(path, f"member {broken} fails its CRC check", fix=fix)


def read_arrays(path: Path, names: Sequence[str] | None = None) -> dict[str, Array]:
    """Read arrays of an .npz, never a pickle; each member is read whole and its CRC compared.

    Args:
        path: The file.
        names: Which ones, without ``.npy``; all of them if None.

    Raises:
        FixableError: As ``open_zip``, or an array is missing, of Python objects, or not as long as
            its header says.

    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "a.npz"
    >>> np.savez(file, images=np.zeros((2, 3), np.uint8))
    >>> read_arrays(file)["images"].shape
    (2, 3)
    """
    arrays: dict[str, Array] = {}
    with open_zip(path) as (archive, members):
        sizes = {member.filename.removesuffix(".npy"): member for member in members}
        for name in sizes if names is None else names:
            if name not in sizes:
                raise FixableError(
                    f"{path}: has no array {name}, only {', '.join(sizes) or 'nothing'}",
                    "use the file that holds it",
                )
            require_memory(sizes[name].file_size, path)
            arrays[name] = _array(_content(archive, sizes[name]), f"{path}: {name}")
    return arrays


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytearray:
    """Read a member whole, into memory that an array may then own."""
    content = bytearray(member.file_size)
    with archive.open(member) as file, memoryview(content) as view:
        done = 0
        while count := cast(io.BufferedIOBase, file).readinto(view[done:]):
            done += count
        if done < len(content) or file.read(1):  # reading to the end compares the CRC
            raise ValueError(f"{member.filename} has not the length that is listed")
    return content


def shapes_of(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the names and shapes of the arrays in an .npz from their headers alone.

    Raises:
        FixableError: As ``open_zip``, or a header does not parse.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    with open_zip(path) as (archive, members):
        for member in members:
            with archive.open(member) as file:
                shapes[member.filename.removesuffix(".npy")] = _header(file)[0]
    return shapes


def _array(content: bytearray, label: str) -> Array:
    """Make an array of the bytes of an .npy file, all of which must be used."""
    file = io.BytesIO(content)
    with reading(label, what="not a whole array"):
        shape, in_columns, dtype = _header(file)
        if dtype.hasobject:
            raise FixableError(f"{label}: holds Python objects, which are never executed", _WRITE)
        start = file.tell()
        needed = math.prod(shape) * dtype.itemsize
        if len(content) - start != needed:
            raise damaged(
                label,
                f"its header says {list(shape)} {dtype}, {needed:,} bytes, and there are "
                f"{len(content) - start:,}",
            )
        flat = np.frombuffer(content, dtype, math.prod(shape), start)
        return flat.reshape(shape, order="F" if in_columns else "C")


_WRITE = "write it again with numpy.savez(path, NAME=array), of plain numbers"


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, in_columns, dtype = read[version](file)
    if any(size < 0 for size in shape):
        raise ValueError(f"the shape {shape}")
    return shape, in_columns, dtype


def _check_count(file: BinaryIO, members: Members, path: Path, fix: str) -> None:
    """Compare the members with the count that the archive itself has at its end."""
    names = {member.filename for member in members}
    if len(names) < len(members):
        raise damaged(path, "two members of one name", fix=fix)
    count = _count(file)
    if count != len(members):
        raise damaged(path, f"{len(members):,} of its {count:,} members can be listed", fix=fix)


def _count(file: BinaryIO) -> int:
    """The number of members by the end record; by the zip64 record where that is full.

    Raises:
        ValueError: There is none.
    """
    end = file.seek(0, io.SEEK_END)
    start = file.seek(max(0, end - _TAIL))
    tail = file.read()
    place = tail.rfind(b"PK\x05\x06")
    if place < 0:
        raise ValueError("no end record")
    count: int = struct.unpack_from("<H", tail, place + 10)[0]
    if count == 0xFFFF and tail[place - 20 : place - 16] == b"PK\x06\x07":
        file.seek(struct.unpack_from("<Q", tail, place - 12)[0])
        record = file.read(56)
        if record[:4] != b"PK\x06\x06":
            raise ValueError("no zip64 end record")
        count = struct.unpack_from("<Q", record, 32)[0]
    file.seek(start)
    return count


def _check_member(member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse what cannot be read as it is, or claims more bytes than it can hold."""
    if member.flag_bits & 1 or member.compress_type not in _PLAIN:
        raise FixableError(
            f"{path}: {member.filename} is encrypted or packed by an unusual method",
            "write a plain .zip (stored or deflated)",
        )
    stored = member.compress_type == zipfile.ZIP_STORED
    most = member.compress_size if stored else _DEFLATE * (member.compress_size + 1)
    if member.file_size > most or (stored and member.file_size < most):
        raise damaged(
            path,
            f"{member.filename} claims {member.file_size:,} bytes and has {member.compress_size:,}",
        )
