"""Bits back: a tile of pixels pushed on a stack as latents, for the bits of the bound alone.

To push a tile x_0, samples of the forward process are popped (which takes bits), then pushed under
the reverse process, which stores them (Frey and Hinton 1997; Townsend et al. 2019). In the order of
Bit-Swap (Kingma et al. 2019) every popped latent is pushed soon, so that few bits are borrowed:

    pop x_K ~ q(x_K | x_0);   push x_0 under p(x_0 | x_K), the final stage
    for k = K - 1 .. 0:  pop x_k ~ q(x_k | x_k+1);   push x_k+1 under p(x_k+1 | x_k)
    push x_0-th row, the noise, under N(0, I)

where row 0 is T. A tile is popped by the same steps backwards, which puts the borrowed bits back.

Latents are coefficients of the bands on a grid, whole numbers i of steps of 2^exponent. All means
are whole numbers of 1/16 of a step, computed from integers and from x_0_hat, which both sides have
to round alike: nothing here tolerates another x_0_hat.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np

from ddpm_eval.codec import final, writing
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.contexts import Side
from ddpm_eval.codec.curve import Curve
from ddpm_eval.codec.final import Stage
from ddpm_eval.codec.grids import FRACTIONS, Grid, deviation_index
from ddpm_eval.codec.layers import Stride
from ddpm_eval.codec.levels import below
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.pixel_errors import Evaluation
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.stack import Stack, Tables
from ddpm_eval.codec.strides import coefficients
from ddpm_eval.codec.words import Array

SHARED = 8  # strides that share a scale
LIMIT = 24  # the highest scale
_FINENESS = 2  # grid steps in the smallest deviation, at least
_SCALE_CHANGES, _TILE_SCALES = 1.25, 4.0  # deviations of what is told of tiles
_FACTOR_BITS = 24
_ONE_TILE = np.zeros(1, np.int64)


def _integer(factor: float) -> int:
    return round(factor * FRACTIONS * (1 << _FACTOR_BITS))


def _times(latents: Array, factor: int) -> Array:
    """The product in 1/16 of a step, rounded."""
    return latents * factor + (1 << (_FACTOR_BITS - 1)) >> _FACTOR_BITS


def _sort(indices: Array) -> tuple[Grid, Array]:
    """The distributions of deviations, and which of them each entry has."""
    different, which = np.unique(indices, return_inverse=True)
    return Grid(different.tolist()), which


@dataclass(frozen=True, eq=False)
class Link:
    """One stride of a chain, from row t to row s, in integers.

    Attributes:
        stride: Its real numbers.
        step_t: The grid step of latents at t.
        step_s: That at s.
        shrink: sqrt(alpha-bar_t / alpha-bar_s), of the mean of q(x_t | x_s).
        spread: The deviation of q(x_t | x_s).
    """

    stride: Stride
    step_t: float
    step_s: float
    shrink: float
    spread: float

    @cached_property
    def forward(self) -> tuple[Grid, Array]:
        """The distribution of x_t around its mean."""
        index = int(deviation_index(np.array(self.spread / self.step_t)))
        return Grid([index]), np.zeros(self.stride.bands.n, np.int64)

    def forward_means(self, latents: Array) -> Array:
        """The means of x_t where x_s is known."""
        return _times(latents, _integer(self.shrink * self.step_s / self.step_t))

    def reverse(self, scale: int) -> tuple[Grid, Array]:
        """The distributions of x_s around its mean, band by band."""
        variances = self.stride.of.variance * (1 + self.stride.excess(np.array([scale]))[0])
        grid, which = _sort(deviation_index(np.sqrt(variances) / self.step_s))
        return grid, which[self.stride.bands.of]

    def reverse_means(self, latents: Array, x_0_hat: Array) -> Array:
        """The means of x_s where x_t is known, x_0_hat [1, C, H, W]."""
        own = _times(latents, _integer(self.stride.of.of_x_t * self.step_t / self.step_s))
        scale = self.stride.of.of_x_0 * FRACTIONS / self.step_s
        estimate = self.stride.bands.transform(x_0_hat.astype(np.float64))[0]
        return np.asarray(own + np.rint(scale * estimate).astype(np.int64))


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile of a picture.

    Attributes:
        levels: [C, H, W] uint8; what lies outside of the picture is anything.
        inside: Which pixels belong to the picture, [H, W]: a rectangle at the upper left.
        planes: How many colours are told; the others are the same as the first.
    """

    levels: Array
    inside: Array
    planes: int

    @property
    def x_0(self) -> Array:
        """The tile in [-1, 1], mirrored beyond what is inside, [1, C, H, W]."""
        height, width = int(self.inside[:, 0].sum()), int(self.inside[0].sum())
        beyond = [(0, 0), (0, self.inside.shape[0] - height), (0, self.inside.shape[1] - width)]
        whole = np.pad(self.levels[:, :height, :width], beyond, mode="symmetric")
        return np.asarray(whole[None] / 127.5 - 1)


@dataclass(frozen=True, eq=False)
class Chain:
    """Everything that pushing and popping tiles depends on.

    Attributes:
        profile: Of the model; its last row is the chain's last row.
        rows: The rows of the schedule that latents have, falling from the profile's first.
        alphas_bar: Of these rows.
        estimate: x_0_hat, exactly the same at both ends.
    """

    profile: Profile
    rows: Sequence[int]
    alphas_bar: Sequence[float]
    estimate: Estimate
    links: list[Link] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "links", list(self._links()))

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for a tile, each way."""
        return len(self.rows)

    @property
    def bands(self) -> Bands:
        """The transform of tiles."""
        return self.profile.bands

    def _links(self) -> Iterator[Link]:
        bars, profile = self.alphas_bar, self.profile
        curve = Curve(np.array(profile.rows[-2::-1]), np.array(profile.errors[::-1]))
        errors = curve.at(np.array(self.rows))
        pairs = list(pairwise(bars))
        kernels = [coefficients(t, s) for t, s in pairs]
        forward = [(1 - t / s) ** 0.5 for t, s in pairs] + [(1 - bars[-1]) ** 0.5]
        reverse = [1.0, *(kernel.variance**0.5 for kernel in kernels)]
        steps = [
            2.0 ** np.floor(np.log2(min(q, p) / _FINENESS))
            for q, p in zip(forward, reverse, strict=True)
        ]
        for k, (t, s) in enumerate(pairs):
            stride = Stride(
                k=k,
                row=self.rows[k],
                bands=self.bands,
                of=kernels[k],
                gain=s / (1 - s) - t / (1 - t),
                errors=errors[k],
                bits=(0,) * (2 * LIMIT + 1),
            )
            yield Link(stride, steps[k], steps[k + 1], (t / s) ** 0.5, forward[k])

    def push(self, stack: Stack, tile: Tile) -> Generator[None, None, None]:
        """Push a tile; yields after each evaluation.

        Raises:
            EmptyStack: More bits would have to be borrowed than are there.
        """
        x_0 = tile.x_0
        grid, which, means = self._last(x_0)
        latents = grid.pop(stack, means, which)
        self._push_pixels(stack, tile, self._evaluate(latents, len(self.links)))
        yield
        scales = np.zeros(-(-len(self.links) // SHARED), np.int64)
        fresh = True
        for link in reversed(self.links):
            k, (grid, which) = link.stride.k, link.forward
            after = grid.pop(stack, link.forward_means(latents), which)
            x_0_hat = self._estimate(after, k)
            if fresh:
                missed = self.bands.transform(x_0 - x_0_hat)
                scales[k // SHARED] = link.stride.fit(missed)[0]
            grid, which = link.reverse(int(scales[k // SHARED]))
            grid.push_any(stack, latents, link.reverse_means(after, x_0_hat), which)
            latents, fresh = after, k % SHARED == 0
            yield
        grid, which = self._noise
        grid.push_any(stack, latents, np.zeros_like(latents), which)
        _push_told(stack, np.diff(scales, prepend=0), _SCALE_CHANGES)

    def pop(self, stack: Stack, inside: Array, planes: int) -> Generator[None, None, Array]:
        """Pop the levels of a tile, [C, H, W] uint8; yields after each evaluation.

        Raises:
            EmptyStack: The stack is cut off or damaged.
        """
        changes = _pop_told(stack, -(-len(self.links) // SHARED), _SCALE_CHANGES)
        scales = np.clip(np.cumsum(changes), -LIMIT, LIMIT)
        grid, which = self._noise
        latents = grid.pop_any(stack, np.zeros(self.bands.n, np.int64), which)
        for link in self.links:
            k = link.stride.k
            means = link.reverse_means(latents, self._estimate(latents, k))
            grid, which = link.reverse(int(scales[k // SHARED]))
            after = grid.pop_any(stack, means, which)
            grid, which = link.forward
            grid.push(stack, latents, link.forward_means(after), which)
            latents = after
            yield
        last = self._evaluate(latents, len(self.links))
        levels = self._pop_pixels(stack, last, inside, planes)
        grid, which, means = self._last(Tile(levels, inside, planes).x_0)
        grid.push(stack, latents, means, which)
        yield
        return levels

    def _evaluate(self, latents: Array, k: int) -> Evaluation:
        """The network on latents at row k, one tile."""
        output = self.estimate(self.bands.invert(latents[None] * self._step(k)), self.rows[k])
        return self.profile.split(output, len(self.profile.strides))

    def _estimate(self, latents: Array, k: int) -> Array:
        """x_0_hat of latents at row k, [1, C, H, W]."""
        return self._evaluate(latents, k).x_0_hat

    def _step(self, k: int) -> float:
        return self.links[k].step_t if k < len(self.links) else self.links[-1].step_s

    @cached_property
    def _noise(self) -> tuple[Grid, Array]:
        """The distribution of the noise that a chain begins with."""
        index = int(deviation_index(np.array(1 / self._step(0))))
        return Grid([index]), np.zeros(self.bands.n, np.int64)

    def _last(self, x_0: Array) -> tuple[Grid, Array, Array]:
        """q(x_K | x_0): its distribution and means."""
        bar, step = self.alphas_bar[-1], self._step(len(self.links))
        grid = Grid([int(deviation_index(np.array((1 - bar) ** 0.5 / step)))])
        means = np.rint(self.bands.transform(x_0)[0] * (bar**0.5 * FRACTIONS / step))
        return grid, np.zeros(self.bands.n, np.int64), means.astype(np.int64)

    def _stage(self, last: Evaluation, inside: Array, planes: int) -> Stage:
        return final.exact_stage(last, inside[None], self.profile.sets, planes)

    def _push_pixels(self, stack: Stack, tile: Tile, last: Evaluation) -> None:
        stage, levels = self._stage(last, tile.inside, tile.planes), tile.levels[None]
        usual = np.array([self.profile.tile_scale])
        side = writing.choose_side(stage, levels, usual)
        for starts, sizes, inside in reversed(stage.symbols(levels, side)):
            stack.push(starts[inside], sizes[inside])
        stack.push_numbers(side.sets, final.width(len(stage.sets)))
        _push_told(stack, (side.scales - usual) // final.STEP, _TILE_SCALES)

    def _pop_pixels(self, stack: Stack, last: Evaluation, inside: Array, planes: int) -> Array:
        stage = self._stage(last, inside, planes)
        scales = self.profile.tile_scale + final.STEP * _pop_told(stack, 1, _TILE_SCALES)
        sets = stack.pop_numbers(1, final.width(len(stage.sets)))
        side = Side(scales, np.minimum(sets, len(stage.sets) - 1))

        def take(mean: Array, scale: Array) -> Array:
            tables = Tables.of(below(np.arange(257), mean[:, None], scale[:, None]))
            return stack.pop(tables, np.arange(len(mean)))

        return np.asarray(stage.read(take, side)[0])


def _push_told(stack: Stack, values: Array, deviation: float) -> None:
    grid = Grid([int(deviation_index(np.array(deviation)))])
    zeros = np.zeros_like(values)
    grid.push_any(stack, values, zeros, zeros)


def _pop_told(stack: Stack, count: int, deviation: float) -> Array:
    grid, zeros = Grid([int(deviation_index(np.array(deviation)))]), np.zeros(count, np.int64)
    return grid.pop_any(stack, zeros, zeros)
