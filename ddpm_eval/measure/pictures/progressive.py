"""Progressive generation: what the model has made up its mind about, step by step.

x_0_hat along the chain (the paper's Figures 6 and 14), its distance from the final sample (Figure
10), and how much the rest of the chain still decides once x_t is frozen (Figure 7).
"""

from collections.abc import Generator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.job import Job
from ddpm_eval.measure.bound.rate_distortion import STEPS, root_mean
from ddpm_eval.measure.pictures import pieces
from ddpm_eval.measure.pictures import quality_over_steps as along
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity
from ddpm_eval.record.scores import Grid
from ddpm_eval.record.shards import Arrays
from ddpm_train import data
from ddpm_train.chain import chain, prior, walk
from ddpm_train.noise import Stream
from ddpm_train.samplers import Ancestral

N = 64  # samples, if the user does not say how many
N_THROUGH_EXTRACTOR = 1000  # and if their quality is measured
RECORDED = 20  # times at which x_0_hat is kept
CONTINUATIONS = 7  # of each frozen x_t
WARNING = (
    "the distances over reverse steps are of few samples: compare them with each other alone; "
    "ddpm-eval fid measures the samples themselves"
)


def measure(job: Job) -> Measurement:
    """x_0_hat of samples 0..n-1 over the reverse steps, and continuations of one of them."""
    through, T = job.config.pictures.extractor, job.subject.denoise.schedule.T
    n = job.config.n or (N_THROUGH_EXTRACTOR if through else N)
    judge = along.call(job, n) if through else None
    settings, recorded = pieces.describe(job), times(T)
    shards = pieces.collect(job, _frames(job, n, recorded, settings))
    steps = T + 1 - np.array(recorded)
    rmse, stderr = root_mean(np.concatenate([shards.part(p)["mse"] for p in shards.parts()]))
    quality, known = along.curves(job, judge, shards, steps) if judge else ({}, {})
    rows = job.config.pictures.rows
    first = [shards.part(part)["frames"] for part in shards.parts()[: -(-rows // shards.size)]]
    half = int(np.abs(steps - T / 2).argmin())
    return Measurement(
        name="progressive",
        quantities={
            f"RMSE after {steps[half]:,} of {T:,} steps": Quantity(
                float(rmse[half]), "grey levels", n=n, stderr=float(stderr[half])
            )
        },
        curves={
            "RMSE": Curve(
                x=steps,
                y=rmse,
                x_name=STEPS,
                y_name="RMSE (0-255)",
                n=n,
                stderr=stderr,
            )
        }
        | quality,
        grids={
            "progressive": _strips(np.concatenate(first)[:rows], steps.tolist(), job),
            "shared latents": _shared(job, settings),
        },
        settings=settings | known | {"n": n, "indices": f"0..{n - 1}", "times": recorded},
        warnings=(WARNING,) if judge else (),
    )


def times(T: int) -> list[int]:
    """The times at which x_0_hat is kept, falling: the paper's 951, 901, ..., 1, scaled to T.

    >>> times(1000)[:2], times(1000)[-2:], times(8)
    ([951, 901], [51, 1], [8, 7, 6, 5, 4, 3, 2, 1])
    """
    return sorted({1 + T * k // RECORDED for k in range(RECORDED)}, reverse=True)


def frozen(T: int) -> list[int]:
    """The times at which x_t is shared: the paper's 1000, 750, 500, 250, scaled to T.

    >>> frozen(1000), frozen(2)
    ([1000, 750, 500, 250], [2, 1])
    """
    return sorted({max(1, T * k // 4) for k in range(1, 5)}, reverse=True)


def _frames(job: Job, n: int, recorded: list[int], settings: dict[str, Any]) -> pieces.Plan:
    """x_0_hat at the recorded times, and its squared error against the last one."""
    subject, T = job.subject, job.subject.denoise.schedule.T
    stream = Stream(job.config.seed, "sample")

    def make(part: range) -> Generator[None, None, Arrays]:
        kept: list[Tensor] = []
        x_t = prior(stream, part, subject.shape).to(subject.device, subject.dtype)
        for frame in chain(Ancestral(subject.denoise, job.config.clip), x_t, part, stream):
            if frame.t in recorded:
                kept.append(frame.x_0_hat)
            yield
        last = kept[-1].double()
        mse = [(x_0_hat.double() - last).square().flatten(1).mean(1) for x_0_hat in kept]
        return {
            "frames": np.stack([data.to_uint8(x_0_hat) for x_0_hat in kept], 1),
            "mse": torch.stack(mse, 1).cpu().numpy(),
        }

    return pieces.Plan(
        stage="frames",
        settings=settings | {"times": recorded},
        n=n,
        size=job.config.batch,  # as in the sample store: the same batch, the same bits
        make=make,
        ticks=lambda _part: T,
        label=f"x_0_hat of {n:,} samples",
    )


def _strips(frames: Array, steps: list[int], job: Job) -> Grid:
    """A row for each of the first samples, frames [n, K, H, W, C] from left to right."""
    n, K = frames.shape[:2]
    marks = {steps[0]} | {steps[-1] * part // 5 for part in range(1, 6)}  # more would overlap
    labels = [f"{step}" if step in marks else "" for step in steps] + [""] * (n - 1) * K
    return Grid(
        frames.reshape(-1, *frames.shape[2:]),
        columns=K,
        labels=labels,
        caption=(
            f"Progressive generation: x̂₀ of {_numbered(n)} of seed {job.config.seed}, not chosen, "
            f"after so many of {steps[-1]:,} reverse steps. The last of each row is the sample."
        ),
    )


def _shared(job: Job, settings: dict[str, Any]) -> Grid:
    """Continuations of sample 0 from frozen x_t, a row for each time."""
    subject, T = job.subject, job.subject.denoise.schedule.T
    stops, sampler = frozen(T), Ancestral(subject.denoise, job.config.clip)
    first, others = (Stream(job.config.seed, name) for name in ("sample", "continue"))

    def make(part: range) -> Generator[None, None, Arrays]:
        (row,) = part
        x_t = prior(first, [0], subject.shape).to(subject.device, subject.dtype)
        for frame in chain(sampler, x_t, [0], first):
            x_t = frame.x_t
            if frame.t == stops[row]:
                break
            yield
        shown, rows = data.to_uint8(x_t), range(CONTINUATIONS)
        start = x_t.expand(CONTINUATIONS, *x_t.shape[1:])
        t = stops[row]
        x_0 = yield from walk(chain(sampler, start, rows, others, start=t))
        return {"pictures": np.concatenate([shown, data.to_uint8(x_0)])[None]}

    plan = pieces.Plan(
        stage="shared",
        settings=settings | {"frozen": stops, "continuations": CONTINUATIONS},
        n=len(stops),
        size=1,
        make=make,
        ticks=lambda _part: T,
        label="continuations of shared latents",
    )
    pictures = pieces.collect(job, plan).read()["pictures"]
    rows = [[f"t = {t:,}"] + [""] * CONTINUATIONS for t in stops]
    return Grid(
        pictures.reshape(-1, *pictures.shape[2:]),
        columns=1 + CONTINUATIONS,
        labels=[text for row in rows for text in row],
        caption=(
            f"Shared latents: the x_t of sample 0 of seed {job.config.seed} at t of {T:,} "
            f"(left), and {CONTINUATIONS} samples that begin there, each with its own noise."
        ),
    )


def _numbered(n: int) -> str:
    return f"samples 0 to {n - 1}" if n > 1 else "sample 0"
