"""How often 95% intervals cover: worlds are drawn anew, many times (``error_cases``).

    python -m tests.eval.error_simulations            # prints the table of docs/errors.md

The interval is the value ± 1.96 standard errors; what it has to cover is the mean of the values, so
a bias that falls with n is no part of it. One idle core needs about ten minutes.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from ddpm_eval.metrics.estimate import NORMAL_95, Estimate
from tests.eval.error_cases import CASES, Case

LOW, HIGH = 0.90, 0.98


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What came out for one number.

    Attributes:
        name: Of the number.
        n: Samples, or images.
        repeats: How often it was drawn.
        mean: Of the values.
        spread: Their standard deviation, which is the true error.
        error: The mean of the errors that were stated.
        over: What the errors say varies.
        leaves_out: What the intervals do not hold, beside what is held fixed.
        share: How often value ± 1.96 errors held the mean.
    """

    name: str
    n: int
    repeats: int
    mean: float
    spread: float
    error: float
    over: str
    leaves_out: str
    share: float

    @property
    def is_right(self) -> bool:
        """Whether the share may be that of an interval that covers 90 to 98%.

        The share of a finite number of repeats is two binomial errors wide.
        """
        low, high = (2 * (limit * (1 - limit) / self.repeats) ** 0.5 for limit in (LOW, HIGH))
        return LOW - low <= self.share <= HIGH + high

    def __str__(self) -> str:
        numbers = f"{self.mean:.3g} | {self.spread:.2g} | {self.error:.2g} | {self.share:.1%}"
        return f"| {self.name} | {self.over} | {self.leaves_out} | {self.n:,} | {numbers} |"


def simulate(case: Case, n: int, *, repeats: int = 0) -> Iterator[Coverage]:
    """Draw, measure, and count how often the intervals cover, for each number of a case."""
    worlds = [
        case.draw(np.random.default_rng((n, i)), n) for i in range(repeats or case.repeats[n])
    ]
    for name in worlds[0]:
        yield summed(name, [world[name] for world in worlds], n, case.leaves_out)


def summed(name: str, estimates: list[Estimate], n: int, leaves_out: str = "") -> Coverage:
    """Sum up what the same estimate gave in many worlds.

    Raises:
        ValueError: One has no error.
    """
    errors, over = [], set()
    for estimate in estimates:
        if estimate.error is None or estimate.error.standard is None:
            raise ValueError(f"{name}: no error at n={n}")
        errors.append(estimate.error.standard)
        over.add(estimate.error.over)
    values = np.array([estimate.value for estimate in estimates])
    inside = np.abs(values - values.mean()) <= NORMAL_95 * np.array(errors)
    return Coverage(
        name=name,
        n=n,
        repeats=len(values),
        mean=float(values.mean()),
        spread=float(values.std(ddof=1)),
        error=float(np.mean(errors)),
        over=" or ".join(sorted(over)),
        leaves_out=leaves_out,
        share=float(inside.mean()),
    )


def main() -> None:
    """Print one row for each number and n; those that are not right are marked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(CASES))
    parser.add_argument("--repeats", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    heads = ("number", "drawn anew", "left out", "n", "mean", "its spread", "error stated")
    print(f"| {' | '.join(heads)} | 95% intervals cover |")
    print("|---" * (len(heads) + 1) + "|")
    for name in options.names:
        case = CASES[name]
        for n in case.repeats:
            for row in simulate(case, n, repeats=options.repeats):
                print(row, "" if row.is_right else "<- not 90 to 98%", flush=True)


if __name__ == "__main__":
    main()
