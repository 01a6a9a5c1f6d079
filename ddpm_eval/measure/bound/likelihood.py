"""The variational bound (Eq. 5) in bits/dim: every term of every image, for every variance."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.job import Job
from ddpm_eval.measure.bound import sweep, work
from ddpm_eval.measure.bound.calibration import calibrate
from ddpm_eval.measure.bound.sweep import NATS_PER_BIT, Array, Every, Scores, Sweep, Tables
from ddpm_eval.model import Model
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity
from ddpm_train.diffusion import prior_kl
from ddpm_train.noise import Stream
from ddpm_train.schedule import NoiseSchedule
from ddpm_train.variances import VARIANCES


@dataclass(frozen=True, slots=True)
class BoundTerms:
    """The bound, image by image and term by term.

    ``bits[:, t]`` is L_t under the model's own variance: L_0 the decoder's, L_T the prior's, all in
    bits/dim. ``mse[:, t]`` is the mean squared error of x_0_hat decoded from x_t, on the scale
    [-1, 1], and ``error[:, t]`` that of the step's mean in the same units; column 0 of both is 0.
    """

    bits: Array  # [n, T+1]
    mse: Array  # [n, T+1]
    error: Array  # [n, T+1]
    decoders: dict[str, Array]  # L_0 for each isotropic variance, [n]

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

    def kl(self) -> Array:
        """L_1 + ... + L_{T-1}, [n]."""
        rest: Array = self.total() - self.prior() - self.decoder()
        return rest

    def rate(self) -> Array:
        """Bits/dim received once x_t is known: L_T + ... + L_t, [n, T+1]."""
        sums: Array = self.bits[:, ::-1].cumsum(1, dtype=np.float64)[:, ::-1]
        return sums

    def under(self, name: str, process: NoiseSchedule, log_variances: Tensor) -> "BoundTerms":
        """The same terms had p another isotropic variance: a function of the same outputs."""
        bits = self.bits.copy()
        bits[:, 0] = self.decoders[name]
        times = np.arange(2, process.T + 1)
        for row, error in zip(bits, self.error, strict=True):  # row by row: little memory
            row[1:-1] = sweep.step_bits(process, times, error[2:], log_variances)
        return replace(self, bits=bits)


def measure(job: Job) -> Measurement:
    """The full bound of the first n images of a split: every term, once each."""
    terms, found, settings = full(job)
    return summarise(terms, settings, job.subject.denoise.schedule, found)


def full(job: Job) -> tuple[BoundTerms, Tables, dict[str, Any]]:
    """Every term of the first n images, the isotropic variances scored, and the settings.

    Raises:
        FixableError: There are too few images, calibration images are among the scored ones, or
            unfinished work was begun with other settings.
    """
    subject = job.subject
    images, n = work.scored(job)
    T = subject.denoise.schedule.T
    settings = work.describe(job, images)
    calibrated, learned = calibrate(job, images, n)
    under = sweep.tables(subject, calibrated)
    settings |= learned
    label = f"bits/dim, {n:,} images x {T:,} steps"
    how = work.prepare(job, subject, images, under)
    scores = work.collect(job, how, Every(range(n), T), "terms", settings=settings, label=label)
    return assemble(scores, work.prior_bits(subject, images, n), under), under, settings


def name_of(measure: str, split: str) -> str:
    """The name in the record: both splits have a place there.

    >>> name_of("nll", "test"), name_of("nll", "train")
    ('nll', 'nll-train')
    """
    return measure if split == "test" else f"{measure}-{split}"


def assemble(scores: Scores, prior: Array, under: Tables) -> BoundTerms:
    """Lay the scores of every pair out by image and time."""
    n = len(prior)
    T = len(scores.mse) // n
    bits, mse, error = np.zeros((3, n, T + 1), np.float32)
    bits[:, :T], bits[:, T] = scores.bits.reshape(n, T), prior
    mse[:, 1:], error[:, 1:] = scores.mse.reshape(n, T), scores.error.reshape(n, T)
    decoders = {name: scores.decoder[:, i] for i, name in enumerate(under)}
    return BoundTerms(bits, mse, error, decoders)


def run_sweep(
    subject: Model,
    x_0: Tensor,
    indices: range,
    *,
    seed: int,
    clip: bool = True,
    batch: int = 64,
) -> Generator[None, None, BoundTerms]:
    """Evaluate every time of images in memory once; yields after each batch.

    Args:
        subject: The model.
        x_0: The images in [-1, 1], float64 [n, C, H, W].
        indices: Their indices in the data set, which name the noise.
        seed: The seed of the noise.
        clip: Keep x_0_hat inside [-1, 1].
        batch: Pairs of image and time in one evaluation of the network.
    """
    pairs, under = Every(indices, subject.denoise.schedule.T), sweep.tables(subject)
    how = Sweep(
        subject=subject,
        read=lambda chosen: x_0[torch.as_tensor(chosen - indices.start)],
        stream=Stream(seed, "nll"),
        under=under,
        clip=clip,
        batch=batch,
    )
    scores = yield from how.over(pairs, range(len(pairs)))
    prior = prior_kl(subject.denoise.schedule, x_0).flatten(1).mean(1).numpy() / NATS_PER_BIT
    return assemble(scores, prior, under)


def summarise(
    terms: BoundTerms, settings: dict[str, Any], process: NoiseSchedule, under: Tables
) -> Measurement:
    """Turn the terms into the numbers that are published."""
    n, columns = terms.bits.shape
    each: dict[str, Callable[[], Array]] = {
        "total": terms.total,
        "prior": terms.prior,
        "kl": terms.kl,
        "decoder": terms.decoder,
    }
    parts = {name: found() for name, found in each.items()}
    for name, table in under.items():
        other = terms.under(name, process, table)
        parts |= {f"total ({name})": other.total(), f"decoder ({name})": other.decoder()}
    curve = Curve(
        x=np.arange(columns),
        y=terms.bits.mean(0, dtype=np.float64),
        x_name="t",
        y_name="L_t (bits/dim)",
        n=n,
        stderr=stderr(terms.bits),
        log="y",
    )
    arrays = {"terms": terms.bits, "mse": terms.mse}
    arrays |= {f"decoder ({name})": found for name, found in terms.decoders.items()}
    if not np.allclose(terms.error, terms.mse, rtol=1e-5, atol=0):
        arrays["error"] = terms.error
    if "optimal" in under:
        arrays["log_variances"] = under["optimal"].numpy()[1:]
    return Measurement(
        name=name_of("nll", settings["split"]),
        quantities={
            name: Quantity(float(found.mean()), "bits/dim", n=n, stderr=float(stderr(found)))
            for name, found in parts.items()
        }
        | mismatch(process, under, n),
        curves={"terms": curve},
        arrays=arrays,
        settings=settings,
    )


def mismatch(process: NoiseSchedule, under: Tables, n: int) -> dict[str, Quantity]:
    """What a fixed variance costs a perfect mean: its steps' KL from the posterior's variance.

    It is the same for every image: 0.486 bits/dim for ``fixedlarge`` and the paper's schedule.
    """
    times = np.arange(2, process.T + 1)
    nothing = np.zeros(len(times))
    return {
        f"variance mismatch ({name})": Quantity(
            float(sweep.step_bits(process, times, nothing, table).sum()), "bits/dim", n=n
        )
        for name, table in under.items()
        if name in VARIANCES
    }


def stderr(each: Array) -> Array:
    """The standard error of the mean over images (axis 0); 0 for a single image."""
    n = len(each)
    found: Array = each.std(0, ddof=1, dtype=np.float64) / n**0.5 if n > 1 else 0 * each[0]
    return found
