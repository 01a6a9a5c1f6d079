"""The head of a file, versions 1 and 2; docs/format.md is the page that it follows.

byte 0      0xDD
byte 1      the version (upper four bits) and flags: 1 lossless, 2 portable, 4 sized, 8 stored
bytes 2-4   the profile
bytes 5-7   of a lossless file: the first bytes of the SHA-256 of its shape and pixels
byte 5      of any other: how many layers there are, seven bits to a byte
then        of a sized file: width and height likewise, and one byte: 1 for a grey picture, else 0
"""

import hashlib
import struct
from dataclasses import dataclass

from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError

MAGIC = 0xDD
VERSION, NEWEST = 1, 2  # the second: of profiles that use the network's own errors
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
        version: Of the format.
    """

    profile: bytes
    checksum: bytes | None = None
    layers: int = 0
    portable: bool = True
    stored: bool = False
    size: tuple[int, int] | None = None
    grey: bool = False
    version: int = VERSION

    def pack(self) -> bytes:
        """Write it."""
        flags = _LOSSLESS * (self.checksum is not None) | _PORTABLE * self.portable
        flags |= _SIZED * (self.size is not None) | _STORED * self.stored
        rest = varint(self.layers) if self.checksum is None else self.checksum
        head = bytes([MAGIC, self.version << 4 | flags]) + self.profile + rest
        if self.size is None:
            return head
        height, width = self.size
        return head + varint(width) + varint(height) + bytes([self.grey])


def is_ours(data: bytes) -> bool:
    """Whether data begin as every file of ours does, of whatever version.

    >>> is_ours(bytes([MAGIC, VERSION << 4])), is_ours(b"PNG"), is_ours(b"")
    (True, False, False)
    """
    return len(data) > 1 and data[0] == MAGIC and data[1] >> 4 > 0


def parse(data: bytes, label: str = "file") -> tuple[Head, int]:
    """Read a head, and say where what follows begins.

    Raises:
        FixableError: It is none, of another version, cut off or damaged.
    """
    if not is_ours(data):
        raise FixableError(f"{label}: not a .ddpm file", "name files of ddpm-eval compress")
    version, flags = data[1] >> 4, data[1] & 15
    require_version(version, label)
    lossless, place, layers = bool(flags & _LOSSLESS), 5 + CHECKED, 0
    if not lossless:
        layers, place = read_varint(data, 5)
    size, colours = None, 0
    if flags & _SIZED:
        width, place = read_varint(data, place)
        height, place = read_varint(data, place)
        size, colours, place = (height, width), int.from_bytes(data[place : place + 1]), place + 1
    if len(data) < place:
        raise FixableError(f"{label}: cut off in its head, after {len(data)} bytes", _AGAIN)
    if size is not None and not 0 < size[0] * size[1] <= _MOST_PIXELS:
        raise FixableError(f"{label}: damaged, it says {size[1]:,}x{size[0]:,} pixels", _AGAIN)
    if colours > 1 or (flags & _STORED and not lossless):
        raise FixableError(f"{label}: damaged, its head has no meaning", _AGAIN)
    head = Head(
        profile=data[2:5],
        checksum=data[5:8] if lossless else None,
        layers=layers,
        portable=bool(flags & _PORTABLE),
        stored=bool(flags & _STORED),
        size=size,
        grey=bool(colours),
        version=version,
    )
    return head, place


def require_version(version: int, label: str) -> None:
    """Refuse what a newer program wrote.

    Raises:
        FixableError: It did.
    """
    if version > NEWEST:
        raise FixableError(
            f"{label}: version {version}, newer than this program's {NEWEST}",
            "pip install --upgrade ddpm-eval",
        )


def require_profile_version(version: int, own: int, label: str) -> None:
    """Refuse a file of another version than its profile's.

    Raises:
        FixableError: It is one.
    """
    if version != own:
        raise FixableError(f"{label}: damaged, its profile is of version {own}", _AGAIN)


def of_another_profile(label: str, profile: bytes, own: bytes) -> FixableError:
    """The error of a file that another profile is needed for."""
    return FixableError(
        f"{label}: of another profile ({profile.hex()}; this one is {own.hex()})",
        "name the model that it was written with (model), or its profile (profile)",
    )


def too_long(label: str, more: int, length: int) -> FixableError:
    """The error of a file that goes on behind its end."""
    return FixableError(
        f"{label}: {more:,} bytes too long", f"cut it to its first {length:,} bytes"
    )


def checksum(picture: Pixels) -> bytes:
    """The first bytes of the SHA-256 of a picture [H, W, C]: H, W, C in four bytes each, pixels."""
    shape = struct.pack("<3I", *picture.shape)
    return hashlib.sha256(shape + picture.tobytes()).digest()[:CHECKED]


def varint(value: int) -> bytes:
    """A number, seven bits to a byte, the lowest first; 128 is added where more follow.

    >>> varint(300).hex(), read_varint(bytes.fromhex("ac02"), 0)
    ('ac02', (300, 2))
    """
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def read_varint(data: bytes, place: int) -> tuple[int, int]:
    """The number at a place and the place behind it, which is behind the data if that is cut."""
    value = shift = 0
    for byte in data[place : place + 5]:
        value |= (byte & 127) << shift
        shift, place = shift + 7, place + 1
        if byte < 128:
            return value, place
    return value, len(data) + 1
