"""The sweep: the one loop over the network that scores pairs of an image and a time.

Every figure of the bound is a function of what this loop keeps of a pair: the squared error of the
reverse step's mean and, at t = 1, the decoder's code length. So all isotropic variances come from
one evaluation. The network works in its own precision, everything around it is float64.
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
"""Isotropic variances by name, each a table of log sigma^2_t [T+1]."""


class Pairs(Protocol):
    """Pairs of an image and a time, in a fixed order."""

    def __len__(self) -> int: ...

    def take(self, part: range) -> tuple[Array, Array]:
        """The image indices and the times (1..T) of a range of pairs."""


@dataclass(frozen=True, slots=True)
class Every:
    """Every time of every image, image by image.

    >>> Every(range(7, 9), T=3).take(range(2, 5))
    (array([7, 8, 8]), array([3, 1, 2]))
    """

    images: range
    T: int

    def __len__(self) -> int:
        return len(self.images) * self.T

    def take(self, part: range) -> tuple[Array, Array]:
        """The image indices and the times of a range of pairs."""
        rows, times = np.divmod(np.asarray(part), self.T)
        return rows + self.images.start, times + 1


@dataclass(frozen=True, slots=True)
class Chosen:
    """Pairs that someone has chosen."""

    images: Array
    times: Array

    def __len__(self) -> int:
        return len(self.images)

    def take(self, part: range) -> tuple[Array, Array]:
        """The image indices and the times of a range of pairs."""
        which = slice(part.start, part.stop)
        return self.images[which], self.times[which]


@dataclass(frozen=True, slots=True)
class Scores:
    """What is kept of K pairs, in float32.

    ``mse`` is the mean squared error of x_0_hat and ``error`` that of the step's mean in the same
    units (divided by c_0^2), both on the scale [-1, 1]; they differ where the network predicts the
    mean and x_0_hat is clipped. ``bits`` is L_{t-1} in bits/dim under the model's own variance.
    ``decoder`` is L_0 for each pair with t = 1, in order, and each of the isotropic variances.
    """

    mse: Array  # [K]
    error: Array  # [K]
    bits: Array  # [K]
    decoder: Array  # [K at t = 1, V]


def tables(subject: Model, calibrated: Tensor | None = None) -> dict[str, Tensor]:
    """The isotropic variances that one evaluation scores, the model's own first if it has one."""
    denoise, own = subject.denoise, subject.denoise.objective.variance
    found: dict[str, Tensor] = {}
    if denoise.log_variances is not None:
        found[own] = denoise.log_variances
    for name, fixed in VARIANCES.items():
        found.setdefault(name, fixed(denoise.schedule))
    return found if calibrated is None else found | {"optimal": calibrated}


def step_bits(process: NoiseSchedule, times: Array, error: Array, log_variances: Tensor) -> Array:
    """L_{t-1} for t > 1 from the error of the mean, under an isotropic variance, bits/dim.

    Args:
        process: The forward process.
        times: Times, 2..T, [...].
        error: The mean squared error in units of x_0, [...].
        log_variances: The table log sigma^2_t.
    """
    t = torch.as_tensor(times)
    nats = step_kl(process, t, torch.as_tensor(error).double(), log_variances)
    found: Array = nats.numpy() / NATS_PER_BIT
    return found


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """How pairs are scored.

    Attributes:
        subject: The model.
        read: Gives images by their indices, float64 in [-1, 1], [B, C, H, W].
        stream: Names the noise together with the image's index and the time.
        under: The isotropic variances.
        clip: Keep x_0_hat inside [-1, 1], as in the original's evaluation.
        batch: Pairs in one evaluation of the network; changes no result.
    """

    subject: Model
    read: Callable[[Array], Tensor]
    stream: Stream
    under: Tables
    clip: bool = True
    batch: int = 64

    def over(self, pairs: Pairs, part: range) -> Generator[None, None, Scores]:
        """Score a range of pairs, yielding after each batch.

        The images and the noise of the next batch are made meanwhile.
        """

        def prepare(start: int) -> tuple[Tensor, list[int], Tensor]:
            images, times = pairs.take(part[start : start + self.batch])
            unique, place = np.unique(images, return_inverse=True)
            x_0 = self.read(unique)[torch.as_tensor(place)]
            steps = times.tolist()
            return x_0, steps, normal(self.stream, images.tolist(), x_0.shape[1:], steps=steps)

        found = []
        with ThreadPoolExecutor(1) as beside:
            coming = beside.submit(prepare, 0)
            for start in range(0, len(part), self.batch):
                x_0, times, eps = coming.result()
                if start + self.batch < len(part):
                    coming = beside.submit(prepare, start + self.batch)
                found.append(self.score(x_0, times, eps))
                yield
        names = Scores.__slots__
        return Scores(*(np.concatenate([getattr(each, name) for each in found]) for name in names))

    @torch.inference_mode()
    def score(self, x_0: Tensor, times: Sequence[int], eps: Tensor) -> Scores:
        """Evaluate the network once for each pair of an image x_0 and a time, with noise eps."""
        denoise, decoder = self.subject.denoise, self.subject.decoder
        process, t = denoise.schedule, torch.tensor(times)
        x_0 = x_0.to(self.subject.device)
        x_t = q_sample(process, x_0, t, eps.to(x_0)).to(self.subject.dtype)
        output = denoise.evaluate(x_t, t)
        x_t = x_t.double()
        p, x_0_hat = denoise.read(output, x_t, t, clip=self.clip)
        c_0 = posterior_coefficients(process)[0][t].numpy()
        mse = _mean((x_0 - x_0_hat).square())
        error = _mean((q_posterior(process, x_0, x_t, t).mean - p.mean).square()) / c_0**2
        first = t == 1
        here = first.nonzero().flatten()
        there = here.to(self.subject.device)
        last = [
            _mean(decoder(x_0[there], Gaussian(p.mean[there], at(table, t[here], x_0))))
            for table in self.under.values()
        ]
        columns = np.stack(last, 1) / NATS_PER_BIT
        if denoise.log_variances is None:
            bits = _mean(bound_term(process, x_0, x_t, t, p, decoder=decoder)) / NATS_PER_BIT
        else:
            later = ~first.numpy()
            bits = np.empty(len(t))
            bits[later] = step_bits(process, t.numpy()[later], error[later], denoise.log_variances)
            bits[~later] = columns[:, 0]
        return Scores(*(part.astype(np.float32) for part in (mse, error, bits, columns)))


def _mean(each: Tensor) -> Array:
    """The mean over the dimensions of each image, [B] float64."""
    found: Array = each.flatten(1).mean(1).cpu().numpy()
    return found
