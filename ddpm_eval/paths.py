"""Paths as people give them."""

from pathlib import Path

from ddpm_train.errors import FixableError


def expanded(path: str | Path, setting: str = "path") -> Path:
    """Take a path as text or Path, ``~`` for the user's home.

    Args:
        path: The path.
        setting: What it is called in messages.

    Raises:
        FixableError: It is something else.
    """
    if not isinstance(path, str | Path):
        raise FixableError(f"{setting}={type(path).__name__}: not a path", "give a str or a Path")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FixableError(f"{setting}={path}: there is no home folder", "write it out") from error
