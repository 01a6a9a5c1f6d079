"""The sample store: a folder of samples that any number of processes and machines fill.

``store.json`` says what the samples are of; the images lie in shards of one batch each. Image i is
a function of the seed and i to the bit, because every shard is computed whole, as one batch of the
network, whoever computes it and whatever is missing (in a batch of another size the last bits of
the floats differ). So the last shard of n images may hold a few more; ``-n`` decides how many are
looked at, and the first 512 of 50,000 are those of ``-n 512``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.progress import Track, quiet
from ddpm_eval.record.conditions import (
    condition_text,
    guidance_text,
    is_whole,
    labels_of_samples,
)
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_eval.record.shards import Shards, key_of
from ddpm_train.errors import FixableError
from ddpm_train.reading import parse_json, read_bytes

FORMAT, VERSION = "ddpm-eval sample store", 1
NAME = "store.json"
MOST = 10_000_000  # samples of a store: the digits in its files' names

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SampleStore:
    """Samples 0..n-1 on the disk, an ``Images``. They are read when they are asked for.

    Attributes:
        folder: Where they lie.
        facts: All that they depend on, see ``ddpm_eval.measure.pictures.sample_facts``.
        n: How many there are.
        about: What is known of their model beside that: its ``name``, the settings of the ``data``
            that it was trained on, their ``data_digest``, and the names of its ``classes``.
    """

    folder: Path
    facts: Mapping[str, Any]
    n: int
    about: Mapping[str, Any] = field(default_factory=dict)

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
    def sampling(self) -> SamplingFacts:
        """How they were drawn."""
        return sampling_facts(self.facts, self.n)

    @property
    def name(self) -> str:
        """What they are, for people."""
        return name_of(self.facts)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of all classes, or their numbers where nobody says."""
        names, classes = self.about.get("classes") or (), self.facts.get("classes", 0)
        return tuple(names) if len(names) == classes else tuple(map(str, range(classes)))

    @property
    def labels(self) -> NDArray[np.int64] | None:
        """The class of each sample, [n]; None for a model without classes."""
        return labels_of_samples(self.facts, range(self.n))

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


def require_count(n: int) -> int:
    """Refuse more samples than a store holds, before anything lists them.

    Raises:
        FixableError: n is below 1 or above ``MOST``.

    >>> require_count(10**12)
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: n=1000000000000: a store holds 1 to 10,000,000 samples
      fix: choose fewer
    """
    if not 1 <= n <= MOST:
        raise FixableError(f"n={n}: a store holds 1 to {MOST:,} samples", "choose fewer")
    return n


def label(facts: Mapping[str, Any]) -> str:
    """How samples were drawn, in words; what departs from the paper's protocol is never left out.

    >>> paper = {"sampler": "ancestral", "steps": 1000, "T": 1000, "weights": "ema", "clip": True,
    ...          "precision": "float32", "eta": None}
    >>> label(paper)
    'ancestral, 1,000 steps'
    >>> label({**paper, "sampler": "ddim", "eta": 0.0, "steps": 50, "weights": "raw"})
    'DDIM (eta 0), 50 of 1,000 steps, raw weights'
    """
    steps, T, sampler = facts["steps"], facts["T"], facts["sampler"]
    eta = "" if facts["eta"] is None else f" (eta {facts['eta']:g})"
    parts = [
        ("DDIM" if sampler == "ddim" else sampler) + eta,
        f"{steps:,} steps" if steps == T else f"{steps:,} of {T:,} steps",
        f"{facts['spacing']} spacing" if "spacing" in facts else "",
        f"{facts['convention']} noise" if "convention" in facts else "",
        f"a level: {facts['langevin']}" if "langevin" in facts else "",
        facts.get("heun", ""),
        f"{facts['weights']} weights" if facts["weights"] == "raw" else "",
        condition_text(facts),
        guidance_text(facts),
        "" if facts["clip"] else "not clipped",
        "" if facts["precision"] == "float32" else facts["precision"],
    ]
    return ", ".join(part for part in parts if part)


def name_of(facts: Mapping[str, Any]) -> str:
    """Name samples for people: ``samples (ancestral, 1,000 steps, seed 0)``."""
    return f"samples ({label(facts)}, seed {facts['seed']})"


def sampling_facts(facts: Mapping[str, Any], n: int) -> SamplingFacts:
    """How n samples with these facts were drawn, as a protocol has it."""
    return SamplingFacts(
        sampler=facts["sampler"],
        steps=facts["steps"],
        T=facts["T"],
        seed=facts["seed"],
        n=n,
        eta=facts["eta"],
        clip=facts["clip"],
        spacing=facts.get("spacing", "even"),
        condition=condition_text(facts),
        guidance=guidance_text(facts),
        heun=facts.get("heun", ""),
        batch=facts["batch"],
    )


def open_store(folder: Path, n: int | None = None) -> SampleStore:
    """Open samples 0..n-1; by default as many as the store was made for.

    Raises:
        FixableError: There is no store, it is damaged, or some of the samples are not made yet.
    """
    whole = read_description(folder)
    store = whole if n is None else replace(whole, n=require_count(n))
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
    store = read_description(folder)
    parts = store.shards.parts()
    checked = track(parts, "verify", len(parts))
    return store, [part for part in checked if store.shards.load(part) is None]


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


class DamagedError(FixableError):
    """store.json does not hold what was written."""


def read_description(folder: Path) -> SampleStore:
    """Read a store's store.json alone: all samples that it was made for, whether there or not.

    Raises:
        FixableError: There is no store, its store.json is damaged, or a newer program wrote it.
    """
    path = folder / NAME
    if not path.exists():
        raise FixableError(
            f"{folder}: there is no store of samples", "make one: ddpm-eval sample CHECKPOINT"
        )
    content = read_bytes(path)
    try:
        plain = parse_json(content, path)
        version, digest = plain["version"], plain.pop("digest")
    except (FixableError, KeyError) as error:
        raise _damaged(path) from error
    if isinstance(version, int) and version > VERSION:
        raise FixableError(f"{path}: a newer ddpm-eval wrote it", "update ddpm-eval")
    if digest != key_of(plain) or not _is_whole(plain):
        raise _damaged(path)
    return SampleStore(folder, plain["facts"], plain["n"], plain.get("about", {}))


def _is_whole(plain: Mapping[str, Any]) -> bool:
    """Whether a description has what reading the samples takes, in its types and ranges."""
    facts, about = plain.get("facts"), plain.get("about", {})
    if not (isinstance(facts, dict) and isinstance(about, dict)):
        return False
    if "classes" in facts and not is_whole(facts):
        return False
    shape = facts.get("shape")
    sizes = [plain.get("n"), facts.get("batch"), *(shape if isinstance(shape, list) else [])]
    return len(sizes) == 5 and all(isinstance(x, int) and 1 <= x <= MOST for x in sizes)


def _damaged(path: Path) -> DamagedError:
    return DamagedError(
        f"{path}: damaged", "rerun the command that made the store: whole shards are kept"
    )
