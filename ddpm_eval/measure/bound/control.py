"""Control variates for the bound's terms: what an image's covariates predict of them.

A few scored pairs teach a prediction of every term and how far off it is. The mean of the
predictions is known exactly, so only the residuals have to be estimated (see estimator.py).

Tables have T+1 rows and row 0 is zero.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

DEFENSIVE = 0.05  # of the draws are spread by ``proposal``, so that no residual weighs too much
SLOPES_AT = (2, 16, 128, 1024)  # steps between which the covariates' effect is interpolated
RIDGE = 1.0  # holds slopes near zero, as strongly as so many observations would
BLOCK = 1024  # images whose terms are predicted at once
SMOOTH = 0.25  # holds neighbouring slopes together, and levels on a line, likewise


def proposal(T: int) -> Array:
    """Give the shares of times before anything is learned: a quarter to t = 1, the rest as 1/t.

    >>> proposal(3).round(3)
    array([0.   , 0.659, 0.205, 0.136])
    """
    shares = np.zeros(T + 1)
    shares[1:] = 0.75 / np.arange(1, T + 1) / (1 / np.arange(1, T + 1)).sum()
    shares[1] += 0.25
    return shares


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """A prediction of every term, and how far off it is.

    For t > 1 the logarithm of a term is linear between knots in log t, and its slope in the image's
    covariates likewise, so that any schedule's terms are followed with few parameters. The term of
    t = 1 is linear in the covariates.
    """

    levels: Array  # [knots] log y at knots 2, 4, 8, ... T
    slopes: Array  # [F, len(SLOPES_AT)]
    first: Array  # [1 + F] the term of t = 1: its level and slopes
    range: Array  # [2, F] of the covariates that taught; beyond it predictions stay flat
    spread: Array  # [T+1] the root mean square of residuals

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.spread) - 1

    def shares(self) -> Array:
        """Compute the probability of each time (Neyman's allocation), [T+1]."""
        best = self.spread / self.spread.sum()
        shares: Array = (1 - DEFENSIVE) * best + DEFENSIVE * proposal(self.T)
        return shares

    def predict(self, covariates: Array, times: Array) -> Array:
        """Predict the term of each pair, [K], from its image's covariates, [K, F]."""
        covariates = np.clip(covariates, *self.range)
        first = self.first[0] + covariates @ self.first[1:]
        log = _hats(times, _knots(self.T)) @ self.levels
        log = log + ((covariates @ self.slopes) * _hats(times, SLOPES_AT)).sum(1)
        terms: Array = np.where(times == 1, first, np.exp(log))
        return terms

    def sums(self, covariates: Array, weights: Array) -> Array:
        """Sum the predictions times ``weights`` [T+1, C] over t for every image, [n, C]."""
        covariates = np.clip(covariates, *self.range)
        times = np.arange(2, self.T + 1)
        level = _hats(times, _knots(self.T)) @ self.levels
        slopes = _hats(times, SLOPES_AT) @ self.slopes.T
        sums = np.empty((len(covariates), weights.shape[1]))
        for start in range(0, len(covariates), BLOCK):
            few = covariates[start : start + BLOCK]
            first = self.first[0] + few @ self.first[1:]
            later = np.exp(level + few @ slopes.T) @ weights[2:]
            sums[start : start + BLOCK] = later + first[:, None] * weights[1]
        return sums


def fit(covariates: Array, times: Array, values: Array, T: int) -> Control:
    """Learn a control from scored terms.

    Args:
        covariates: Of the image of each pair, [K, F], about standardised.
        times: The time of each pair, [K].
        values: Its term, [K].
        T: The number of steps.
    """
    one, F = times == 1, covariates.shape[1]
    design = np.column_stack([np.ones(one.sum()), covariates[one]])
    first = _solve(design, values[one], RIDGE * np.diag([0.0] + [1.0] * F))
    hats, y = _hats(times[~one], _knots(T)), values[~one]
    floor = 1e-6 * max(y.max(initial=0), 1e-12)  # terms are positive but for rounding
    slope = [_hats(times[~one], SLOPES_AT) * column[:, None] for column in covariates[~one].T]
    K, S = hats.shape[1], len(SLOPES_AT)
    penalty = 1e-3 * np.eye(K + F * S)
    if K > 2:
        penalty[:K, :K] += SMOOTH * _squares(np.diff(np.eye(K), 2, axis=0))
    together = RIDGE * np.eye(S) + SMOOTH * _squares(np.diff(np.eye(S), axis=0))
    penalty[K:, K:] += np.kron(np.eye(F), together)
    weights = _solve(np.hstack([hats, *slope]), np.log(np.maximum(y, floor)), penalty)
    levels, slopes = weights[:K], weights[K:].reshape(F, S)
    seen = np.stack([covariates.min(0), covariates.max(0)])
    control = Control(levels, slopes, first, seen, np.ones(T + 1))
    return Control(levels, slopes, first, seen, _spread(control, covariates, times, values))


def _spread(control: Control, covariates: Array, times: Array, values: Array) -> Array:
    """Compute the size of residuals over t: relative to the terms, interpolated in log t, [T+1]."""
    all_times = np.arange(control.T + 1)
    middle = np.zeros((control.T + 1, covariates.shape[1]))
    typical = np.abs(control.predict(middle, all_times))
    predicted = control.predict(covariates, times)
    one = times == 1
    relative = np.square((values - predicted) / np.where(one, 1, predicted))
    hats = _hats(times[~one], SLOPES_AT)
    squares = (hats.T @ relative[~one] + 1e-4) / (hats.sum(0) + 1e-2)
    spread: Array = typical * np.sqrt(_hats(all_times, SLOPES_AT) @ squares)
    lost = 1 + covariates.shape[1]  # degrees of freedom that the fit took
    spread[1] = math.sqrt(relative[one].sum() / max(1, one.sum() - lost))
    spread[0] = 0
    return spread


def expected_error(controls: Sequence[Control], kinds: Array, times: Array, draws: int) -> Array:
    """Predict the standard errors of sums over times from the residuals of all times, [C].

        sqrt( sum_t w_t^2 spread_t^2 / (q_t m) )

    A sum over times on which hardly a draw fell has no error of its own; this one takes the size of
    its residuals from the times around.

    Args:
        controls: One for each kind of term; the first has the shares q of the draws, [V].
        kinds: How much of each kind goes into each sum, [V, C].
        times: How much of each time's term does, w, [T+1, C].
        draws: How many there are, m.
    """
    spread = np.stack([control.spread[1:] for control in controls], 1) @ np.abs(kinds)
    squares = np.square(spread * times[1:]) / controls[0].shares()[1:, None]
    error: Array = np.sqrt(squares.sum(0) / draws)
    return error


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
    weights: Array = np.linalg.lstsq(_squares(design) + penalty, design.T @ y, rcond=None)[0]
    return weights


def _squares(rows: Array) -> Array:
    """Sum each row's outer product with itself."""
    products: Array = rows.T @ rows
    return products
