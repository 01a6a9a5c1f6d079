"""The nearest training images, exactly: every one is looked at, in blocks and little memory."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpm_eval.features import Extractor, bank
from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import pieces
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.shards import Arrays
from ddpm_train.data import Images

SHARD_IMAGES = 4096  # training images between two writes to the disk
VALUES = 1 << 23  # of float64 in a block of images: 64 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Where distances are taken.

    Attributes:
        name: What it is called.
        embed: Maps uint8 [n, H, W, C] to float64 [n, D].
        train: Gives a range of the training images, [n, D], and their mirror images if those count.
        flat: The distance of embedded images [n, D] from a patch of their mean colour, [n].
        unit: Of the distances.
        scale: From a Euclidean distance to the unit.
    """

    name: str
    embed: Callable[[Array], Array]
    train: Callable[[range], list[Array]]
    flat: Callable[[Array], Array]
    unit: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The nearest training images of Q queries, nearest first, all [Q, k]."""

    distance: Array
    index: Array
    mirrored: Array


def pixels(train: Images, *, mirrored: bool) -> Space:
    """Distances between pixels as RMSE on 0-255; sums of squares of whole numbers are exact."""
    shape = train.read([0]).shape[1:]
    scale = 1 / float(np.prod(shape)) ** 0.5

    def embed(images: Array) -> Array:
        return images.reshape(len(images), -1).astype(np.float64)

    def read(part: range) -> list[Array]:
        images = train.read(part)
        return [embed(images), *([embed(images[:, :, ::-1])] if mirrored else [])]

    def flat(embedded: Array) -> Array:
        colours = embedded.reshape(len(embedded), -1, shape[2])
        squares: Array = (colours - colours.mean(1, keepdims=True)) ** 2
        found: Array = scale * np.sqrt(squares.sum((1, 2)))
        return found

    return Space("pixels", embed, read, flat, "grey levels", scale)


def features(job: Job, train: Images, extractor: Extractor) -> Space:
    """Distances between features. Mirror images lie close by as it is."""
    extractor.check(train.read([0]).shape[1:])
    filled = bank.fill(train, len(train), extractor, job.world, job.track)
    job.work.mkdir(parents=True, exist_ok=True)
    rows = filled.flatten(job.work / f"features-{job.world.rank}")

    def embed(images: Array) -> Array:
        size = extractor.batch
        parts = [extractor(images[i : i + size]).pool for i in range(0, len(images), size)]
        return np.concatenate(parts).astype(np.float64)

    def read(part: range) -> list[Array]:
        return [rows.take(np.array(part)).astype(np.float64)]

    return Space("features", embed, read, lambda embedded: np.full(len(embedded), np.inf))


def nearest(job: Job, space: Space, wanted: Array, n: int, settings: dict[str, Any]) -> Found:
    """Search all n training images for embedded queries [Q, D], shared between processes."""
    k = settings["k"]
    block = max(1, VALUES // wanted.shape[1])
    parts = [range(i, min(n, i + SHARD_IMAGES)) for i in range(0, n, SHARD_IMAGES)]

    def make(part: range) -> Generator[None, None, Arrays]:
        shape = len(wanted), k  # none yet: what comes is nearer
        found = Found(np.full(shape, np.inf), np.zeros(shape, int), np.zeros(shape, bool))
        whole = parts[part.start]
        for inside in (whole[i : i + block] for i in range(0, len(whole), block)):
            sides = [_squares(wanted, side) for side in space.train(inside)]
            squares = np.minimum(sides[0], sides[-1])
            index = np.broadcast_to(np.array(inside), squares.shape)
            found = _first(_join([found, Found(squares, index, squares < sides[0])]), k)
            yield
        return {name: getattr(found, name)[None] for name in Found.__slots__}

    plan = pieces.Plan(
        stage=space.name,
        settings=settings,
        n=len(parts),
        size=1,
        make=make,
        ticks=lambda part: -(-len(parts[part.start]) // block),
        label=f"nearest of {n:,} training images, {space.name}",
    )
    arrays = pieces.collect(job, plan).read()
    each = [Found(*(arrays[name][i] for name in Found.__slots__)) for i in range(len(parts))]
    found = _first(_join(each), k)
    return Found(np.sqrt(found.distance) * space.scale, found.index, found.mirrored)


def _squares(a: Array, b: Array) -> Array:
    """Squared Euclidean distances, [len(a), len(b)]."""
    squares: Array = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return np.maximum(squares, 0)


def _join(found: list[Found]) -> Found:
    return Found(
        *(np.concatenate([getattr(each, name) for each in found], 1) for name in Found.__slots__)
    )


def _first(found: Found, k: int) -> Found:
    """The k nearest; of equals the one that comes first in the training set."""
    order = found.distance.argsort(1, kind="stable")[:, :k]
    return Found(*(np.take_along_axis(getattr(found, name), order, 1) for name in Found.__slots__))
