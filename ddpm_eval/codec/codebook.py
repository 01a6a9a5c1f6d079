"""The code of a stride: four bits at a time choose one of 16 codewords, which the bits before rank.

A state s of 32 bits remembers the last eight nibbles. From it a hash takes one of 256 blocks of
eight rows of the codebook; the next nibble chooses a row (its upper three bits) and a sign (the
lowest bit, 1 is minus). So R bits name one of 2^R points in n dimensions, and the nearest of them
to a target is looked for by ``search``.
"""

from functools import cache

import numpy as np

from ddpm_eval.codec.words import CODE, NOISE, Array, normals, numbers

NIBBLE = 4  # bits of a section
BLOCKS, ROWS, LONGEST = 256, 8, 512  # of the codebook; sections may be longer (``directions``)
_WRAP = 811  # rows further on: where the parts of a long section come from


@cache
def codebook() -> Array:
    """The codebook, integers [BLOCKS * ROWS, LONGEST] int16."""
    rows = BLOCKS * ROWS
    return numbers(CODE, 0, rows * LONGEST).reshape(rows, LONGEST)


@cache
def directions(length: int) -> Array:
    """Every row of ``length`` dimensions, scaled to the mean square 1, [BLOCKS * ROWS, length].

    Beyond ``LONGEST`` dimensions a row goes on with the row 811 further on, and so forth.
    """
    rows, parts = len(codebook()), max(1, -(-length // LONGEST))
    chosen = (np.arange(rows)[:, None] + _WRAP * np.arange(parts)) % rows
    whole = codebook()[chosen].reshape(rows, -1)[:, :length].astype(np.float64)
    square = np.maximum(np.square(whole).sum(1, keepdims=True), 1)
    return np.asarray(whole * np.sqrt(length / square), np.float32)


def blocks(states: Array) -> Array:
    """The block of each state, uint32 [...] -> intp [...], 0 .. 255."""
    h = states * np.uint32(0x9E3779B1)
    h ^= h >> np.uint32(15)
    h *= np.uint32(0x85EBCA77)
    return (h >> np.uint32(24)).astype(np.intp)


def first_state(stride: int) -> int:
    """The state that a stride begins in."""
    return (stride + 1) * 0x9E3779B1 & 0xFFFFFFFF


def states(nibbles: Array, stride: int) -> Array:
    """The state before each nibble, [S] uint8 -> [S] uint32.

    >>> [hex(state) for state in states(np.array([1, 2, 3], np.uint8), 0)]
    ['0x9e3779b1', '0xe3779b11', '0x3779b112']
    """
    before = [first_state(stride) >> shift & 15 for shift in range(28, -1, -4)]
    line = np.concatenate([np.array(before, np.uint32), nibbles.astype(np.uint32)])
    out = np.zeros(len(nibbles), np.uint32)
    for place in range(8):
        out |= line[place : place + len(nibbles)] << np.uint32(28 - 4 * place)
    return out


def sections(n: int, bits: int) -> Array:
    """The bounds of the sections of a stride: n dimensions for bits / 4 nibbles, [S+1].

    The first section is a quarter as long as the later ones and the second half as long: a search
    that begins with one state has few choices there.

    >>> sections(110, 16)
    array([  0,  10,  30,  70, 110])
    """
    count = np.arange(bits // NIBBLE + 1)
    quarters = np.maximum(count, 4 * count - 5)
    return np.asarray(quarters * n // quarters[-1])


def decode(nibbles: Array, n: int, stride: int) -> Array:
    """The point that nibbles name, [S] uint8 -> [n] float32; noise where there are none."""
    if not len(nibbles):
        return normals(NOISE, stride, n)
    bounds = sections(n, NIBBLE * len(nibbles))
    rows = ROWS * blocks(states(nibbles, stride)) + (nibbles >> 1)
    signs = (1 - 2 * (nibbles & 1).astype(np.float32))[:, None]
    out, lengths = np.empty(n, np.float32), np.diff(bounds)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        points = directions(int(length))[rows[chosen]] * signs[chosen]
        out[bounds[chosen][:, None] + np.arange(length)] = points
    return out
