"""The sweep: the one loop over the network that scores pairs of an image and a step.

Every figure of the bound is a function of what this loop keeps of a pair: the squared error of the
reverse step's mean and, at the last step, the decoder's code length. So all isotropic variances
come from one evaluation. The network works in its own precision, everything around it is float64.

Steps are rows k = 1..K of the process's tables; the paper's t of a row is ``schedule.times[k]``.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ddpm_eval.model import Model
from ddpm_train.data.labels import Labels
from ddpm_train.diffusion import (
    Gaussian,
    bound_term,
    posterior_coefficients,
    q_posterior,
    q_sample,
    step_kl,
)
from ddpm_train.noise import Stream, normal
from ddpm_train.schedule import NoiseSchedule, at
from ddpm_train.variances import VARIANCES

NATS_PER_BIT = math.log(2)

Array: TypeAlias = npt.NDArray[Any]
Tables: TypeAlias = Mapping[str, Tensor]
"""Isotropic variances by name, each a table of log sigma^2_k [K+1]."""


class Pairs(Protocol):
    """Pairs of an image and a step, in a fixed order."""

    def __len__(self) -> int: ...

    def take(self, part: range) -> tuple[Array, Array]:
        """Give the places of the images and the rows (1..K) of a range of pairs."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every step of every image, image by image.

    >>> Every(n=2, T=3).take(range(2, 5))
    (array([0, 1, 1]), array([3, 1, 2]))
    """

    n: int
    T: int

    def __len__(self) -> int:
        return self.n * self.T

    def take(self, part: range) -> tuple[Array, Array]:
        """Give the places of the images and the rows of a range of pairs."""
        places, rows = np.divmod(np.asarray(part), self.T)
        return places, rows + 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """Pairs that an estimator has chosen."""

    places: Array
    rows: Array

    def __len__(self) -> int:
        return len(self.places)

    def take(self, part: range) -> tuple[Array, Array]:
        """Give the places of the images and the rows of a range of pairs."""
        which = slice(part.start, part.stop)
        return self.places[which], self.rows[which]


@dataclass(frozen=True, slots=True)
class Terms:
    """What is kept of n pairs, in float32.

    ``mse`` is the mean squared error of x_0_hat and ``error`` that of the step's mean in the same
    units (divided by c_0^2), both on the scale [-1, 1]; they differ where the network predicts the
    mean and x_0_hat is clipped. ``bits`` is L_{k-1} in bits/dim under the model's own variance.
    ``decoder`` is L_0 for each pair with k = 1, in order, and each of the isotropic variances.
    """

    mse: Array  # [n]
    error: Array  # [n]
    bits: Array  # [n]
    decoder: Array  # [n at k = 1, V]


def variance_tables(model: Model, calibrated: Tensor | None = None) -> dict[str, Tensor]:
    """Give the isotropic variances that one evaluation scores, the model's own first if it is one.

    Args:
        model: The model.
        calibrated: The table of the best variance, if it was learned.
    """
    denoise, own = model.denoise, model.denoise.objective.variance
    tables: dict[str, Tensor] = {}
    if denoise.log_variances is not None:
        tables[own] = denoise.log_variances
    for name, fixed in VARIANCES.items():
        tables.setdefault(name, fixed(denoise.schedule))
    return tables if calibrated is None else tables | {calibrated_name(model): calibrated}


def calibrated_name(model: Model) -> str:
    """Name the variance that is learned from training images: ``optimal``, unless the model's is.

    A model may be trained for the best variance; then both are scored.
    """
    return "calibrated" if model.variance == "optimal" else "optimal"


def step_bits(process: NoiseSchedule, rows: Array, error: Array, log_variances: Tensor) -> Array:
    """Compute L_{k-1} for k > 1 from the error of the mean, under an isotropic variance, bits/dim.

    Args:
        process: The forward process.
        rows: Rows, 2..K, [...].
        error: The mean squared error in units of x_0, [...].
        log_variances: The table log sigma^2_k.
    """
    nats = step_kl(process, torch.as_tensor(rows), torch.as_tensor(error).double(), log_variances)
    bits: Array = nats.numpy() / NATS_PER_BIT
    return bits


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Scores pairs of an image and a step.

    Attributes:
        model: The model.
        read: Gives images by their places, float64 in [-1, 1], [B, C, H, W].
        indices: The index of each place in the data set, which names the noise with the stream and
            the paper's t.
        stream: Seed and purpose of the noise.
        variances: The isotropic variances.
        clip: Keep x_0_hat inside [-1, 1], as in the original's evaluation.
        batch: Pairs in one evaluation of the network; changes no result but by rounding.
        labels: The class of each place, for a model that takes classes.
    """

    model: Model
    read: Callable[[Array], Tensor]
    indices: Array
    stream: Stream
    variances: Tables
    clip: bool = True
    batch: int = 64
    labels: Labels | None = None

    def over(self, pairs: Pairs, part: range) -> Generator[None, None, Terms]:
        """Score a range of pairs, yielding after each batch.

        The images and the noise of the next batch are prepared meanwhile.
        """
        times = self.model.denoise.schedule.times.numpy()

        def prepare(start: int) -> tuple[Tensor, list[int], Tensor, Tensor | None]:
            places, rows = pairs.take(part[start : start + self.batch])
            unique, order = np.unique(places, return_inverse=True)
            x_0 = self.read(unique)[torch.as_tensor(order)]
            indices, steps = self.indices[places].tolist(), times[rows].tolist()
            eps = normal(self.stream, indices, x_0.shape[1:], steps=steps)
            classes = None if self.labels is None else torch.as_tensor(self.labels[places])
            return x_0, rows.tolist(), eps, classes

        terms = []
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(prepare, 0)
            for start in range(0, len(part), self.batch):
                inputs = coming.result()
                if start + self.batch < len(part):
                    coming = beside.submit(prepare, start + self.batch)
                terms.append(self.score(*inputs))
                yield
        names = Terms.__slots__
        return Terms(*(np.concatenate([getattr(few, name) for few in terms]) for name in names))

    @torch.inference_mode()
    def score(
        self, x_0: Tensor, rows: Sequence[int], eps: Tensor, classes: Tensor | None = None
    ) -> Terms:
        """Evaluate the network once for each pair of an image x_0 and a row, with noise eps."""
        denoise, decoder = self.model.denoise, self.model.decoder
        process, k = denoise.schedule, torch.tensor(rows)
        x_0 = x_0.to(self.model.device)
        x_k = q_sample(process, x_0, k, eps.to(x_0)).to(self.model.dtype)
        output = denoise.evaluate(x_k, k, classes)
        x_k = x_k.double()
        p, x_0_hat = denoise.read(output, x_k, k, clip=self.clip)
        c_0 = posterior_coefficients(process)[0][k].numpy()
        mse = _mean((x_0 - x_0_hat).square())
        error = _mean((q_posterior(process, x_0, x_k, k).mean - p.mean).square()) / c_0**2
        is_last = k == 1
        last = is_last.nonzero().flatten()
        on_device = last.to(self.model.device)
        columns = [
            _mean(decoder(x_0[on_device], Gaussian(p.mean[on_device], at(table, k[last], x_0))))
            for table in self.variances.values()
        ]
        decoder_bits = np.stack(columns, 1) / NATS_PER_BIT
        if denoise.log_variances is None:
            bits = _mean(bound_term(process, x_0, x_k, k, p, decoder=decoder)) / NATS_PER_BIT
        else:
            later = ~is_last.numpy()
            bits = np.empty(len(k))
            bits[later] = step_bits(process, k.numpy()[later], error[later], denoise.log_variances)
            bits[~later] = decoder_bits[:, 0]
        return Terms(*(part.astype(np.float32) for part in (mse, error, bits, decoder_bits)))


def _mean(values: Tensor) -> Array:
    """Average over the dimensions of each image, [B] float64."""
    mean: Array = values.flatten(1).mean(1).cpu().numpy()
    return mean
