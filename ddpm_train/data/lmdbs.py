"""Pictures in an LSUN lmdb, opened once in each process."""

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ddpm_train.data.images import Split, own_name
from ddpm_train.errors import FixableError
from ddpm_train.reading import reading


class Lmdb:
    """Pictures in an LSUN lmdb, in the order of their keys (listed once, kept in memory)."""

    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()  # its keys say nothing of classes

    def __init__(self, root: Path, split: Split) -> None:
        self._root = root.resolve()
        self.name = f"{own_name(self._root.name)} {split}"
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
        import lmdb  # noqa: F401
    except ImportError as error:
        raise FixableError(
            "reading an lmdb takes the package lmdb", "pip install 'ddpm-eval[lmdb]'"
        ) from error
    with (
        reading(root, fix="copy it again", what="not a whole lmdb"),
        _environment(root).begin() as transaction,
    ):
        return question(transaction)


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
