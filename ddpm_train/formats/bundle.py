"""TensorFlow's tensor bundle (``Saver`` V2): PREFIX.index and PREFIX.data-00000-of-00001 ...

The index is a sorted string table, the one of LevelDB: blocks of keys that share prefixes, an index
of the blocks, and a footer of 48 bytes. Its values are protocol buffers: under the empty key how
many data files there are, under the name of each variable its type, shape and place.
"""

import math
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from ddpm_train.errors import FixableError
from ddpm_train.formats.crc32c import crc32c, unmask
from ddpm_train.reading import damaged, open_file, read_bytes, reading

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
RAW, SNAPPY = 0, 1  # how a block is stored
TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
LITTLE_ENDIAN = 0
Message = dict[int, list[int | bytes]]


@dataclass(frozen=True)
class Entry:
    """Where a variable lies."""

    dtype: int
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int
    masked_crc: int
    sliced: bool


class Bundle(Mapping[str, np.ndarray]):
    """The variables of a bundle by name; each is read, and its checksum verified, when asked for.

    Raises:
        FixableError: A file is missing, cut off or changed, or uses what is not supported.
    """

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.index = prefix.with_name(prefix.name + ".index")
        with reading(self.index):
            table = dict(_table(self.index))
            header = _message(table.pop(b"", b""))
            self.shards = _int(header, 1)
            if not self.shards or _int(header, 2) != LITTLE_ENDIAN:
                raise FixableError(
                    f"{self.index}: no header, or written on a big-endian machine",
                    "save it again with TensorFlow on a little-endian machine",
                )
            self.entries = {key.decode(): _entry(value) for key, value in table.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one variable."""
        entry = self.entries[name]
        if entry.dtype not in TYPES or entry.sliced:
            what = "it is stored in slices" if entry.sliced else f"its type is {entry.dtype}"
            raise FixableError(f"{self.index}: {name} cannot be read ({what})", "save it unsliced")
        number = f"{entry.shard:05d}-of-{self.shards:05d}"
        path = self.prefix.with_name(f"{self.prefix.name}.data-{number}")
        if not path.is_file():
            raise FixableError(f"{path}: missing", "download it beside the .index file")
        with open_file(path) as file:
            if entry.offset + entry.size > os.fstat(file.fileno()).st_size:
                raise damaged(path, f"it ends before {name} does")
            file.seek(entry.offset)
            content = file.read(entry.size)
        if crc32c(content) != unmask(entry.masked_crc):
            raise damaged(path, f"{name} fails its CRC-32C check")
        with reading(self.index):
            values = np.frombuffer(content, TYPES[entry.dtype])
            if values.size != math.prod(entry.shape):
                raise damaged(self.index, f"{name} has not the size of its shape")
            return values.reshape(entry.shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _table(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """The keys and values of a sorted string table."""
    content = read_bytes(path)
    footer = content[-FOOTER:]
    if len(footer) < FOOTER or struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise damaged(path, "it does not end as an index of TensorFlow does")
    numbers: list[int] = []
    position = 0
    while len(numbers) < 4:  # offset and size of the meta index, then of the index
        number, position = _varint(footer, position)
        numbers.append(number)
    for _, handle in _pairs(_block(content, numbers[2], numbers[3], path)):
        offset, position = _varint(handle, 0)
        size, _ = _varint(handle, position)
        yield from _pairs(_block(content, offset, size, path))


def _block(content: bytes, offset: int, size: int, path: Path) -> bytes:
    """A block, once its checksum is verified; behind it lie its kind and the checksum."""
    block, trailer = content[offset : offset + size], content[offset + size : offset + size + 5]
    if len(trailer) < 5:
        raise damaged(path, "it is cut off")
    kind, masked = struct.unpack("<BI", trailer)
    if crc32c(block + trailer[:1]) != unmask(masked):
        raise damaged(path, f"the block at {offset} fails its CRC-32C check")
    if kind == RAW:
        return block
    if kind != SNAPPY:
        raise FixableError(f"{path}: compressed in way {kind}", "save it again uncompressed")
    try:
        snappy = import_module("cramjam").snappy
    except ModuleNotFoundError:
        raise FixableError(
            f"{path}: compressed with snappy, which needs cramjam",
            'pip install "ddpm-eval[tensorflow]"',
        ) from None
    return bytes(snappy.decompress_raw(block))


def _pairs(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block: length shared with the key before, length of the rest, of the value.

    The block ends with the positions of keys that share nothing, and their number.
    """
    restarts = struct.unpack("<I", block[-4:])[0]
    end = len(block) - 4 * (restarts + 1)
    position, key = 0, b""
    while position < end:
        shared, position = _varint(block, position)
        rest, position = _varint(block, position)
        length, position = _varint(block, position)
        if shared > len(key) or position + rest + length > end:
            raise ValueError("an entry is longer than its block")
        key = key[:shared] + block[position : position + rest]
        position += rest
        yield key, block[position : position + length]
        position += length


def _varint(content: bytes, position: int) -> tuple[int, int]:
    """A number in groups of seven bits, lowest first, and the position behind it."""
    number = shift = 0
    while True:
        byte = content[position]
        number |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return number, position


def _message(content: bytes) -> Message:
    """A protocol buffer: the values under each field number.

    >>> _message(bytes([0x08, 0x96, 0x01, 0x12, 0x01, 0x41]))
    {1: [150], 2: [b'A']}
    """
    fields: Message = {}
    position = 0
    while position < len(content):
        tag, position = _varint(content, position)
        value: int | bytes
        if tag & 7 == 0:
            value, position = _varint(content, position)
        else:
            fixed = {1: 8, 5: 4}.get(tag & 7)
            length, position = (fixed, position) if fixed else _varint(content, position)
            value, position = content[position : position + length], position + length
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _int(message: Message, field: int) -> int:
    """A number of a message; 0 if it is left out."""
    value = message.get(field, [0])[-1]
    return value if isinstance(value, int) else int.from_bytes(value, "little")


def _entry(content: bytes) -> Entry:
    message = _message(content)
    shape = message.get(2, [b""])[-1]
    sizes = _message(shape).get(2, []) if isinstance(shape, bytes) else []
    return Entry(
        dtype=_int(message, 1),
        shape=tuple(_int(_message(size), 1) for size in sizes if isinstance(size, bytes)),
        shard=_int(message, 3),
        offset=_int(message, 4),
        size=_int(message, 5),
        masked_crc=_int(message, 6),
        sliced=7 in message,
    )
