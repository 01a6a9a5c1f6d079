"""The nearest training images, exactly: every one is looked at, in blocks and little memory."""

import hashlib
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ddpm_eval.features import Extractor, bank
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train.data import Images
from ddpm_train.settings import to_dict

SHARD_IMAGES = 4096  # training images between two writes to the disk
VALUES = 1 << 23  # of float64 in a block of images: 64 MiB


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """Where distances are taken.

    Attributes:
        name: ``pixels`` or ``features``.
        facts: All that distances depend on beside the images.
        embed: Maps uint8 [n, H, W, C] to float64 [n, D].
        train: Gives a range of the training images, [n, D], and their mirror images if those count.
        flat: The distance of embedded images [n, D] from a patch of their mean colour, [n].
        unit: Of the distances.
        scale: From a Euclidean distance to the unit.
    """

    name: str
    facts: Mapping[str, Any]
    embed: Callable[[Array], Array]
    train: Callable[[range], list[Array]]
    flat: Callable[[Array], Array]
    unit: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
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
        distances: Array = scale * np.sqrt(squares.sum((1, 2)))
        return distances

    facts = {"name": "pixels", "mirrored": mirrored}
    return Space("pixels", facts, embed, read, flat, "grey levels", scale)


def features(train: Images, extractor: Extractor, runtime: Runtime) -> Space:
    """Distances between features. Mirror images lie close by as it is."""
    extractor.check(train.read([0]).shape[1:])
    rows = bank.extract(train, len(train), extractor, runtime).rows()

    def embed(images: Array) -> Array:
        size = extractor.batch
        parts = [extractor(images[i : i + size]).pool for i in range(0, len(images), size)]
        return np.concatenate(parts).astype(np.float64)

    def read(part: range) -> list[Array]:
        return [rows.take(np.array(part)).astype(np.float64)]

    facts = {"name": "features", "extractor": to_dict(extractor.facts)}
    return Space("features", facts, embed, read, lambda queries: np.full(len(queries), np.inf))


def nearest(space: Space, queries: Array, train: Images, *, k: int, runtime: Runtime) -> Neighbours:
    """Search all training images for embedded queries [Q, D], shared between processes.

    Args:
        space: Where distances are taken.
        queries: The embedded queries, [Q, D].
        train: The training images that the space is of.
        k: Neighbours of each query.
        runtime: How the work is carried out.
    """
    n = len(train)
    block = max(1, VALUES // queries.shape[1])
    parts = [range(i, min(n, i + SHARD_IMAGES)) for i in range(0, n, SHARD_IMAGES)]

    def make(part: range) -> Generator[None, None, Arrays]:
        shape = len(queries), k  # none yet: what comes is nearer
        best = Neighbours(np.full(shape, np.inf), np.zeros(shape, int), np.zeros(shape, bool))
        whole = parts[part.start]
        for inside in (whole[i : i + block] for i in range(0, len(whole), block)):
            sides = [_squares(queries, side) for side in space.train(inside)]
            squares = np.minimum(sides[0], sides[-1])
            index = np.broadcast_to(np.array(inside), squares.shape)
            best = _first(_join([best, Neighbours(squares, index, squares < sides[0])]), k)
            yield
        return {name: getattr(best, name)[None] for name in Neighbours.__slots__}

    work = Work(
        name=f"neighbours-{space.name}",
        facts={
            "space": space.facts,
            "queries": hashlib.sha256(np.ascontiguousarray(queries).data).hexdigest(),
            "train": train.digest,
            "k": k,
        },
        n=len(parts),
        size=1,
        make=make,
        ticks=lambda part: -(-len(parts[part.start]) // block),
        label=f"nearest of {n:,} training images, {space.name}",
    )
    arrays = fill(work, runtime).read()
    pieces = [
        Neighbours(*(arrays[name][i] for name in Neighbours.__slots__)) for i in range(len(parts))
    ]
    best = _first(_join(pieces), k)
    return Neighbours(np.sqrt(best.distance) * space.scale, best.index, best.mirrored)


def _squares(a: Array, b: Array) -> Array:
    """Squared Euclidean distances, [len(a), len(b)]."""
    squares: Array = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * (a @ b.T)
    return np.maximum(squares, 0)


def _join(pieces: list[Neighbours]) -> Neighbours:
    return Neighbours(
        *(
            np.concatenate([getattr(piece, name) for piece in pieces], 1)
            for name in Neighbours.__slots__
        )
    )


def _first(neighbours: Neighbours, k: int) -> Neighbours:
    """The k nearest; of equals the one that comes first in the training set."""
    order = neighbours.distance.argsort(1, kind="stable")[:, :k]
    return Neighbours(
        *(np.take_along_axis(getattr(neighbours, name), order, 1) for name in Neighbours.__slots__)
    )
