"""Filling a sample store: who writes what, and how stores that were filled apart become one.

Reading stores is in store.py. Any number of processes and machines may fill one at once.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ddpm_eval.progress import Track, quiet
from ddpm_eval.record.shards import key_of
from ddpm_eval.record.store import (
    FORMAT,
    NAME,
    VERSION,
    DamagedError,
    SampleStore,
    read_description,
)
from ddpm_train.errors import FixableError
from ddpm_train.files import held, write_text
from ddpm_train.reading import list_folder
from ddpm_train.settings import differences


def begin(store: SampleStore) -> None:
    """Begin a store, or go on with one; it is to hold ``n`` images, or as many as it was to before.

    A store.json that is damaged is written again: the shards themselves know what they are of.

    Raises:
        FixableError: The folder holds a store with other facts, or something else.
    """
    folder, facts, n = store.folder, store.facts, store.n
    if not _has_begun(folder, facts, n):
        with _lock(folder, range(_GUARD, _GUARD + 1), wait=True):
            if not _has_begun(folder, facts, n):  # by another process, meanwhile
                plain = {"format": FORMAT, "version": VERSION, "n": n, "facts": facts}
                plain |= {"about": store.about} if store.about else {}
                text = json.dumps({**plain, "digest": key_of(plain)}, indent=1)
                write_text(folder / NAME, text + "\n")


def _has_begun(folder: Path, facts: Mapping[str, Any], n: int) -> bool:
    """Whether there is a store with these facts that is to hold at least n images."""
    try:
        stored = read_description(folder) if (folder / NAME).exists() else None
    except DamagedError:
        stored = None
    if stored is not None:
        _check_same(stored, facts)
        return stored.n >= n
    if folder.exists() and any(_strangers(folder)):
        raise FixableError(
            f"{folder}: not a store of samples, and not empty", "name another folder: out=FOLDER"
        )
    return False


def merge(sources: Sequence[Path], target: Path, *, track: Track = quiet) -> SampleStore:
    """Put the shards of stores with the same facts into one, which may be one of them.

    The first whole shard of a range is taken. Only whole ones are copied.

    Raises:
        FixableError: The stores differ in their facts, or one is damaged beyond its shards.
    """
    stores = [read_description(folder) for folder in sources]
    for other in stores[1:]:
        _check_same(other, stores[0].facts)
    n = max(store.n for store in stores)
    about = next((store.about for store in stores if store.about), {})
    merged = SampleStore(target, stores[0].facts, n, about)
    begin(merged)
    parts = merged.shards.parts()
    with reserve(merged, range(n)):
        for part in track(parts, "merge", len(parts)):
            if merged.shards.load(part) is not None:
                continue
            for store in stores:
                arrays = store.shards.load(part)
                if arrays is not None:
                    merged.shards.write(part, arrays)
                    break
    return merged


@contextlib.contextmanager
def reserve(store: SampleStore, within: range) -> Iterator[None]:
    """Keep other writers off the shards whose first image is in a range, while the block runs.

    Byte i of the file ``.lock`` stands for image i. The system lets go of it if the process dies.

    Raises:
        FixableError: Another process is making some of them.
    """
    with _lock(store.folder, within, wait=False):
        yield


_GUARD = 1 << 40  # the byte that stands for store.json


@contextlib.contextmanager
def _lock(folder: Path, part: range, *, wait: bool) -> Iterator[None]:
    """Lock bytes of the file ``.lock``."""

    def busy(owner: str) -> None:
        if not wait:
            raise FixableError(
                f"{folder}: {owner} is making samples among {part.start}..{part.stop - 1}",
                "wait for it, or share the work out: indices=0:25000 here, 25000:50000 there",
            )

    with held(folder / ".lock", busy, bytes_of=part):
        yield


def _check_same(stored: SampleStore, facts: Mapping[str, Any]) -> None:
    changes = differences(stored.facts, facts)
    if changes:
        raise FixableError(
            f"{stored.folder}: holds samples of something else: {'; '.join(changes)}",
            "rerun with those settings, name another folder: out=FOLDER, or delete this one",
        )


def _strangers(folder: Path) -> Iterator[Path]:
    """What does not belong to a store."""
    for path in list_folder(folder):
        if not path.name.startswith(("images-", NAME, ".lock")):
            yield path
