"""IS and FID of x_0_hat over the reverse steps: the paper's Figure 10."""

import hashlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.choice import ImageSet
from ddpm_eval.features import Extractor, Features
from ddpm_eval.measure.quality.scan import statistics_of
from ddpm_eval.metrics.estimate import ErrorKind
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.metrics.moments import Moments
from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.fill import Pieces, Work, fill
from ddpm_eval.record.protocol import ExtractorFacts, ImagesFacts
from ddpm_eval.record.scores import Curve, Qualifiers
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.settings import to_dict


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """x_0_hat of n samples at K times.

    Attributes:
        pieces: ``frames`` [n, K, H, W, C].
        steps: How many reverse steps each time is after, [K].
        facts: All that they depend on.
    """

    pieces: Pieces
    steps: Array
    facts: Mapping[str, Any]

    @property
    def n(self) -> int:
        """How many samples there are."""
        return self.pieces.parts()[-1].stop


@dataclass(frozen=True, eq=False)
class Column:
    """x_0_hat of every sample at one time, as ``Images``: a column of the frames."""

    frames: Frames
    column: int

    @property
    def name(self) -> str:
        """Which time, for people."""
        return f"x_0_hat after {self.frames.steps[self.column]:,} steps"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all pixels in order."""
        sha = hashlib.sha256()
        for part in self.frames.pieces.parts():
            sha.update(self.read(part).data)
        return sha.hexdigest()

    def __len__(self) -> int:
        return self.frames.n

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Array:
        """Read the images at these indices."""
        wanted = np.asarray(indices, np.int64)
        parts = self.frames.pieces.parts()
        owners = wanted // len(parts[0])
        images: dict[int, Array] = {}
        for k in np.unique(owners).tolist():
            frames = self.frames.pieces.part(parts[k])["frames"]
            for i in np.flatnonzero(owners == k).tolist():
                images[i] = frames[wanted[i] - parts[k].start, self.column]
        return np.stack([images[i] for i in range(len(wanted))])


@dataclass(frozen=True, slots=True, eq=False)
class Judge:
    """The network that quality is measured through, and the training images it is against."""

    extractor: Extractor
    train: ImageSet

    @property
    def facts(self) -> ExtractorFacts:
        """Which network."""
        return self.extractor.facts

    @property
    def reference(self) -> ImagesFacts:
        """Which training images."""
        return self.train.facts

    def check(self, model: Model, n: int) -> None:
        """Refuse what cannot be judged before the first of n samples is drawn.

        Raises:
            FixableError: The network was made for other images, or n is too small.
        """
        channels, *size = model.shape
        self.extractor.check((*size, channels))
        if self.extractor.sizes[1]:
            InceptionScore(n, self.extractor.sizes[1])  # refuses too few


def curves(judge: Judge, frames: Frames, runtime: Runtime) -> tuple[Curve, ...]:
    """Measure FID and IS over the reverse steps."""
    numbers = fill(_work(judge, frames, runtime), runtime).read()
    kinds: dict[str, ErrorKind] = {"fid": "standard error", "inception_score": "spread"}
    return tuple(
        Curve(
            metric=metric,
            over="reverse_steps",
            x=frames.steps,
            y=numbers[metric],
            n=frames.n,
            error=numbers[f"{metric} error"],
            error_kind=kind,
            of=Qualifiers(whose="samples", extractor=judge.extractor.suffix),
        )
        for metric, kind in kinds.items()
        if metric in numbers
    )


def _work(judge: Judge, frames: Frames, runtime: Runtime) -> Work:
    """FID and IS at each time with their errors, one piece for each time."""
    extractor, n = judge.extractor, frames.n
    train = statistics_of(judge.train, len(judge.train), extractor, runtime).pool
    batches = [range(i, min(i + extractor.batch, n)) for i in range(0, n, extractor.batch)]

    def make(part: range) -> Generator[None, None, Arrays]:
        (column,) = part
        images = Column(frames, column)
        pools: list[Array] = []  # of all samples: 400 MB for 50,000 through Inception
        score = InceptionScore(n, extractor.sizes[1]) if extractor.sizes[1] else None
        for batch in batches:
            features = _finite(extractor(images.read(batch)), batch, images.name)
            if score is not None and features.logits is not None:
                score.update(batch, features.logits)
            pools.append(features.pool)
            yield
        return _numbers(pools, score, train)

    return Work(
        name="quality-over-steps",
        facts={
            "frames": dict(frames.facts),
            "extractor": to_dict(judge.facts),
            "reference": judge.reference.plain,
        },
        n=len(frames.steps),
        size=1,
        make=make,
        ticks=lambda _part: len(batches),
        label=f"quality of x_0_hat at {len(frames.steps)} times",
    )


def _numbers(pools: list[Array], score: InceptionScore | None, train: Gaussian) -> Arrays:
    """FID and IS, if there are logits, of images with these features, [1] each."""
    moments = Moments.empty(pools[0].shape[1])
    for pool in pools:
        moments = moments.update(pool)
    samples = Gaussian.of(moments)
    numbers = {
        "fid": train.distance(samples),
        "fid error": distance_stderr(samples, train, iter(pools)),
    }
    if score is not None:
        numbers["inception_score"], numbers["inception_score error"] = score.result()
    return {name: np.array([number]) for name, number in numbers.items()}


def _finite(features: Features, batch: range, name: str) -> Features:
    for values in (features.pool, features.logits):
        if values is not None and not np.isfinite(values).all():
            raise FixableError(
                f"{name}: features of samples {batch.start}..{batch.stop - 1} hold NaN or infinity",
                "check the extractor's weights",
            )
    return features
