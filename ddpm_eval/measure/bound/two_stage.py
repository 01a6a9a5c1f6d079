"""A mean over images from a few draws of each, with its error (Cochran 1977, chapter 10).

A draw's value is its image's sum W_i with an error that depends on the draw's place p, in [0, 1).
Errors of neighbouring places are alike, and grow apart with their distance: half the mean square of
their difference (the variogram) is taken as a line,

    gamma(d) = noise + slope d,

fitted to pairs of draws of one image. With it any choice of places p_1..p_R gives the mean of its
draws the variance

    noise / R + slope E(p),   E(p) = mean_i (p_i^2 + (1 - p_i)^2) - mean_ij |p_i - p_j| - 1/3,

where E, the energy distance of the places from the uniform distribution (Szekely and Rizzo 2013),
is 1/3 on average for one random place and falls about as 1/R^2 for places that are evenly spread.
"""

import math
from dataclasses import dataclass

import numpy as np

from ddpm_eval.measure.bound.control import Array

TREND_DRAWS = 24  # to each class of places whose mean the stratification removes
RANDOM = 1 / 3  # E of one random place, on average
GOLDEN_SPREAD = 0.45  # E R^2 of places that follow each other by the golden ratio, at most about


@dataclass(frozen=True, slots=True)
class Components:
    """Variances of a draw's value: ``between`` images, and the line of its variogram, [C]."""

    between: Array
    noise: Array
    slope: Array

    @property
    def within(self) -> Array:
        """The variance of the values of one image's draws."""
        variance: Array = self.noise + RANDOM * self.slope
        return variance

    def variance(self, draws: float, n: int, repeats: int) -> Array:
        """Predict the variance of the mean of these n images from so many draws, [C].

        Args:
            draws: How many.
            n: The number of images.
            repeats: One draw of so many falls on an image that has one, while others have none.
        """
        images = min(n, draws * (1 - 1 / repeats))
        few, share = math.floor(draws / images), draws / images % 1
        error = (1 - share) * self._within(few) + share * self._within(few + 1)
        variance: Array = (1 / images - 1 / n) * (self.between + error) + error / n
        return variance

    def _within(self, R: int) -> Array:
        spread = RANDOM if R == 1 else GOLDEN_SPREAD / R**2
        variance: Array = self.noise / R + self.slope * spread
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
    """Estimate means over images from draws, with their errors.

        value = mean over n of sums + mean over drawn images of the mean of their draws

        variance = (1/n_1 - 1/n) s_1^2 + (mean error of an image's mean) / n

    with s_1^2 the variance of the n_1 drawn images' means.

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
    # The stratification of places takes out how the mean depends on them.
    flat, lost = _without_trend(place, values)
    first = means(flat).var(0, ddof=1) * lost
    if m - n_1 < 2:  # no image with two draws: count all of the variance, which is too much
        noise, slope = first, np.zeros_like(first)
    else:
        noise, slope = (lost * part for part in variogram(which, place, flat))
    error = noise * (1 / counts).mean() + slope * energy(which, place).mean()
    these = (1 / n_1 - 1 / n) * first + error / n
    between = np.maximum(first - error, 0)
    covariance = ((sums[drawn] - sums.mean(0)) * (image_means - image_means.mean(0))).sum(0)
    whole = sums.var(0, ddof=1) + 2 * covariance / (n_1 - 1) + between
    return Estimate(
        value=sums.mean(0) + image_means.mean(0),
        these=np.sqrt(these),
        population=np.sqrt(these + np.maximum(whole, between) / n),
        draws=np.full(values.shape[1], m),
        expected=np.zeros(values.shape[1]),
        components=Components(between, noise, slope),
    )


def variogram(images: Array, place: Array, values: Array) -> tuple[Array, Array]:
    """Fit a line to half the squared differences of an image's draws over their distance.

    Each draw is paired with its neighbour and with the one half of its image's draws away.

    Args:
        images: The image of each draw, every number 0..n_1-1 at least once, [m].
        place: Its place, [m].
        values: Its values, [m, C].

    Returns:
        The line's value at distance 0 and its slope, [C], neither below 0.
    """
    order = np.lexsort((place, images))
    images, place, values = images[order], place[order], values[order]
    rank, counts = _ranks(images)
    half = counts // 2
    lags = (np.ones_like(rank), np.where(half > 1, half, counts))
    left = [np.flatnonzero(rank + lag < counts) for lag in lags]
    right = np.concatenate([i + lag[i] for i, lag in zip(left, lags, strict=True)])
    pairs = np.concatenate(left)
    distance = place[right] - place[pairs]
    halves = np.square(values[right] - values[pairs]) / 2
    centred = distance - distance.mean()
    slope = np.maximum(centred @ halves / max(centred @ centred, np.finfo(float).tiny), 0)
    noise = halves.mean(0) - slope * distance.mean()
    flat = noise < 0  # then a line through 0
    slope = np.where(flat, halves.mean(0) / max(distance.mean(), np.finfo(float).tiny), slope)
    return np.maximum(noise, 0), slope


def energy(images: Array, place: Array) -> Array:
    """Compute the energy distance of each image's places from the uniform distribution, [n_1].

    >>> energy(np.array([0, 1, 1]), np.array([0.5, 0.25, 0.75])).round(4)
    array([0.1667, 0.0417])
    """
    order = np.lexsort((place, images))
    images, place = images[order], place[order]
    rank, counts = _ranks(images)
    ends = np.square(place) + np.square(1 - place)
    apart = 2 * (2 * rank - counts + 1) * place / counts
    mean: Array = np.bincount(images, (ends - apart) / counts) - RANDOM
    return mean


def _ranks(images: Array) -> tuple[Array, Array]:
    """Number the draws of each image, which lie together, and count them, [m] each."""
    counts = np.bincount(images)
    starts = counts.cumsum() - counts
    return np.arange(len(images)) - starts[images], counts[images]


def _without_trend(place: Array, values: Array) -> tuple[Array, float]:
    """Take the mean of each class of places from the values; the factor makes up for that."""
    m = len(place)
    classes = max(1, m // TREND_DRAWS)
    which = np.minimum((place * classes).astype(int), classes - 1)
    counts = np.maximum(np.bincount(which, minlength=classes), 1)
    means = np.zeros((classes, values.shape[1]))
    np.add.at(means, which, values)
    means /= counts[:, None]
    return values - means[which], m / (m - classes) if m > classes else 1.0
