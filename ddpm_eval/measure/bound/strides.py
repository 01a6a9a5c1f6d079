"""Fewer steps: which K of the T times to keep, and the bound of a chain that walks over them.

With M_t the mean squared error of x_0_hat, a stride from x_t to x_s costs with the best variance

    1/2 log2(1 + (SNR_s - SNR_t) M_t)   bits/dim,

so one curve of errors gives the bound of every choice of times without another evaluation of the
network, and dynamic programming finds the best one (Watson et al. 2021).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_eval.record.arrays import Array
from ddpm_train import spacing
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class StrideCosts:
    """What strides cost in bits/dim with a variance that was fitted to each.

    Attributes:
        snr: The signal-to-noise ratio of each time, [T+1]; infinite at 0.
        errors: The mean squared error of x_0_hat on the scored images, [T+1], or [n, T+1].
        fitted: The errors that the variance was fitted to, [T+1]. Where these are the mean of
            ``errors``, the formula above is exact; others cost a little more.
    """

    snr: Array
    errors: Array
    fitted: Array

    @staticmethod
    def of(process: NoiseSchedule, errors: Array, fitted: Array | None = None) -> "StrideCosts":
        """Take errors of images, [n, T+1], and what the variance is fitted to (their mean)."""
        bar = process.alphas_bar.numpy()
        with np.errstate(divide="ignore"):
            snr = bar / (1 - bar)
        errors = np.asarray(errors, np.float64)
        return StrideCosts(snr, errors, errors.mean(0) if fitted is None else fitted)

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.snr) - 1

    def mean(self) -> "StrideCosts":
        """The same for the mean over images."""
        return StrideCosts(self.snr, self.errors.reshape(-1, self.T + 1).mean(0), self.fitted)

    def bits(self, t: Array | int, s: Array | int) -> Array:
        """The expected KL of strides from t to s >= 1, [...] or [n, ...]."""
        gain = self.snr[s] - self.snr[t]
        wide = 1 + gain * self.fitted[t]  # the variance of p, in units of the posterior's
        nats = np.log(wide) + (1 + gain * self.errors[..., t]) / wide - 1
        return np.asarray(nats / (2 * np.log(2)))

    def walk(self, times: Sequence[int]) -> Array:
        """What all strides of a walk over rising times cost together, [] or [n]."""
        rising = np.asarray(times)
        return np.asarray(self.bits(rising[1:], rising[:-1]).sum(-1))


def best_walks(
    cost: Callable[[int], Array], T: int, counts: Iterable[int]
) -> dict[int, tuple[int, ...]]:
    """Find the cheapest walks from T down to 1 over so many times, by dynamic programming.

    Args:
        cost: What strides from t cost, by where they end: s = 1 .. t-1, [t-1].
        T: Where walks begin.
        counts: How many times a walk has, 1 and T among them; each from 2 to T.

    Returns:
        For each count the times of the best walk, rising.

    >>> best_walks(lambda t: np.arange(t - 1, 0, -1.0) ** 2, 9, [3, 5])
    {3: (1, 5, 9), 5: (1, 3, 5, 7, 9)}
    """
    wanted = sorted(set(counts))
    costs = np.full((T, T), np.inf)
    for t in range(2, T + 1):
        costs[t - 1, : t - 1] = cost(t)
    best = np.full(T, np.inf)
    best[0] = 0
    choices: list[Array] = []
    for _ in range(2, wanted[-1] + 1):
        totals = costs + best
        choices.append(totals.argmin(1).astype(np.int32))
        best = totals.min(1)
    return {count: _trace(choices[: count - 1], T) for count in wanted}


def _trace(choices: list[Array], T: int) -> tuple[int, ...]:
    rows = [T - 1]
    for choice in reversed(choices):
        rows.append(int(choice[rows[-1]]))
    return tuple(row + 1 for row in reversed(rows))


def quadratic(T: int, count: int) -> tuple[int, ...]:
    """Times 1 .. T whose distances grow linearly, as DDIM's on CIFAR-10; none twice.

    >>> quadratic(1000, 5), quadratic(6, 6)
    ((1, 63, 251, 563, 1000), (1, 2, 3, 4, 5, 6))
    """
    times = np.round(1 + (T - 1) * (np.arange(count) / (count - 1)) ** 2).astype(int)
    steps = np.arange(count)
    return tuple(int(t) for t in np.maximum.accumulate(times - steps) + steps)


def even(T: int, count: int) -> tuple[int, ...]:
    """Times 1 .. T at equal distances."""
    return tuple(spacing.even(T, count))


def check(counts: Sequence[int], T: int) -> None:
    """Refuse numbers of steps that no walk has.

    Raises:
        FixableError: Names the first.
    """
    wrong = [count for count in counts if not 2 <= count <= T]
    if wrong or not counts:
        raise FixableError(
            f"strides={wrong[0] if wrong else 'none'}: a walk from T to 1 has 2 to {T:,} steps",
            f"choose numbers such as {min(50, T)}, or {T} for all",
        )


def choose(costs: StrideCosts, counts: Sequence[int]) -> dict[int, tuple[int, ...]]:
    """Choose the times of the lowest bound for each number of steps.

    Raises:
        FixableError: There is no walk with so many steps.
    """
    T, mean = costs.T, costs.mean()
    check(counts, T)
    some = [count for count in counts if count < T]
    walks = best_walks(lambda t: mean.bits(t, np.arange(1, t)), T, some) if some else {}
    return walks | {count: tuple(range(1, T + 1)) for count in counts if count == T}
