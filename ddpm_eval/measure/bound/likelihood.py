"""The variational bound (Eq. 5) in bits/dim: every term of every image, for every variance."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.bound import scoring
from ddpm_eval.measure.bound.calibration import best_variance, training_images
from ddpm_eval.measure.bound.facts import mean_bits, protocol_of, stderr_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import (
    Array,
    Every,
    Tables,
    Terms,
    calibrated_name,
    step_bits,
    variance_tables,
)
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Qualifiers, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.schedule import NoiseSchedule
from ddpm_train.variances import VARIANCES

MEASURE = "bound"


@dataclass(frozen=True, slots=True)
class BoundTerms:
    """The bound, image by image and term by term.

    ``bits[:, k]`` is L_k under the model's own variance: L_0 the decoder's, L_T the prior's, all in
    bits/dim. ``mse[:, k]`` is the mean squared error of x_0_hat decoded from x_k, on the scale
    [-1, 1], and ``error[:, k]`` that of the step's mean in the same units; column 0 of these two
    is 0.
    """

    bits: Array  # [n, T+1]
    mse: Array  # [n, T+1]
    error: Array  # [n, T+1]
    decoders: Mapping[str, Array]  # L_0 for each isotropic variance, [n]

    def total(self) -> Array:
        """The bound on each image's code length, [n]."""
        sums: Array = self.rate()[:, 0]
        return sums

    def decoder(self) -> Array:
        """L_0, [n]."""
        return self.bits[:, 0].astype(np.float64)

    def prior(self) -> Array:
        """L_T, [n]."""
        return self.bits[:, -1].astype(np.float64)

    def steps(self) -> Array:
        """L_1 + ... + L_{T-1}, [n]."""
        rest: Array = self.total() - self.prior() - self.decoder()
        return rest

    def rate(self) -> Array:
        """Bits/dim received once x_k is known: L_T + ... + L_k, [n, T+1]."""
        sums: Array = self.bits[:, ::-1].cumsum(1, dtype=np.float64)[:, ::-1]
        return sums

    def of_images(self, places: Array) -> "BoundTerms":
        """Take the terms of the images at these places."""
        decoders = {name: column[places] for name, column in self.decoders.items()}
        return BoundTerms(self.bits[places], self.mse[places], self.error[places], decoders)

    def with_variance(
        self, name: str, process: NoiseSchedule, log_variances: Tensor
    ) -> "BoundTerms":
        """The same terms had p another isotropic variance: a function of the same outputs."""
        bits = self.bits.copy()
        bits[:, 0] = self.decoders[name]
        rows = np.arange(2, process.T + 1)
        for row, error in zip(bits, self.error, strict=True):  # row by row: little memory
            row[1:-1] = step_bits(process, rows, error[2:], log_variances)
        return replace(self, bits=bits)


def measure(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    training: ImageSet | None = None,
) -> Measurement:
    """Measure the full bound of images: every term, once each.

    Args:
        model: The model.
        images: The images to choose from.
        settings: Which are scored, the noise, and how many the best variance is learned from.
        runtime: How the work is carried out.
        training: Training images, to learn that variance from.

    Raises:
        FixableError: There are too few images.
    """
    chosen = choose_images(images, settings)
    learned = training_images(chosen, training, settings)
    protocol = protocol_of(model, chosen, settings, training=learned)
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    terms, variances = obtain_terms(model, chosen, settings, runtime, training=learned)
    process = model.denoise.schedule
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=scores(terms, process, variances),
        curves=(_curve(terms, process),),
        arrays=_arrays(terms, variances, calibrated_name(model)),
    )


def choose_images(images: ImageSet, settings: BoundSettings) -> ImageSet:
    """Choose the images that are scored."""
    return choose(
        images,
        settings.n,
        seed=settings.seed,
        first=settings.first,
        drop_remainder=settings.drop_remainder,
    )


def full(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    training: ImageSet | None = None,
) -> tuple[BoundTerms, Tables]:
    """Compute every term of all of these images, and the isotropic variances that are scored."""
    table = None if training is None else best_variance(model, training, settings, runtime)
    variances = variance_tables(model, table)
    n, T = len(images), model.denoise.schedule.T
    sweep = scoring.sweep_of(model, images, settings, runtime, variances=variances)
    label = f"bits/dim, {n:,} images x {T:,} steps"
    terms = scoring.score(sweep, Every(n, T), images, runtime, name="terms", label=label)
    return assemble(terms, scoring.prior_bits(model, images), variances), variances


def obtain_terms(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    training: ImageSet | None = None,
) -> tuple[BoundTerms, Tables]:
    """Read every term of these images where a full bound of them is recorded, else compute them."""
    protocol = protocol_of(model, images, settings, training=training)
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return terms_of(finished, model)
    return _part_of_all(model, images, settings, runtime, training) or full(
        model, images, settings, runtime, training=training
    )


def _part_of_all(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    training: ImageSet | None,
) -> tuple[BoundTerms, Tables] | None:
    """Take the terms of these images from the recorded full bound of all images of their source.

    An image's noise is named by its index, so its terms are the same there, but for the rounding
    of other batches.
    """
    whole = ImageSet(images.source, images.dataset, images.split, np.arange(len(images.source)))
    wider = replace(settings, n=0, first=False, drop_remainder=0)
    finished = runtime.recorded(MEASURE, protocol_of(model, whole, wider, training=training))
    if finished is None:
        return None
    runtime.notify(f"the terms of these {len(images):,} images are those recorded of all images")
    terms, variances = terms_of(finished, model)
    return terms.of_images(images.indices), variances


def assemble(terms: Terms, prior: Array, variances: Tables) -> BoundTerms:
    """Lay the terms of every pair out by image and row."""
    n = len(prior)
    T = len(terms.mse) // n
    bits, mse, error = np.zeros((3, n, T + 1), np.float32)
    bits[:, :T], bits[:, T] = terms.bits.reshape(n, T), prior
    mse[:, 1:], error[:, 1:] = terms.mse.reshape(n, T), terms.error.reshape(n, T)
    decoders = {name: terms.decoder[:, i] for i, name in enumerate(variances)}
    return BoundTerms(bits, mse, error, decoders)


def scores(terms: BoundTerms, process: NoiseSchedule, variances: Tables) -> tuple[Score, ...]:
    """Average the terms into the numbers that are published."""
    n = len(terms.bits)
    own = (
        mean_bits(terms.total()),
        mean_bits(terms.prior(), part="prior"),
        mean_bits(terms.steps(), part="steps"),
        mean_bits(terms.decoder(), part="decoder"),
    )
    others = []
    for name, table in variances.items():
        other = terms.with_variance(name, process, table)
        others.append(mean_bits(other.total(), variance=name))
        others.append(mean_bits(other.decoder(), part="decoder", variance=name))
    return (*own, *others, *mismatch(process, variances, n))


def mismatch(process: NoiseSchedule, variances: Tables, n: int) -> tuple[Score, ...]:
    """Compute what a fixed variance costs a perfect mean: its steps' KL from the posterior's.

    It is the same for every image: 0.486 bits/dim for ``fixedlarge`` and the paper's schedule.
    """
    rows = np.arange(2, process.T + 1)
    nothing = np.zeros(len(rows))
    return tuple(
        Score(
            metric="variance_mismatch",
            value=float(step_bits(process, rows, nothing, table).sum()),
            n=n,
            of=Qualifiers(variance=name),
        )
        for name, table in variances.items()
        if name in VARIANCES
    )


def _curve(terms: BoundTerms, process: NoiseSchedule) -> Curve:
    n = len(terms.bits)
    return Curve(
        metric="bound_term",
        over="t",
        x=process.times.numpy(),
        y=terms.bits.mean(0, dtype=np.float64),
        n=n,
        error=stderr_of(terms.bits) if n > 1 else None,
        log="y",
    )


def _arrays(terms: BoundTerms, variances: Tables, calibrated: str) -> dict[str, Array]:
    """What other measures go on with: see ``terms_of``."""
    arrays = {"terms": terms.bits, "mse": terms.mse}
    arrays |= {f"decoder ({name})": column for name, column in terms.decoders.items()}
    if not np.allclose(terms.error, terms.mse, rtol=1e-5, atol=0):
        arrays["error"] = terms.error
    if calibrated in variances:
        arrays["log_variances"] = variances[calibrated].numpy()[1:]
    return arrays


def terms_of(measurement: Measurement, model: Model) -> tuple[BoundTerms, Tables]:
    """Read the terms and the variances of a full bound back: the inverse of what it keeps."""
    arrays, table = measurement.arrays, None
    if "log_variances" in arrays:
        last = torch.from_numpy(np.asarray(arrays["log_variances"]))
        table = torch.cat([torch.full((1,), torch.nan, dtype=last.dtype), last])
    variances = variance_tables(model, table)
    decoders = {name: arrays[f"decoder ({name})"] for name in variances}
    mse = arrays["mse"]
    return BoundTerms(arrays["terms"], mse, arrays.get("error", mse), decoders), variances
