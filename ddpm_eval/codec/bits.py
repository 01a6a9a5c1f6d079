"""Bits in the order in which they are written, the highest of a byte first."""

from collections.abc import Sequence

import numpy as np

from ddpm_eval.codec.words import Array

_LOOK = 256  # bits in which a one is looked for at a time


class OutOfBits(Exception):
    """The file ends before what is asked for."""


class BitWriter:
    """Collects bits.

    >>> writer = BitWriter()
    >>> writer.number(5, 3)
    >>> writer.signed(-2)
    >>> writer.bytes().hex(), len(writer)
    ('a6', 7)
    """

    def __init__(self) -> None:
        self._parts: list[Array] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def array(self, bits: Array | Sequence[int]) -> None:
        """Append bits, [n] of 0 and 1."""
        self._parts.append(np.asarray(bits, np.uint8))
        self._count += len(bits)

    def number(self, value: int, width: int) -> None:
        """Append a number of ``width`` bits."""
        self.array([value >> place & 1 for place in range(width - 1, -1, -1)])

    def signed(self, value: int) -> None:
        """Append |value| zeros, a one and, unless it is 0, the sign (1: minus)."""
        sign = [int(value < 0)] if value else []
        self.array([*[0] * abs(value), 1, *sign])

    def rice(self, value: int, shift: int) -> None:
        """Append value >> shift as zeros and a one, then its lowest ``shift`` bits."""
        self.array([*[0] * (value >> shift), 1])
        self.number(value & ((1 << shift) - 1), shift)

    def nibbles(self, values: Array) -> None:
        """Append four bits for each value, [S] uint8."""
        self.array(np.unpackbits(values[:, None], axis=1)[:, 4:].ravel())

    def extend(self, other: "BitWriter") -> None:
        """Append all that another has."""
        self._parts += other._parts
        self._count += len(other)

    def bytes(self) -> bytes:
        """All bits, with zeros up to a whole byte."""
        line = np.concatenate(self._parts) if self._parts else np.empty(0, np.uint8)
        return np.packbits(line).tobytes()


class BitReader:
    """Gives bits back in their order.

    >>> reader = BitReader(bytes.fromhex("a6"))
    >>> reader.number(3), reader.signed(), reader.place
    (5, -2, 7)
    """

    def __init__(self, data: bytes) -> None:
        self._bits = np.unpackbits(np.frombuffer(data, np.uint8))
        self.place = 0

    def array(self, count: int) -> Array:
        """Take ``count`` bits.

        Raises:
            OutOfBits: There are fewer.
        """
        if self.place + count > len(self._bits):
            raise OutOfBits
        self.place += count
        return self._bits[self.place - count : self.place]

    def number(self, width: int) -> int:
        """Take a number of ``width`` bits."""
        return int.from_bytes(np.packbits(self.array(width)).tobytes()) >> (-width % 8)

    def unary(self) -> int:
        """Take zeros and a one, and count the zeros."""
        for start in range(self.place, len(self._bits), _LOOK):
            ones = np.flatnonzero(self._bits[start : start + _LOOK])
            if len(ones):
                zeros = start + int(ones[0]) - self.place
                self.place += zeros + 1
                return zeros
        raise OutOfBits

    def signed(self) -> int:
        """Take what ``BitWriter.signed`` wrote."""
        size = self.unary()
        return -size if size and self.number(1) else size

    def rice(self, shift: int) -> int:
        """Take what ``BitWriter.rice`` wrote."""
        return self.unary() << shift | self.number(shift)

    def nibbles(self, count: int) -> Array:
        """Take ``count`` times four bits, [count] uint8."""
        return self.array(4 * count).reshape(count, 4) @ np.array([8, 4, 2, 1], np.uint8)
