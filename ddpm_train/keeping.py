"""Which checkpoints of a run stay: the newest whole ones, counted by content, not by name."""

from collections.abc import Iterator
from pathlib import Path

from ddpm_train.config import LogConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import remove
from ddpm_train.runs import checkpoints, load_numbered, step_in


class Keeper:
    """Deletes checkpoints that newer whole ones replace, and nothing else.

    A file that is damaged, or not what its name says, is neither counted nor deleted.
    """

    def __init__(self, folder: Path, settings: LogConfig) -> None:
        self._folder, self._settings = folder, settings
        self._problems: dict[Path, tuple[object, str]] = {}  # by the state of each file

    def trust(self, path: Path) -> None:
        """Remember that a file was just read whole."""
        self._problems[path] = _state(path), ""

    def forget(self, saved: Path) -> Iterator[str]:
        """Delete what is older than the newest whole checkpoints; yield what is worth a warning."""
        keep, every = self._settings.keep, self._settings.keep_every
        count = 0
        for path in checkpoints(self._folder) if keep > 0 else []:
            if count < keep:
                new, problem = self._look(path)
                count += not problem
                if new and problem:
                    yield f"{problem}; neither counted nor deleted"
            elif path != saved and not (every and step_in(path) % every == 0):
                try:
                    remove(path)
                except FixableError as error:
                    yield f"{error.problem}; it stays"

    def _look(self, path: Path) -> tuple[bool, str]:
        """Whether a file is read anew, which it is once, and what is wrong with it."""
        state = _state(path)
        before, problem = self._problems.get(path, (..., ""))
        if before == state:
            return False, problem
        try:
            load_numbered(path)
            problem = ""
        except FixableError as error:
            problem = error.problem
        self._problems[path] = state, problem
        return True, problem


def _state(path: Path) -> object:
    """What changes when a file does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
