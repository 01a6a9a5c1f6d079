"""Archives: many pictures in one file, for the bits of the bound alone (docs/format.md).

The last pictures are progressive files, whose bytes are the bits that the stack begins with
(``stack``). The others are pushed on it by ``bitsback``, so that what is popped first stands first:
where an archive is cut off or damaged, the pictures before that are read.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ddpm_eval.codec import format, strides, tiles
from ddpm_eval.codec.bitsback import Chain, Tile
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.curve import Curve
from ddpm_eval.codec.index import Entry, Index, parse
from ddpm_eval.codec.network import NotANumber, estimator
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import ArchiveSettings, CompressionSettings
from ddpm_eval.codec.stack import EmptyStack, Stack
from ddpm_eval.codec.words import Array
from ddpm_eval.model import Model
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from ddpm_train.reading import require_memory
from ddpm_train.world import require_float64

_GREY = 128
LOST = "the archive is cut off or damaged before it ends, or this machine computes otherwise"


@dataclass(frozen=True)
class Picture:
    """A picture of an archive.

    Attributes:
        name: What it was called, without a suffix; empty where nobody said.
        decoded: Its pixels and what is known of them.
    """

    name: str
    decoded: Decoded


@dataclass(frozen=True, eq=False)
class Archive:
    """Reads and writes archives with a model and its profile."""

    codec: Codec

    def rows(self, settings: ArchiveSettings) -> list[int]:
        """The rows of the chain: as many strides as save bits."""
        profile = self.codec.profile
        curve = Curve(np.array(profile.rows[-2::-1]), np.array(profile.errors[::-1]))
        bars = self.codec.model.denoise.schedule.alphas_bar.cpu().numpy()
        ends = {profile.rows[-1]: 0.0}
        return strides.choose(curve, bars, profile.bands, ends, extra=settings.stride)[0]

    def evaluations(self, index: Index) -> int:
        """How often the network is evaluated to read an archive."""
        size = self.codec.profile.shape[1:]
        grids = [tiles.grid((entry.shape[0], entry.shape[1]), size) for entry in index.entries]
        counts = [rows * columns for rows, columns in grids]
        files = len(index.files)
        return sum(counts[: len(counts) - files]) * (len(index.rows) + 2) + files * (
            self.codec.evaluations
        )

    def write(
        self, pictures: Sequence[Pixels], names: Sequence[str], settings: ArchiveSettings
    ) -> Generator[None, None, bytes]:
        """Write an archive; yields after each evaluation that is not repeated.

        Raises:
            FixableError: The archive does not come back as it was: the machine cannot be relied on.
        """
        usual = CompressionSettings(portable=settings.portable)
        chain = self._chain(self.rows(settings), double=settings.portable)
        files = list[bytes]()
        data: bytes | None = None
        while data is None:
            files = [*(yield from self._file(pictures, len(files), usual)), *files]
            data = yield from self._pushed(chain, pictures[: -len(files)], files)
        index = Index(
            profile=self.codec.profile.id,
            version=self.codec.profile.version,
            double=settings.portable,
            entries=self._entries(pictures, names),
            files=tuple(map(len, files)),
            rows=tuple(chain.rows[1:-1]),
            length=len(data),
        )
        whole = index.pack() + data
        if settings.check:
            pictures_read = yield from self.read(whole, "archive")
            if not all(picture.decoded.lossless for picture in pictures_read):
                raise FixableError(
                    "archive: it does not read as it was written",
                    "use one thread (--threads 1), or compress files one by one",
                )
        return whole

    def plan(self, pictures: Sequence[Pixels], settings: ArchiveSettings) -> int:
        """How often the network is evaluated to write an archive, roughly."""
        index = Index(
            profile=self.codec.profile.id,
            version=self.codec.profile.version,
            double=settings.portable,
            entries=self._entries(pictures, [""] * len(pictures)),
            files=(0,),
            rows=tuple(self.rows(settings)[1:-1]),
            length=0,
        )
        return self.evaluations(index) * (2 if settings.check else 1)

    def _entries(self, pictures: Sequence[Pixels], names: Sequence[str]) -> tuple[Entry, ...]:
        pairs = zip(names, pictures, strict=True)
        return tuple(Entry(name, p.shape, format.checksum(p)) for name, p in pairs)

    def _file(
        self, pictures: Sequence[Pixels], before: int, settings: CompressionSettings
    ) -> Generator[None, None, list[bytes]]:
        """The progressive file of the last picture that has none."""
        last = len(pictures) - before - 1
        return (yield from self.codec.compress(pictures[last : last + 1], settings))

    def _pushed(
        self, chain: Chain, pictures: Sequence[Pixels], files: Sequence[bytes]
    ) -> Generator[None, None, bytes | None]:
        """The stack with all pictures on it; None if files are too few to borrow from."""
        whole = b"".join(files)
        if not pictures:
            return whole
        stack = Stack(whole)
        try:
            for picture in reversed(pictures):
                for tile in reversed(self._tiles(picture)):
                    yield from chain.push(stack, tile)
        except EmptyStack:
            return None
        return stack.dump()

    def _tiles(self, picture: Pixels) -> list[Tile]:
        shape = self.codec.profile.shape
        repeats = shape[0] // picture.shape[2]
        levels = tiles.split(np.repeat(picture, repeats, 2), shape)
        inside = tiles.inside((picture.shape[0], picture.shape[1]), shape[1:])
        return [
            Tile(part, where, picture.shape[2]) for part, where in zip(levels, inside, strict=True)
        ]

    def read(self, data: bytes, label: str) -> Generator[None, None, list[Picture]]:
        """Read the pictures of an archive; yields after each evaluation.

        Pictures behind a damaged place are grey, and not called lossless.

        Raises:
            FixableError: The index is cut off or damaged, or of another profile or version, or the
                pictures do not fit into memory.
        """
        index, place = parse(data, label)
        self._check(index, label)
        require_memory(sum(math.prod(entry.shape) for entry in index.entries), label)
        body = data[place:]
        if len(body) > index.length:
            raise format.too_long(label, len(body) - index.length, place + index.length)
        count = len(index.entries) - len(index.files)
        pictures, rest = (yield from self._popped(index, body)) if count else ([], body)
        if len(pictures) == count:
            pictures += yield from self._files(index, rest)
        by_entry = [*pictures, *[None] * (len(index.entries) - len(pictures))]
        return [
            Picture(entry.name, self._decoded(entry, picture))
            for entry, picture in zip(index.entries, by_entry, strict=True)
        ]

    def _check(self, index: Index, label: str) -> None:
        """Refuse an index of another profile, or one that the profile cannot be meant by.

        Raises:
            FixableError: It is one.
        """
        profile = self.codec.profile
        if index.profile != profile.id:
            raise format.of_another_profile(label, index.profile, profile.id)
        format.require_profile_version(index.version, profile.version, label)
        rows = (profile.rows[0], *index.rows, profile.rows[-1])
        channels = {entry.shape[2] for entry in index.entries}
        if not all(t > s for t, s in pairwise(rows)) or channels - {1, profile.shape[0]}:
            raise FixableError(f"{label}: its index has no meaning", "write it again")

    def _popped(
        self, index: Index, body: bytes
    ) -> Generator[None, None, tuple[list[Pixels | None], bytes]]:
        """The pictures on the stack until one is damaged, and the bytes below them."""
        pictures = list[Pixels | None]()
        rows = self.codec.profile.rows
        chain = self._chain([rows[0], *index.rows, rows[-1]], double=index.double)
        try:
            stack = Stack.load(body)
            for entry in index.entries[: len(index.entries) - len(index.files)]:
                picture = yield from self._pop(chain, stack, entry)
                if format.checksum(picture) != entry.checksum:
                    return pictures, b""
                pictures.append(picture)
            return pictures, stack.data(sum(index.files))
        except (EmptyStack, NotANumber):
            return pictures, b""

    def _pop(self, chain: Chain, stack: Stack, entry: Entry) -> Generator[None, None, Pixels]:
        height, width, channels = entry.shape
        shape = self.codec.profile.shape
        parts = list[Array]()
        for inside in tiles.inside((height, width), shape[1:]):
            parts.append((yield from chain.pop(stack, inside, channels)))
        whole = tiles.join(np.stack(parts), (height, width))
        return np.ascontiguousarray(whole[..., :channels])

    def _files(self, index: Index, rest: bytes) -> Generator[None, None, list[Pixels | None]]:
        """The pictures of the progressive files."""
        pictures = list[Pixels | None]()
        places = pairwise([0, *np.cumsum(index.files).tolist()])
        entries = index.entries[len(index.entries) - len(index.files) :]
        for entry, (start, end) in zip(entries, places, strict=True):
            try:
                reader = Reader(self.codec.profile, rest[start:end])
                (decoded,) = yield from self.codec.decompress([reader])
            except FixableError:
                break
            fits = decoded.lossless and format.checksum(decoded.picture) == entry.checksum
            pictures.append(decoded.picture if fits else None)
        return pictures

    def _decoded(self, entry: Entry, picture: Pixels | None) -> Decoded:
        total = len(self.codec.profile.strides)
        if picture is None:
            grey = np.full(entry.shape, _GREY, np.uint8)
            return Decoded(grey, 0, total, problem=LOST)
        return Decoded(picture, total, total, lossless=True)

    def _chain(self, rows: Sequence[int], *, double: bool) -> Chain:
        bars = self.codec.model.denoise.schedule.alphas_bar.tolist()
        model = in_double(self.codec.model) if double else self.codec.model
        errors = self.codec.profile.pixel_errors is not None
        estimate = estimator(model, batch=1, errors=errors)
        return Chain(self.codec.profile, rows, [bars[row] for row in rows], estimate)


def in_double(model: Model) -> Model:
    """The same model in float64.

    Raises:
        FixableError: The device has no float64, or nobody says how.
    """
    require_float64(model.device, "archives")
    if model.double is None:
        raise FixableError(
            f"{model.facts.name or 'model'}: cannot be evaluated in float64",
            "write an archive for machines like this one: portable=False (--plain)",
        )
    return model.double()
