"""The features of images, extracted once and kept on the disk by what they depend on alone.

A bank lies in a folder whose name is a digest of the images' content, their number, the
extractor's weights, its preprocessing and the versions of the libraries. Whoever asks for the same
features again, or was killed on the way, finds what is there. Any of it can be deleted.
"""

import hashlib
import importlib.metadata
import json
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ddpm_eval.features import Extractor
from ddpm_eval.progress import Track, finish
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.shards import Shards, open_shards
from ddpm_train.data import Images
from ddpm_train.data.images import Pixels
from ddpm_train.data.pictures import Pictures
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.files import explain, require_space
from ddpm_train.world import World

FORMAT = 1  # of a bank; raised when other numbers would come of the same images
SHARD_IMAGES = 256  # what a kill can cost
AHEAD = 3  # batches that are decoded while the network works

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Bank:
    """The features of n images in shards: ``pool``, ``logits``, ``spatial`` and ``pixels``.

    ``pixels`` is a 64-bit digest of each image, by which equal images are found.
    """

    shards: Shards
    settings: dict[str, Any]

    def stream(self, world: World) -> Iterator[tuple[range, dict[str, Array]]]:
        """Give this process's share of the shards, one at a time."""
        for part in world.share(self.shards.parts()):
            yield part, self.shards.part(part)

    def pools(self) -> Iterator[Array]:
        """The features that FID is taken in, in batches [B, dim], all of them."""
        for part in self.shards.parts():
            yield self.shards.part(part)["pool"]

    def flatten(self, path: Path) -> "FileRows":
        """Write ``pool`` into one file that is read row by row.

        Raises:
            FixableError: The disk is full.
        """
        dim = int(self.settings["dim"])
        require_space(path.parent, 4 * dim * self.shards.n)
        try:
            with path.open("wb") as file:
                for pool in self.pools():
                    file.write(np.ascontiguousarray(pool).data)
        except OSError as error:
            raise explain(error, path) from error
        return FileRows(path, self.shards.n, dim)


class FileRows:
    """Rows [n, dim] float32 in a file; only what is asked for is in memory."""

    def __init__(self, path: Path, n: int, dim: int) -> None:
        self._path, self._n, self._dim = path, n, dim

    def __len__(self) -> int:
        return self._n

    def take(self, indices: NDArray[np.int64]) -> Array:
        """Read the rows at these indices."""
        out = np.empty((len(indices), self._dim), np.float32)
        with self._path.open("rb", buffering=0) as file:
            for row, i in zip(out, indices.tolist(), strict=True):
                os.preadv(file.fileno(), [row.data], 4 * self._dim * i)
        return out


def cache() -> Path:
    """The folder of everything that can be made again: ``$DDPM_CACHE``, or ``data/cache``."""
    beside = Path(os.environ.get("DDPM_DATA", "data")) / "cache"
    return Path(os.environ.get("DDPM_CACHE", beside))


def content(images: Images) -> str:
    """A digest of all that the images are; a folder's own digest samples its pictures."""
    return images.content if isinstance(images, Pictures) else images.digest


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


def place(settings: dict[str, Any]) -> Path:
    """The folder of a bank."""
    text = json.dumps(settings, sort_keys=True).encode()
    return cache() / "features" / hashlib.sha256(text).hexdigest()[:20]


def fill(images: Images, n: int, extractor: Extractor, world: World, track: Track) -> Bank:
    """Extract what is missing of the features of the first n images.

    The shards are shared between processes; each image is in exactly one.

    Raises:
        FixableError: An image is broken, has a shape that the extractor was not made for, or its
            features are not finite. What was extracted before stays.
    """
    settings = describe(images, n, extractor)
    shards = open_shards(place(settings), settings, n=n, size=SHARD_IMAGES, world=world)
    todo = world.share(shards.missing(world))
    if todo:
        extractor.check(images.read([0]).shape[1:])
        require_space(shards.folder, 4 * sum(extractor.sizes) * sum(map(len, todo)))
    label = f"features of {images.name}"
    total = sum(-(-len(part) // extractor.batch) for part in todo)
    finish(_extract(images, extractor, shards, todo), track, label, total)
    memory.give_back()  # what the network used: what follows needs other sizes
    world.barrier()
    return Bank(shards, settings)


def _extract(
    images: Images, extractor: Extractor, shards: Shards, todo: Sequence[range]
) -> Generator[None, None, None]:
    """Fill shards, yielding after each batch; the next ones are decoded meanwhile."""
    batches = [
        (part, range(i, min(i + extractor.batch, part.stop)))
        for part in todo
        for i in range(part.start, part.stop, extractor.batch)
    ]
    found: list[dict[str, Array]] = []
    for (part, batch), pixels in ahead(lambda item: images.read(item[1]), batches):
        found.append(_features(extractor, pixels, batch, images.name))
        if batch.stop == part.stop:
            shards.write(part, {key: np.concatenate([f[key] for f in found]) for key in found[0]})
            found = []
        yield


def _features(extractor: Extractor, pixels: Pixels, batch: range, name: str) -> dict[str, Array]:
    pool, logits, spatial = extractor(pixels)
    found = {"pool": pool, "logits": logits}
    if spatial is not None:
        found["spatial"] = spatial
    for key, values in found.items():
        if not np.isfinite(values).all():
            raise FixableError(
                f"{name}: the {key} features of images {batch.start}..{batch.stop - 1} hold NaN "
                "or infinity",
                "check these images and the extractor's weights",
            )
    digests = [hashlib.blake2b(image.tobytes(), digest_size=8).digest() for image in pixels]
    return found | {"pixels": np.frombuffer(b"".join(digests), np.uint64)}


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
