"""The integers of the final stage's passes, learned from what a network misses of images."""

import math
from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from ddpm_eval.codec.contexts import MU_STEPS, PHASES, SCALE_BITS, WEIGHT_BITS, Misses, Pass, Side
from ddpm_eval.codec.final import STEP, Sets, Stage, bits
from ddpm_eval.codec.levels import MEAN_STEPS, scale_of
from ddpm_eval.codec.words import Array

_SETS = (1, 2, 4)  # how many sets of integers the final stage may have
_SORTINGS = 5  # of tiles into sets
_FEWEST_TILES = 8  # that a set is learned from
_ROUNDS = 20  # of Newton's method, at most
_SMALL = 1e-4  # a move of it that ends it
_MOST = 1 << 15  # pixels that a pass is learned from
_PER_NAT = 12 / np.log(2)  # scales
_ROUNDING = 1 / 12  # the variance that rounding to whole levels adds to a miss


def tile_scales(pixels: Array, mu: Array) -> Array:
    """The scale of each tile: its root mean square miss, [tiles] int64."""
    missed = MU_STEPS * pixels.astype(np.int64) - mu
    return scale_of(np.sqrt(np.square(missed).mean((1, 2, 3))) / MU_STEPS)


def costs(
    pixels: Array, mu: Array, sets: Sets, h: Array | None = None, *, steps: Sequence[int] = (0,)
) -> Array:
    """The bits of each tile [N, C, H, W] with each set and the best of some scales, [S, N]."""
    inside, own = np.ones((len(mu), *mu.shape[2:]), np.bool_), tile_scales(pixels, mu)
    stage, chosen = Stage(mu, inside, sets, mu.shape[1], h), np.zeros(len(mu), np.int64)
    bits_of_sets = [
        [bits(stage.symbols(pixels, Side(own + STEP * step, chosen + i))) for step in steps]
        for i in range(len(sets))
    ]
    return np.asarray(np.array(bits_of_sets).min(1))


def final_bits(pixels: Array, mu: Array, sets: Sets, h: Array | None = None) -> float:
    """The bits of the final stage of a tile, on average."""
    bits_of_sets = costs(pixels, mu, sets, h, steps=(-1, 0, 1))
    return float(bits_of_sets.min(0).mean()) + math.log2(len(sets))


def choose_sets(pixels: Array, mu: Array, h: Array | None = None) -> tuple[tuple[Pass, ...], ...]:
    """Learn as many sets as make the final stage the shortest."""
    candidates = [fit_sets(pixels, mu, count, h) for count in _SETS]
    return min(candidates, key=lambda sets: final_bits(pixels, mu, sets, h))


def fit_sets(
    pixels: Array, mu: Array, count: int, h: Array | None = None
) -> tuple[tuple[Pass, ...], ...]:
    """Learn several sets, each from the tiles that it suits best."""
    chosen = np.argsort(np.argsort(tile_scales(pixels, mu), kind="stable")) * count // len(mu)
    sets: list[tuple[Pass, ...]] = [fit(pixels, mu, h)] * count
    for _ in range(_SORTINGS):
        if np.bincount(chosen, minlength=count).min() < _FEWEST_TILES:
            break
        parts = [chosen == i for i in range(count)]
        sets = [fit(pixels[i], mu[i], None if h is None else h[i]) for i in parts]
        chosen = costs(pixels, mu, sets, h).argmin(0)
    return tuple(sets)


def fit(pixels: Array, mu: Array, h: Array | None = None) -> tuple[Pass, ...]:
    """Learn all passes from tiles [N, C, H, W]: their levels, mu in 1/8 of a level, and h."""
    misses, passes, levels = Misses(mu), [], pixels.astype(np.int64)
    own, inside = tile_scales(pixels, mu), np.array(1, np.bool_)
    stride = max(1, mu[:, 0].size // (len(PHASES) * _MOST))  # between tiles that are learned from
    for colour, where in misses.passes(mu.shape[1]):
        part = (slice(None, None, stride), *where)
        features, activity = misses.features(colour)
        targets = levels[:, colour][part]
        missed = (MU_STEPS * targets - misses.mu[:, colour][part]).ravel()
        table = np.stack([feature[part].ravel() for feature in features], 1)
        weights = np.rint(_least_squares(table.astype(float), missed) * (2 << WEIGHT_BITS))
        moved = (table @ weights.astype(np.int64)) >> WEIGHT_BITS
        rest = (2 * missed - moved) / MEAN_STEPS
        shape = activity[part].shape
        tile = np.broadcast_to(own[::stride, None, None], shape)
        columns = [np.ones(shape), tile, activity[part], misses.log_rough[part]]
        columns += [] if h is None else [h[:, colour][part]]
        numbers = _scale(np.stack([column.ravel() for column in columns], 1).astype(float), rest)
        passes.append(Pass(tuple(weights.astype(int).tolist()), numbers))
        misses.tell(colour, where, levels[:, colour][(slice(None), *where)], inside)
    return tuple(passes)


def _least_squares(table: Array, wanted: Array) -> Array:
    """The weights of the least square error; 0 for a feature that is always 0."""
    square = table.T @ table
    square += np.eye(len(square)) * (1e-6 * np.trace(square) / len(square) + 1e-9)
    return np.asarray(np.linalg.solve(square, table.T @ wanted))


def _scale(features: Array, missed: Array) -> tuple[int, ...]:
    """v: the most likely scales that are linear in the features, by Newton's method.

    Args:
        features: What they depend on, the first column 1, [n, 4 or 5].
        missed: By how many levels the means miss, [n].
    """
    v = np.zeros(features.shape[1])
    v[0] = np.log(np.square(missed).mean() + _ROUNDING) / 2
    centre = features.mean(0)
    centre[0] = 0
    features = features - centre
    for _ in range(_ROUNDS):
        slope = _slope(missed, np.exp(np.clip(features @ v, -4, 6)))
        curvature = (features * np.square(slope)[:, None]).T @ features
        curvature += np.eye(len(v)) * (1e-6 * np.trace(curvature) / len(v) + 1e-9)
        move = np.clip(np.linalg.solve(curvature, features.T @ slope), -0.5, 0.5)
        v = v - move
        if np.abs(move).max() < _SMALL:
            break
    v[0] -= centre @ v
    units = v * _PER_NAT
    units[0] += 36.5  # scale 36 is a deviation of one level; rounded, not cut
    return tuple(np.rint(units * (1 << SCALE_BITS)).astype(int).tolist())


def _slope(missed: Array, deviation: Array) -> Array:
    """How -log P of a level rises with the logarithm of the deviation."""
    above, below = (missed + 0.5) / deviation, (missed - 0.5) / deviation
    mass = ndtr(above) - ndtr(below)
    moved = above * np.exp(-np.square(above) / 2) - below * np.exp(-np.square(below) / 2)
    far = -np.square(missed / deviation)  # where no mass is left to divide by
    return np.where(mass > 1e-9, moved / np.sqrt(2 * np.pi) / np.maximum(mass, 1e-9), far)
