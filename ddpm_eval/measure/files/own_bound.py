"""The bound of the images that are written, under the best isotropic variance.

That variance follows from the errors of x_0_hat on training images, which the profile of the codec
holds: files and bound then know the same. Where the model has them itself, they are the model's.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.curve import Curve
from ddpm_eval.codec.profile import Profile
from ddpm_eval.measure.bound import likelihood, scoring
from ddpm_eval.measure.bound.likelihood import BoundTerms
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import Every, Tables, variance_tables
from ddpm_eval.model import Model
from ddpm_eval.runtime import Runtime
from ddpm_train.schedule import NoiseSchedule
from ddpm_train.variances import optimal


def bound_of(
    model: Model,
    images: ImageSet,
    settings: BoundSettings,
    runtime: Runtime,
    *,
    profile: Profile,
    training: ImageSet | None,
) -> tuple[BoundTerms, Tables]:
    """Compute every term of these images, and the isotropic variances that are scored.

    Args:
        model: The model.
        images: The images that are written.
        settings: The noise and clipping.
        runtime: How the work is carried out.
        profile: Whose error curve gives the best variance ...
        training: ... unless it is learned from these images.
    """
    table = None
    if training is None and model.variance != "optimal":
        table = variance_of(profile, model.denoise.schedule)
    if table is None:
        return likelihood.obtain_terms(model, images, settings, runtime, training=training)
    n, T = len(images), model.denoise.schedule.T
    variances = variance_tables(model, table)
    sweep = scoring.sweep_of(model, images, settings, runtime, variances=variances)
    label = f"bits/dim, {n:,} images x {T:,} steps"
    terms = scoring.score(sweep, Every(n, T), images, runtime, name="terms", label=label)
    prior = scoring.prior_bits(model, images)
    return likelihood.assemble(terms, prior, variances), variances


def variance_of(profile: Profile, schedule: NoiseSchedule) -> Tensor | None:
    """Take the table log sigma*^2_t [T+1] from a profile's error curve; None if it has none."""
    measured: Any = profile.facts.get("curve")
    if not measured:
        return None
    curve = Curve(np.array(measured["rows"]), np.array(measured["errors"]))
    by_band = curve.at(np.arange(1, schedule.T + 1))
    bands = Bands(profile.shape)  # of the curve, whatever files are written with
    mean = by_band @ bands.sizes / bands.n
    return optimal(schedule, torch.from_numpy(np.concatenate([[0.0], mean])))
