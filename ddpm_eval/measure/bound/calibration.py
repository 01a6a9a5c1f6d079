"""The best isotropic variance, learned from training images that are not scored."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.job import Job, count
from ddpm_eval.measure.bound import sweep, work
from ddpm_eval.measure.bound.sweep import Array, Every
from ddpm_eval.measure.bound.work import CHUNK_IMAGES
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.variances import optimal


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
    size = count(config.calibrate, train, option="--calibrate")
    chosen = range(len(train) - size, len(train))
    _keep_apart(train, chosen, images, n)
    origin = {
        "images": f"{train.name} {chosen.start}..{chosen.stop - 1}",
        "n": size,
        "data_digest": train.digest,
        "seed": config.seed,
    }
    scores = work.collect(
        job,
        work.prepare(job, subject, train, sweep.tables(subject), stream="calibrate"),
        Every(chosen, T),
        "calibration",
        settings=work.describe(job, train) | {"split": "train"},
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
