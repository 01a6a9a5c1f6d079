"""Lossy reconstructions of images: what a receiver sees once x_t has arrived.

x_0_hat from x_t ~ q(x_t | x_0) costs L_T + ... + L_t bits/dim. The times are chosen so that each
row has twice the bits of the row before, which the eye can follow.
"""

from dataclasses import dataclass

import numpy as np
import torch

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.bound import likelihood
from ddpm_eval.measure.bound.rate_distortion import root_mean
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.conditions import classes_of_images
from ddpm_eval.measure.pictures.protocols import protocol_of
from ddpm_eval.measure.pictures.settings import ReconstructionSettings
from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.export import require_pictures
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Grid
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.chain import chain
from ddpm_train.diffusion import q_sample
from ddpm_train.noise import Stream, normal
from ddpm_train.samplers import Ancestral

VERSION = 2
RATES = 10  # rows of reconstructions


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """x_0_hat of n images decoded from x_t at K times, t falling.

    Attributes:
        times: The K times.
        rate: Bits/dim that each image needs until then, [K, n].
        mse: The mean squared error on the scale [-1, 1], [K, n].
        pictures: x_0_hat, uint8 [K, n, H, W, C].
    """

    times: list[int]
    rate: Array
    mse: Array
    pictures: Array


def measure(
    model: Model, images: ImageSet, settings: ReconstructionSettings, runtime: Runtime
) -> Measurement:
    """Reconstruct images at some rates, with their bits/dim and RMSE.

    The rates are the images' own, term by term; a full bound in the record gives them at once.

    Args:
        model: What decodes.
        images: The images to choose from.
        settings: How many, and the noise.
        runtime: How the work is carried out.

    Raises:
        FixableError: There are too few images, or they are neither gray nor RGB.
    """
    require_pictures(model.shape[0], fix="measure a model of 1 or 3 channels")
    chosen = choose(images, settings.n, seed=settings.seed, first=settings.first)
    protocol = protocol_of(VERSION, model, settings, images=chosen.facts)
    finished = runtime.recorded("reconstructions", protocol)
    if finished is not None:
        return finished
    rates = _rates(model, chosen, settings, runtime)
    decoded = _decode(model, chosen, rates, settings, runtime)
    return Measurement(
        measure="reconstructions",
        protocol=protocol,
        grids={"reconstructions": _grid(decoded, chosen, settings)},
        facts={
            "indices": chosen.indices.tolist(),
            "frames": {
                "grid": "reconstructions",
                "rows": len(decoded.times) + 1,
                "columns": len(chosen),
                "reverse_steps": [model.denoise.schedule.T + 1 - t for t in decoded.times],
                "rate": decoded.rate.mean(1).tolist(),
                "rmse": root_mean(decoded.mse.T)[0].tolist(),
            },
        },
    )


def octaves(rate: Array) -> list[int]:
    """Times at which the rate is nearest to its highest, half of it, a quarter, ..., falling.

    Args:
        rate: Bits/dim once x_t is known, falling with t, [T+1]; row 0 is not used.

    >>> octaves(np.array([9, 8, 6, 4, 3, 2, 1.1, 0]))
    [6, 5, 3, 1]
    """
    wanted = rate[1] / 2.0 ** np.arange(RATES)
    apart = np.abs(np.log(np.maximum(rate[1:], 1e-300)) - np.log(wanted[:, None]))
    return sorted({1 + int(t) for t in apart.argmin(1)}, reverse=True)


def _rates(
    model: Model, images: ImageSet, settings: ReconstructionSettings, runtime: Runtime
) -> Array:
    """Bits/dim of each image once x_t is known, [n, T+1]."""
    scored = BoundSettings(seed=settings.seed, clip=settings.clip)
    return likelihood.obtain_terms(model, images, scored, runtime)[0].rate()


def _decode(
    model: Model,
    images: ImageSet,
    rates: Array,
    settings: ReconstructionSettings,
    runtime: Runtime,
) -> Decoded:
    """Decode x_0_hat at each time from the noise of the bound.

    One evaluation for each picture: the first frame of a chain that begins at x_t.
    """
    times = octaves(rates.mean(0))
    sampler, stream = Ancestral(model.denoise, settings.clip), Stream(settings.seed, "nll")
    n, batch = len(images), runtime.batch
    pictures, mse = [], []
    for t in runtime.track(times, "reconstructions", len(times)):
        for part in (range(i, min(n, i + batch)) for i in range(0, n, batch)):
            x_0 = data.to_model(images.read(part)).double()
            indices = images.indices[part.start : part.stop].tolist()
            eps = normal(stream, indices, model.shape, steps=t).double()
            x_t = q_sample(model.denoise.schedule, x_0, torch.full((len(part),), t), eps)
            x_t = x_t.to(model.device, model.dtype)
            labels = classes_of_images(model, images, part)
            frames = chain(sampler, x_t, indices, stream, start=t, condition=labels)
            x_0_hat = next(frames).x_0_hat.cpu()
            pictures.append(data.to_uint8(x_0_hat))
            mse.append((x_0_hat.double() - x_0).square().flatten(1).mean(1).numpy())
    shape = len(times), n
    return Decoded(
        times=times,
        rate=rates[:, times].T,
        mse=np.concatenate(mse).reshape(shape),
        pictures=np.concatenate(pictures).reshape(*shape, *pictures[0].shape[1:]),
    )


def _grid(decoded: Decoded, images: ImageSet, settings: ReconstructionSettings) -> Grid:
    """A row for each time, bits/dim and RMSE below each image; the originals below them."""
    n = len(images)
    originals = images.read(range(n))
    rmse = root_mean(decoded.mse[None])[0]
    numbers = zip(decoded.rate.flat, rmse.flat, strict=True)
    labels = [f"{bits:#.2g}\n{error:.1f}" for bits, error in numbers]
    shown = ", ".join(map(str, images.indices[:16])) + (", ..." if n > 16 else "")
    choice = "drawn by the seed" if images.choice == "drawn" else "not chosen"
    return Grid(
        np.concatenate([decoded.pictures.reshape(-1, *originals.shape[1:]), originals]),
        columns=n,
        labels=[*labels, *["original"] * n],
        caption=(
            f"Lossy reconstructions: x̂₀ of {images.name} images {shown}, {choice}, decoded from "
            f"x_t at {len(decoded.times)} times, noise of seed {settings.seed}. Under each: that "
            "image's own rate L_T + … + L_t in bits/dim, which about doubles from row to row, and "
            "the RMSE on 0–255. The last row shows the originals."
        ),
    )
