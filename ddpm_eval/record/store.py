"""The sample store: a folder of samples that any number of processes and machines fill.

``store.json`` says what the samples are of; the images lie in shards of one batch each. Image i is
a function of the seed and i to the bit, because every shard is computed whole, as one batch of the
network, whoever computes it and whatever is missing (in a batch of another size the last bits of
the floats differ). So the last shard of n images may hold a few more; ``-n`` decides how many are
looked at, and the first 512 of 50,000 are those of ``-n 512``.
"""

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.progress import Track, quiet
from ddpm_eval.record.shards import Shards, key_of
from ddpm_train.errors import FixableError
from ddpm_train.files import explain, write_text
from ddpm_train.settings import differences

FORMAT, VERSION = "ddpm-eval sample store", 1
NAME = "store.json"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SampleStore:
    """Samples 0..n-1 on the disk, an ``Images``. They are read when they are asked for.

    ``facts`` are all that the samples depend on, see ``ddpm_eval.measure.pictures.samples.facts``.
    """

    folder: Path
    facts: Mapping[str, Any]
    n: int

    @property
    def shards(self) -> Shards:
        """The files, each of them one whole batch."""
        batch = self.facts["batch"]
        return Shards(self.folder, -(-self.n // batch) * batch, batch, key_of(self.facts))

    @property
    def shape(self) -> tuple[int, ...]:
        """[H, W, C] of an image."""
        return tuple(self.facts["shape"])

    @property
    def label(self) -> str:
        """How they were drawn: ``ancestral, 1,000 steps``."""
        return label(self.facts)

    @property
    def name(self) -> str:
        """What they are, for people."""
        return f"samples ({self.label}, seed {self.facts['seed']})"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the shape and all pixels in order, as that of images in memory."""
        sha = hashlib.sha256(repr((self.n, *self.shape)).encode())
        for part in self.shards.parts():
            sha.update(self.read(range(part.start, min(part.stop, self.n))).data)
        return sha.hexdigest()

    def __len__(self) -> int:
        return self.n

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Give the images at these indices; every shard is checked as it is read.

        Raises:
            FixableError: A shard is missing or damaged.
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.size and not 0 <= wanted.min() <= wanted.max() < self.n:
            raise IndexError(f"samples 0..{self.n - 1} do not hold all of {indices}")
        out = np.empty((len(wanted), *self.shape), np.uint8)
        shards, owners = self.shards, wanted // self.facts["batch"]
        parts = shards.parts()
        for k in np.unique(owners):
            images = shards.part(parts[k])["images"]
            out[owners == k] = images[wanted[owners == k] - parts[k].start]
        return out


def label(facts: Mapping[str, Any]) -> str:
    """How samples were drawn, in words; what departs from the paper's protocol is never left out.

    >>> paper = {"sampler": "ancestral", "steps": 1000, "T": 1000, "weights": "ema", "clip": True,
    ...          "precision": "float32", "eta": None}
    >>> label(paper)
    'ancestral, 1,000 steps'
    >>> label({**paper, "sampler": "ddim", "eta": 0.0, "steps": 50, "weights": "raw"})
    'DDIM (eta 0), 50 of 1,000 steps, raw weights'
    """
    steps, T = facts["steps"], facts["T"]
    parts = [
        "ancestral" if facts["sampler"] == "ancestral" else f"DDIM (eta {facts['eta']:g})",
        f"{steps:,} steps" if steps == T else f"{steps:,} of {T:,} steps",
        f"{facts['weights']} weights" if facts["weights"] == "raw" else "",
        "" if facts["clip"] else "not clipped",
        "" if facts["precision"] == "float32" else facts["precision"],
    ]
    return ", ".join(part for part in parts if part)


# --------------------------------------------------------------------------- begin, open, check


def begin(folder: Path, facts: Mapping[str, Any], n: int) -> SampleStore:
    """Begin a store, or go on with one; it is to hold ``n`` images, or as many as it was to before.

    A store.json that is damaged is written again: the shards themselves know what they are of.

    Raises:
        FixableError: The folder holds a store with other facts, or something else.
    """
    if not _has_begun(folder, facts, n):
        with _lock(folder, _GUARD, 1, wait=True):
            if not _has_begun(folder, facts, n):  # by another process, meanwhile
                plain = {"format": FORMAT, "version": VERSION, "n": n, "facts": facts}
                text = json.dumps({**plain, "digest": key_of(plain)}, indent=1)
                write_text(folder / NAME, text + "\n")
    return SampleStore(folder, facts, n)


def _has_begun(folder: Path, facts: Mapping[str, Any], n: int) -> bool:
    """Whether there is a store with these facts that is to hold at least n images."""
    try:
        kept = _read(folder) if (folder / NAME).exists() else None
    except _DamagedError:
        kept = None
    if kept is not None:
        _check_same(kept, facts)
        return kept.n >= n
    if folder.exists() and any(_strangers(folder)):
        raise FixableError(
            f"{folder}: not a store of samples, and not empty", "name another folder with --out"
        )
    return False


def open_store(folder: Path, n: int | None = None) -> SampleStore:
    """Open samples 0..n-1; by default as many as the store was made for.

    Raises:
        FixableError: There is no store, it is damaged, or some of the samples are not made yet.
    """
    found = _read(folder)
    store = found if n is None else replace(found, n=n)
    gone = [part for part in store.shards.parts() if not store.shards.path(part).exists()]
    if gone:
        raise FixableError(
            f"{folder}: of samples 0..{store.n - 1} these are not made yet: {spans(gone, store.n)}",
            "make them: ddpm-eval sample CHECKPOINT with the settings in its store.json",
        )
    return store


def verify(folder: Path, *, track: Track = quiet) -> tuple[SampleStore, list[range]]:
    """Read every shard of a store; give the ranges that are missing or damaged.

    Raises:
        FixableError: There is no store, or its store.json is damaged.
    """
    store = _read(folder)
    parts = store.shards.parts()
    checked = track(parts, "verify", len(parts))
    return store, [part for part in checked if store.shards.load(part) is None]


def merge(sources: Sequence[Path], target: Path, *, track: Track = quiet) -> SampleStore:
    """Put the shards of stores with the same facts into one, which may be one of them.

    The first whole shard of a range is taken. Only whole ones are copied.

    Raises:
        FixableError: The stores differ in their facts, or one is damaged beyond its shards.
    """
    stores = [_read(folder) for folder in sources]
    for other in stores[1:]:
        _check_same(other, stores[0].facts)
    n = max(store.n for store in stores)
    merged = begin(target, stores[0].facts, n)
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


def spans(parts: Sequence[range], n: int) -> str:
    """Index ranges in words, those that touch joined, the first three named.

    >>> spans([range(0, 4), range(4, 8), range(12, 16)], 14)
    '0..7, 12..13'
    """
    joined: list[range] = []
    for part in parts:
        if joined and joined[-1].stop == part.start:
            part = range(joined.pop().start, part.stop)
        joined.append(part)
    texts = [f"{part.start}..{min(part.stop, n) - 1}" for part in joined]
    return ", ".join(texts[:3]) + (f" and {len(texts) - 3} more" if len(texts) > 3 else "")


@contextlib.contextmanager
def reserve(store: SampleStore, within: range) -> Iterator[None]:
    """Keep other writers off the shards whose first image is in a range, while the block runs.

    Byte i of the file ``.lock`` stands for image i. The system lets go of it if the process dies.

    Raises:
        FixableError: Another process is making some of them.
    """
    with _lock(store.folder, within.start, len(within), wait=False):
        yield


_GUARD = 1 << 40  # the byte that stands for store.json


@contextlib.contextmanager
def _lock(folder: Path, start: int, length: int, *, wait: bool) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("ab")
    except OSError as error:
        raise explain(error, folder) from error
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB), length, start)
        except (BlockingIOError, PermissionError) as error:
            raise FixableError(
                f"{folder}: another process is making samples among {start}..{start + length - 1}",
                "wait for it, or share the work out: --indices 0:25000 here, 25000:50000 there",
            ) from error
        except OSError as error:
            raise explain(error, folder) from error
        yield


def _check_same(kept: SampleStore, facts: Mapping[str, Any]) -> None:
    changes = differences(kept.facts, facts)
    if changes:
        raise FixableError(
            f"{kept.folder}: holds samples of something else: {'; '.join(changes)}",
            "rerun with those settings, name another folder with --out, or delete this one",
        )


class _DamagedError(FixableError):
    """store.json does not hold what was written."""


def _read(folder: Path) -> SampleStore:
    path = folder / NAME
    try:
        plain = json.loads(path.read_bytes())
        version, digest = plain["version"], plain.pop("digest")
    except FileNotFoundError as error:
        raise FixableError(
            f"{folder}: there is no store of samples", "make one: ddpm-eval sample CHECKPOINT"
        ) from error
    except OSError as error:
        raise FixableError(f"{path}: cannot be read ({error.strerror})", "check it") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error
    if isinstance(version, int) and version > VERSION:
        raise FixableError(f"{path}: a newer ddpm-eval wrote it", "update ddpm-eval")
    if digest != key_of(plain):
        raise _damaged(path)
    return SampleStore(folder, plain["facts"], plain["n"])


def _damaged(path: Path) -> _DamagedError:
    return _DamagedError(
        f"{path}: damaged", "rerun the command that made the store: whole shards are kept"
    )


def _strangers(folder: Path) -> Iterator[Path]:
    """What does not belong to a store."""
    for path in folder.iterdir():
        if not path.name.startswith(("images-", NAME, ".lock")):
            yield path
