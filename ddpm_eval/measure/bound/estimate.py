"""The bound from a small part of its terms, with two standard errors (see estimator.py)."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import estimator, likelihood, texture
from ddpm_eval.measure.bound.calibration import best_variance, training_images
from ddpm_eval.measure.bound.estimator import Evaluate, Goal, Wanted
from ddpm_eval.measure.bound.facts import mean_bits, protocol_of, scored
from ddpm_eval.measure.bound.scoring import CHUNK_IMAGES, prior_bits, score, sweep_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import (
    Array,
    Chosen,
    Sweep,
    Terms,
    step_bits,
    variance_tables,
)
from ddpm_eval.measure.bound.two_stage import Estimate
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Part, Qualifiers, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream

LEAST_IMAGES = 16
FEW_DRAWS = 10  # below this an error cannot be told from the draws


@dataclass(frozen=True, slots=True)
class Sum:
    """A sum over steps of kinds of terms: which part of the bound, under which variance.

    Attributes:
        part: ``total``, ``steps`` or ``decoder``; empty for a sum that is no score.
        variance: Its name; empty for the model's own.
        kinds: How much of each kind of term goes into it, [V].
        rows: How much of each step's term does, [K+1].
    """

    part: Part | None
    variance: str
    kinds: Array
    rows: Array


def wanted(sums: list[Sum]) -> Wanted:
    """Put sums side by side, as the estimator takes them."""
    kinds, rows = zip(*((item.kinds, item.rows) for item in sums), strict=True)
    return Wanted(np.stack(kinds, 1), np.stack(rows, 1).astype(float))


def measure(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    training: ImageSet | None = None,
) -> Measurement:
    """Estimate the bound of images, for every variance.

    The arguments are those of ``likelihood.measure``.

    Raises:
        FixableError: The goal is out of reach.
    """
    chosen = likelihood.choose_images(images, settings)
    learned = training_images(chosen, training, settings)
    protocol = protocol_of(model, chosen, settings, training=learned)
    finished = runtime.recorded(likelihood.MEASURE, protocol)
    if finished is not None:
        return finished
    process, n = model.denoise.schedule, len(chosen)
    table = None if learned is None else best_variance(model, learned, settings, runtime)
    variances = variance_tables(model, table)
    sweep = sweep_of(model, chosen, settings, runtime, variances=variances)
    classes = octaves(process.T)
    names = variance_names(sweep)
    sums = parts(names, process.T) + class_sums(len(names), process.T, classes)
    estimate, evaluations = run({"nll": sweep}, chosen, settings, runtime, sums=wanted(sums))
    return Measurement(
        measure=likelihood.MEASURE,
        protocol=protocol,
        scores=(
            *scores(names, sums, estimate, prior_bits(model, chosen)),
            *likelihood.mismatch(process, variances, n),
            *effort(evaluations, n * process.T),
        ),
        curves=(_curve(estimate, classes, process.T, n),),
        warnings=shortfall(estimate),
    )


def run(
    sweeps: Mapping[str, Sweep],
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    sums: Wanted,
) -> tuple[Estimate, int]:
    """Run the estimator on one network, or on several with the same pairs and noise.

    Args:
        sweeps: The sweep of each model, by the name of its work.
        images: The images.
        settings: The goal and the seed.
        runtime: How the work is carried out.
        sums: What is estimated.

    Returns:
        The estimate of every sum, and how many evaluations each model had.

    Raises:
        FixableError: The goal is out of reach.
    """
    n, budget = len(images), settings.budget
    every, least = n * sums.T, 2 * estimator.PILOT
    if n < LEAST_IMAGES or (budget and not least <= budget < every):
        raise FixableError(
            f"budget={budget:,}: cannot be estimated from {n:,} images"
            if budget
            else f"n={n:,}: too few images for an estimate",
            f"take at least {LEAST_IMAGES} images and between {least} and {every:,} evaluations, "
            "or leave budget= and target_stderr= out for the full bound",
        )
    evaluate = _evaluator(sweeps, images, settings, runtime, every)
    goal = Goal(settings.target_stderr, budget)
    rng = Stream(settings.seed, "design").generator(0)
    return estimator.estimate(evaluate, textures(images), sums, goal, rng)


def _evaluator(
    sweeps: Mapping[str, Sweep],
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    every: int,
) -> Evaluate:
    """Score the pairs of a round with each model, in shards."""
    spent = 0

    def evaluate(stage: str, places: Array, rows: Array) -> Array:
        nonlocal spent
        spent += len(rows)
        if spent > every:
            raise FixableError(
                f"target_stderr={settings.target_stderr:g}: takes more evaluations than the full "
                f"bound's {every:,}",
                "leave it out: the full bound of these images has no sampling error",
            )
        columns, pairs = [], Chosen(places, rows)
        for name, sweep in sweeps.items():
            label = f"bits/dim estimate, {stage}"
            terms = score(sweep, pairs, images, runtime, name=f"{name}-{stage}", label=label)
            columns.append(kinds(sweep, terms, rows))
        return np.hstack(columns)

    return evaluate


def textures(images: ImageSet) -> Array:
    """Describe each image without the network, [n, 2], standardised."""
    n = len(images)
    chunks = (range(i, min(n, i + CHUNK_IMAGES)) for i in range(0, n, CHUNK_IMAGES))
    return texture.standardise(np.concatenate([texture.describe(images.read(c)) for c in chunks]))


def variance_names(sweep: Sweep) -> tuple[str, ...]:
    """Name the variances that are scored, the model's own first."""
    own = sweep.model.variance
    return (own, *(name for name in sweep.variances if name != own))


def kinds(sweep: Sweep, terms: Terms, rows: Array) -> Array:
    """Compute the term of each pair under each of ``variance_names``, [n, V] bits/dim."""
    process, own = sweep.model.denoise.schedule, sweep.model.variance
    columns = [terms.bits.astype(np.float64)]
    later = rows > 1
    for i, (name, table) in enumerate(sweep.variances.items()):
        if name != own:
            column = np.empty(len(rows))
            column[later] = step_bits(process, rows[later], terms.error[later], table)
            column[~later] = terms.decoder[:, i]
            columns.append(column)
    return np.stack(columns, 1)


def parts(names: tuple[str, ...], T: int) -> list[Sum]:
    """List total, KL sum and decoder term for each variance, the model's own first."""
    rows = np.arange(T + 1)
    which: dict[Part, Array] = {"total": rows >= 1, "steps": rows >= 2, "decoder": rows == 1}
    one = np.eye(len(names))
    return [
        Sum(part, name if v else "", one[v], steps)
        for v, name in enumerate(names)
        for part, steps in which.items()
    ]


def octaves(T: int) -> list[int]:
    """List where the classes of steps begin over which the curve of terms is averaged.

    >>> octaves(10)
    [1, 2, 3, 5, 9]
    """
    return [1] + [2**k + 1 for k in range(20) if 2**k + 1 <= T]


def class_sums(V: int, T: int, classes: list[int]) -> list[Sum]:
    """List the sum of the terms of each class of steps, under the model's own variance."""
    rows, edges, own = np.arange(T + 1), [*classes, T + 1], np.eye(V)[0]
    return [Sum(None, "", own, (rows >= a) & (rows < b)) for a, b in pairwise(edges)]


def scores(
    names: tuple[str, ...], sums: list[Sum], estimate: Estimate, prior: Array
) -> tuple[Score, ...]:
    """List the scores that the full bound has too, and the error against these images."""
    n, constant = len(prior), float(prior.mean())
    listed: list[Score] = []
    for item, value, stderr in zip(sums, estimate.value, estimate.population, strict=True):
        if item.part is not None:
            bits = float(value) + (constant if item.part == "total" else 0.0)
            of = {"part": item.part, "variance": item.variance}
            listed.append(scored("bits_per_dim", bits, n, float(stderr), **of))
    own = listed[0]
    these = scored("bits_per_dim", own.value, n, float(estimate.these[0]), part="these images")
    again = scored("bits_per_dim", own.value, n, float(estimate.population[0]), variance=names[0])
    return (own, these, mean_bits(prior, part="prior"), *listed[1:], again)


def effort(evaluations: int, every: int) -> tuple[Score, Score]:
    """Count what the estimate took, beside the full bound."""
    return (
        Score(metric="evaluations", value=evaluations, n=1),
        Score(metric="evaluations", value=every, n=1, of=Qualifiers(whose="full bound")),
    )


def error_of(estimate: Estimate, part: slice) -> Array:
    """Give the errors of some sums; where hardly a draw fell, what the others let expect at least.

    There draws cannot tell their own error: two equal ones would say that there is none. It is
    never more than the sum itself, which is no less than 0.
    """
    value, error, expected = (
        item[part] for item in (estimate.value, estimate.population, estimate.expected)
    )
    few = estimate.draws[part] < FEW_DRAWS
    least = np.maximum(error, np.minimum(expected, np.abs(value)))
    return np.where(few, least, error)


def _curve(estimate: Estimate, classes: list[int], T: int, n: int) -> Curve:
    """Average the terms over each class of steps."""
    width, part = np.diff([*classes, T + 1]), slice(-len(classes), None)
    return Curve(
        metric="bound_term",
        over="t",
        x=np.array(classes) + (width - 1) / 2 - 1,
        y=estimate.value[part] / width,
        n=n,
        error=error_of(estimate, part) / width,
        log="y",
    )


def shortfall(estimate: Estimate) -> tuple[str, ...]:
    """Say what of the errors a reader may mistake."""
    if estimate.population[0] < 2 * estimate.these[0]:
        return ()
    text = (
        "the error of the total is mostly the choice of images, which more of them lower; its "
        "error against the mean of these images is far smaller and stands beside it"
    )
    return (text,)
