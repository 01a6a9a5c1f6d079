"""Files that are either whole or not there: write beside, fsync, verify, rename."""

import contextlib
import errno
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ddpm_train.errors import FixableError

PARTIAL = ".partial"
"""Suffix of a file that is still being written; readers ignore it, the next writer replaces it."""


def write_atomically(
    path: Path,
    write: Callable[[BinaryIO], object],
    *,
    verify: Callable[[Path], object] | None = None,
) -> None:
    """Write ``path`` so that a reader, or a crash, sees the old file or the new one.

    Processes that write it at once write one after the other.

    Args:
        path: The file to write; its folder is made if it is missing.
        write: Writes the content to an open binary file.
        verify: Reads the finished file back before it takes the name; raises if it is damaged.

    Raises:
        FixableError: The disk is full or the folder cannot be written. The old file is untouched
            and nothing is left beside it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
    >>> write_atomically(path, lambda file: file.write(b"whole"))
    >>> path.read_text(), [p.name for p in path.parent.iterdir()]
    ('whole', ['note.txt'])
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(partial):
            with partial.open("wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if verify is not None:
                verify(partial)
            partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise explain(error, path) from error


@contextlib.contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Keep other writers of the same file waiting; whatever fails, nothing is left of it."""
    while True:
        with partial.open("ab") as file, _locked(file):
            if not _is(file, partial):
                continue  # the one before has finished it meanwhile
            try:
                yield
            except BaseException:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)
                raise
            return


@contextlib.contextmanager
def _locked(file: BinaryIO) -> Iterator[None]:
    try:
        with contextlib.suppress(OSError):  # some file systems have no locks
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        with contextlib.suppress(OSError):  # at once, though a forked process may hold it open
            fcntl.flock(file, fcntl.LOCK_UN)


def _is(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start writing ``needed`` bytes where they cannot fit.

    Raises:
        FixableError: Fewer bytes are free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FixableError(
            f"{folder}: {needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free",
            "free some space, or choose another folder; then rerun the same command",
        )


def explain(error: OSError, path: Path) -> FixableError:
    """Turn an operating system's refusal to write into a sentence with a fix.

    >>> print(explain(OSError(errno.ENOSPC, "No space left on device"), Path("runs/a.pt")))
    runs/a.pt: the disk is full
      fix: free some space; then rerun the same command
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FixableError(
            f"{path}: the disk is full", "free some space; then rerun the same command"
        )
    return FixableError(
        f"{path}: cannot be written ({error.strerror or error})",
        "check the folder's permissions, or choose another one",
    )
