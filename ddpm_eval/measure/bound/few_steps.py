"""The bound of K steps in place of T, for several K, from the errors of one sweep (see strides)."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import likelihood, strides
from ddpm_eval.measure.bound.calibration import training_images
from ddpm_eval.measure.bound.facts import mean_bits, protocol_of, stderr_of
from ddpm_eval.measure.bound.likelihood import BoundTerms
from ddpm_eval.measure.bound.settings import BoundSettings, StrideSettings
from ddpm_eval.measure.bound.strides import StrideCosts
from ddpm_eval.measure.bound.sweep import Array, Tables, calibrated_name
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Qualifiers, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.settings import to_dict
from ddpm_train.variances import errors_of

MEASURE = "strides"
PLACEMENTS: Mapping[str, Callable[[int, int], tuple[int, ...]]] = {
    "even steps": strides.even,
    "quadratic steps": strides.quadratic,
}
"""What the best steps stand beside."""


def measure(
    model: Model,
    images: ImageSet,
    bound: BoundSettings,
    *,
    settings: StrideSettings,
    runtime: Runtime,
    training: ImageSet | None = None,
) -> Measurement:
    """Measure the bound of the best K steps, of evenly spaced and of quadratic ones.

    The variance is the best of each stride, fitted to the errors on training images where these
    are wanted, else to the model's own where it has them, else to the mean of the scored images.
    A full bound of the same protocol that is recorded is used as it is.

    Args:
        model: The model.
        images: The images to choose from.
        bound: Which are scored, the noise, and how many the variance is fitted to.
        settings: The numbers of steps.
        runtime: How the work is carried out.
        training: Training images, to fit the variance to.

    Raises:
        FixableError: There is no walk of so many steps.
    """
    T = model.denoise.schedule.T
    strides.check(settings.counts, T)
    chosen = likelihood.choose_images(images, bound)
    learned = training_images(chosen, training, bound)
    protocol = protocol_of(model, chosen, bound, training=learned)
    own = {**protocol.settings, "strides": to_dict(settings)}
    finished = runtime.recorded(MEASURE, replace(protocol, settings=own))
    if finished is not None:
        return finished
    terms, variances = likelihood.obtain_terms(model, chosen, bound, runtime, training=learned)
    costs, decoder, source = _fitted(model, terms, variances)
    rest = terms.prior() + decoder
    walks = {"best steps": strides.choose(costs, settings.counts)} | {
        name: {count: place(T, count) for count in settings.counts}
        for name, place in PLACEMENTS.items()
    }
    bits = {
        name: {count: rest + costs.walk(walk) for count, walk in placed.items()}
        for name, placed in walks.items()
    }
    spacings = {str(k): f"at {','.join(map(str, walk))}" for k, walk in walks["best steps"].items()}
    whole = rest + costs.walk(range(1, T + 1))
    return Measurement(
        measure=MEASURE,
        protocol=replace(protocol, settings=own),
        scores=_scores(bits, whole, T),
        curves=tuple(_curve(name, by_count) for name, by_count in bits.items()),
        facts={"variance fitted to": source, "spacings": spacings},
    )


def _fitted(model: Model, terms: BoundTerms, variances: Tables) -> tuple[StrideCosts, Array, str]:
    """Fit the variance of strides, and give the decoder's bits [n] under it."""
    process, errors = model.denoise.schedule, terms.error.astype(np.float64)
    learned = calibrated_name(model)
    if learned in variances:
        fitted = errors_of(process, variances[learned]).numpy()
        costs = StrideCosts.of(process, errors, fitted)
        return costs, terms.decoders[learned].astype(np.float64), "training images"
    if model.denoise.errors is not None:
        costs = StrideCosts.of(process, errors, model.denoise.errors.numpy())
        return costs, terms.decoder(), "the model's own errors"
    return StrideCosts.of(process, errors), terms.decoder(), "the scored images"


def _scores(bits: Mapping[str, Mapping[int, Array]], whole: Array, T: int) -> tuple[Score, ...]:
    """The bound of all steps, then of each number of them, by each placement."""
    scores = [mean_bits(whole, whose="all steps", at=("steps", float(T)))]
    for name, by_count in bits.items():
        scores += [
            mean_bits(values, whose=name, at=("steps", float(count)))
            for count, values in by_count.items()
        ]
    return tuple(scores)


def _curve(name: str, by_count: Mapping[int, Array]) -> Curve:
    values = np.stack(list(by_count.values()), 1)
    return Curve(
        metric="bits_per_dim",
        over="steps",
        x=np.array(list(by_count)),
        y=values.mean(0),
        n=len(values),
        error=stderr_of(values) if len(values) > 1 else None,
        of=Qualifiers(whose=name),
        log="x",
    )
