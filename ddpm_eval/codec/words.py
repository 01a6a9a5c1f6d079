"""Numbers that both sides of a file compute alike: integers from a counter, on any machine.

Word i of a sequence is SplitMix64's i-th output (Steele, Lea, Flood 2014); a number is the sum of
its eight bytes, which is normal enough (its kurtosis is 2.85) and an integer.
"""

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

GOLDEN = 0x9E3779B97F4A7C15
MEAN, DEVIATION = 1020, 209.0  # of the sum of eight bytes
START, CODE, NOISE = 1, 2, 3
"""What a sequence is for: the chain's beginning, the codebook, strides without bits."""


def words(purpose: int, index: int, count: int) -> Array:
    """Give the first ``count`` words of the sequence ``index`` of a purpose, [count] uint64.

    word_i = mix(start + i G),  start = mix(256 index + purpose),  i = 1, 2, ...

    >>> [hex(word) for word in words(START, 0, 2).tolist()]
    ['0xbfef8030ddc2d772', '0x5f552ce482f2aa47']
    """
    counter = np.arange(1, count + 1, dtype=np.uint64)
    start = _mix(np.array([256 * index + purpose], np.uint64))
    return _mix(start + counter * np.uint64(GOLDEN))


def _mix(x: Array) -> Array:
    """Mix 64 bits, elementwise (the finaliser of SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def numbers(purpose: int, index: int, count: int) -> Array:
    """Give integers of mean 0 and standard deviation 209, nearly normal, [count] int16.

    >>> numbers(START, 0, 4)
    array([330,  45, 277,  99], dtype=int16)
    """
    parts = words(purpose, index, count).view(np.uint8).reshape(count, 8)
    return np.asarray(parts.sum(1, dtype=np.int16) - np.int16(MEAN))


def normals(purpose: int, index: int, count: int) -> Array:
    """Give the same numbers in units of their deviation, [count] float32."""
    return np.asarray(numbers(purpose, index, count) / DEVIATION, np.float32)
