"""Locks between processes, released on their death, also where the file system has none.

``flock`` is used where it works. Where it does not (Lustre without ``-o flock``, some FUSE), a
file beside, ``NAME.owner``, is made by exactly one process and names it; what a dead process of
this machine left is taken over.
"""

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ddpm_train.errors import FixableError

OWNER = ".owner"
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}
_POLL = 0.5  # seconds between two looks at another process's file


def wait(_owner: str) -> None:
    """Wait, without a word, for the process that holds a lock."""


@contextlib.contextmanager
def locked(
    file: BinaryIO,
    path: Path,
    *,
    busy: Callable[[str], object] = wait,
    bytes_of: range | None = None,
) -> Iterator[None]:
    """Hold the lock of an open file.

    Args:
        file: The file, open for writing.
        path: Its name.
        busy: Is told who holds the lock; it raises to give up, and returns to wait.
        bytes_of: Lock this part of the file alone.

    Raises:
        OSError: The lock cannot be had for another reason than that it is taken.
    """
    if bytes_of is None:
        request = _Request(fcntl.flock, ())
    else:
        request = _Request(fcntl.lockf, (len(bytes_of), bytes_of.start))
    try:
        taken = not request(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # this file system has no locks
        with _marked(path.with_name(path.name + OWNER), busy):
            yield
        return
    if taken:
        # Closing any file of this name would let go of this process's other parts of it.
        busy(_name_in(path) if bytes_of is None else "another process")
        request(file, fcntl.LOCK_EX)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # at once, though a forked process may hold it open
            request(file, fcntl.LOCK_UN)


class _Request:
    """One of the two system calls, with what it locks."""

    def __init__(self, call: Callable[..., object], part: tuple[int, ...]) -> None:
        self._call, self._part = call, part

    def __call__(self, file: BinaryIO, operation: int) -> bool:
        """Ask; False if another process has the lock."""
        try:
            self._call(file, operation, *self._part)
        except OSError as error:
            if error.errno in _BUSY and operation & fcntl.LOCK_NB:
                return False
            raise
        return True


def name_of_this_process() -> str:
    """Name this process for people.

    >>> name_of_this_process().startswith("process ")
    True
    """
    return f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')},"


def _name_in(path: Path) -> str:
    """Read who wrote its name into a lock file."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        words = file.read(200).decode("utf-8", "replace").strip()
        if words.startswith("process "):
            return words
    return "another process"


@contextlib.contextmanager
def _marked(marker: Path, busy: Callable[[str], object]) -> Iterator[None]:
    """Be the one process that made a file; wait for, or take over from, the one before."""
    mine = json.dumps({"host": platform.node(), "pid": os.getpid(), "began": _began(os.getpid())})
    asked = False
    while not _make(marker, mine):
        theirs = _content(marker)
        if theirs == mine:  # another part of the file, by this process
            yield
            return
        if theirs is None:
            continue  # it has gone meanwhile
        if _is_dead(theirs):
            _remove_dead(marker, theirs)
        elif asked:
            time.sleep(_POLL)
        else:
            busy(f"{_describe(theirs)} (delete {marker} if it is gone)")
            asked = True
    try:
        yield
    finally:
        if _content(marker) == mine:
            marker.unlink(missing_ok=True)


def _make(marker: Path, content: str) -> bool:
    """Make the file with its content at once; False if it exists."""
    beside = marker.with_name(f"{marker.name}.{platform.node()}.{os.getpid()}")
    try:
        beside.write_text(content, encoding="utf-8")
        os.link(beside, marker)
    except FileExistsError:
        return False
    except FileNotFoundError:  # the folder has been deleted meanwhile
        marker.parent.mkdir(parents=True, exist_ok=True)
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
            raise FixableError(
                f"{marker}: cannot be written ({error.strerror})", "check the folder's permissions"
            ) from error
        return _make_without_links(marker, content)
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    return True


def _make_without_links(marker: Path, content: str) -> bool:
    try:
        with marker.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _content(marker: Path) -> str | None:
    try:
        return marker.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _parsed(content: str) -> dict[str, object]:
    try:
        plain = json.loads(content)
    except ValueError:
        return {}
    return plain if isinstance(plain, dict) else {}


def _is_dead(content: str) -> bool:
    """Whether a process of this machine that has ended wrote this."""
    owner = _parsed(content)
    pid = owner.get("pid")
    if owner.get("host") != platform.node() or not isinstance(pid, int):
        return False
    return _began(pid) is None or _began(pid) != owner.get("began")


def _began(pid: int) -> str | None:
    """When a process began, in the machine's ticks; None if there is no such process."""
    try:
        if not Path("/proc/self/stat").exists():
            os.kill(pid, 0)
            return ""
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        state, *fields = stat.rpartition(")")[2].split()
        return None if state in "ZX" else fields[18]
    except (OSError, ValueError, IndexError):
        return None


def _remove_dead(marker: Path, content: str) -> None:
    """Remove what a dead process left, unless another has just taken it over."""
    aside = marker.with_name(f"{marker.name}.{platform.node()}.{os.getpid()}.dead")
    with contextlib.suppress(FileNotFoundError):
        marker.rename(aside)
        if _content(aside) != content:
            with contextlib.suppress(FileExistsError):
                os.link(aside, marker)
        aside.unlink(missing_ok=True)


def _describe(content: str) -> str:
    owner = _parsed(content)
    return f"process {owner.get('pid', '?')} on {owner.get('host', '?')}"


def refuse(what: Path, fix: str) -> Callable[[str], object]:
    """Give up where a lock is taken: for ``locked(busy=...)``."""

    def raise_error(owner: str) -> None:
        raise FixableError(f"{what}: {owner} is writing there", fix)

    return raise_error
