"""The chain (Algorithm 2): from x_T to x_0, one step at a time."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_train.noise import Stream, normal
from ddpm_train.reverse import Denoiser


class Frame(NamedTuple):
    """One step of the chain, before it is taken."""

    t: int
    x_t: Tensor
    x_0_hat: Tensor


def prior(stream: Stream, indices: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Draw x_T ~ N(0, I) for each image index, [B, C, H, W] float32 on the CPU."""
    return normal(stream, indices, shape, steps=0)


@torch.inference_mode()
def chain(
    denoise: Denoiser,
    x_t: Tensor,
    indices: Sequence[int],
    stream: Stream,
    *,
    start: int | None = None,
    clip: bool = True,
) -> Iterator[Frame]:
    """Walk from x_start to x_0; the x_0_hat of the last frame (t = 1) is the sample.

        x_{t-1} = mean(x_t, t) + sigma_t z,   z ~ N(0, I), and z = 0 at t = 1

    Args:
        denoise: The reverse process.
        x_t: Where the walk begins, [B, C, H, W] on the network's device.
        indices: The image index of each row: with ``stream`` it names the noise, so that image 7
            is the same image in any batch.
        stream: Seed and purpose of the noise. The step that leaves t uses the draw (index, t).
        start: The step of ``x_t``; T by default.
        clip: Keep x_0_hat inside [-1, 1].

    Yields:
        A frame for t = start, ..., 1.
    """
    for step in range(start or denoise.schedule.T, 0, -1):
        t = torch.full((len(x_t),), step)
        p, x_0_hat = denoise(x_t, t, clip=clip)
        yield Frame(step, x_t, x_0_hat)
        if step > 1:
            z = normal(stream, indices, x_t.shape[1:], steps=step).to(x_t)
            x_t = p.mean + (0.5 * p.log_var).exp() * z


def sample(
    denoise: Denoiser, indices: Sequence[int], shape: Sequence[int], stream: Stream, *, like: Tensor
) -> Tensor:
    """Draw images: the end of the chain that begins at the prior, [B, C, H, W] in [-1, 1].

    Args:
        denoise: The reverse process.
        indices: Which images of the stream.
        shape: [C, H, W].
        stream: Seed and purpose.
        like: A tensor with the network's device and dtype.
    """
    frames = chain(denoise, prior(stream, indices, shape).to(like), indices, stream)
    return deque(frames, maxlen=1).pop().x_0_hat
