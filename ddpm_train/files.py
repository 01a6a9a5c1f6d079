"""The one door for writing: a file is whole or not there, and a failure is one sentence.

A file is written beside, synced, read back, and only then takes its name. What a kill leaves has
the suffix ``PARTIAL``, which is ours alone: other programs' ``*.partial`` are not touched.
"""

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ddpm_train.errors import FixableError, sentence
from ddpm_train.locks import locked, wait

PARTIAL = ".ddpm.partial"
"""Suffix of what is still being written; readers ignore it, the next writer replaces it."""

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TRIES = 100  # to make a folder that others delete
_PROBE = 1 << 16  # bytes that a full disk does not take


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while ``path`` is written into one sentence with a fix.

    Raises:
        FixableError: In place of any exception but a stop.
    """
    try:
        yield
    except FixableError:
        raise
    except Exception as error:
        raise explain(error, path) from error


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
        FixableError: The disk is full, the folder cannot be written, or a folder or a device has
            the name. The old file is untouched and nothing is left beside it.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "new" / "note.txt"
    >>> write_atomically(path, lambda file: file.write(b"whole"))
    >>> path.read_text(), [p.name for p in path.parent.iterdir()]
    ('whole', ['note.txt'])
    """
    partial = path.with_name(path.name + PARTIAL)
    with writing(path):
        require_replaceable(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with alone(partial):
            with partial.open("wb") as file:
                _write(write, file)
                file.flush()
                os.fsync(file.fileno())
            if verify is not None:
                verify(partial)
            partial.replace(path)
        sync_folder(path.parent)


def _write(write: Callable[[BinaryIO], object], file: BinaryIO) -> None:
    """Let ``write`` fill a file; where it fails, ask the disk whether it is full."""
    try:
        write(file)
    except (FixableError, OSError):
        raise
    except Exception as error:
        # Libraries replace what stopped them by one of their own (torch.save: "unexpected pos").
        if isinstance(error.__context__, KeyboardInterrupt):
            raise error.__context__ from None
        file.write(bytes(_PROBE))
        file.flush()
        raise


@contextlib.contextmanager
def alone(path: Path, busy: Callable[[str], object] = wait) -> Iterator[None]:
    """Keep other writers of a file waiting, or ``busy``; if the block fails, the file goes."""
    with held(path, busy):
        try:
            yield
        except BaseException:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def held(
    path: Path, busy: Callable[[str], object] = wait, *, bytes_of: range | None = None
) -> Iterator[BinaryIO]:
    """Hold the lock of a file, which is made if it is missing, while the block runs.

    The process that had the lock may have renamed or deleted the file, or its whole folder: who
    waited for it begins again with a new file, so that two never hold the lock of one name.

    Raises:
        FixableError: The file cannot be written, or ``busy`` gives up.
    """
    while True:
        with append_to(path) as file, locked(file, path, busy=busy, bytes_of=bytes_of):
            if _is(file, path):
                yield file
                return


def _is(file: BinaryIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda file: file.write(text.encode()))


def append_to(path: Path) -> BinaryIO:
    """Open a file to add to its end; its folder is made if it is missing.

    Raises:
        FixableError: It cannot be written.
    """
    with writing(path):
        require_replaceable(path)
        for _ in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # another process deletes the folder
                path.parent.mkdir(parents=True, exist_ok=True)
                return path.open("ab")
        return path.open("ab")


def give_second_name(path: Path, second: Path) -> None:
    """Give a file a second name, which stays when the first is deleted; a copy where links are not.

    Raises:
        FixableError: The file is not there, or the disk is full.
    """
    with writing(second):
        second.unlink(missing_ok=True)
        try:
            os.link(path, second)
        except FileNotFoundError as error:
            raise FixableError(f"{path}: no such file", "name one that is there") from error
        except OSError:  # a file system without links
            shutil.copyfile(path, second)


def remove(path: Path) -> None:
    """Delete a file, if it is there.

    Raises:
        FixableError: It cannot be deleted.
    """
    with writing(path):
        path.unlink(missing_ok=True)


def set_aside(path: Path) -> Path | None:
    """Rename what has the name of a file and is none, so that the file can be written.

    Returns:
        Its new name; None if nothing, or a plain file, has the name.

    Raises:
        FixableError: It cannot be renamed.
    """
    with writing(path):
        if not os.path.lexists(path) or path.is_file():
            return None
        number = 1
        while os.path.lexists(aside := path.with_name(f"{path.name}.strange-{number}")):
            number += 1
        return path.rename(aside)


def require_replaceable(path: Path) -> None:
    """Refuse to write where something that is no plain file has the name.

    Raises:
        FixableError: It is a folder, a device, a pipe or a socket.

    >>> require_replaceable(Path("/dev/null"))
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: /dev/null: a device or a pipe, not a file
      fix: name a file
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise FixableError(f"{path}: a folder, where a file is meant", "name a file")
    if not stat.S_ISREG(mode):
        raise FixableError(f"{path}: a device or a pipe, not a file", "name a file")


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_folder(folder: Path) -> None:
    """Refuse a folder that cannot be made or written, before long work; none is made.

    Raises:
        FixableError: A file is in its way, or it may not be written.

    >>> require_folder(Path("/dev/null/x"))
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: /dev/null: a file, where a folder is meant
      fix: name a folder, or rename the file
    """
    places = (place for place in (folder, *folder.parents) if os.path.lexists(place))
    place = next(places, None)
    if place is None:  # the folder that we are in has been deleted
        raise explain(FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)), folder)
    if not place.is_dir():
        raise explain(NotADirectoryError(), place)
    if not os.access(place, os.W_OK | os.X_OK):
        raise explain(PermissionError(errno.EACCES, os.strerror(errno.EACCES)), place)


def require_space(folder: Path, needed: int) -> None:
    """Refuse to start writing ``needed`` bytes where they cannot fit.

    Raises:
        FixableError: Fewer bytes are free, or the folder cannot be made.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if free < needed:
        raise FixableError(
            f"{folder}: {needed / 1e6:,.0f} MB are needed and {free / 1e6:,.0f} MB are free",
            "free some space, or choose another folder; then rerun the same command",
        )


def explain(error: BaseException, path: Path) -> FixableError:
    """Turn a refusal to write into a sentence with a fix.

    >>> print(explain(OSError(errno.ENOSPC, "No space left on device"), Path("runs/a.pt")))
    runs/a.pt: the disk is full
      fix: free some space; then rerun the same command
    """
    reason = _of_the_system(error)
    if reason is None:
        return FixableError(
            f"{path}: cannot be written ({sentence(error)})",
            "rerun the same command; with --debug it shows where this comes from",
        )
    if isinstance(reason, FileExistsError | NotADirectoryError):
        file = next((place for place in (*reversed(path.parents), path) if place.is_file()), path)
        return FixableError(
            f"{file}: a file, where a folder is meant", "name a folder, or rename the file"
        )
    if reason.errno in _FULL:
        return FixableError(
            f"{path}: the disk is full", "free some space; then rerun the same command"
        )
    return FixableError(
        f"{path}: cannot be written ({reason.strerror or sentence(reason)})",
        "check the folder's permissions, or choose another one",
    )


def _of_the_system(error: BaseException | None) -> OSError | None:
    """The operating system's error behind one that a library made of it."""
    while error is not None:
        if isinstance(error, OSError):
            return error
        error = error.__cause__ or error.__context__
    return None
