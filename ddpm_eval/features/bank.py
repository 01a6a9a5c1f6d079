"""The features of images, extracted once and kept by what they depend on alone.

A bank lies in a folder whose name is a digest of the images' content, their number, the
extractor's weights, its preprocessing and the versions of the libraries. Whoever asks for the same
features again, or was killed on the way, finds what is there. Any of it can be deleted.
"""

import hashlib
import importlib.metadata
import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ddpm_eval.choice import ImageSet
from ddpm_eval.features import Extractor
from ddpm_eval.metrics.rows import InMemory, Rows
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.fill import Pieces, Work, fill
from ddpm_eval.record.protocol import ImagesFacts
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train.data import Images
from ddpm_train.data.images import Pixels
from ddpm_train.data.labels import without_labels
from ddpm_train.data.pictures import Pictures
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.files import explain, require_space
from ddpm_train.reading import expanded
from ddpm_train.world import World

FORMAT = 2  # of a bank; raised when other numbers would come of the same images
SHARD_IMAGES = 256  # what a kill can cost on a CPU
SHARD_BATCHES = 16  # on a GPU, where 256 images are two batches
AHEAD = 3  # batches that are decoded while the network works

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bank:
    """The features of n images in shards: ``pool``, ``pixels``, and ``logits``, ``spatial``.

    ``pixels`` is a 64-bit digest of each image, by which equal images are found. ``folder`` is
    where files may be written; None keeps everything in memory.
    """

    pieces: Pieces
    n: int
    dim: int
    facts: dict[str, Any]
    folder: Path | None

    def stream(self, world: World) -> Iterator[tuple[range, Arrays]]:
        """Give this process's share of the shards, one at a time."""
        for part in world.share(self.pieces.parts()):
            yield part, self.pieces.part(part)

    def pools(self) -> Iterator[Array]:
        """The features that distances are taken in, in batches [B, dim], all of them."""
        for part in self.pieces.parts():
            yield self.pieces.part(part)["pool"]

    def rows(self) -> Rows:
        """The features row by row: in memory, or in a file of this process that vanishes with it.

        Raises:
            FixableError: The disk is full.
        """
        if self.folder is None:
            return InMemory(np.concatenate([*self.pools()]))
        require_space(self.folder, 4 * self.dim * self.n)
        try:
            file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            for pool in self.pools():
                file.write(np.ascontiguousarray(pool, np.float32).data)
            file.flush()
        except OSError as error:
            raise explain(error, self.folder) from error
        return FileRows(file, self.n, self.dim)


class FileRows:
    """Rows [n, dim] float32 in a file; only what is asked for is in memory."""

    def __init__(self, file: BinaryIO, n: int, dim: int) -> None:
        self._file, self._n, self._dim = file, n, dim

    def __len__(self) -> int:
        return self._n

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Read the rows at these indices.

        Raises:
            FixableError: The file is shorter than it was written.
        """
        out = np.empty((len(indices), self._dim), np.float32)
        size = 4 * self._dim
        for row, i in zip(out, indices.tolist(), strict=True):
            count = os.preadv(self._file.fileno(), [row.data], size * i)
            if count != size:
                raise FixableError(
                    f"features of image {i}: {count} of {size} bytes could be read",
                    "check the disk, then rerun the same command",
                )
        return out


def cache() -> Path:
    """The folder of everything that can be made again: ``$DDPM_CACHE``, or ``data/cache``."""
    beside = Path(os.environ.get("DDPM_DATA", "data")) / "cache"
    return expanded(os.environ.get("DDPM_CACHE", beside))


def content(images: Images) -> str:
    """A digest of all that the images are; a folder's own digest samples its pictures."""
    if isinstance(images, ImageSet):
        whole = content(images.source)
        if np.array_equal(images.indices, np.arange(len(images.source))):
            return whole
        return hashlib.sha256(whole.encode() + images.indices.tobytes()).hexdigest()
    pictures = without_labels(images)
    return pictures.content if isinstance(pictures, Pictures) else pictures.digest


def place(runtime: Runtime) -> Path | None:
    """The folder of features: its own, or inside the cache; None keeps them in memory."""
    return runtime.features or (runtime.cache and runtime.cache / "features")


def facts_of(images: ImageSet) -> ImagesFacts:
    """Which images these are, by all of their content."""
    whole = images if images.choice == "chosen" else images.source
    return replace(images.facts, digest=content(whole), labels=False)


def describe(images: Images, n: int, extractor: Extractor) -> dict[str, Any]:
    """All that the features of the first n images depend on."""
    return {
        "format": FORMAT,
        "images": content(images),
        "n": n,
        "extractor": extractor.name,
        "weights": extractor.digest,
        "preprocessing": extractor.preprocessing,
        "dim": extractor.sizes[0],
        "torch": torch.__version__,
        "torch-fidelity": importlib.metadata.version("torch-fidelity"),
    }


def extract(images: Images, n: int, extractor: Extractor, runtime: Runtime) -> Bank:
    """Extract what is missing of the features of the first n images.

    The shards are shared between processes; each image is in exactly one. They stay where they are
    for whoever asks again.

    Raises:
        FixableError: An image is broken, has a shape that the extractor was not made for, or its
            features are not finite. What was extracted before stays.
    """
    extractor.check(images.read([0]).shape[1:])
    facts = describe(images, n, extractor)
    size = SHARD_IMAGES
    if extractor.device.type != "cpu":
        size = max(size, SHARD_BATCHES * extractor.batch)
    folder = place(runtime)

    def make(part: range) -> Generator[None, None, Arrays]:
        if folder is not None:
            require_space(folder, 4 * sum(extractor.sizes) * (n - part.start))
        batches = _batches(part, extractor.batch)
        parts = []
        for batch, pixels in ahead(images.read, batches):
            parts.append(_features(extractor, pixels, batch, images.name))
            yield
        return {key: np.concatenate([arrays[key] for arrays in parts]) for key in parts[0]}

    work = Work(
        name=extractor.name,
        facts={**facts, "shard": size},
        n=n,
        size=size,
        make=make,
        ticks=lambda part: len(_batches(part, extractor.batch)),
        label=f"features of {images.name}",
    )
    pieces = fill(work, replace(runtime, cache=folder, folders=[]))
    memory.give_back()  # what the network used: what follows needs other sizes
    return Bank(pieces, n, extractor.sizes[0], facts, folder)


def _batches(part: range, size: int) -> list[range]:
    return [range(i, min(i + size, part.stop)) for i in range(part.start, part.stop, size)]


def _features(extractor: Extractor, pixels: Pixels, batch: range, name: str) -> Arrays:
    outputs = extractor(pixels)
    arrays = {key: values for key, values in outputs._asdict().items() if values is not None}
    for key, values in arrays.items():
        if not np.isfinite(values).all():
            raise FixableError(
                f"{name}: the {key} features of images {batch.start}..{batch.stop - 1} hold NaN "
                "or infinity",
                "check these images and the extractor's weights",
            )
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels]
    return arrays | {"pixels": np.frombuffer(b"".join(digests), np.uint64)}


def ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, depth: int = AHEAD
) -> Iterator[tuple[Item, Result]]:
    """Do the work for the next items in threads while the caller uses the last result.

    >>> list(ahead(lambda x: x * x, [3, 4]))
    [(3, 9), (4, 16)]
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(depth) as threads:
        try:
            for item in items:
                waiting.append((item, threads.submit(work, item)))
                if len(waiting) > depth:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
