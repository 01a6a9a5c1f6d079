"""The one door for reading what others wrote: whatever comes becomes one sentence with a fix.

Damaged bytes make libraries raise almost anything, so ``reading`` takes any exception: what it
surrounds must be the reading alone.
"""

import contextlib
import difflib
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ddpm_train.errors import FixableError, sentence

AGAIN = "download or copy the file again"


@contextlib.contextmanager
def reading(path: Path | str, *, fix: str = AGAIN, what: str = "damaged") -> Iterator[None]:
    """Turn whatever goes wrong while ``path`` is read into one sentence.

    Args:
        path: The file, or another name for the bytes.
        fix: What to do about damage.
        what: What to call a file that does not parse.

    Raises:
        FixableError: In place of any exception but a stop.

    >>> with reading("a.pt"):
    ...     raise EOFError("it ends at byte 7")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: a.pt: damaged (it ends at byte 7)
      fix: download or copy the file again
    """
    try:
        yield
    except FixableError:
        raise
    except OSError as error:
        raise unreadable(path, error, fix=fix, what=what) from error
    except Exception as error:
        if is_out_of_memory(error):
            raise FixableError(
                f"{path}: does not fit into memory ({sentence(error)})",
                "use a machine with more memory, or a whole copy of the file if this one should",
            ) from error
        raise damaged(path, sentence(error), fix=fix, what=what) from error


def damaged(
    path: Path | str, reason: str, *, fix: str = AGAIN, what: str = "damaged"
) -> FixableError:
    """A file that was cut off or changed on its way."""
    return FixableError(f"{path}: {what} ({reason})", fix)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is short, in Python's words or torch's."""
    text = str(error)
    words = ("not enough memory", "can't alloc", "out of memory")
    return isinstance(error, MemoryError) or any(word in text for word in words)


def unreadable(
    path: Path | str,
    error: OSError,
    *,
    fix: str = "check that it is there and allowed",
    what: str = "cannot be read",
) -> FixableError:
    """Turn an operating system's refusal to read into a sentence with a fix."""
    if isinstance(error, FileNotFoundError):
        return FixableError(f"{path}: no such file", "check the path")
    if isinstance(error, IsADirectoryError):
        return FixableError(f"{path}: a folder, where a file is meant", "name a file in it")
    if isinstance(error, NotADirectoryError):
        return FixableError(
            f"{path}: a file, where a folder is meant", "name a folder, or rename the file"
        )
    if error.errno is None:  # a library's own, such as Pillow's
        return damaged(path, sentence(error), fix=fix, what=what)
    return FixableError(
        f"{path}: cannot be read ({error.strerror or sentence(error)})",
        "check that it is there and allowed",
    )


@contextlib.contextmanager
def open_file(path: Path, *, fix: str = AGAIN, what: str = "damaged") -> Iterator[BinaryIO]:
    """Open a plain file for reading; what goes wrong in the block becomes one sentence.

    Raises:
        FixableError: It is missing, a folder, a device or a pipe, or the block failed.
    """
    with reading(path, fix=fix, what=what):
        mode = path.stat().st_mode  # opening a pipe would wait for its writer
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise FixableError(f"{path}: a device or a pipe, not a file", "name a file")
        with path.open("rb") as file:
            yield file


def read_bytes(path: Path, *, fix: str = AGAIN) -> bytes:
    """Read a whole file.

    Raises:
        FixableError: As ``open_file``, or it is larger than the memory that is free.
    """
    with open_file(path, fix=fix) as file:
        require_memory(os.fstat(file.fileno()).st_size, path)
        return file.read()


def read_text(path: Path, *, fix: str = AGAIN) -> str:
    """Read a file of UTF-8 text.

    Raises:
        FixableError: As ``read_bytes``, or it is not UTF-8.
    """
    content = read_bytes(path, fix=fix)
    with reading(path, fix=fix):
        return content.decode()


def read_json(path: Path, *, fix: str = AGAIN) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        FixableError: As ``read_text``, or it is not one.
    """
    return parse_json(read_bytes(path, fix=fix), path, fix=fix)


def parse_json(content: bytes | str, path: Path | str, *, fix: str = AGAIN) -> dict[str, Any]:
    """Parse one JSON object; a key that stands twice is refused.

    Raises:
        FixableError: It is not one.

    >>> parse_json('{"a": 1, "a": 2}', "config.json")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: config.json: damaged (not JSON: a stands twice)
      fix: download or copy the file again
    """
    with reading(path, fix=fix):
        try:
            plain = json.loads(content, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise damaged(path, f"not JSON: {sentence(error)}", fix=fix) from error
        if not isinstance(plain, dict):
            raise damaged(path, "not a JSON object", fix=fix)
        return plain


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)} stands twice")
    return plain


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes.

    Raises:
        FixableError: As ``open_file``.
    """
    return _digest_of(path, hashlib.sha256)


def md5_of(path: Path) -> str:
    """MD5 of a file's bytes, where an old publication gives no other.

    Raises:
        FixableError: As ``open_file``.
    """
    return _digest_of(path, lambda: hashlib.md5(usedforsecurity=False))


def _digest_of(path: Path, algorithm: Callable[[], Any]) -> str:
    with open_file(path) as file:
        digest = algorithm()
        while chunk := file.read(1 << 20):
            digest.update(chunk)
        text: str = digest.hexdigest()
        return text


def require_memory(needed: int, what: Path | str) -> None:
    """Refuse what cannot fit into the memory that is free, before it is asked for.

    Raises:
        FixableError: Says both sizes.
    """
    free = _free_memory()
    if needed > free:
        raise FixableError(
            f"{what}: {needed / 1e9:,.1f} GB to read, and {free / 1e9:,.1f} GB of memory are free",
            "use a machine with more memory, or a whole copy of the file if it should be smaller",
        )


def _free_memory() -> int:
    """The bytes that can be had without swapping; a very large number where nobody says."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return 1 << 62


def expanded(path: str | Path) -> Path:
    """Put the home folder in place of a leading ``~``; without a home it is a plain name.

    >>> expanded("~no-such-user/x").name, expanded("a/~b").as_posix()
    ('x', 'a/~b')
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def existing(path: str, what: str) -> Path:
    """Look up a path that a user gave.

    Args:
        path: The path; ``~`` is the home folder.
        what: What it should lead to, for the message.

    Raises:
        FixableError: It is empty, or nothing is there; a neighbour of a similar name is suggested.

    >>> existing("", "a folder of pictures")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: no path is given
      fix: add --data PATH of a folder of pictures
    """
    if not path:
        raise FixableError("no path is given", f"add --data PATH of {what}")
    place = expanded(path)
    with reading(place):
        if place.exists():
            return place
        beside = [p.name for p in place.parent.iterdir()] if place.parent.is_dir() else []
    near = difflib.get_close_matches(place.name, beside, 1)
    hint = f"did you mean {place.parent / near[0]}? or " if near else ""
    raise FixableError(
        f"{place}: there is no such file or folder", f"{hint}give the path of {what}"
    )


def list_folder(folder: Path) -> list[Path]:
    """List a folder, sorted by name.

    Raises:
        FixableError: It is none, or may not be read.
    """
    with reading(folder):
        return sorted(folder.iterdir())
