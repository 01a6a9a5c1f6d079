"""The mean of the bound from a small part of its terms, without bias and with its error.

The bound of an image is a sum over times of terms y_it, and each costs an evaluation of the
network. Three things make few of them enough:

*   Control. What is known of an image without the network predicts its terms, y_hat_it
    (``fit``, on a pilot that only teaches, and again on all that came before each round). The mean
    of the predictions is known exactly; only the residuals r = y - y_hat are estimated.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

PILOT = 64  # draws that only teach
DEFENSIVE = 0.05  # of the draws are spread by ``proposal``, so that no residual weighs too much
SLOPES_AT = (2, 16, 128, 1024)  # times between which the effect of what is known is interpolated
RIDGE = 1.0  # holds slopes near zero, as strongly as so many observations would
SMOOTH = 0.25  # holds neighbouring slopes together, and levels on a line, likewise
REPEATS = 6  # one draw of so many falls on an image that has one: it tells within from between
TREND_DRAWS = 24  # to each class of times whose mean the stratification removes


def proposal(T: int) -> Array:
    """The shares of times before anything is known: a quarter to t = 1, the rest as 1/t, [T+1].

    >>> proposal(3).round(3)
    array([0.   , 0.659, 0.205, 0.136])
    """
    shares = np.zeros(T + 1)
    shares[1:] = 0.75 / np.arange(1, T + 1) / (1 / np.arange(1, T + 1)).sum()
    shares[1] += 0.25
    return shares


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


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """What the pilot taught: a prediction of every term, and how far off it is.

    For t > 1 the logarithm of a term is linear between knots in log t, and its slope in what is
    known of the image likewise, so that any schedule's terms are followed with few parameters. The
    term of t = 1 is linear in what is known.
    """

    levels: Array  # [knots] log y at knots 2, 4, 8, ... T
    slopes: Array  # [F, len(SLOPES_AT)]
    first: Array  # [1 + F] the term of t = 1: its level and slopes
    range: Array  # [2, F] what the pilot saw of the images; beyond it predictions stay flat
    spread: Array  # [T+1] the root mean square of residuals

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.spread) - 1

    def shares(self) -> Array:
        """The probability of each time (Neyman's allocation), [T+1]."""
        best = self.spread / self.spread.sum()
        found: Array = (1 - DEFENSIVE) * best + DEFENSIVE * proposal(self.T)
        return found

    def predict(self, known: Array, times: Array) -> Array:
        """The predicted term of each pair, [K], from what is known of its image, [K, F]."""
        known = np.clip(known, *self.range)
        first = self.first[0] + known @ self.first[1:]
        log = _hats(times, _knots(self.T)) @ self.levels
        log = log + ((known @ self.slopes) * _hats(times, SLOPES_AT)).sum(1)
        found: Array = np.where(times == 1, first, np.exp(log))
        return found

    def sums(self, known: Array, weights: Array) -> Array:
        """Sums over t of the predictions times ``weights`` [T+1, C], for every image, [n, C]."""
        known = np.clip(known, *self.range)
        times = np.arange(2, self.T + 1)
        level = _hats(times, _knots(self.T)) @ self.levels
        slopes = _hats(times, SLOPES_AT) @ self.slopes.T
        later = np.stack([np.exp(level + slopes @ row) @ weights[2:] for row in known])
        first = self.first[0] + known @ self.first[1:]
        found: Array = later + first[:, None] * weights[1]
        return found


def fit(known: Array, times: Array, values: Array, T: int) -> Control:
    """Learn a control from a pilot's terms.

    Args:
        known: What is known of the image of each pair, [K, F], about standardised.
        times: The time of each pair, [K].
        values: Its term, [K].
        T: The number of steps.
    """
    one, F = times == 1, known.shape[1]
    design = np.column_stack([np.ones(one.sum()), known[one]])
    first = _solve(design, values[one], RIDGE * np.diag([0.0] + [1.0] * F))
    hats, y = _hats(times[~one], _knots(T)), values[~one]
    floor = 1e-6 * max(y.max(initial=0), 1e-12)  # terms are positive but for rounding
    slope = [_hats(times[~one], SLOPES_AT) * column[:, None] for column in known[~one].T]
    K, S = hats.shape[1], len(SLOPES_AT)
    penalty = 1e-3 * np.eye(K + F * S)
    if K > 2:
        penalty[:K, :K] += SMOOTH * _squares(np.diff(np.eye(K), 2, axis=0))
    together = RIDGE * np.eye(S) + SMOOTH * _squares(np.diff(np.eye(S), axis=0))
    penalty[K:, K:] += np.kron(np.eye(F), together)
    found = _solve(np.hstack([hats, *slope]), np.log(np.maximum(y, floor)), penalty)
    levels, slopes = found[:K], found[K:].reshape(F, S)
    seen = np.stack([known.min(0), known.max(0)])
    control = Control(levels, slopes, first, seen, np.ones(T + 1))
    return Control(levels, slopes, first, seen, _spread(control, known, times, values))


def _spread(control: Control, known: Array, times: Array, values: Array) -> Array:
    """The size of residuals over t: relative to the terms, interpolated in log t, [T+1]."""
    all_times = np.arange(control.T + 1)
    middle = np.zeros((control.T + 1, known.shape[1]))
    typical = np.abs(control.predict(middle, all_times))
    predicted = control.predict(known, times)
    one = times == 1
    relative = np.square((values - predicted) / np.where(one, 1, predicted))
    hats = _hats(times[~one], SLOPES_AT)
    each = (hats.T @ relative[~one] + 1e-4) / (hats.sum(0) + 1e-2)
    found: Array = typical * np.sqrt(_hats(all_times, SLOPES_AT) @ each)
    lost = 1 + known.shape[1]  # degrees of freedom that the fit took
    found[1] = math.sqrt(relative[one].sum() / max(1, one.sum() - lost))
    found[0] = 0
    return found


def _knots(T: int) -> Array:
    """2, 4, 8, ... and T."""
    powers = 2 ** np.arange(1, max(2, math.ceil(math.log2(T))))
    return np.append(powers[powers < T], T) if T > 2 else np.array([2])


def _hats(times: Array, knots: Sequence[int] | Array) -> Array:
    """Linear interpolation in log t as weights on the knots, flat beyond them, [K, len(knots)]."""
    log, at = np.log(np.maximum(times, 1)), np.log(knots)
    return np.stack([np.interp(log, at, row) for row in np.eye(len(at))], 1)


def _solve(design: Array, y: Array, penalty: Array) -> Array:
    """Least squares with a quadratic penalty on the coefficients."""
    found: Array = np.linalg.lstsq(_squares(design) + penalty, design.T @ y, rcond=None)[0]
    return found


def _squares(rows: Array) -> Array:
    """The sum of each row's outer product with itself."""
    found: Array = rows.T @ rows
    return found


@dataclass(frozen=True, slots=True)
class Components:
    """Variances of what a draw contributes: ``between`` images and ``within`` them, [C]."""

    between: Array
    within: Array

    def variance(self, draws: float, n: int) -> Array:
        """The variance of the mean over n images that so many draws give (of these images)."""
        images = min(n, draws * (1 - 1 / REPEATS))
        found: Array = (1 / images - 1 / n) * self.between + self.within / draws
        return found


@dataclass(frozen=True, slots=True)
class Estimate:
    """Means over all n images, [C], and two standard errors.

    ``these`` is the error against the mean of these n images, all their terms evaluated with the
    same noise; ``population`` counts the choice of images and noise too.
    ``draws`` counts the draws that fell on the times of each mean, [C].
    """

    value: Array
    these: Array
    population: Array
    draws: Array
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

    def means(each: Array) -> Array:
        found = np.zeros((n_1, each.shape[1]))
        np.add.at(found, which, each)
        found /= counts[:, None]
        return found

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
"""Give V kinds of terms of pairs [K, V]: takes the name of the round, images [K] and times [K]."""


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

    def more(self, drawn: int, found: Estimate | None, n: int) -> int:
        """How many draws the next round has; 0 to stop. Rounds double until the end is near.

        Args:
            drawn: How many draws there are.
            found: What they gave; None before the first.
            n: The number of images.
        """
        if not drawn or found is None:
            return min(PILOT, self.evaluations - PILOT) if self.evaluations else PILOT
        if self.evaluations:
            return min(drawn, self.evaluations - PILOT - drawn)
        if found.these[0] <= self.stderr:
            return 0
        need = float(drawn)
        while found.components.variance(need, n)[0] > self.stderr**2 and need < 2 * drawn:
            need *= 1.02
        return min(drawn, max(PILOT // 3, math.ceil(need) - drawn))


def estimate(
    evaluate: Evaluate, known: Array, wanted: Wanted, goal: Goal, rng: np.random.Generator
) -> tuple[Estimate, int]:
    """Estimate means over n images from pairs chosen round by round.

    Each round's predictions and shares come from the rounds before it, so each draw is unbiased
    given them. With a budget the number of draws is fixed in advance and the estimate is unbiased;
    with a target the errors seen decide when to stop, which adds a bias of the order 1/draws.

    Args:
        evaluate: Scores pairs.
        known: What is known of each image without the network, [n, F], standardised.
        wanted: Which sums.
        goal: When to stop.
        rng: Chooses the pairs.

    Returns:
        The estimate and the number of evaluations.
    """
    n, T = len(known), wanted.T
    images, times, _ = draw(rng, np.zeros(n, np.int64), PILOT, proposal(T))
    taught = [(images, times, evaluate("pilot", images, times))]
    used, drawn = np.zeros(n, np.int64), 0
    touched = np.zeros(wanted.times.shape[1], np.int64)
    base: Array | None = None
    rounds: list[tuple[Array, Array, Array]] = []
    found: Estimate | None = None
    while size := goal.more(drawn, found, n):
        images, times, terms = (np.concatenate(part) for part in zip(*taught, strict=True))
        controls = [fit(known[images], times, kind, T) for kind in terms.T]
        each = zip(controls, wanted.kinds, strict=True)
        sums = np.sum([control.sums(known, wanted.times * kind) for control, kind in each], 0)
        base = sums if base is None else base
        shares = controls[0].shares()
        images, times, place = draw(rng, used, size, shares)
        terms = evaluate(f"round-{len(rounds) + 1}", images, times)
        predicted = np.stack([control.predict(known[images], times) for control in controls], 1)
        residuals = (terms - predicted) @ wanted.kinds * wanted.times[times]
        # Predictions differ between rounds; what a draw says is brought to the first ones.
        values = residuals / shares[times, None] + (sums - base)[images]
        rounds.append((images, place, values))
        taught.append((images, times, terms))
        drawn += size
        touched += np.count_nonzero(wanted.times[times], axis=0)
        all_images, places, all_values = (np.concatenate(p) for p in zip(*rounds, strict=True))
        found = replace(two_stage(all_images, places, all_values, base), draws=touched)
    if found is None:
        raise ValueError(f"a budget of {goal.evaluations} evaluations leaves none for the estimate")
    return found, PILOT + drawn
