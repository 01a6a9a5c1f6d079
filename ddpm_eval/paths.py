"""Paths as people give them."""

from pathlib import Path

from ddpm_train.errors import FixableError


def expanded(path: str | Path) -> Path:
    """Take a path as text or Path, ``~`` for the user's home.

    Raises:
        FixableError: It is something else.
    """
    if not isinstance(path, str | Path):
        raise FixableError(f"path={path!r}: not a path", "give a str or a Path")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FixableError(f"path={path}: there is no home folder", "write it out") from error
