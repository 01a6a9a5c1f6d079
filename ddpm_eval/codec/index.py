"""The index of an archive: what stands in front of its stack (docs/format.md)."""

import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from ddpm_eval.codec import format
from ddpm_train.errors import FixableError

MAGIC = 0xDA
_DOUBLE = 1
_HEAD, _SUM = 5, 4  # bytes: the head's, the checksum's
_MOST_BYTES = 1 << 26  # of an index
_MOST_PIXELS = 1 << 27
_AGAIN = "copy it again from where it was made"


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture: its name, its shape [H, W, C] and its checksum."""

    name: str
    shape: tuple[int, ...]
    checksum: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Everything but the pictures.

    Attributes:
        profile: The first bytes of its digest.
        double: Whether the network is evaluated in float64.
        entries: The pictures in their order.
        files: The lengths of the progressive files, those of the last pictures.
        rows: The rows of the chain between the profile's first and last, falling.
        length: The bytes of the stack.
        version: Of the format.
    """

    profile: bytes
    double: bool
    entries: tuple[Entry, ...]
    files: tuple[int, ...]
    rows: tuple[int, ...]
    length: int
    version: int = format.VERSION

    def pack(self) -> bytes:
        """Write it."""
        heights, widths, channels = zip(*(entry.shape for entry in self.entries), strict=True)
        names = [entry.name.encode() for entry in self.entries]
        rises = np.diff(self.rows[::-1], prepend=0).tolist()
        numbers = [
            *(len(self.entries), len(self.files), len(self.rows), self.length),
            *(*self.files, *rises, *heights, *widths, *channels, *map(len, names)),
        ]
        plain = b"".join(map(format.varint, numbers)) + b"".join(names)
        content = zlib.compress(plain, 9) + b"".join(entry.checksum for entry in self.entries)
        head = bytes([MAGIC, self.version << 4 | _DOUBLE * self.double]) + self.profile
        content = format.varint(len(content)) + content
        return head + content + zlib.crc32(head + content).to_bytes(_SUM, "little")


def is_archive(data: bytes) -> bool:
    """Whether bytes begin as an archive does.

    >>> is_archive(bytes([0xDA, 0x10, 1, 2, 3])), is_archive(bytes([0xDD, 0x13, 1, 2, 3]))
    (True, False)
    """
    return len(data) > 1 and data[0] == MAGIC and data[1] >> 4 > 0


def parse(data: bytes, label: str) -> tuple[Index, int]:
    """Read an index, and say where the stack begins.

    Raises:
        FixableError: It is none, of another version, cut off or damaged.
    """
    if not is_archive(data):
        raise FixableError(f"{label}: not an archive", "name a file of ddpm-eval archive")
    format.require_version(data[1] >> 4, label)
    length, start = format.read_varint(data, _HEAD)
    end = start + length + _SUM
    if len(data) < end:
        raise FixableError(f"{label}: cut off in its index, after {len(data)} bytes", _AGAIN)
    if zlib.crc32(data[: end - _SUM]).to_bytes(_SUM, "little") != data[end - _SUM : end]:
        raise FixableError(f"{label}: damaged in its index", _AGAIN)
    try:
        index = _read(data[:_HEAD], data[start : end - _SUM])
    except (ValueError, LookupError, zlib.error) as error:
        raise FixableError(f"{label}: damaged in its index", _AGAIN) from error
    return index, end


def _read(head: bytes, content: bytes) -> Index:
    inflater = zlib.decompressobj()
    plain = inflater.decompress(content, _MOST_BYTES)
    numbers = _Numbers(plain)
    pictures, files, rows, length = numbers.take(4)
    lengths, rises = numbers.take(files), numbers.take(rows)
    heights, widths, channels, names = (numbers.take(pictures) for _ in range(4))
    shapes = tuple(zip(heights, widths, channels, strict=True))
    checksums = inflater.unused_data
    text = [
        plain[end - size : end]
        for end, size in zip((numbers.place + np.cumsum(names)).tolist(), names, strict=True)
    ]
    if not (
        0 < files <= pictures
        and len(checksums) == pictures * format.CHECKED
        and all(0 < h * w <= _MOST_PIXELS for h, w, _ in shapes)
        and all(rises)
        and all(_leads_inside(name.decode()) for name in text)
    ):
        raise ValueError("its index has no meaning")
    entries = [
        Entry(name.decode(), shape, checksums[i * format.CHECKED : (i + 1) * format.CHECKED])
        for i, (name, shape) in enumerate(zip(text, shapes, strict=True))
    ]
    return Index(
        profile=head[2:_HEAD],
        double=bool(head[1] & _DOUBLE),
        entries=tuple(entries),
        files=tuple(lengths),
        rows=tuple(np.cumsum(rises)[::-1].tolist()),
        length=length,
        version=head[1] >> 4,
    )


def _leads_inside(name: str) -> bool:
    """Whether a name stays in the folder that pictures are written to."""
    path = PurePosixPath(name)
    return not (path.is_absolute() or ".." in path.parts or "\0" in name or "\\" in name)


class _Numbers:
    """Takes varints from bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self.place = data, 0

    def take(self, count: int) -> list[int]:
        """Take so many.

        Raises:
            ValueError: There are fewer.
        """
        values = list[int]()
        for _ in range(count):
            value, self.place = format.read_varint(self._data, self.place)
            values.append(value)
            if self.place > len(self._data):
                raise ValueError("cut off")
        return values
