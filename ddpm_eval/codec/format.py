"""The head of a file, version 1; docs/format.md is the page that it follows.

byte 0      0xDD
byte 1      the version (upper four bits) and flags: 1 lossless, 2 portable, 4 sized, 8 stored
bytes 2-4   the profile
bytes 5-7   of a lossless file: the first bytes of the SHA-256 of the pixels
byte 5      of any other: how many layers there are
then        of a sized file: width and height, seven bits to a byte, and 1 for a grey picture
"""

import hashlib
from dataclasses import dataclass

from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError

MAGIC, VERSION = 0xDD, 1
_LOSSLESS, _PORTABLE, _SIZED, _STORED = 1, 2, 4, 8
_MOST_PIXELS = 1 << 27
_AGAIN = "copy it again from where it was made"
CHECKED = 3  # bytes of the checksum


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What stands in front of the layers.

    Attributes:
        profile: The first bytes of its digest.
        checksum: Of the pixels; None: the file is lossy.
        layers: How many layers a lossy file has.
        portable: Whether means are agreed on.
        stored: Whether the pixels follow as they are.
        size: Height and width; None: one tile.
        grey: Whether all colours are the same, and the first alone is told.
    """

    profile: bytes
    checksum: bytes | None = None
    layers: int = 0
    portable: bool = True
    stored: bool = False
    size: tuple[int, int] | None = None
    grey: bool = False

    def pack(self) -> bytes:
        """Write it."""
        flags = _LOSSLESS * (self.checksum is not None) | _PORTABLE * self.portable
        flags |= _SIZED * (self.size is not None) | _STORED * self.stored
        rest = bytes([self.layers]) if self.checksum is None else self.checksum
        head = bytes([MAGIC, VERSION << 4 | flags]) + self.profile + rest
        if self.size is None:
            return head
        height, width = self.size
        return head + _varint(width) + _varint(height) + bytes([self.grey])


def parse(data: bytes, label: str = "file") -> tuple[Head, int]:
    """Read a head, and say where what follows begins.

    Raises:
        FixableError: It is none, of another version, cut off or damaged.
    """
    if len(data) < 2 or data[0] != MAGIC:
        raise FixableError(f"{label}: not a .ddpm file", "name files of ddpm-eval compress")
    version, flags = data[1] >> 4, data[1] & 15
    if version != VERSION:
        raise FixableError(
            f"{label}: version {version}, newer than this program's {VERSION}",
            "pip install --upgrade ddpm-eval",
        )
    lossless = bool(flags & _LOSSLESS)
    place = 5 + (CHECKED if lossless else 1)
    size, grey = None, False
    if flags & _SIZED:
        width, place = _read_varint(data, place)
        height, place = _read_varint(data, place)
        size, grey, place = (height, width), data[place : place + 1] == b"\1", place + 1
    if len(data) < place:
        raise FixableError(f"{label}: cut off in its head, after {len(data)} bytes", _AGAIN)
    if size is not None and not 0 < size[0] * size[1] <= _MOST_PIXELS:
        raise FixableError(f"{label}: damaged, it says {size[1]:,}x{size[0]:,} pixels", _AGAIN)
    head = Head(
        profile=data[2:5],
        checksum=data[5:8] if lossless else None,
        layers=0 if lossless else data[5],
        portable=bool(flags & _PORTABLE),
        stored=bool(flags & _STORED),
        size=size,
        grey=grey,
    )
    return head, place


def checksum(picture: Pixels) -> bytes:
    """The first bytes of the SHA-256 of the pixels [H, W, C]."""
    return hashlib.sha256(picture.tobytes()).digest()[:CHECKED]


def _varint(value: int) -> bytes:
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place and the place behind it, which is behind the data if that is cut."""
    value = shift = 0
    for byte in data[place : place + 5]:
        value |= (byte & 127) << shift
        shift, place = shift + 7, place + 1
        if byte < 128:
            return value, place
    return value, len(data)
