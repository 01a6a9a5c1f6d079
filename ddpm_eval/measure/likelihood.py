"""The variational bound (Eq. 5) in bits/dim: every term of every image, for every variance."""

import hashlib
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.job import Job, count
from ddpm_eval.measure import sweep
from ddpm_eval.measure.sweep import NATS_PER_BIT, Array, Every, Pairs, Scores, Sweep, Tables
from ddpm_eval.progress import finish
from ddpm_eval.results import Curve, Measurement, Quantity
from ddpm_eval.shards import open_shards
from ddpm_eval.subject import Subject
from ddpm_train import data
from ddpm_train.data import Images
from ddpm_train.diffusion import prior_kl
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream
from ddpm_train.reverse import VARIANCES, optimal
from ddpm_train.schedule import NoiseSchedule

SHARD_EVALUATIONS = 4000  # of the network between two writes to the disk
CHUNK_IMAGES = 256  # in memory at once where no network is needed
LONG_SECONDS = 3600.0  # what runs longer says so at once
TIMED_BATCHES = 4


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
    images, n = scored(job)
    T = subject.denoise.schedule.T
    settings = describe(job, images)
    calibrated, learned = calibrate(job, images, n)
    under = sweep.tables(subject, calibrated)
    settings |= learned
    label = f"bits/dim, {n:,} images x {T:,} steps"
    how = prepare(job, subject, images, under)
    scores = collect(job, how, Every(range(n), T), "terms", settings=settings, label=label)
    return assemble(scores, prior_bits(subject, images, n), under), under, settings


def scored(job: Job) -> tuple[Images, int]:
    """The images of the split, and how many of them are scored: the first n."""
    images = job.images(job.config.split)
    return images, count(job.config.n, images, drop_remainder=job.config.drop_remainder)


def describe(job: Job, images: Images) -> dict[str, Any]:
    """The settings that every measure of the bound records."""
    config, subject = job.config, job.subject
    found = {
        "split": config.split,
        "dataset": images.name.removesuffix(" train").removesuffix(" test"),
        "data_digest": images.digest,
        "variance": subject.model.objective.variance,
        "clip": config.clip,
        "weights": subject.identity["weights"],
        "T": subject.denoise.schedule.T,
        "seed": config.seed,
    }
    return found | ({"drop_remainder": config.drop_remainder} if config.drop_remainder else {})


def name_of(measure: str, split: str) -> str:
    """The name in the record: both splits have a place there.

    >>> name_of("nll", "test"), name_of("nll", "train")
    ('nll', 'nll-train')
    """
    return measure if split == "test" else f"{measure}-{split}"


# ---------------------------------------------------------------------------- the network's work


def prepare(
    job: Job, subject: Subject, images: Images, under: Tables, *, stream: str = "nll"
) -> Sweep:
    """How the pairs of a job are scored.

    Args:
        job: The measurement.
        subject: The model.
        images: Where the images are read.
        under: The isotropic variances.
        stream: The purpose of the noise.
    """
    config = job.config

    def read(indices: Array) -> Tensor:
        return data.to_model(images.read(indices)).double()

    return Sweep(
        subject=subject,
        read=read,
        stream=Stream(config.seed, stream),
        under=under,
        clip=config.clip,
        batch=config.batch,
    )


def collect(
    job: Job, how: Sweep, pairs: Pairs, stage: str, *, settings: dict[str, Any], label: str
) -> Scores:
    """Score pairs in shards: resumed after a kill, shared between processes.

    Every process gets all of the scores.

    Args:
        job: The measurement.
        how: How they are scored.
        pairs: What to evaluate.
        stage: The name of this piece of work: its folder inside ``job.work``.
        settings: What the result depends on: unfinished work with others is refused.
        label: What progress is called.
    """
    model = how.subject.identity["checkpoint"]
    begun_with = settings | {"checkpoint": model, "pairs": _digest(pairs)}
    shards = open_shards(job.work / stage, begun_with, n=len(pairs), size=SHARD_EVALUATIONS)
    todo = [part for part in job.world.share(shards.parts()) if part in shards.missing()]

    def evaluations() -> Generator[None, None, None]:
        for part in todo:
            scores = yield from how.over(pairs, part)
            shards.write(part, {name: getattr(scores, name) for name in Scores.__slots__})

    total = sum(-(-len(part) // how.batch) for part in todo)
    finish(_timed(evaluations(), total, len(pairs), job), job.track, label, total)
    job.world.barrier()
    return Scores(**shards.read())


def assemble(scores: Scores, prior: Array, under: Tables) -> BoundTerms:
    """Lay the scores of every pair out by image and time."""
    n = len(prior)
    T = len(scores.mse) // n
    bits, mse, error = np.zeros((3, n, T + 1), np.float32)
    bits[:, :T], bits[:, T] = scores.bits.reshape(n, T), prior
    mse[:, 1:], error[:, 1:] = scores.mse.reshape(n, T), scores.error.reshape(n, T)
    decoders = {name: scores.decoder[:, i] for i, name in enumerate(under)}
    return BoundTerms(bits, mse, error, decoders)


def prior_bits(subject: Subject, images: Images, n: int) -> Array:
    """L_T of each image in closed form, [n] bits/dim."""
    parts = [
        prior_kl(subject.denoise.schedule, data.to_model(images.read(part)).double())
        for part in (range(i, min(n, i + CHUNK_IMAGES)) for i in range(0, n, CHUNK_IMAGES))
    ]
    return np.concatenate([part.flatten(1).mean(1).numpy() for part in parts]) / NATS_PER_BIT


def run_sweep(
    subject: Subject,
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


def _timed(
    work: Generator[None, None, None], total: int, evaluations: int, job: Job
) -> Generator[None, None, None]:
    """Say at once that work will take long, and what takes less."""
    began = 0.0
    for done, _ in enumerate(work):
        if done == 0:
            began = time.monotonic()  # the first batch also warms up
        elif done == TIMED_BATCHES:
            seconds = (time.monotonic() - began) / TIMED_BATCHES * (total - done)
            if seconds > LONG_SECONDS:
                job.notify(_long(seconds, total, evaluations, fast=job.config.fast))
        yield


def _long(seconds: float, batches: int, evaluations: int, *, fast: bool) -> str:
    """What to say of a long run.

    >>> print(_long(450_000, 1000, 10_000_000, fast=False))
    10,000,000 evaluations of the network will take 5.2 days here. --target-stderr 0.01 estimates
    the bound from some thousand: about 7.5 minutes per 10,000.
    """
    text = f"{evaluations:,} evaluations of the network will take {_span(seconds)} here."
    if fast:
        return text
    each = _span(seconds / evaluations * 10_000)
    return (
        f"{text} --target-stderr 0.01 estimates the bound from some thousand: "
        f"about {each} per 10,000."
    )


def _span(seconds: float) -> str:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds > 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _digest(pairs: Pairs) -> str:
    """Which pairs: a plan for all of them, or the list."""
    if isinstance(pairs, Every):
        return f"{pairs.images.start}..{pairs.images.stop - 1} x {pairs.T}"
    images, times = pairs.take(range(len(pairs)))
    return hashlib.sha256(np.stack([images, times]).astype(np.int64).tobytes()).hexdigest()[:16]


# --------------------------------------------------------------------------------- calibration


def calibrate(job: Job, images: Images, n: int) -> tuple[Tensor | None, dict[str, Any]]:
    """Learn the best isotropic variance from the last training images, if that is asked for.

    Returns:
        The table log sigma*^2_t [T+1], and what the record says of its origin.

    Raises:
        FixableError: One of these images is among the scored ones, the first n of ``images``.
    """
    config, subject = job.config, job.subject
    if not config.calibrate:
        return None, {}
    train, T = job.images("train"), subject.denoise.schedule.T
    size = count(config.calibrate, train)
    chosen = range(len(train) - size, len(train))
    _keep_apart(train, chosen, images, n)
    origin = {
        "images": f"{train.name} {chosen.start}..{chosen.stop - 1}",
        "n": size,
        "data_digest": train.digest,
        "seed": config.seed,
    }
    scores = collect(
        job,
        prepare(job, subject, train, sweep.tables(subject), stream="calibrate"),
        Every(chosen, T),
        "calibration",
        settings=describe(job, train) | {"split": "train"},
        label=f"best variance, {size:,} training images",
    )
    errors = np.concatenate([[0.0], scores.error.reshape(size, T).mean(0, dtype=np.float64)])
    found = optimal(subject.denoise.schedule, torch.from_numpy(errors))
    digest = hashlib.sha256(found[1:].numpy().tobytes()).hexdigest()[:16]
    return found, {"calibration": origin | {"digest": digest}}


def _keep_apart(train: Images, chosen: Sequence[int], images: Images, n: int) -> None:
    """Refuse to learn from what is scored; images are compared by their pixels."""
    learned = {_fingerprint(image) for image in train.read(chosen)}
    chunks = (range(i, min(n, i + CHUNK_IMAGES)) for i in range(0, n, CHUNK_IMAGES))
    both = sum(_fingerprint(image) in learned for part in chunks for image in images.read(part))
    if both:
        raise FixableError(
            f"--calibrate {len(chosen):,}: {both:,} of the scored images are among the last "
            f"{len(chosen):,} training images",
            "lower --n or --calibrate so that they are apart, or score --split test",
        )


def _fingerprint(image: Array) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()


# ----------------------------------------------------------------------------------- the numbers


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
