"""The chain (Algorithm 2): from x_T to x_0, one step of a sampler at a time."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_train.diffusion import Gaussian
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.samplers import Sampler


class Frame(NamedTuple):
    """One step of the chain, before it is taken."""

    k: int  # the row of the sampler's schedule: 1 is the last step
    t: int  # the paper's t of x_t
    x_t: Tensor
    x_0_hat: Tensor
    p: Gaussian  # p(x_s | x_t); s is the time of row k - 1


def prior(stream: Stream, indices: Sequence[int], shape: Sequence[int]) -> Tensor:
    """Draw x_T ~ N(0, I) for each image index, [B, C, H, W] float32 on the CPU."""
    return normal(stream, indices, shape, steps=0)


@torch.inference_mode()
def chain(
    sampler: Sampler,
    x_t: Tensor,
    indices: Sequence[int],
    stream: Stream,
    *,
    start: int | None = None,
    condition: Tensor | None = None,
) -> Iterator[Frame]:
    """Walk from x_start to x_0; the x_0_hat of the last frame is the sample.

        x_s = mean(x_t, t) + sigma_t z,   z ~ N(0, I), and z = 0 where s = 0

    s is the time before t: t - 1, or an earlier one where the sampler visits fewer times.

    Args:
        sampler: Gives p(x_s | x_t).
        x_t: The images at the start, [B, C, H, W] on the network's device.
        indices: The image index of each row: with ``stream`` it names the noise, so that image 7
            is the same image in any batch.
        stream: Seed and purpose of the noise. The step that leaves t uses the draw (index, t).
        start: The paper's t of ``x_t``; the sampler's first time by default.
        condition: The class label of each image, [B]; None for a network without classes.

    Yields:
        A frame for each time from start down to the last.

    Raises:
        FixableError: ``start`` is not a time of the sampler.
    """
    times = sampler.schedule.times.tolist()
    first = sampler.schedule.T if start is None else _row(times, start)
    drawn = [times[k] for k in range(first, 1, -1) if not sampler.is_certain(k)]
    noise = _noise(stream, indices, x_t, drawn)
    for k in range(first, 0, -1):
        p, x_0_hat = sampler.step(x_t, torch.full((len(x_t),), k), condition)
        yield Frame(k, times[k], x_t, x_0_hat, p)
        if k == 1:
            return
        x_t = p.mean
        if not sampler.is_certain(k):
            x_t = x_t + (0.5 * p.log_var).exp() * next(noise)


def walk(frames: Iterator[Frame]) -> Generator[None, None, Tensor]:
    """Walk a chain to its end, yielding after each step; return x_0, [B, C, H, W].

    This is ``sample`` for whoever reports progress: ``x_0 = yield from walk(chain(...))``.
    """
    last: deque[Tensor] = deque(maxlen=1)
    for frame in frames:
        last.append(frame.x_0_hat)
        yield
    return last.pop()


def sample(
    sampler: Sampler,
    indices: Sequence[int],
    shape: Sequence[int],
    stream: Stream,
    *,
    like: Tensor,
    condition: Tensor | None = None,
) -> Tensor:
    """Draw images: the end of the chain that begins at the prior, [B, C, H, W] in [-1, 1].

    Args:
        sampler: Gives p(x_s | x_t).
        indices: Which images of the stream.
        shape: [C, H, W].
        stream: Seed and purpose.
        like: A tensor with the network's device and dtype.
        condition: The class label of each image, [B]; None for a network without classes.
    """
    x_T = prior(stream, indices, shape).to(like)
    frames = chain(sampler, x_T, indices, stream, condition=condition)
    return deque(frames, maxlen=1).pop().x_0_hat


def _row(times: list[int], t: int) -> int:
    """The row of a time."""
    if t in times[1:]:
        return times.index(t)
    nearest = min(times[1:], key=lambda other: abs(other - t))
    raise FixableError(
        f"t={t} is not a step of this walk", f"begin at {nearest}, or take all steps"
    )


def _noise(
    stream: Stream, indices: Sequence[int], like: Tensor, times: Iterable[int]
) -> Iterator[Tensor]:
    """Draw the noise of each time, one step ahead in a thread while the network runs.

    An accelerator copies it from pinned memory, asynchronously.
    """

    def draw(t: int) -> Tensor:
        z = normal(stream, indices, like.shape[1:], steps=t)
        return z.pin_memory() if like.is_cuda else z

    with ThreadPoolExecutor(1) as thread:
        ahead: deque[Future[Tensor]] = deque()
        for t in times:
            ahead.append(thread.submit(draw, t))
            if len(ahead) > 1:
                yield ahead.popleft().result().to(like, non_blocking=True)
        while ahead:
            yield ahead.popleft().result().to(like, non_blocking=True)
