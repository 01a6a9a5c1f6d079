"""Pictures to files: the tiles of all pictures share the network's evaluations."""

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from ddpm_eval.codec import agreement, final, fit, format, layers, tiles
from ddpm_eval.codec.bits import BitWriter
from ddpm_eval.codec.contexts import Side
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_eval.codec.words import Array
from ddpm_train.data.images import Pixels

_TRIED = (-2, -1, 0, 1)  # steps of a tile's scale around its root mean square miss


class Writer:
    """One picture on its way to a file.

    Attributes:
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
        self.x_t = layers.begin(profile.bands, len(self.levels))
        self.scales = np.zeros(len(self.levels), np.int64)
        self.layers: list[BitWriter] = []

    def advance(self, x_0_hat: Array) -> None:
        """Write the next layer, or the end."""
        missed = self.x_0 - x_0_hat
        error = 127.5 * float(np.square(missed).mean(1)[self.inside].mean()) ** 0.5
        self.errors.append(error)
        settings, k = self.settings, len(self.layers)
        if k == len(self.profile.strides) or error <= settings.rmse:
            self.file = self._end(x_0_hat)
            return
        bits, stride = BitWriter(), self.profile.strides[k]
        coefficients = self.profile.bands.transform(missed)
        layer = layers.write(bits, stride, self.scales, coefficients, survivors=settings.survivors)
        length = sum(map(len, self.layers), len(bits)) + 8 * len(self.head.pack())
        if settings.bits and length > settings.bits * self.picture.size:
            self.file = self._end(x_0_hat)
            return
        self.x_t, self.scales = layers.move(stride, layer, self.x_t, x_0_hat), layer.scales
        self.layers.append(bits)

    @property
    def head(self) -> format.Head:
        """The head of the file as things stand."""
        whole = self.size == self.profile.shape[1:] and not self.grey
        return format.Head(
            profile=self.profile.id,
            checksum=format.checksum(self.picture) if self.settings.lossless else None,
            layers=len(self.layers),
            portable=self.settings.portable,
            size=None if whole else self.size,
            grey=self.grey,
        )

    def _end(self, x_0_hat: Array) -> bytes:
        bits, head = BitWriter(), self.head
        for layer in self.layers:
            bits.extend(layer)
        if not self.settings.lossless:
            return head.pack() + bits.bytes()
        if self.settings.portable:
            mu = agreement.write(bits, x_0_hat, self.profile.tolerance)
        else:
            mu = agreement.exact_means(x_0_hat)
        planes = 1 if self.grey else self.profile.shape[0]
        stage = final.Stage(mu, self.inside, self.profile.sets, planes)
        symbols = self._symbols(bits, stage)
        file = head.pack() + bits.bytes() + final.encode(symbols)
        stored = replace(head, stored=True).pack() + self.picture.tobytes()
        return min(file, stored, key=len)

    def _symbols(self, bits: BitWriter, stage: final.Stage) -> list[final.Symbols]:
        """Write the set and the scale of each tile under which it has the fewest bits."""
        usual = final.usual_scales(self.profile.tile_scale, self.scales)
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
