"""The best isotropic variance, learned from training images that are not scored."""

import hashlib

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet, permutation
from ddpm_eval.measure.bound.scoring import CHUNK_IMAGES, score, sweep_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import Every, variance_tables
from ddpm_eval.model import Model
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.variances import optimal


def training_images(
    images: ImageSet, training: ImageSet | None, settings: BoundSettings
) -> ImageSet | None:
    """Draw the training images to learn from, none of which is scored; None if none is wanted.

    They come from the end of the seed's permutation, whose beginning is what is scored where
    training images are scored too. Images are compared by their pixels.

    Args:
        images: The images that are scored.
        training: All training images.
        settings: How many, and the seed.

    Raises:
        FixableError: There are too few.
    """
    size = settings.calibrate
    if not size:
        return None
    if training is None:
        raise FixableError(
            f"calibrate={size:,}: no training images are given",
            'give them: training=images("cifar10", split="train"), say',
        )
    if size > len(training):
        raise FixableError(
            f"calibrate={size:,}: {training.name} has {len(training):,} images", "choose fewer"
        )
    scored = set[bytes]()
    for start in range(0, len(images), CHUNK_IMAGES):
        scored |= _fingerprints(images, range(start, min(len(images), start + CHUNK_IMAGES)))
    chosen: list[int] = []
    order = permutation(len(training), settings.seed)[::-1]
    for start in range(0, len(order), size):
        some = order[start : start + size]
        chosen += [
            int(place)
            for place, image in zip(some, training.read(some), strict=True)
            if _fingerprint(image) not in scored
        ]
        if len(chosen) >= size:
            return training[chosen[:size]]
    raise FixableError(
        f"calibrate={size:,}: only {len(chosen):,} training images are not scored",
        "score fewer images, or those of the other split",
    )


def best_variance(
    model: Model, training: ImageSet, settings: BoundSettings, runtime: Runtime
) -> Tensor:
    """Learn the table log sigma*^2_k [K+1] from training images."""
    T = model.denoise.schedule.T
    sweep = sweep_of(
        model, training, settings, runtime, variances=variance_tables(model), stream="calibrate"
    )
    label = f"best variance, {len(training):,} training images"
    terms = score(
        sweep, Every(len(training), T), training, runtime, name="calibration", label=label
    )
    error = terms.error.reshape(len(training), T).mean(0, dtype=np.float64)
    return optimal(model.denoise.schedule, torch.from_numpy(np.concatenate([[0.0], error])))


def _fingerprints(images: ImageSet, places: range) -> set[bytes]:
    return {_fingerprint(image) for image in images.read(places)}


def _fingerprint(image: np.ndarray) -> bytes:
    return hashlib.sha256(image.tobytes()).digest()
