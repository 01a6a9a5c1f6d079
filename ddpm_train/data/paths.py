"""What to say about a path that is not there or cannot be read."""

import difflib
from pathlib import Path

from ddpm_train.errors import FixableError


def existing(path: str, what: str) -> Path:
    """Find a path that a user gave.

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
    found = Path(path).expanduser()
    try:
        if found.exists():
            return found
        beside = [p.name for p in found.parent.iterdir()] if found.parent.is_dir() else []
    except OSError as error:
        raise unreadable(found, error) from error
    near = difflib.get_close_matches(found.name, beside, 1)
    hint = f"did you mean {found.parent / near[0]}? or " if near else ""
    raise FixableError(
        f"{found}: there is no such file or folder", f"{hint}give the path of {what}"
    )


def unreadable(path: Path | str, error: OSError) -> FixableError:
    """Turn an operating system's refusal to read into a sentence with a fix."""
    return FixableError(
        f"{path}: cannot be read ({error.strerror or error})", "check that it is there and allowed"
    )
