"""Files to pictures: from any prefix, and exactly where the file holds everything."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_eval.codec import agreement, final, format, layers, tiles
from ddpm_eval.codec.bits import BitReader, OutOfBits
from ddpm_eval.codec.contexts import Side
from ddpm_eval.codec.layers import Layer
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.pixel_errors import Evaluation
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.range_coder import LOOK
from ddpm_eval.codec.words import Array
from ddpm_train.data.images import Pixels

CUT = "the file is cut off"
DIFFERS = "its end is cut off or damaged, or this machine computes otherwise"
_FEW_TILES = 64  # among which a damaged end is looked for longer
_GREY = 128  # a picture of which nothing is known


@dataclass(frozen=True, eq=False)
class Decoded:
    """A picture and what is known of it.

    Attributes:
        picture: Levels, [H, W, C].
        layers: How many layers it was made from.
        total: How many there are before the final stage.
        lossless: Whether these are the exact pixels: their checksum fits.
        problem: Why a lossless file did not give its exact pixels; empty if it was not asked to.
    """

    picture: Pixels
    layers: int
    total: int
    lossless: bool = False
    problem: str = ""

    def __str__(self) -> str:
        if self.lossless:
            return "lossless, verified"
        text = f"lossy, from {self.layers} of {self.total} layers"
        return f"{text} ({self.problem})" if self.problem else text


class Reader:
    """One file on its way to a picture.

    Attributes:
        layers: The layers that are there, as the file tells them.
        ends: At which bit behind the head each of them ends.
        x_t: Where its chain is, [tiles, C, H, W].
        decoded: The picture, once it is known.
    """

    def __init__(
        self, profile: Profile, data: bytes, *, label: str = "file", most: int | None = None
    ) -> None:
        """Take at most so many layers out of a file; it needs no network.

        Raises:
            FixableError: The head is damaged, or the file is of another profile or goes on behind
                its end.
        """
        self.label = label
        self.head, self.start = format.parse(data, label)
        if self.head.profile != profile.id:
            raise format.of_another_profile(label, self.head.profile, profile.id)
        format.require_profile_version(self.head.version, profile.version, label)
        self.profile, self.body = profile, data[self.start :]
        self.tile = (profile.shape[1], profile.shape[2])
        self.size = self.head.size or self.tile
        self.channels = 1 if self.head.grey else profile.shape[0]
        self.decoded: Decoded | None = None
        self.layers, self.ends = list[Layer](), list[int]()
        self._bits, self._wanted, self._done, self._problem = BitReader(self.body), most, 0, ""
        if self.head.stored:
            self._settle_stored()
            return
        self._read_layers()
        if not self.layers:
            self._settle(np.full((*self.size, self.channels), _GREY, np.uint8))
            return
        self.x_t = layers.begin(profile.bands, len(self.layers[0].scales))

    def _read_layers(self) -> None:
        strides, head = self.profile.strides, self.head
        count = len(strides) if head.checksum else min(head.layers, len(strides))
        rows, columns = tiles.grid(self.size, self.tile)
        if rows * columns > 8 * len(self.body):
            self._problem = CUT if count else ""
            return
        scales = np.zeros(rows * columns, np.int64)
        try:
            for stride in strides[: count if self._wanted is None else min(count, self._wanted)]:
                layer = layers.read(self._bits, stride, scales)
                scales = layer.scales
                self.layers.append(layer)
                self.ends.append(self._bits.place)
        except OutOfBits:
            self._problem = CUT
        if not head.checksum and len(self.layers) == count:
            self._refuse_more(-(-self._bits.place // 8))

    def advance(self, output: Array) -> None:
        """Go on by one layer, or settle the picture, by what the network says of x_t."""
        evaluation = self.profile.split(output, self._done)
        if self._done < len(self.layers):
            stride = self.profile.strides[self._done]
            self.x_t = layers.move(stride, self.layers[self._done], self.x_t, evaluation)
            self._done += 1
            return
        whole = len(self.layers) == len(self.profile.strides)
        if whole and self._wanted is None and self.head.checksum:
            exact = self._exact(evaluation)
            if exact is not None:
                self._settle(exact, lossless=True)
                return
        x_0_hat = evaluation.x_0_hat.astype(np.float64)
        levels = np.rint((np.clip(x_0_hat, -1, 1) + 1) * 127.5)
        self._settle(tiles.join(levels.astype(np.uint8), self.size)[..., : self.channels])

    def _exact(self, evaluation: Evaluation) -> Pixels | None:
        """The exact pixels, if the end of the file gives pixels whose checksum fits.

        Where they do not, this machine may differ by more than the tolerance: the means are moved
        to where the file's list says that the sender's lie, and read once more.
        """
        self._problem, start, before = DIFFERS, self._bits.place, None
        for tolerance in (0.0, self.profile.tolerance) if self.head.portable else (0.0,):
            self._bits.place = start
            try:
                stage = self._stage(evaluation, tolerance)
                if before is not None and np.array_equal(stage.mu, before):
                    return None  # nothing has moved: the same pixels again
                before = stage.mu
                usual = final.usual_scales(self.profile.tile_scale, self.layers[-1].scales)
                side = final.read_side(self._bits, usual, len(self.profile.sets))
            except OutOfBits:
                return None
            exact = self._checked(stage, side, -(-self._bits.place // 8))
            if exact is not None:
                return exact
        return None

    def _stage(self, evaluation: Evaluation, tolerance: float) -> final.Stage:
        """The final stage, from what both sides agree on.

        Raises:
            OutOfBits: The file ends before.
        """
        inside, sets = tiles.inside(self.size, self.tile), self.profile.sets
        if not self.head.portable:
            return final.exact_stage(evaluation, inside, sets, self._planes)
        agreed = agreement.read(self._bits, final.values(evaluation, tolerance))
        return final.Stage(agreed[0], inside, sets, self._planes, *agreed[1:])

    def _checked(self, stage: final.Stage, side: Side, place: int) -> Pixels | None:
        """The pixels that the bytes from a place on give, if their checksum fits.

        Bytes that do not belong to the file may change its last symbols: where its end might be,
        it is looked for there too.
        """
        data = self.body[place:]
        picture, taken = self._decode(stage, side, data)
        lengths = range(max(0, taken - 2 * LOOK), min(taken + LOOK, len(data)))
        for length in lengths if len(stage.mu) <= _FEW_TILES else []:
            if format.checksum(picture) == self.head.checksum:
                break
            picture, _ = self._decode(stage, side, data[:length])
        if format.checksum(picture) != self.head.checksum:
            return None
        levels = tiles.split(np.repeat(picture, self._repeats, 2), self.profile.shape)
        self._refuse_more(place + len(final.encode(stage.symbols(levels, side))))
        return picture

    def _decode(self, stage: final.Stage, side: Side, data: bytes) -> tuple[Pixels, int]:
        levels, taken = stage.decode(data, side)
        return tiles.join(levels, self.size)[..., : self.channels], taken

    @property
    def _repeats(self) -> int:
        return self.profile.shape[0] // self.channels

    @property
    def _planes(self) -> int:
        return 1 if self.head.grey else self.profile.shape[0]

    def _settle_stored(self) -> None:
        shape = (*self.size, self.channels)
        count = int(np.prod(shape))
        stored = np.frombuffer(self.body[:count], np.uint8)
        whole = np.concatenate([stored, np.full(count - len(stored), _GREY, np.uint8)])
        self._refuse_more(count)
        picture = whole.reshape(shape)
        fits = format.checksum(picture) == self.head.checksum
        self._problem = CUT if len(stored) < count else DIFFERS
        self._settle(picture, lossless=fits)

    def _settle(self, picture: Pixels, *, lossless: bool = False) -> None:
        picture = np.ascontiguousarray(picture)
        total, problem = len(self.profile.strides), "" if lossless else self._problem
        self.decoded = Decoded(picture, len(self.layers), total, lossless, problem)

    def _refuse_more(self, length: int) -> None:
        """Refuse what goes on behind its end, ``length`` bytes behind the head."""
        more = len(self.body) - length
        if more > 0:
            raise format.too_long(self.label, more, self.start + length)


def decompress(
    profile: Profile, estimate: Estimate, readers: Sequence[Reader]
) -> Generator[None, None, list[Decoded]]:
    """Read pictures; yields after each of the chain's K + 1 evaluations.

    Raises:
        FixableError: A file goes on behind its end.
    """
    for row in profile.rows:
        active = [reader for reader in readers if reader.decoded is None]
        if active:
            x_t = np.concatenate([reader.x_t for reader in active])
            parts = np.cumsum([len(reader.x_t) for reader in active])[:-1]
            for reader, x_0_hat in zip(active, np.split(estimate(x_t, row), parts), strict=True):
                reader.advance(x_0_hat)
        yield
    return [reader.decoded for reader in readers if reader.decoded is not None]
