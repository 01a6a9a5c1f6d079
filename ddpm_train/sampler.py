"""The chain (Algorithm 2): from x_T to x_0, one step at a time.

Fewer steps and other samplers are other reverse processes (``Respaced``, ``Ddim``), made once by
``shorten``; the chain walks any of them.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_train.denoiser import Denoised, Denoiser
from ddpm_train.diffusion import Gaussian, q_posterior, x_0_from_mean
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.schedule import NoiseSchedule, at, respace, spread


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
    """Walk from x_start to x_0; the x_0_hat of the last frame is the sample.

        x_s = mean(x_t, t) + sigma_t z,   z ~ N(0, I), and z = 0 where s = 0

    s is the time before t: t - 1, or an earlier one where ``denoise`` is respaced.

    Args:
        denoise: The reverse process.
        x_t: Where the walk begins, [B, C, H, W] on the network's device.
        indices: The image index of each row: with ``stream`` it names the noise, so that image 7
            is the same image in any batch.
        stream: Seed and purpose of the noise. The step that leaves t uses the draw (index, t).
        start: The paper's t of ``x_t``; T by default.
        clip: Keep x_0_hat inside [-1, 1].

    Yields:
        A frame for each time from start down to 1, by the paper's t.

    Raises:
        FixableError: ``start`` is not a time of the process.
    """
    times = denoise.schedule.times.tolist()
    first = denoise.schedule.T if start is None else _row(times, start)
    noise = _noise(stream, indices, x_t, times[first:1:-1])
    for row in range(first, 0, -1):
        p, x_0_hat = denoise(x_t, torch.full((len(x_t),), row), clip=clip)
        yield Frame(times[row], x_t, x_0_hat)
        if row == 1:
            return
        x_t = p.mean
        if not denoise.is_certain(row):
            x_t = x_t + (0.5 * p.log_var).exp() * next(noise)


def _row(times: list[int], t: int) -> int:
    if t in times[1:]:
        return times.index(t)
    near = min(times[1:], key=lambda other: abs(other - t))
    raise FixableError(f"t={t} is not a step of this walk", f"begin at {near}, or take all steps")


def _noise(
    stream: Stream, indices: Sequence[int], like: Tensor, times: Iterable[int]
) -> Iterator[Tensor]:
    """Draw the noise of each time, one step ahead in a thread while the network runs.

    An accelerator copies it from pinned memory, which does not make anyone wait.
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


# ------------------------------------------------------------------------------- fewer steps


class Respaced(Denoiser):
    """p(x_s | x_t) between some of the times of a process, the network's only ones.

    The variance is fixedlarge, fixedsmall or between them (``learned_range``) by the respaced
    betas, or the best of the longer steps by the same errors (``optimal``). A network that
    predicts the mean of x_{t-1} still tells x_0, which tells the mean of x_s.
    """

    def __init__(self, whole: Denoiser, times: Sequence[int]) -> None:
        errors = None if whole.errors is None else whole.errors[[0, *times]]
        super().__init__(whole.network, respace(whole.schedule, times), whole.objective, errors)
        if whole.objective.prediction == "mu_tilde":
            self._read = _mean_within(whole.schedule)


def _mean_within(
    whole: NoiseSchedule,
) -> Callable[[NoiseSchedule, Tensor, Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """How a predicted mean of the whole process is read in a respaced one."""

    def read(
        schedule: NoiseSchedule, out: Tensor, x_t: Tensor, t: Tensor, bound: float
    ) -> tuple[Tensor, Tensor]:
        x_0 = x_0_from_mean(whole, x_t, schedule.times[t], out)
        return q_posterior(schedule, x_0, x_t, t).mean, x_0.clamp(-bound, bound)

    return read


class Ddim(Respaced):
    """The non-Markovian reverse process of DDIM (Song, Meng, Ermon 2021, Eqs. 12 and 16).

        mean = sqrt(alpha-bar_s) x_0_hat + sqrt(1 - alpha-bar_s - sigma^2_t) eps_hat
        sigma^2_t = eta^2 beta-tilde_t

    eps_hat is the noise that x_t holds if x_0_hat, clipped where clipping is on, is its image.
    eta = 0 draws no noise after x_T; eta = 1 is the ancestral process with fixedsmall.
    """

    def __init__(self, whole: Denoiser, times: Sequence[int], eta: float) -> None:
        super().__init__(whole, times)
        bar, before = self.schedule.alphas_bar, self.schedule.alphas_bar_before
        variances = eta**2 * self.schedule.posterior_variances
        self._c_t = ((1 - before - variances) / (1 - bar)).sqrt()
        self._c_0 = before.sqrt() - self._c_t * bar.sqrt()
        self._sigma = variances.log()

    def is_certain(self, row: int) -> bool:
        """Whether eta is 0."""
        return bool(self._sigma[row].isneginf())

    def read(self, output: Tensor, x_t: Tensor, t: Tensor, *, clip: bool) -> Denoised:
        """Read an output: x_0_hat as ever, and DDIM's mean and variance."""
        x_0_hat = super().read(output, x_t, t, clip=clip).x_0_hat
        mean = at(self._c_0, t, x_t) * x_0_hat + at(self._c_t, t, x_t) * x_t
        return Denoised(Gaussian(mean, at(self._sigma, t, x_t)), x_0_hat)


def _ancestral(whole: Denoiser, times: Sequence[int], eta: float) -> Denoiser:
    if eta:
        raise FixableError(
            f"--eta {eta:g} belongs to DDIM", "add --sampler ddim, or leave --eta out"
        )
    if len(times) == whole.schedule.T:
        return whole
    if whole.objective.variance == "learned":
        raise FixableError(
            "this network learned the variance of single steps, which says nothing of longer ones",
            f"take all {whole.schedule.T:,} steps, or --sampler ddim",
        )
    return Respaced(whole, times)


SAMPLERS: dict[str, Callable[[Denoiser, Sequence[int], float], Denoiser]] = {
    "ancestral": _ancestral,
    "ddim": Ddim,
}


def shorten(denoise: Denoiser, sampler: str, *, steps: int = 0, eta: float = 0.0) -> Denoiser:
    """The reverse process of a sampler that takes so many steps, spread evenly over 1..T.

    Args:
        denoise: The whole process.
        sampler: ``ancestral`` (the paper's) or ``ddim``.
        steps: How many; 0 for all. All ancestral steps are ``denoise`` itself.
        eta: The noise of DDIM, from none (0) to as much as ancestral sampling (1).

    Raises:
        FixableError: There is no such sampler or number of steps, eta is outside [0, 1], or a
            learned variance does not tell that of longer steps.
    """
    T = denoise.schedule.T
    if sampler not in SAMPLERS:
        raise FixableError(f"--sampler {sampler}: unknown", f"choose {' or '.join(SAMPLERS)}")
    if not 0 <= steps <= T:
        raise FixableError(f"--steps {steps:,}: the model has {T:,}", f"choose 1 to {T:,}")
    if not 0 <= eta <= 1:
        raise FixableError(f"--eta {eta:g}: not between 0 and 1", "0 draws no noise, 1 the most")
    return SAMPLERS[sampler](denoise, spread(T, steps or T), eta)
