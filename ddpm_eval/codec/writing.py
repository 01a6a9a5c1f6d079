"""Pictures to files: the tiles of all pictures share the network's evaluations."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ddpm_eval.codec import agreement, final, fit, format, layers, strides, tiles
from ddpm_eval.codec.bits import BitWriter
from ddpm_eval.codec.contexts import Side
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.pixel_errors import Evaluation
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_eval.codec.words import Array
from ddpm_train.data.images import Pixels

_TRIED = (-2, -1, 0, 1)  # steps of a tile's scale around its root mean square miss
_WAYS = 2  # in which a prefix goes on over a short layer, where several prefixes are kept


@dataclass(frozen=True, eq=False)
class Prefix:
    """The first layers of a file, and where they lead to.

    Attributes:
        layers: Their bits.
        scales: Of the last one, [tiles].
        x_t: [tiles, C, H, W].
    """

    layers: tuple[BitWriter, ...]
    scales: Array
    x_t: Array

    @property
    def length(self) -> int:
        """The bits of its layers."""
        return sum(map(len, self.layers))


class Writer:
    """One picture on its way to a file.

    Over short layers several prefixes are kept, and each goes on in two ways: which one is best,
    what the network misses behind the layer tells. The file does not tell that others were there.

    Attributes:
        prefixes: How the file may begin.
        file: The file, once it is written.
        errors: The root mean square error in levels before each layer and behind the last.
    """

    def __init__(self, profile: Profile, picture: Pixels, settings: CompressionSettings) -> None:
        """Take a picture [H, W, C]; one channel is enough where all colours are the same."""
        self.profile, self.picture, self.settings = profile, picture, settings
        self.file, self.errors = b"", list[float]()
        channels = profile.shape[0]
        self.grey = picture.shape[2] < channels
        whole = np.repeat(picture, channels, 2) if self.grey else picture
        self.levels = tiles.split(whole, profile.shape)
        self.size = (picture.shape[0], picture.shape[1])
        self.inside = tiles.inside(self.size, profile.shape[1:])
        self.x_0 = self.levels / 127.5 - 1
        x_T, scales = layers.begin(profile.bands, len(self.levels)), np.zeros(len(self.levels))
        self.prefixes = [Prefix((), scales.astype(np.int64), x_T)]

    @property
    def x_t(self) -> Array:
        """Of all prefixes, [prefixes tiles, C, H, W]."""
        return np.concatenate([prefix.x_t for prefix in self.prefixes])

    def advance(self, output: Array) -> None:
        """Keep the nearest prefixes and write the next layer of each, or the end of the nearest.

        Args:
            output: What the network says of ``x_t``.
        """
        evaluations = self.profile.split(output, len(self.errors)).parts(len(self.prefixes))
        squares = [
            float(np.square(self.x_0 - one.x_0_hat).mean(1)[self.inside].mean())
            for one in evaluations
        ]
        order, settings = np.argsort(squares, kind="stable").tolist(), self.settings
        best, k = self.prefixes[order[0]], len(self.errors)
        self.errors.append(127.5 * squares[order[0]] ** 0.5)
        is_last = k == len(self.profile.strides) or self.errors[-1] <= settings.rmse
        is_short = not is_last and self._is_short(self.profile.strides[k])
        candidates = [
            prefix
            for i in order[: 0 if is_last else settings.prefixes if is_short else 1]
            for prefix in self._extend(self.prefixes[i], evaluations[i], _WAYS if is_short else 1)
            if not settings.bits or self._fits(prefix)
        ]
        if not candidates:
            self.file = self._end(best, evaluations[order[0]])
        self.prefixes = candidates

    def _is_short(self, stride: layers.Stride) -> bool:
        """Whether a layer has so few bits, of all tiles, that several are worth evaluations."""
        usual = len(self.levels) * stride.bits[stride.limit] / stride.bands.n
        return self.settings.prefixes > 1 and usual <= strides.SHORT

    def _extend(self, prefix: Prefix, evaluation: Evaluation, count: int) -> Iterator[Prefix]:
        """Write the next layer behind a prefix, in up to ``count`` ways."""
        stride = self.profile.strides[len(prefix.layers)]
        missed = self.profile.bands.transform(self.x_0 - evaluation.x_0_hat)
        survivors = self.settings.survivors
        ways = layers.write(
            stride, prefix.scales, missed, evaluation, survivors=survivors, count=count
        )
        for bits, layer in ways:
            x_s = layers.move(stride, layer, prefix.x_t, evaluation)
            yield Prefix((*prefix.layers, bits), layer.scales, x_s)

    def _fits(self, prefix: Prefix) -> bool:
        """Whether a file that ends behind a prefix has as few bits as it is to have."""
        head = self.head(len(prefix.layers) - 1).pack()
        return prefix.length + 8 * len(head) <= self.settings.bits * self.picture.size

    def head(self, count: int = 0) -> format.Head:
        """The head of a file of so many layers."""
        whole = self.size == self.profile.shape[1:] and not self.grey
        return format.Head(
            profile=self.profile.id,
            checksum=format.checksum(self.picture) if self.settings.lossless else None,
            layers=count,
            portable=self.settings.portable,
            size=None if whole else self.size,
            grey=self.grey,
            version=self.profile.version,
        )

    def _end(self, prefix: Prefix, evaluation: Evaluation) -> bytes:
        bits, head = BitWriter(), self.head(len(prefix.layers))
        for layer in prefix.layers:
            bits.extend(layer)
        if not self.settings.lossless:
            return head.pack() + bits.bytes()
        planes = 1 if self.grey else self.profile.shape[0]
        stage = self._stage(bits, evaluation, planes)
        symbols = self._symbols(bits, stage, prefix.scales)
        file = head.pack() + bits.bytes() + final.encode(symbols)
        stored = replace(head, stored=True).pack() + self.picture.tobytes()
        return min(file, stored, key=len)

    def _stage(self, bits: BitWriter, evaluation: Evaluation, planes: int) -> final.Stage:
        """The final stage, once it is written on what both sides agree."""
        profile = self.profile
        if not self.settings.portable:
            return final.exact_stage(evaluation, self.inside, profile.sets, planes)
        agreed = agreement.write(bits, final.values(evaluation, *profile.tolerances))
        return final.Stage(agreed[0], self.inside, profile.sets, planes, *agreed[1:])

    def _symbols(self, bits: BitWriter, stage: final.Stage, scales: Array) -> list[final.Symbols]:
        """Write the set and the scale of each tile under which it has the fewest bits."""
        usual = final.usual_scales(self.profile.tile_scale, scales)
        side = choose_side(stage, self.levels, usual)
        final.write_side(bits, side, usual, len(stage.sets))
        return stage.symbols(self.levels, side)


def choose_side(stage: final.Stage, levels: Array, usual: Array) -> Side:
    """The set and the scale of each tile [tiles, C, H, W] under which it has the fewest bits.

    Args:
        stage: The final stage.
        levels: Of the tiles.
        usual: The scale that each tile is expected to have; others are steps away from it.
    """
    own = np.rint((fit.tile_scales(levels, stage.mu) - usual) / final.STEP)
    middle, zero = usual + final.STEP * own.astype(np.int64), np.zeros_like(usual)
    sides = [Side(middle, zero + i) for i in range(len(stage.sets))]
    sets = _cheapest(stage, levels, sides).sets
    return _cheapest(stage, levels, [Side(middle + final.STEP * step, sets) for step in _TRIED])


def _cheapest(stage: final.Stage, levels: Array, tried: Sequence[Side]) -> Side:
    """Of each tile the choice with the fewest bits."""
    costs = [final.bits(stage.symbols(levels, side)) for side in tried]
    best = np.argmin(costs, axis=0)
    scales, sets = (np.choose(best, [side[i] for side in tried]) for i in range(2))
    return Side(scales, sets)


def compress(
    profile: Profile,
    estimate: Estimate,
    pictures: Sequence[Pixels],
    settings: CompressionSettings,
) -> Generator[None, None, list[Writer]]:
    """Write files of pictures [H, W, C]; yields after each of the chain's K + 1 evaluations."""
    writers = [Writer(profile, picture, settings) for picture in pictures]
    for row in profile.rows:
        active = [writer for writer in writers if not writer.file]
        if active:
            x_t = np.concatenate([writer.x_t for writer in active])
            parts = np.cumsum([len(writer.x_t) for writer in active])[:-1]
            for writer, x_0_hat in zip(active, np.split(estimate(x_t, row), parts), strict=True):
                writer.advance(x_0_hat)
        yield
    return writers
