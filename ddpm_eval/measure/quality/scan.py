"""The one pass over the features of a set of images, and the statistics of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ddpm_eval.choice import ImageSet
from ddpm_eval.features import Extractor, bank
from ddpm_eval.features.bank import Bank
from ddpm_eval.measure.quality import statistics
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.metrics.frechet import Gaussian
from ddpm_eval.metrics.inception import SPLITS, InceptionScore
from ddpm_eval.metrics.moments import Moments
from ddpm_eval.metrics.recognition import Recognition
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.shards import key_of
from ddpm_eval.runtime import Runtime
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.world import World


@dataclass(frozen=True, slots=True, eq=False)
class Scanned:
    """Sums over the features of n images.

    Attributes:
        pool: Moments of the features that distances are taken in.
        some: The same of the images that were marked.
        spatial: Moments of sFID's features, where the extractor has them.
        score: Sums over logits, where it has them and the images make ten parts.
        pixels: A digest of each image, [n].
        recognition: Counts of recognised samples, where they have classes.
    """

    pool: Moments
    some: Moments
    spatial: Moments | None
    score: InceptionScore | None
    pixels: Array
    recognition: Recognition | None = None


def scan(
    features: Bank,
    extractor: Extractor,
    world: World,
    *,
    some: Array | None = None,
    labels: Array | None = None,
) -> Scanned:
    """Go once over a bank, each process over its share; every process gets the sums of all.

    Args:
        features: The bank.
        extractor: What its features are of.
        world: The processes.
        some: Marks images whose moments are wanted apart, bool [n].
        labels: The classes that the images were asked to be of, [n].
    """
    n, (dim, classes, spatial_dim) = features.n, extractor.sizes
    first, rest, spatial = Moments.empty(dim), Moments.empty(dim), Moments.empty(spatial_dim)
    score = InceptionScore(n, classes) if classes and n >= SPLITS else None
    recognition = None if labels is None else Recognition(labels, classes)
    pixels, marked = np.zeros(n, np.int64), np.zeros(n, bool) if some is None else some
    for part, arrays in features.stream(world):
        inside = marked[part.start : part.stop]
        first = first.update(arrays["pool"][inside])
        rest = rest.update(arrays["pool"][~inside])
        if spatial_dim:
            spatial = spatial.update(arrays["spatial"])
        if score is not None:
            score.update(part, arrays["logits"])
        if recognition is not None:
            recognition.update(part, arrays["logits"])
        pixels[part.start : part.stop] = arrays["pixels"].view(np.int64)
    if score is not None:
        score.sums = _sum(world, score.sums)
    if recognition is not None:
        recognition.sums = _sum(world, recognition.sums)
    return Scanned(
        pool=together(world, first.merge(rest)),
        some=together(world, first),
        spatial=together(world, spatial) if spatial_dim else None,
        score=score,
        pixels=_sum(world, pixels),
        recognition=recognition,
    )


def together(world: World, own: Moments) -> Moments:
    """The moments over all processes, in float64 about the common mean."""
    if world.size == 1:
        return own
    n = int(_sum(world, np.array([own.n]))[0])
    mean = _sum(world, own.n * own.mean) / max(1, n)
    step = own.mean - mean
    return Moments(n, mean, _sum(world, own.scatter + own.n * np.outer(step, step)))


def _sum(world: World, values: Array) -> Array:
    total: Array = world.sum(torch.from_numpy(values)).cpu().numpy()
    return total


def statistics_of(
    images: Images, n: int, extractor: Extractor, runtime: Runtime, features: Bank | None = None
) -> Statistics:
    """The statistics of the first n images: those beside their features, or made now.

    A damaged file is made again.

    Args:
        images: The images.
        n: How many of them.
        extractor: Through which network.
        runtime: How the work is carried out.
        features: Theirs, where they were extracted already.
    """
    facts = bank.describe(images, n, extractor)
    folder, path = bank.place(runtime), None
    if folder is not None:
        key = key_of({**facts, "version": statistics.VERSION})
        path = folder / f"statistics-{key}.npz"
    finished = _read(path, extractor)
    somebody_has_not = runtime.world.any(finished is None)  # another job may write it right now
    if finished is not None and not somebody_has_not:
        return finished
    features = features or bank.extract(images, n, extractor, runtime)
    scanned = scan(features, extractor, runtime.world)
    about = {**facts, **_names(images), "shape": list(images.read([0]).shape[1:])}
    fresh = Statistics(
        pool=Gaussian.of(scanned.pool),
        spatial=None if scanned.spatial is None else Gaussian.of(scanned.spatial),
        about=about,
        pixels=scanned.pixels,
    )
    if path is not None:
        if runtime.world.rank == 0:
            statistics.write(path, fresh)
        runtime.world.barrier()
    return fresh


def _names(images: Images) -> dict[str, str]:
    """What people call the images: their data set and its part."""
    if isinstance(images, ImageSet):
        return {"dataset": images.dataset, "split": images.split}
    return {"dataset": images.name, "split": ""}


def _read(path: Path | None, extractor: Extractor) -> Statistics | None:
    if path is None or not path.exists():
        return None
    try:
        return statistics.read(path, extractor)
    except FixableError:
        return None
