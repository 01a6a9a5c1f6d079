"""The mean of the bound from a small part of its terms, without bias and with its error.

The bound of an image is a sum over times of terms y_it, and each costs an evaluation of the
network. Three things make few of them enough:

*   Control. What can be computed of an image without the network, its covariates, predicts its
    terms, y_hat_it (``control.fit``, on a pilot that only teaches, and again on all that came
    before each round). The mean of the predictions is known exactly; only the residuals
    r = y - y_hat are estimated.
*   Importance. A draw (image, time) with the time's share q_t contributes r_it / q_t, whose mean
    over times is the image's sum W_i. Shares proportional to the spread of the residuals are
    Neyman's allocation (``Control.shares``).
*   Two stages. Draws go to the images with the fewest of them, so all get equal shares, and their
    times are stratified (``draw``). The error separates into W's variance between images, which
    vanishes once every image has a draw, and the draws' variance within images (Cochran 1977,
    chapter 10: ``two_stage``).

For a CIFAR-10 model of 4.3 bits/dim the components are 0.17 between and 0.16 within images: 10,000
images need some 700 evaluations for an error of 0.01 and 26,000 for 0.001 (tests/benchmarks).

Times are 1..T; tables have T+1 rows and row 0 is zero. Whoever draws decides from earlier draws
only, so every draw's expectation is exact whatever the pilot said: a bad prediction or a bad share
costs precision, never correctness.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ddpm_eval.measure.bound.control import Array, expected_error, fit, proposal

PILOT = 64  # draws that only teach
REPEATS = 6  # one draw of so many falls on an image that has one: it tells within from between
TREND_DRAWS = 24  # to each class of times whose mean the stratification removes


def draw(
    rng: np.random.Generator, used: Array, size: int, shares: Array
) -> tuple[Array, Array, Array]:
    """Draw pairs of an image and a time.

    Images without a draw come first, but one draw in REPEATS goes to an image that has one; once
    all have some, the fewest come first. The times are stratified: the k-th of ``size`` lies in the
    k-th part of the shares' distribution, and which image gets which part is random.

    Args:
        rng: The randomness.
        used: How many draws each image has, [n]; brought up to date.
        size: How many to draw.
        shares: The probability of each time, [T+1].

    Returns:
        Images, times, and where in the distribution of times each draw lies (0..1), [size].
    """
    place = (np.arange(size) + rng.random(size)) / size
    times = np.searchsorted(shares.cumsum() / shares.sum(), place, side="right")
    times = np.minimum(times, len(shares) - 1)  # where rounding left the sum below 1
    chosen = [rng.permutation(np.flatnonzero(used == 0))[: size - size // REPEATS]]
    used[chosen[0]] += 1
    left = size - len(chosen[0])
    while left:
        seen = rng.permutation(np.flatnonzero(used))
        chosen.append(seen[used[seen].argsort(kind="stable")][:left])
        used[chosen[-1]] += 1
        left -= len(chosen[-1])
    return rng.permutation(np.concatenate(chosen)), times, place


@dataclass(frozen=True, slots=True)
class Components:
    """Variances of what a draw contributes: ``between`` images and ``within`` them, [C]."""

    between: Array
    within: Array

    def variance(self, draws: float, n: int) -> Array:
        """The variance of the mean over n images that so many draws give (of these images)."""
        images = min(n, draws * (1 - 1 / REPEATS))
        variance: Array = (1 / images - 1 / n) * self.between + self.within / draws
        return variance


@dataclass(frozen=True, slots=True)
class Estimate:
    """Means over all n images, [C], and two standard errors.

    ``these`` is the error against the mean of these n images, all their terms evaluated with the
    same noise; ``population`` counts the choice of images and noise too.
    ``draws`` counts the draws that fell on the times of each mean, [C]; ``expected`` is the error
    that the residuals of all times let expect of so few, [C] (``control.expected_error``).
    """

    value: Array
    these: Array
    population: Array
    draws: Array
    expected: Array
    components: Components


def two_stage(images: Array, place: Array, values: Array, sums: Array) -> Estimate:
    """Estimate means over images from draws, with their errors (Cochran 1977, section 10.4).

        value = mean over n of sums + mean over drawn images of the mean of their draws

        variance = (1/n_1 - 1/n) s_1^2 + (n_1/n) s_2^2 sum(1/R_i) / n_1^2

    with s_1^2 the variance of the n_1 drawn images' means and s_2^2 that of the R_i draws of one.

    Args:
        images: The image of each draw, 0..n-1, [m].
        place: Where in the distribution of times each draw lies, [m].
        values: r / q of each draw for C quantities, [m, C].
        sums: The sum of each image's predictions for them, [n, C].
    """
    n, m = len(sums), len(images)
    drawn, which, counts = np.unique(images, return_inverse=True, return_counts=True)
    n_1 = len(drawn)

    def means(columns: Array) -> Array:
        sums = np.zeros((n_1, columns.shape[1]))
        np.add.at(sums, which, columns)
        return sums / counts[:, None]

    image_means = means(values)
    # The stratification of times takes out how the mean depends on time.
    flat, lost = _without_trend(place, values)
    centres = means(flat)
    second = np.square(flat - centres[which]).sum(0) / max(1, m - n_1) * lost
    first = centres.var(0, ddof=1) * lost
    inverse = (1 / counts).mean()
    if m - n_1 < 2:  # no image with two draws: count all of the variance, which is too much
        second = first
    these = (1 / n_1 - 1 / n) * first + second * inverse / n
    between = np.maximum(first - second * inverse, 0)
    covariance = ((sums[drawn] - sums.mean(0)) * (image_means - image_means.mean(0))).sum(0)
    whole = sums.var(0, ddof=1) + 2 * covariance / (n_1 - 1) + between
    return Estimate(
        value=sums.mean(0) + image_means.mean(0),
        these=np.sqrt(these),
        population=np.sqrt(these + np.maximum(whole, between) / n),
        draws=np.full(values.shape[1], m),
        expected=np.zeros(values.shape[1]),
        components=Components(between, second),
    )


def _without_trend(place: Array, values: Array) -> tuple[Array, float]:
    """Take the mean of each class of times from the values; the factor makes up for the freedom."""
    m = len(place)
    classes = max(1, m // TREND_DRAWS)
    which = np.minimum((place * classes).astype(int), classes - 1)
    counts = np.maximum(np.bincount(which, minlength=classes), 1)
    means = np.zeros((classes, values.shape[1]))
    np.add.at(means, which, values)
    means /= counts[:, None]
    return values - means[which], m / (m - classes) if m > classes else 1.0


Evaluate: TypeAlias = Callable[[str, Array, Array], Array]
"""Gives V kinds of terms of pairs [K, V]: takes the name of the round, images [K] and times [K]."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """C sums over times of V kinds of terms, for which the mean over images is wanted.

    The first is the one whose error decides when to stop.
    """

    kinds: Array  # [V, C] how much of each kind goes into each sum
    times: Array  # [T+1, C] how much of each time's term does; row 0 is zero

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.times) - 1


@dataclass(frozen=True, slots=True)
class Goal:
    """When to stop: at a standard error for these images, or after so many evaluations."""

    stderr: float = 0.0
    evaluations: int = 0

    def more(self, drawn: int, estimate: Estimate | None, n: int) -> int:
        """Count the draws of the next round; 0 to stop. Rounds double until the end is near.

        Args:
            drawn: How many draws there are.
            estimate: What they gave; None before the first.
            n: The number of images.
        """
        if not drawn or estimate is None:
            return min(PILOT, self.evaluations - PILOT) if self.evaluations else PILOT
        if self.evaluations:
            return min(drawn, self.evaluations - PILOT - drawn)
        if estimate.these[0] <= self.stderr:
            return 0
        need = float(drawn)
        while estimate.components.variance(need, n)[0] > self.stderr**2 and need < 2 * drawn:
            need *= 1.02
        return min(drawn, max(PILOT // 3, math.ceil(need) - drawn))


def estimate(
    evaluate: Evaluate, covariates: Array, wanted: Wanted, goal: Goal, rng: np.random.Generator
) -> tuple[Estimate, int]:
    """Estimate means over n images from pairs chosen round by round.

    Each round's predictions and shares come from the rounds before it, so each draw is unbiased
    given them. With a budget the number of draws is fixed in advance and the estimate is unbiased;
    with a target the errors seen decide when to stop, which adds a bias of the order 1/draws.

    Args:
        evaluate: Scores pairs.
        covariates: Of each image, [n, F], standardised.
        wanted: Which sums.
        goal: When to stop.
        rng: Chooses the pairs.

    Returns:
        The estimate and the number of evaluations.
    """
    n, T = len(covariates), wanted.T
    images, times, _ = draw(rng, np.zeros(n, np.int64), PILOT, proposal(T))
    taught = [(images, times, evaluate("pilot", images, times))]
    used, drawn = np.zeros(n, np.int64), 0
    touched = np.zeros(wanted.times.shape[1], np.int64)
    base: Array | None = None
    rounds: list[tuple[Array, Array, Array]] = []
    latest: Estimate | None = None
    while size := goal.more(drawn, latest, n):
        images, times, terms = (np.concatenate(part) for part in zip(*taught, strict=True))
        controls = [fit(covariates[images], times, kind, T) for kind in terms.T]
        pairs = zip(controls, wanted.kinds, strict=True)
        sums = np.sum([control.sums(covariates, wanted.times * kind) for control, kind in pairs], 0)
        base = sums if base is None else base
        shares = controls[0].shares()
        images, times, place = draw(rng, used, size, shares)
        terms = evaluate(f"round-{len(rounds) + 1}", images, times)
        traits = covariates[images]
        predicted = np.stack([control.predict(traits, times) for control in controls], 1)
        residuals = (terms - predicted) @ wanted.kinds * wanted.times[times]
        # Predictions differ between rounds; what a draw says is brought to the first ones.
        values = residuals / shares[times, None] + (sums - base)[images]
        rounds.append((images, place, values))
        taught.append((images, times, terms))
        drawn += size
        touched += np.count_nonzero(wanted.times[times], axis=0)
        all_images, places, all_values = (np.concatenate(p) for p in zip(*rounds, strict=True))
        expected = expected_error(controls, wanted.kinds, wanted.times, drawn)
        latest = two_stage(all_images, places, all_values, base)
        latest = replace(latest, draws=touched, expected=expected)
    if latest is None:
        raise ValueError(f"a budget of {goal.evaluations} evaluations leaves none for the estimate")
    return latest, PILOT + drawn
