"""Which times training shows the network, and how much each draw weighs.

Times are drawn from a distribution p and weighed by 1 / (T p_t), so the expected loss is the mean
over t = 1..T whatever p is. Every draw is named by the seed, the step and the image's place in the
global batch: the number of processes and microbatches changes none.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_train.noise import Stream
from ddpm_train.schedule import NoiseSchedule

FLOOR = 0.2  # of all draws are uniform, so that no weight is above 1 / FLOOR


class Drawn(NamedTuple):
    """Times 1..T and their weights, both [B] on the CPU."""

    t: Tensor
    weights: Tensor


def points(stream: Stream, step: int, places: Sequence[int], batch_size: int) -> Tensor:
    """Points that cover [0, 1) evenly: (u_step + i / B) mod 1 for the places i, float64.

    Each is uniform; together they are as far apart as B points can be (Kingma et al. 2021, I.1).

    >>> line = points(Stream(0, "train"), 5, range(4), 4).sort().values
    >>> line.diff()
    tensor([0.2500, 0.2500, 0.2500], dtype=torch.float64)
    """
    offset = stream.generator(step, 1).random()
    return (offset + torch.tensor([*places], dtype=torch.float64) / batch_size) % 1


def uniform(T: int) -> Tensor:
    """p_t = 1/T, [T+1]."""
    p = torch.full((T + 1,), 1 / T, dtype=torch.float64)
    p[0] = 0
    return p


def importance(schedule: NoiseSchedule, errors: Tensor) -> Tensor:
    """p_t in proportion to what a relative error at t costs under the best variance, [T+1].

    With x = (SNR_{t-1} - SNR_t) M_t a step costs 1/2 log(1 + x) nats per dimension, the decoder
    1/2 log M_1 + const; the derivatives by log M_t are

        1/2 x / (1 + x)   for t > 1,        1/2   for t = 1.

    Args:
        schedule: The forward process.
        errors: M_t, the mean squared error of x_0_hat, [T+1].

    >>> from ddpm_train.schedule import from_betas, linear
    >>> process = from_betas(linear(1000, 1e-4, 0.02))
    >>> bar = process.alphas_bar
    >>> p = importance(process, 1 / (4 + bar / (1 - bar)))
    >>> f"{p[1]:.3f} {p[1000]:.4f} {p.sum():.3f}"
    '0.098 0.0002 1.000'
    """
    snr = schedule.alphas_bar / (1 - schedule.alphas_bar)
    x = torch.cat([torch.zeros(2, dtype=torch.float64), (snr[1:-1] - snr[2:]) * errors[2:]])
    costs = 0.5 * x / (1 + x)
    costs[1] = 0.5
    return FLOOR * uniform(schedule.T) + (1 - FLOOR) * costs / costs.sum()


def draw(p: Tensor, where: Tensor) -> Drawn:
    """Draw times from p by points of [0, 1): the inverse of its distribution function.

    >>> drawn = draw(torch.tensor([0.0, 0.5, 0.25, 0.25]), torch.tensor([0.1, 0.6, 0.9]))
    >>> drawn.t, drawn.weights
    (tensor([1, 2, 3]), tensor([0.6667, 1.3333, 1.3333]))
    """
    T = len(p) - 1
    below = p.cumsum(0)
    t = torch.searchsorted(below[1:-1].contiguous(), where, right=True) + 1
    return Drawn(t, 1 / (T * p[t]))
