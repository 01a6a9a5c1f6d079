"""A stack of symbols, of which the last that was pushed is popped first (rANS, Duda 2013).

A symbol that has ``size`` of 2^24 parts makes the stack longer by 24 - log2(size) bits, and to pop
one makes it shorter: so bits that are on it can be turned into samples of any distribution, and
pushing the samples gives the bits back. 64 lanes work at once, symbol i in lane i mod 64. A lane is
a state x of 2^32 <= x < 2^64:

    push:  if x >= size 2^40: put the word x mod 2^32 on the stack, x <- x >> 32
           x <- (x // size) 2^24 + x mod size + start
    pop:   part = x mod 2^24;  x <- size (x >> 24) + part - start
           if x < 2^32: x <- 2^32 x + the word on top

Symbols of one call are pushed from the last row of lanes to the first, words of a row lane by lane,
and popped in the opposite order.
"""

from dataclasses import dataclass

import numpy as np

from ddpm_eval.codec.levels import PARTS_BITS
from ddpm_eval.codec.words import Array

LANES = 64
WORD = 4  # bytes
_WORD_BITS, _ROOM = 32, 1 << 12
_PARTS, _LEAST = np.uint64(PARTS_BITS), np.uint64(1 << _WORD_BITS)
_MASK, _SHIFT = np.uint64((1 << PARTS_BITS) - 1), np.uint64(_WORD_BITS)
_FULL = np.uint64(2 * _WORD_BITS - PARTS_BITS)


class EmptyStack(Exception):
    """Fewer bits are on the stack than are popped."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Distributions of symbols, one after the other.

    Attributes:
        keys: Where each symbol begins, table i from i 2^24 on; at the end that of one more table.
        first: Which entry each table begins with, [tables].
    """

    keys: Array
    first: Array

    @classmethod
    def of(cls, edges: Array) -> "Tables":
        """Take tables of equal length, edges [tables, symbols + 1] from 0 to 2^24."""
        count, symbols = edges.shape[0], edges.shape[1] - 1
        keys = edges[:, :-1] + (np.arange(count)[:, None] << PARTS_BITS)
        end = np.array([count << PARTS_BITS])
        return cls(np.concatenate([keys.ravel(), end]), np.arange(count) * symbols)

    def parts(self, which: Array, symbols: Array) -> tuple[Array, Array]:
        """Start and size of symbols under the tables ``which``."""
        place = self.first[which] + symbols
        start = self.keys[place]
        return start - (which << PARTS_BITS), self.keys[place + 1] - start


class Stack:
    """Words and 64 lanes."""

    def __init__(self, data: bytes) -> None:
        """Begin with bytes, which ``data`` gives back."""
        least = LANES * WORD
        padded = data + bytes(max(least - len(data), -len(data) % WORD))
        words = np.frombuffer(padded, "<u4")
        self._words = np.concatenate([words[LANES:], np.zeros(_ROOM, "<u4")])
        self._top = len(words) - LANES
        self._lanes = words[:LANES].astype(np.uint64) | _LEAST

    @classmethod
    def load(cls, data: bytes) -> "Stack":
        """Take what ``dump`` wrote, or its beginning.

        Raises:
            EmptyStack: Not even the lanes are there.
        """
        stack = cls(b"")
        words = np.frombuffer(data[: len(data) // WORD * WORD], "<u4")
        if len(words) < 2 * LANES:
            raise EmptyStack
        pairs = words[: 2 * LANES].astype(np.uint64).reshape(LANES, 2)
        stack._lanes = pairs[:, 0] << _SHIFT | pairs[:, 1]
        rest = words[2 * LANES :]
        stack._words = np.concatenate([rest[::-1], np.zeros(_ROOM, "<u4")])
        stack._top = len(rest)
        return stack

    def dump(self) -> bytes:
        """Everything, what is popped first in front: the lanes, upper word first, and the words."""
        pairs = np.stack([self._lanes >> _SHIFT, self._lanes & np.uint64(0xFFFFFFFF)], 1)
        rest = self._words[: self._top][::-1]
        return pairs.astype("<u4").tobytes() + rest.tobytes()

    def data(self, length: int) -> bytes:
        """The ``length`` bytes that the stack began with.

        Raises:
            EmptyStack: Others are on it: something was changed.
        """
        count = max(LANES, -(-length // WORD))
        if self._top != count - LANES or (self._lanes >> _SHIFT != 1).any():
            raise EmptyStack
        lanes = (self._lanes & np.uint64(0xFFFFFFFF)).astype("<u4")
        return (lanes.tobytes() + self._words[: self._top].tobytes())[:length]

    @property
    def bits(self) -> float:
        """How many bits are on it."""
        return _WORD_BITS * self._top + float(np.log2(self._lanes.astype(np.float64)).sum())

    def push(self, starts: Array, sizes: Array) -> None:
        """Push symbols by their parts, both [n] int64; the first of them is popped first."""
        starts, sizes = starts.astype(np.uint64), sizes.astype(np.uint64)
        for first in reversed(range(0, len(starts), LANES)):
            start, size = starts[first : first + LANES], sizes[first : first + LANES]
            x = self._lanes[: len(start)]
            full = x >= size << _FULL
            words = x[full]
            if len(words):
                self._put(words & np.uint64(0xFFFFFFFF))
                x[full] = words >> _SHIFT
            quotient = x // size
            x[:] = (quotient << _PARTS) + (x - quotient * size) + start

    def pop(self, tables: Tables, which: Array) -> Array:
        """Pop a symbol under each of the tables ``which``, [n] int64.

        Raises:
            EmptyStack: There are not so many bits.
        """
        symbols = np.empty(len(which), np.int64)
        offsets, firsts = which << PARTS_BITS, tables.first[which]
        for first in range(0, len(which), LANES):
            offset = offsets[first : first + LANES]
            x = self._lanes[: len(offset)]
            part = (x & _MASK).astype(np.int64)
            place = tables.keys.searchsorted(part + offset, "right") - 1
            start = tables.keys[place]
            size = (tables.keys[place + 1] - start).astype(np.uint64)
            x[:] = size * (x >> _PARTS) + (part + offset - start).astype(np.uint64)
            short = x < _LEAST
            count = int(np.count_nonzero(short))
            if count:
                x[short] = x[short] << _SHIFT | self._take(count)
            symbols[first : first + LANES] = place - firsts[first : first + LANES]
        return symbols

    def push_numbers(self, values: Array, width: int) -> None:
        """Push numbers of ``width`` bits, at most 24; of none, nothing."""
        if not width:
            return
        sizes = np.full(len(values), 1 << (PARTS_BITS - width))
        self.push(values * sizes, sizes)

    def pop_numbers(self, count: int, width: int) -> Array:
        """Pop numbers of ``width`` bits, [count] int64."""
        if not width:
            return np.zeros(count, np.int64)
        edges = np.arange((1 << width) + 1)[None] << (PARTS_BITS - width)
        return self.pop(Tables.of(edges), np.zeros(count, np.int64))

    def _put(self, words: Array) -> None:
        end = self._top + len(words)
        if end > len(self._words):
            self._words = np.concatenate([self._words, np.zeros(len(self._words), "<u4")])
        self._words[self._top : end] = words
        self._top = end

    def _take(self, count: int) -> Array:
        if count > self._top:
            raise EmptyStack
        self._top -= count
        return self._words[self._top : self._top + count].astype(np.uint64)
