"""Lossy reconstructions of test images: what a receiver sees once x_t has arrived.

x_0_hat from x_t ~ q(x_t | x_0) costs L_T + ... + L_t bits/dim. The times are chosen so that each
row has twice the bits of the row before, which the eye can follow.
"""

from typing import Any

import numpy as np
import torch

from ddpm_eval.choice import ImageSet
from ddpm_eval.job import Job, count
from ddpm_eval.measure.bound import likelihood
from ddpm_eval.measure.bound.rate_distortion import root_mean
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.schema1 import Measurement
from ddpm_eval.record.scores import Grid
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.chain import chain
from ddpm_train.data import Images
from ddpm_train.diffusion import q_sample
from ddpm_train.noise import Stream, normal
from ddpm_train.samplers import Ancestral

RATES = 10  # rows of reconstructions


def measure(job: Job) -> Measurement:
    """Reconstructions of the first test images at some rates, with their bits/dim and RMSE.

    The rates are the images' own, term by term.
    """
    images = job.images(job.config.split)
    n = count(job.config.n or job.config.pictures.rows, images)
    settings = _describe(job, images)
    rates = _rates(job, images, n)
    T = job.subject.denoise.schedule.T
    chosen = octaves(rates.mean(0))
    rate = rates[:, chosen].T  # [K, n]
    pictures, mse = _decode(job, images, n, chosen)
    each = root_mean(mse[None])[0]
    originals = images.read(range(n))
    labels = [f"{bits:#.2g}\n{error:.1f}" for bits, error in zip(rate.flat, each.flat, strict=True)]
    return Measurement(
        name="reconstructions" + "-train" * (job.config.split == "train"),
        grids={
            "reconstructions": Grid(
                np.concatenate([pictures.reshape(-1, *originals.shape[1:]), originals]),
                columns=n,
                labels=[*labels, *["original"] * n],
                caption=_caption(job, settings, n, len(chosen)),
            )
        },
        settings=settings
        | {
            "steps": T,
            "indices": f"0..{n - 1}",
            "n": n,
            "frames": {
                "grid": "reconstructions",
                "rows": len(chosen) + 1,
                "columns": n,
                "reverse_steps": [T + 1 - t for t in chosen],
                "rate": rate.mean(1).tolist(),
                "rmse": root_mean(mse.T)[0].tolist(),
            },
            "rate": "each image's own L_T + ... + L_t; in frames their mean",
            "rmse": "on 0-255; in frames 127.5 times the root of the mean squared error",
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


def _rates(job: Job, images: Images, n: int) -> Array:
    """Bits/dim of each image once x_t is known, [n, T+1]."""
    config = job.config
    settings = BoundSettings(n=n, first=True, seed=config.seed, clip=config.clip)
    runtime = Runtime(
        world=job.world, cache=job.work, batch=config.batch, track=job.track, notify=job.notify
    )
    some = ImageSet.of(images, split=config.split)[:n]
    return likelihood.full(job.subject, some, settings, runtime)[0].rate()


def _describe(job: Job, images: Images) -> dict[str, Any]:
    config, subject = job.config, job.subject
    found = {
        "split": config.split,
        "dataset": images.name.removesuffix(" train").removesuffix(" test"),
        "data_digest": images.digest,
        "variance": subject.denoise.objective.variance,
        "clip": config.clip,
        "weights": subject.facts.weights,
        "T": subject.denoise.schedule.T,
        "seed": config.seed,
    }
    return found | ({"precision": subject.precision} if subject.precision != "float32" else {})


def _decode(job: Job, images: Images, n: int, chosen: list[int]) -> tuple[Array, Array]:
    """x_0_hat at each time from the noise of the bound, uint8 [K, n, H, W, C], and its mse [K, n].

    One evaluation for each picture: the first frame of a chain that begins at x_t.
    """
    subject, stream = job.subject, Stream(job.config.seed, "nll")
    sampler = Ancestral(subject.denoise, job.config.clip)
    pictures, mse = [], []
    for t in job.track(chosen, "reconstructions", len(chosen)):
        for part in (range(i, min(n, i + job.config.batch)) for i in range(0, n, job.config.batch)):
            x_0 = data.to_model(images.read(part)).double()
            eps = normal(stream, part, subject.shape, steps=t).double()
            x_t = q_sample(subject.denoise.schedule, x_0, torch.full((len(part),), t), eps)
            x_t = x_t.to(subject.device, subject.dtype)
            x_0_hat = next(chain(sampler, x_t, part, stream, start=t)).x_0_hat.cpu()
            pictures.append(data.to_uint8(x_0_hat))
            mse.append((x_0_hat.double() - x_0).square().flatten(1).mean(1).numpy())
    shape = len(chosen), n
    return (
        np.concatenate(pictures).reshape(*shape, *pictures[0].shape[1:]),
        np.concatenate(mse).reshape(shape),
    )


def _caption(job: Job, settings: dict[str, Any], n: int, rows: int) -> str:
    return (
        f"Lossy reconstructions: x̂₀ of {settings['dataset']} {settings['split']} images "
        f"0 to {n - 1}, not chosen, decoded from x_t at {rows} times, noise of seed "
        f"{job.config.seed}. Under each: that image's own rate L_T + … + L_t in bits/dim, which "
        "about doubles from row to row, and the RMSE on 0–255. The last row shows the originals."
    )
