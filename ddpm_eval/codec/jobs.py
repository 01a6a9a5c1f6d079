"""Files on disk: what is compressed or read, where it goes, and what was finished before."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ddpm_eval.codec import format, pictures, writing
from ddpm_eval.codec.archive import LOST, Archive
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.index import is_archive, parse
from ddpm_eval.codec.pictures import Source
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from ddpm_train.files import require_folder, require_replaceable, write_atomically
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
    for folder in {place(source, out).parent for source in sources}:
        require_folder(folder)
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
        fresh = writing.Writer(self.codec.profile, picture, self.settings).head()
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
        pictures: Where the picture of each file lies, and what is known of it.
        archives: What came of each archive.
        lost: How many pictures of archives are lost.
    """

    codec: Codec
    out: Path | None = None
    layers: int | None = None
    pictures: list[tuple[Path, Decoded]] = field(default_factory=list)
    archives: list[tuple[Path, str]] = field(default_factory=list)
    lost: int = 0

    def run(self, files: Sequence[tuple[Path, bytes]]) -> Generator[None, None, None]:
        """Read all files and archives; yields ``evaluations`` times."""
        for path, data in files:
            if is_archive(data):
                yield from self._archive(path, data)
        readers = [
            (path, Reader(self.codec.profile, data, label=str(path), most=self.layers))
            for path, data in files
            if not is_archive(data)
        ]
        yield from self._files(readers)

    def evaluations(self, files: Sequence[tuple[Path, bytes]]) -> int:
        """How often the network is evaluated for files and archives."""
        archive = Archive(self.codec)
        return sum(
            archive.evaluations(parse(data, str(path))[0])
            if is_archive(data)
            else self.codec.evaluations
            for path, data in files
        )

    def _archive(self, path: Path, data: bytes) -> Generator[None, None, None]:
        """Read an archive, and write the pictures that are exact."""
        members = yield from Archive(self.codec).read(data, str(path))
        exact = 0
        for place, picture in zip(self.places(path, data), members, strict=True):
            if picture.decoded.lossless:
                _write(place, pictures.encode_png(picture.decoded.picture))
                exact += 1
        lost = f", the others are lost: {LOST}" if exact < len(members) else ", verified"
        self.archives.append((path, f"{exact:,} of {len(members):,} pictures lossless{lost}"))
        self.lost += len(members) - exact

    def _files(self, pairs: Sequence[tuple[Path, Reader]]) -> Generator[None, None, None]:
        for group in self.codec.groups(pairs, lambda pair: pair[1].size):
            decoded = yield from self.codec.decompress([reader for _, reader in group])
            for (path, _), picture in zip(group, decoded, strict=True):
                place = self.place(path)
                _write(place, pictures.encode_png(picture.picture))
                self.pictures.append((place, picture))

    def place(self, path: Path) -> Path:
        """Where the picture of a file goes."""
        return (self.out or path.parent) / f"{path.stem}.png"

    def places(self, path: Path, data: bytes) -> list[Path]:
        """Where the pictures of a file or an archive go."""
        if not is_archive(data):
            return [self.place(path)]
        entries = parse(data, str(path))[0].entries
        names = [entry.name or f"{path.stem}-{i:05}" for i, entry in enumerate(entries)]
        return [(self.out or path.parent) / f"{name}.png" for name in names]

    def check(self, files: Sequence[tuple[Path, bytes]], *, replace: bool) -> None:
        """Refuse to write over pictures that are there, or over each other.

        Raises:
            FixableError: Names the first of them.
        """
        places: dict[Path, Path] = {}
        for path, data in files:
            for place in self.places(path, data):
                if place in places:
                    raise FixableError(
                        f"{path}: its picture would be called as that of {places[place]}",
                        "read them one after the other, into two folders",
                    )
                if place.exists() and not replace:
                    raise FixableError(
                        f"{place}: is there already",
                        "choose another folder (--out), or add --replace",
                    )
                places[place] = path
        for folder in {place.parent for place in places}:
            require_folder(folder)


def _write(path: Path, data: bytes) -> None:
    write_atomically(path, lambda file: file.write(data))
