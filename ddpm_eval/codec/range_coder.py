"""A range coder: symbols of known probability to bytes, within 2^-16 of what they cost.

An interval of 48 bits is narrowed to the part of each symbol; bytes that are certain leave it.
"""

from collections.abc import Iterable

from ddpm_eval.codec.levels import PARTS_BITS

_WIDTH, _LEAST = 48, 1 << 40
LOOK = _WIDTH // 8  # bytes that are looked at ahead
_MASK = (1 << (_WIDTH - 8)) - 1


class RangeEncoder:
    """Collects symbols.

    >>> encoder = RangeEncoder()
    >>> encoder.encode([0, 1 << 23], [1 << 23, 1 << 22])  # 1 bit and 2 bits
    >>> encoder.finish().hex()
    '40'
    """

    def __init__(self) -> None:
        self._low, self._range = 0, 1 << _WIDTH
        self._out = bytearray()

    def encode(self, starts: Iterable[int], sizes: Iterable[int]) -> None:
        """Append symbols, each ``size`` of 2^24 parts that begin at ``start``."""
        low, width, out = self._low, self._range, self._out
        for start, size in zip(starts, sizes, strict=True):
            part = width >> PARTS_BITS
            low += part * start
            width = part * size
            if low >> _WIDTH:
                self._carry()
                low &= (1 << _WIDTH) - 1
            while width < _LEAST:
                out.append(low >> (_WIDTH - 8))
                low = (low & _MASK) << 8
                width <<= 8
        self._low, self._range = low, width

    def _carry(self) -> None:
        """Add one to the bytes that have left."""
        place = len(self._out) - 1
        while self._out[place] == 255:
            self._out[place] = 0
            place -= 1
        self._out[place] += 1

    def finish(self) -> bytes:
        """The shortest bytes inside the interval, if zeros follow them."""
        unit = 1 << _WIDTH
        while -(-self._low // unit) * unit >= self._low + self._range:
            unit >>= 8
        value = -(-self._low // unit) * unit
        if value >> _WIDTH:
            self._carry()
        tail = (value & ((1 << _WIDTH) - 1)).to_bytes(_WIDTH // 8)
        return (bytes(self._out) + tail).rstrip(b"\0")


class RangeDecoder:
    """Gives symbols back; behind the end of its bytes come zeros.

    Attributes:
        taken: How many bytes were looked at, those behind the end too. The symbols so far have
            at most so many, and at least ``LOOK`` fewer.
    """

    def __init__(self, data: bytes) -> None:
        self._bytes, self.taken = iter(data), LOOK
        self._range, self._code = 1 << _WIDTH, 0
        for _ in range(LOOK):
            self._code = self._code << 8 | next(self._bytes, 0)

    def target(self) -> int:
        """The part of 2^24 that the next symbol holds."""
        return min(self._code // (self._range >> PARTS_BITS), (1 << PARTS_BITS) - 1)

    def take(self, start: int, size: int) -> None:
        """Go on behind the symbol that has these parts."""
        part = self._range >> PARTS_BITS
        self._code -= part * start
        self._range = part * size
        while self._range < _LEAST:
            self._code = self._code << 8 | next(self._bytes, 0)
            self._range <<= 8
            self.taken += 1
