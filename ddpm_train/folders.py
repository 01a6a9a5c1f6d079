"""Folders that are either whole or not there, and unfinished ones that go."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ddpm_train.errors import FixableError
from ddpm_train.files import PARTIAL, alone, require_space, sync_folder, writing
from ddpm_train.locks import refuse


@contextlib.contextmanager
def folder_atomically(folder: Path, *, size: int = 0) -> Iterator[Path]:
    """Give a folder to fill, which then takes the name ``folder``; it appears whole or not at all.

    Args:
        folder: Must not exist.
        size: The bytes that will be written.

    Raises:
        FixableError: It exists, another process is writing it, or the disk is full.

    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "pictures"
    >>> with folder_atomically(target) as partial:
    ...     _ = (partial / "a.txt").write_text("a")
    >>> [path.name for path in target.iterdir()]
    ['a.txt']
    """
    partial = folder.with_name(folder.name + PARTIAL)
    lock = partial.with_name(f"{partial.name}.lock")
    with writing(folder):
        if os.path.lexists(folder):
            raise FixableError(f"{folder}: exists already", "name a new folder")
        require_space(folder.parent, size + 1_000_000)
        with alone(lock, refuse(folder, "wait for it, or name another folder")):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            try:
                yield partial
                sync_folder(partial)
                partial.rename(folder)
                sync_folder(folder.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
            lock.unlink()


def remove_tree(folder: Path) -> None:
    """Delete a folder of unfinished work, as far as that goes; the next writer replaces the rest.

    The folder above goes too if nothing is left in it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
