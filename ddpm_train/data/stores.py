"""Where pictures lie: a folder, a zip, an lmdb. None holds an open file that a fork would share."""

import os
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from ddpm_train.data.images import Split
from ddpm_train.data.paths import existing, unreadable
from ddpm_train.data.pictures import Store
from ddpm_train.errors import FixableError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def folder_or_zip(path: str, split: Split) -> Store:
    """Open a folder or .zip of pictures, sorted by their POSIX paths in it.

    Folders below are searched too; names that begin with a dot are left out. If ``train/`` and
    ``test/`` both hold pictures they are the splits, otherwise all pictures are for training.

    Raises:
        FixableError: Nothing is there, it holds no pictures, or no test split.
    """
    root = existing(path, "a folder or .zip of pictures")
    try:
        return Folder(root, split) if root.is_dir() else Zip(root, split)
    except zipfile.BadZipFile as error:
        raise FixableError(
            f"{root}: neither a folder nor a whole .zip ({error})", "give the path of one"
        ) from error
    except OSError as error:
        raise unreadable(error.filename or root, error) from error


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
        sizes: dict[str, int] = {}
        for folder, below, files in os.walk(root, onerror=_raise):
            below[:] = [name for name in below if not name.startswith(".")]
            inside = Path(folder).relative_to(root)
            for file in filter(_is_picture, files):
                sizes[(inside / file).as_posix()] = Path(folder, file).stat().st_size
        self._root, self._sizes = root, sizes
        self._names = _of_split(list(sizes), split, root)
        self.name = f"{root.resolve().name} {split}"

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
        try:
            return (self._root / self._names[i]).read_bytes()
        except OSError as error:
            raise unreadable(self.label(i), error) from error


class Zip:
    """Pictures in a zip; the list of members is kept, the file is opened anew for each of them.

    Members are only ever read into memory, so a name such as ``../x.png`` is just a name.
    """

    def __init__(self, path: Path, split: Split) -> None:
        with zipfile.ZipFile(path) as archive:
            members = {
                item.filename: item
                for item in archive.infolist()
                if _is_picture(item.filename) and not item.is_dir()
            }
        self._path = path
        self._members = [members[name] for name in _of_split(list(members), split, path)]
        self.name = f"{path.stem} {split}"
        for item in self._members:
            encrypted = item.flag_bits & 1
            if encrypted or item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise FixableError(
                    f"{path}: {item.filename} is encrypted or packed by an unusual method",
                    "write a plain .zip (stored or deflated)",
                )

    def __len__(self) -> int:
        return len(self._members)

    def label(self, i: int) -> str:
        """Name the member."""
        return f"{self._path}: {self._members[i].filename}"

    def stamps(self) -> Iterable[bytes]:
        """Give names and sizes."""
        return (_stamp(item.filename, item.file_size) for item in self._members)

    def fetch(self, i: int) -> bytes:
        """Read one member and check its CRC.

        ``zipfile`` would share one file position among processes, so the few bytes of the local
        header (the two lengths at 26 and 28) are read here.
        """
        item = self._members[i]
        try:
            with self._path.open("rb") as file:
                file.seek(item.header_offset)
                header = file.read(30)
                lengths = header[26:28], header[28:30]
                file.seek(sum(int.from_bytes(two, "little") for two in lengths), os.SEEK_CUR)
                data = file.read(item.compress_size)
            if item.compress_type == zipfile.ZIP_DEFLATED:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, item.file_size + 1)
        except OSError as error:
            raise unreadable(self.label(i), error) from error
        except zlib.error:
            data = b""
        if len(data) != item.file_size or zlib.crc32(data) != item.CRC:
            raise FixableError(f"{self.label(i)}: damaged in the zip", "write the .zip again")
        return data


class Lmdb:
    """Pictures in an LSUN lmdb, in the order of their keys (listed once, kept in memory)."""

    def __init__(self, root: Path, split: Split) -> None:
        self._root = root.resolve()
        self.name = f"{self._root.name} {split}"
        self._keys: list[bytes] = _ask(
            self._root, lambda ask: list(ask.cursor().iternext(values=False))
        )
        if not self._keys:
            raise FixableError(f"{root}: an lmdb without entries", "export it again")

    def __len__(self) -> int:
        return len(self._keys)

    def label(self, i: int) -> str:
        """Name the key."""
        return f"{self._root}: {self._keys[i].decode('ascii', 'backslashreplace')}"

    def stamps(self) -> Iterable[bytes]:
        """Give the keys: a size would cost a read."""
        return (key + b"\0" for key in self._keys)

    def fetch(self, i: int) -> bytes:
        """Read one value."""
        value: bytes | None = _ask(self._root, lambda ask: ask.get(self._keys[i]))
        if value is None:
            raise FixableError(f"{self.label(i)}: no longer there", "leave the lmdb as it is")
        return value


_environments: dict[Path, tuple[int, Any]] = {}  # lmdb allows one for each path and process
_opening = threading.Lock()


def _ask(root: Path, question: Callable[[Any], Any]) -> Any:
    """Put a question to a read transaction."""
    try:
        import lmdb
    except ImportError as error:
        raise FixableError(
            "reading an lmdb takes the package lmdb", "pip install 'ddpm-eval[lmdb]'"
        ) from error
    try:
        with _environment(root).begin() as transaction:
            return question(transaction)
    except lmdb.Error as error:
        raise FixableError(f"{root}: not a whole lmdb ({error})", "copy it again") from error


def _environment(root: Path) -> Any:
    """Open an lmdb once in each process: after a fork the parent's must not be used."""
    owner, environment = _environments.get(root, (0, None))
    if owner == os.getpid():  # the usual way, without a lock that a fork could leave taken
        return environment
    with _opening:
        owner, environment = _environments.get(root, (0, None))
        if owner != os.getpid():
            if environment is not None:
                environment.close()
            environment = _open(root)
            _environments[root] = (os.getpid(), environment)
    return environment


def _open(root: Path) -> Any:
    import lmdb

    environment = lmdb.open(
        os.fsencode(root), readonly=True, lock=False, create=False, readahead=False
    )
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    size = (root / "data.mdb").stat().st_size
    if size < needed:  # reading past the end would kill the process (SIGBUS)
        environment.close()
        raise FixableError(
            f"{root}: data.mdb is cut off at {size:,} of {needed:,} bytes", "copy it again"
        )
    return environment


def _is_picture(name: str) -> bool:
    """Tell a picture by its suffix; no part of its path may begin with a dot (``..`` may).

    >>> _is_picture("a/b.JPG"), _is_picture("__MACOSX/._b.jpg"), _is_picture("b.txt")
    (True, False, False)
    """
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") and part != ".." for part in path.parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def _of_split(names: list[str], split: Split, root: Path) -> list[str]:
    """Sort the names and keep those of the split."""
    parts = {PurePosixPath(name).parts[0] for name in names if "/" in name}
    if {"train", "test"} <= parts:
        return sorted(name for name in names if name.startswith(f"{split}/"))
    if not names:
        raise FixableError(
            f"{root}: no pictures ending in {', '.join(SUFFIXES)} in it or below",
            "give the path of a folder or .zip that holds some",
        )
    if split == "test":
        raise FixableError(
            f"{root}: has no test split",
            "put the pictures into its subfolders train/ and test/, or use the train split",
        )
    return sorted(names)


def _stamp(name: str, size: int) -> bytes:
    return name.encode("utf-8", "surrogateescape") + b"\0%d\0" % size


def _raise(error: OSError) -> None:
    """Let an unreadable folder stop the listing rather than shorten it."""
    raise error
