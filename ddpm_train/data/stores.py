"""Where pictures lie: a folder or a zip. Neither holds an open file that a fork would share."""

import os
import stat
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ddpm_train.archives import members_of
from ddpm_train.data.images import Split, own_name
from ddpm_train.data.layout import is_hidden, lay_out
from ddpm_train.data.lmdbs import Lmdb
from ddpm_train.data.pictures import Store
from ddpm_train.errors import FixableError
from ddpm_train.reading import damaged, existing, open_file, read_bytes, reading

_WRITE = "write the .zip again"


def folder_or_zip(path: str, split: Split) -> Store:
    """Open a folder or .zip of pictures, sorted by their POSIX paths in it.

    Folders below are searched too, linked ones as well; names that begin with a dot are left out.
    ``layout`` says which pictures are of which split.

    Raises:
        FixableError: Nothing is there, it holds no pictures, or no test split, or it is damaged.
    """
    root = existing(path, "a folder or .zip of pictures")
    return Folder(root, split) if root.is_dir() else Zip(root, split)


def lmdb_or_folder(path: str, split: Split) -> Store:
    """Open an LSUN export (lmdb: key -> picture), or, where there is no data.mdb, a folder or zip.

    LSUN keeps its splits apart: the test split of ``X_train_lmdb`` is ``X_val_lmdb`` beside it.

    Raises:
        FixableError: As ``folder_or_zip``, or the package lmdb is missing, or the file is damaged.
    """
    root = existing(path, "an LSUN lmdb, or a folder of pictures")
    if not (root / "data.mdb").is_file():
        return folder_or_zip(path, split)
    if split == "test":
        beside = root.with_name(root.name.replace("_train_lmdb", "_val_lmdb"))
        if beside == root or not (beside / "data.mdb").is_file():
            raise FixableError(
                f"{root}: has no test split",
                "name it X_train_lmdb and put LSUN's X_val_lmdb beside it",
            )
        root = beside
    return Lmdb(root, split)


class Folder:
    """Picture files; each is opened, read and closed when it is asked for."""

    def __init__(self, root: Path, split: Split) -> None:
        self._root = root
        with reading(root):
            self._sizes = dict(_files_below(root, "", ()))
            self.name = f"{own_name(root.resolve().name)} {split}"
        layout = lay_out(self._sizes, split, root)
        self._names, self.notes, self.groups = layout.names, layout.notes, layout.groups()

    def __len__(self) -> int:
        return len(self._names)

    def label(self, i: int) -> str:
        """Name the file."""
        return str(self._root / self._names[i])

    def stamps(self) -> Iterable[bytes]:
        """Give names and sizes."""
        return (_stamp(name, self._sizes[name]) for name in self._names)

    def fetch(self, i: int) -> bytes:
        """Read one file."""
        return read_bytes(self._root / self._names[i], fix="replace it or delete it")


def _files_below(
    root: Path, inside: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, int]]:
    """Yield (POSIX path, size) of the files below ``root``; links are followed, but no circles."""
    folder = root / inside
    with reading(folder):
        status = folder.stat()
        identity = status.st_dev, status.st_ino
        if identity in above:
            raise FixableError(f"{folder}: a link to a folder that holds it", "remove the link")
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    for name in names:
        path = f"{inside}/{name}" if inside else name
        with reading(root / path):
            if is_hidden(name) and not (root / path).is_file():
                continue  # .git and the like are not searched; a hidden picture is counted
            status = (root / path).stat()
        if stat.S_ISDIR(status.st_mode):
            yield from _files_below(root, path, (*above, identity))
        elif stat.S_ISREG(status.st_mode):
            yield path, status.st_size
        else:
            raise FixableError(f"{root / path}: a device or a pipe, not a file", "remove it")


class Zip:
    """Pictures in a zip; the list of members is kept, the file is opened anew for each of them.

    Members are only ever read into memory, so a name such as ``../x.png`` is just a name.
    """

    def __init__(self, path: Path, split: Split) -> None:
        members = {}
        for item, name in _plain_names(members_of(path, fix=_GIVE, what=_NEITHER)):
            if name in members:
                raise damaged(path, f"two members are {name}", fix=_WRITE)
            members[name] = item
        layout = lay_out(members, split, path)
        self._path, self.notes, self.groups = path, layout.notes, layout.groups()
        self._names = layout.names
        self._members = [members[name] for name in layout.names]
        self.name = f"{own_name(path.stem)} {split}"

    def __len__(self) -> int:
        return len(self._members)

    def label(self, i: int) -> str:
        """Name the member."""
        return f"{self._path}: {self._names[i]}"

    def stamps(self) -> Iterable[bytes]:
        """Give names and sizes."""
        pairs = zip(self._names, self._members, strict=True)
        return (_stamp(name, item.file_size) for name, item in pairs)

    def fetch(self, i: int) -> bytes:
        """Read one member and check its name and its CRC.

        ``zipfile`` would share one file position among processes, so the few bytes of the local
        header (the two lengths at 26 and 28) are read here.
        """
        item = self._members[i]
        with open_file(self._path) as file:
            file.seek(item.header_offset)
            header = file.read(30)
            lengths = [int.from_bytes(header[at : at + 2], "little") for at in (26, 28)]
            name = file.read(lengths[0])
            file.seek(lengths[1], os.SEEK_CUR)
            data = file.read(item.compress_size)
            if item.compress_type == zipfile.ZIP_DEFLATED:
                data = _inflated(data, item.file_size)
        same = name in (item.orig_filename.encode(), item.orig_filename.encode("cp437", "replace"))
        if not same or len(data) != item.file_size or zlib.crc32(data) != item.CRC:
            raise FixableError(f"{self.label(i)}: damaged in the zip", _WRITE)
        return data


_NEITHER, _GIVE = "neither a folder nor a whole .zip", "give the path of one"


def _plain_names(members: Iterable[zipfile.ZipInfo]) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    r"""Give each file its POSIX path: without ``./`` in front, and ``\`` of Windows as ``/``.

    >>> [name for _, name in _plain_names([zipfile.ZipInfo("./a/b.png"), zipfile.ZipInfo("c/")])]
    ['a/b.png']
    """
    files = [item for item in members if not item.is_dir()]
    windows = not any("/" in item.filename for item in files)
    for item in files:
        name = item.filename.replace("\\", "/") if windows else item.filename
        while name.startswith("./"):
            name = name[2:].lstrip("/")
        yield item, name


def _inflated(data: bytes, size: int) -> bytes:
    """Inflate to ``size`` bytes, or one more where there would be more; empty if damaged."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size + 1)
    except zlib.error:
        return b""


def _stamp(name: str, size: int) -> bytes:
    return name.encode("utf-8", "surrogateescape") + b"\0%d\0" % size
