"""CRC-32C (Castagnoli), which TensorFlow and LevelDB guard their bytes with, at memory speed.

A CRC without its initial value is linear: message M(x) becomes M(x) x^32 mod P(x). So the message
is cut into 32-bit words that are dealt to many lanes; each lane is a Horner scheme in
x^(32 lanes), all lanes advance in one NumPy operation, and at the end the lanes are folded.
"""

from functools import cache

import numpy as np

Words = np.ndarray
LANES = 4096
POLYNOMIAL = 0x82F63B78  # reflected


def crc32c(data: bytes | memoryview | np.ndarray) -> int:
    """The CRC-32C of some bytes.

    >>> f"{crc32c(b'123456789'):08x}"  # the check value of its definition
    'e3069283'
    """
    raw = np.frombuffer(data, np.uint8)
    if len(raw) < 4:
        state = 0xFFFFFFFF
        for byte in raw.tolist():
            state = _bytewise(state ^ byte)
        return state ^ 0xFFFFFFFF
    rows = np.zeros(4 * LANES * -(-len(raw) // (4 * LANES)), np.uint8)
    rows[-len(raw) :] = raw  # zeros in front change nothing
    rows[-len(raw) :][:4] ^= 0xFF  # the initial value
    lanes = np.zeros(LANES, np.uint32)
    for row in rows.view("<u4").reshape(-1, LANES):
        lanes = _advance(lanes, 4 * LANES) ^ row
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = _advance(lanes[:half], 4 * half) ^ lanes[half:]
    return int(_advance(lanes, 4)[0]) ^ 0xFFFFFFFF


def unmask(masked: int) -> int:
    """Undo the rotation that is stored in place of a CRC, lest it be the CRC of itself."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def _advance(state: Words, count: int) -> Words:
    """The states after ``count`` bytes of zeros."""
    low, high = _tables(count)
    state_after: Words = low[state & 0xFFFF] ^ high[state >> 16]
    return state_after


@cache
def _tables(count: int) -> tuple[Words, Words]:
    """What ``count`` bytes of zeros do to the low and to the high half of a state."""
    columns = _columns(count)
    tables = []
    for part in (columns[:16], columns[16:]):
        table = np.zeros(1, np.uint32)
        for column in part:
            table = np.concatenate([table, table ^ column])
        tables.append(table)
    return tables[0], tables[1]


@cache
def _columns(count: int) -> Words:
    """The images of the 32 bits of a state under ``count`` bytes of zeros."""
    if count == 1:
        return np.array([_bytewise(1 << bit) for bit in range(32)], np.uint32)
    half, odd = _columns(count // 2), count % 2
    columns = _apply(half, half)
    return _apply(_columns(1), columns) if odd else columns


def _apply(columns: Words, states: Words) -> Words:
    images = np.zeros_like(states)
    for bit, column in enumerate(columns):
        images ^= np.where(states >> np.uint32(bit) & 1, column, np.uint32(0))
    return images


def _bytewise(state: int) -> int:
    """One byte of zeros, bit by bit."""
    for _ in range(8):
        state = state >> 1 ^ (POLYNOMIAL if state & 1 else 0)
    return state
