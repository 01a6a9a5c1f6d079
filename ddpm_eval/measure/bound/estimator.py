"""The mean of the bound from a small part of its terms, without bias and with its error.

The bound of an image is a sum over times of terms y_it, and each costs an evaluation of the
network. Three things make few of them enough:

*   Control. What can be computed of an image without the network, its covariates, predicts its
    terms, y_hat_it (``control.fit``). The mean of the predictions is known exactly; only the
    residuals r = y - y_hat are estimated. The images are in FOLDS parts, and the terms of a part
    are predicted by what the draws of the other parts taught (cross-fitting), so that every draw
    both teaches and counts.
*   Importance. A draw (image, time) with the time's share q_t contributes r_it / q_t, whose mean
    over times is the image's sum W_i. Shares proportional to the spread of the residuals are
    Neyman's allocation (``Control.shares``).
*   Two stages. Draws go to the images with the fewest of them, so all get equal shares, and the
    times of all draws and of one image's are spread evenly (``draws``). The error separates into
    W's variance between images, which vanishes once every image has a draw, and the draws' within
    images (``two_stage``).

Times are 1..T; tables have T+1 rows and row 0 is zero. A bad prediction or a bad share costs
precision, not correctness.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ddpm_eval.measure.bound.control import Array, Control, expected_error, fit, proposal
from ddpm_eval.measure.bound.draws import REPEATS, Draws
from ddpm_eval.measure.bound.two_stage import Estimate, two_stage

PILOT = 64  # draws of the first round, whose shares nothing has taught
FOLDS = 5
STEP = 16  # the least draws of a round
NEARER = 0.5  # of the draws that seem to be missing are made before the error is looked at again

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
            return PILOT
        if self.evaluations:
            return min(drawn, self.evaluations - drawn)
        if estimate.these[0] <= self.stderr:
            return 0
        need, goal = float(drawn), self.stderr**2
        while estimate.components.variance(need, n, REPEATS)[0] > goal and need < 2 * drawn:
            need *= 1.01
        return min(drawn, max(STEP, math.ceil(NEARER * (need - drawn))))


def estimate(
    evaluate: Evaluate, covariates: Array, wanted: Wanted, goal: Goal, rng: np.random.Generator
) -> tuple[Estimate, int]:
    """Estimate means over n images from pairs chosen round by round.

    The shares of a round come from the rounds before it. A budget fixes the number of draws in
    advance; with a target the errors seen decide when to stop. Either adds a bias of the order
    1/draws, which tests find to be a small part of the error.

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
    parts = rng.permutation(n) % FOLDS
    draws, shares = Draws(n, rng), proposal(T)
    terms = np.zeros((0, len(wanted.kinds)))
    latest: Estimate | None = None
    number = 0
    while size := goal.more(len(draws), latest, n):
        number += 1
        terms = np.concatenate([terms, evaluate(f"round-{number}", *draws.draw(size, shares))])
        residuals, sums = cross_fit(draws, terms, covariates, wanted, parts)
        values = residuals / draws.shares()[draws.times, None]
        controls = controls_of(covariates[draws.images], draws.times, terms, T)
        shares = controls[0].shares()
        latest = replace(
            two_stage(draws.images, draws.places(), values, sums),
            draws=np.count_nonzero(wanted.times[draws.times], axis=0),
            expected=expected_error(controls, wanted.kinds, wanted.times, len(draws)),
        )
    if latest is None:
        raise ValueError(f"a budget of {goal.evaluations} evaluations leaves none for the estimate")
    return latest, len(draws)


def controls_of(covariates: Array, times: Array, terms: Array, T: int) -> list[Control]:
    """Learn a control of each kind of terms, [V]."""
    return [fit(covariates, times, kind, T) for kind in terms.T]


def cross_fit(
    draws: Draws, terms: Array, covariates: Array, wanted: Wanted, parts: Array
) -> tuple[Array, Array]:
    """Predict the terms of each part of the images by controls that the other parts taught.

    Args:
        draws: The draws.
        terms: Their terms of V kinds, [m, V].
        covariates: Of each image, [n, F].
        wanted: Which C sums.
        parts: The part of each image, 0..FOLDS-1, [n].

    Returns:
        What the predictions of the draws leave, weighted for each sum, [m, C], and the sums of each
        image's predictions, [n, C].
    """
    C = wanted.times.shape[1]
    residuals, sums = np.zeros((len(draws), C)), np.zeros((len(covariates), C))
    traits, times = covariates[draws.images], draws.times
    for part in range(FOLDS):
        apart = parts[draws.images] == part
        controls = controls_of(traits[~apart], times[~apart], terms[~apart], wanted.T)
        predicted = [control.predict(traits[apart], times[apart]) for control in controls]
        left = terms[apart] - np.stack(predicted, 1)
        residuals[apart] = left @ wanted.kinds * wanted.times[times[apart]]
        for control, kind in zip(controls, wanted.kinds, strict=True):
            sums[parts == part] += control.sums(covariates[parts == part], wanted.times * kind)
    return residuals, sums
