"""The encoder's search for the point of a stride's code that is nearest to a target.

A list of survivors is kept, the best of all prefixes so far, and each section lets every one of
them try its 16 codewords. How many survive is the encoder's choice alone; the file does not tell.
"""

import numpy as np

from ddpm_eval.codec import codebook
from ddpm_eval.codec.codebook import BLOCKS, NIBBLE, ROWS, directions
from ddpm_eval.codec.words import Array

_CHUNK = 64  # sections whose scores are computed at once
_RANKED = 128  # of the best points, among which further choices are looked for
_SAMPLED = 1024  # scores that tell roughly how good the best ones are
_CHOICES = 2 * ROWS


def encode(target: Array, excess: Array, bits: int, stride: int, *, survivors: int) -> Array:
    """Find nibbles whose point z has a high log q(z) / p(z), [bits / 4] uint8; see ``choices``."""
    points = choices(target, excess, bits, stride, survivors=survivors, count=1)
    return np.asarray(points[0])


def choices(
    target: Array, excess: Array, bits: int, stride: int, *, survivors: int, count: int
) -> Array:
    """Find several of the points z with the highest log q(z) / p(z), [<= count, bits / 4] uint8.

    The first is the best one. The others begin with other nibbles, as far as there are such:
    points that differ in their last sections alone lead to nearly the same picture.

        log q / p = sum_i (1 + x_i) z_i m_i - x_i z_i^2 / 2 + const

    Args:
        target: m: the mean of q in units of the deviation of p, [n] float32.
        excess: x: by how much the variance of p is larger than that of q, [n] float32.
        bits: How many the code has, a multiple of 4.
        stride: Its number, which the code depends on.
        survivors: How many prefixes are kept; twice as many, twice the time.
        count: How many points are wanted.
    """
    if not bits:
        return np.empty((1, 0), np.uint8)
    bounds = codebook.sections(len(target), bits)
    linear, square = target * (1 + excess), excess / 2
    search = _Survivors(codebook.first_state(stride), survivors)
    for start in range(0, len(bounds) - 1, _CHUNK):
        for scores in _scores(linear, square, bounds[start : start + _CHUNK + 1]):
            search.advance(scores)
    ranked = search.best(len(bounds) - 1, 1 if count == 1 else _RANKED)
    _, first = np.unique(ranked[:, : -(-ranked.shape[1] // 2)], axis=0, return_index=True)
    order = [*sorted(first.tolist()), *np.setdiff1d(np.arange(len(ranked)), first).tolist()]
    return np.asarray(ranked[order[:count]])


def _scores(linear: Array, square: Array, bounds: Array) -> Array:
    """What each codeword adds in each section, [S, BLOCKS, 16] float32."""
    lengths = np.diff(bounds)
    out = np.empty((len(lengths), BLOCKS, ROWS, 2), np.float32)
    for length in np.unique(lengths):
        chosen = np.flatnonzero(lengths == length)
        rows = directions(int(length))
        dims = bounds[chosen][:, None] + np.arange(length)
        plus = (linear[dims] @ rows.T).reshape(-1, BLOCKS, ROWS)
        loss = (square[dims] @ np.square(rows).T).reshape(-1, BLOCKS, ROWS)
        out[chosen, ..., 0], out[chosen, ..., 1] = plus - loss, -plus - loss
    return out.reshape(-1, BLOCKS, _CHOICES)


class _Survivors:
    """Prefixes: their states and scores, and every eight sections which of the earlier they are."""

    def __init__(self, state: int, size: int) -> None:
        self.size = size
        self.states, self.scores = np.array([state], np.uint32), np.zeros(1, np.float32)
        self.origins = np.zeros(1, np.intp)
        self.history: list[tuple[Array, Array]] = []
        self.steps = 0

    def advance(self, scores: Array) -> None:
        """Let each survivor choose one of 16, and keep the best."""
        sums = scores.take(codebook.blocks(self.states), axis=0)
        sums += self.scores[:, None]
        flat = sums.ravel()
        best = np.arange(flat.size) if flat.size <= self.size else self._best(flat)
        parents = best >> NIBBLE
        self.scores = flat.take(best)
        self.states = (self.states.take(parents) << np.uint32(NIBBLE)) | (best & 15).astype(
            np.uint32
        )
        self.origins = self.origins.take(parents)
        self.steps += 1
        if self.steps % 8 == 0:
            self.history.append((self.states, self.origins))
            self.origins = np.arange(len(self.states))

    def _best(self, scores: Array) -> Array:
        """About ``size`` of the highest scores: above a threshold that a sample tells."""
        sample = scores[:: max(1, scores.size // _SAMPLED) | 1]
        rank = len(sample) - 1 - len(sample) * self.size // scores.size
        places = np.flatnonzero(scores >= np.partition(sample, rank)[rank])
        return places[: 2 * self.size]  # where scores are equal, they may be many

    def best(self, length: int, count: int) -> Array:
        """The nibbles of the best survivors, the best first, [<= count, length] uint8."""
        places, last = np.argsort(-self.scores, kind="stable")[:count], length % 8
        parts = [_nibbles(self.states[places])[:, 8 - last :]]
        places = self.origins[places]
        for states, origins in reversed(self.history):
            parts.append(_nibbles(states[places]))
            places = origins[places]
        return np.concatenate(parts[::-1], 1)


def _nibbles(states: Array) -> Array:
    """The last eight nibbles that states remember, the oldest first, [N] -> [N, 8] uint8."""
    shifts = np.arange(28, -1, -4, dtype=np.uint32)
    return np.asarray(states[:, None] >> shifts & np.uint32(15), np.uint8)
