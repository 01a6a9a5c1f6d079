"""What metrics of quality are computed from: two sets of features, and what they share."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ddpm_eval.metrics import extrapolation
from ddpm_eval.metrics.estimate import Estimate
from ddpm_eval.metrics.extrapolation import Growth
from ddpm_eval.metrics.frechet import Gaussian, Terms, distance_of, distance_stderr
from ddpm_eval.metrics.inception import InceptionScore
from ddpm_eval.metrics.manifold import Manifold, manifold_of
from ddpm_eval.metrics.neighbourhoods import Neighbourhoods, Neighbours, neighbourhoods
from ddpm_eval.metrics.recognition import Recognition
from ddpm_eval.metrics.rows import Rows, blocks, rows
from ddpm_train.errors import FixableError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureSet:
    """Features of one set of images through one extractor, in the forms that are there.

    Attributes:
        pool: Mean and covariance of the features that distances are taken in.
        rows: These features themselves, [n, d].
        spatial: Mean and covariance of sFID's features.
        score: Sums over a classifier's logits.
        recognition: Counts of samples that it recognises, where they have classes.
    """

    pool: Gaussian
    rows: Rows | None = None
    spatial: Gaussian | None = None
    score: InceptionScore | None = None
    recognition: Recognition | None = None

    @classmethod
    def of(cls, features: ArrayLike) -> "FeatureSet":
        """The set of an array of features [n, d]."""
        source = rows(features)
        return cls(pool=Gaussian.of_rows(source), rows=source)

    def required(self) -> Rows:
        """The features themselves.

        Raises:
            FixableError: Only their mean and covariance are there.
        """
        if self.rows is None:
            raise FixableError(
                "there are statistics only, no features", "name the images themselves"
            )
        return self.rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """Samples, their reference, and what more than one metric is read from, computed once.

    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> evidence = Evidence(samples=FeatureSet.of(x + 1), reference=FeatureSet.of(x))
    >>> round(evidence.distance.value, 6), evidence.features[0] is evidence.samples.rows
    (4.0, True)
    """

    samples: FeatureSet
    reference: FeatureSet
    device: "torch.device | str" = "cpu"

    @property
    def n(self) -> int:
        """The number of samples."""
        return self.samples.pool.n

    @property
    def features(self) -> tuple[Rows, Rows]:
        """The features of the samples and of the reference."""
        return self.samples.required(), self.reference.required()

    @cached_property
    def terms(self) -> Terms:
        """The terms of the Fréchet distance."""
        return self.reference.pool.terms(self.samples.pool)

    @cached_property
    def distance(self) -> Estimate:
        """The Fréchet distance."""
        return distance_of(self.samples.pool, self.reference.pool, self.samples.rows, self.terms)

    @cached_property
    def neighbourhoods(self) -> Neighbourhoods:
        """Who lies near whom."""
        return neighbourhoods(*self.features, device=self.device)

    @cached_property
    def manifold(self) -> Manifold:
        """Precision, recall, density and coverage."""
        return manifold_of(*self.features, Neighbours(), self.device, self.neighbourhoods)

    @cached_property
    def growth(self) -> Growth:
        """The Fréchet distance over the number of samples."""
        sizes = np.array(extrapolation.sizes(self.n, len(self.samples.pool.mean)))
        return extrapolation.growth(self.samples.required(), self.reference.pool, sizes)

    @property
    def limit(self) -> Estimate:
        """The Fréchet distance of infinitely many samples."""
        own = self.distance.error
        other = 0.0
        if self.reference.rows is not None:
            batches = (block for _, block in blocks(self.reference.rows))
            other = distance_stderr(self.reference.pool, self.samples.pool, batches)
        return extrapolation.limit_of(self.growth, self.n, own.size if own else 0.0, other)

    @property
    def spatial_distance(self) -> Estimate:
        """The Fréchet distance of spatial features."""
        if self.samples.spatial is None or self.reference.spatial is None:
            raise FixableError("there are no spatial features", "leave sFID out")
        return distance_of(self.samples.spatial, self.reference.spatial, None)

    @property
    def recognised(self) -> Estimate:
        """The share of samples that are recognised as their class."""
        if self.samples.recognition is None:
            raise FixableError("the samples have no classes", "leave the recognised share out")
        return self.samples.recognition.estimate()

    @property
    def score(self) -> Estimate:
        """The Inception score."""
        if self.samples.score is None:
            raise FixableError("the extractor gives no logits", "leave IS out")
        return self.samples.score.estimate()
