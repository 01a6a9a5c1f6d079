"""Files on disk: what is compressed or read, where it goes, and what was finished before."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_eval.codec import format, pictures, writing
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.pictures import Source
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from ddpm_train.files import require_replaceable, write_atomically
from ddpm_train.reading import read_bytes

SUFFIX = ".ddpm"


def place(source: Source, out: Path | None) -> Path:
    """Where the file of a picture goes: into a folder, or beside the picture."""
    return (out or source.folder) / f"{source.name}{SUFFIX}"


def require_free(sources: Sequence[Source], out: Path | None) -> None:
    """Refuse to write over what is no file of ours, before anything is computed.

    Raises:
        FixableError: Names the first of them.
    """
    for source in sources:
        path = place(source, out)
        require_replaceable(path)
        if path.exists() and (data := read_bytes(path)) and not format.is_ours(data):
            raise FixableError(
                f"{path}: exists, and is no file of ddpm-eval compress",
                "name another folder (--out), or rename it",
            )


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was compressed.

    Attributes:
        path: Where it lies.
        size: Its bytes.
        levels: The numbers of its picture, H W C.
    """

    path: Path
    size: int
    levels: int

    def __str__(self) -> str:
        return f"{self.path}: {self.size:,} bytes, {8 * self.size / self.levels:.3f} bits/dim"


@dataclass
class Compression:
    """Pictures that are compressed, each to a file.

    Attributes:
        codec: The model and its profile.
        settings: How files are written.
        out: Their folder; None: each beside its picture.
        written: The files.
        before: How many were there already, exact and by this profile.
    """

    codec: Codec
    settings: CompressionSettings
    out: Path | None = None
    written: list[Written] = field(default_factory=list)
    before: int = 0

    def run(self, sources: Sequence[Source]) -> Generator[None, None, None]:
        """Write what is missing; yields ``codec.evaluations`` times for each picture."""
        for group in self.codec.groups(self._missing(sources), lambda pair: pair[1].shape[:2]):
            files = yield from self.codec.compress([picture for _, picture in group], self.settings)
            for (source, picture), data in zip(group, files, strict=True):
                path = self.place(source)
                _write(path, data)
                self.written.append(Written(path, len(data), picture.size))

    def place(self, source: Source) -> Path:
        """Where the file of a picture goes."""
        return place(source, self.out)

    def _missing(self, sources: Sequence[Source]) -> Iterator[tuple[Source, Pixels]]:
        for source in sources:
            picture = source.read()
            if self._is_there(self.place(source), picture):
                self.before += 1
            else:
                yield source, picture

    def _is_there(self, path: Path, picture: Pixels) -> bool:
        """Whether a file already holds these exact pixels, by this profile."""
        if not self.settings.lossless or not path.is_file():
            return False
        try:
            head, _ = format.parse(read_bytes(path))
        except FixableError:
            return False
        fresh = writing.Writer(self.codec.profile, picture, self.settings).head
        return (head.profile, head.checksum, head.size, head.grey, head.portable) == (
            *(fresh.profile, fresh.checksum, fresh.size, fresh.grey, fresh.portable),
        )


@dataclass
class Decompression:
    """Files that are read, each to a picture.

    Attributes:
        codec: The model and its profile.
        out: The folder of the pictures; None: each beside its file.
        layers: How many are taken; None: everything.
        found: Where each picture lies, and what is known of it.
    """

    codec: Codec
    out: Path | None = None
    layers: int | None = None
    pictures: list[tuple[Path, Decoded]] = field(default_factory=list)

    def run(self, files: Sequence[tuple[Path, bytes]]) -> Generator[None, None, None]:
        """Read all files; yields ``codec.evaluations`` times for each of them."""
        readers = [
            Reader(self.codec.profile, data, label=str(path), most=self.layers)
            for path, data in files
        ]
        pairs = zip((path for path, _ in files), readers, strict=True)
        for group in self.codec.groups(pairs, lambda pair: pair[1].size):
            decoded = yield from self.codec.decompress([reader for _, reader in group])
            for (path, _), picture in zip(group, decoded, strict=True):
                place = self.place(path)
                _write(place, pictures.encode_png(picture.picture))
                self.pictures.append((place, picture))

    def place(self, path: Path) -> Path:
        """Where the picture of a file goes."""
        return (self.out or path.parent) / f"{path.stem}.png"

    def check(self, paths: Sequence[Path], *, replace: bool) -> None:
        """Refuse to write over pictures that are there, or over each other.

        Raises:
            FixableError: Names the first of them.
        """
        places: dict[Path, Path] = {}
        for path in paths:
            place = self.place(path)
            if place in places:
                raise FixableError(
                    f"{path}: its picture would be called as that of {places[place]}",
                    "read them one after the other, into two folders",
                )
            if place.exists() and not replace:
                raise FixableError(
                    f"{place}: is there already", "choose another folder (--out), or add --replace"
                )
            places[place] = path


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, lambda file: file.write(data))
