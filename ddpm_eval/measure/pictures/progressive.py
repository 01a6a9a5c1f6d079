"""Progressive generation: x_0_hat along the chain (the paper's Figures 6, 7, 10 and 14).

x_0_hat of each sample step by step, its distance from the final sample, and what the rest of the
chain still decides once x_t is frozen (``continuations``).
"""

from collections.abc import Generator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.measure.bound.rate_distortion import root_mean
from ddpm_eval.measure.pictures import continuations, sample_facts
from ddpm_eval.measure.pictures import quality_over_steps as along
from ddpm_eval.measure.pictures.protocols import (
    chain_facts,
    classes_of,
    condition_of,
    protocol_of,
    steered,
)
from ddpm_eval.measure.pictures.quality_over_steps import Frames, Judge
from ddpm_eval.measure.pictures.settings import ProgressiveSettings, SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.export import require_pictures
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Error, Grid, Qualifiers, Score
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.chain import chain, prior
from ddpm_train.noise import Stream
from ddpm_train.samplers import Ancestral

VERSION = 1
N = 64  # samples, if the user does not say how many
N_JUDGED = 1000  # and if their quality is measured
RECORDED = 20  # times at which x_0_hat is recorded
WARNING = (
    "the distances over reverse steps are of few samples: compare them with each other alone; "
    "ddpm-eval fid measures the samples themselves"
)


def measure(
    model: Model, settings: ProgressiveSettings, runtime: Runtime, judge: Judge | None = None
) -> Measurement:
    """Record x_0_hat of samples 0..n-1 over the reverse steps, and continuations of one of them.

    Args:
        model: What draws the samples.
        settings: How many, and how.
        runtime: How the work is carried out.
        judge: Measures their quality over the steps too.

    Raises:
        FixableError: The images are neither gray nor RGB, the judge was made for others, or n is
            too small for it.
    """
    settings = replace(settings, n=settings.n or (N_JUDGED if judge else N))
    protocol = _protocol(model, settings, runtime, judge)
    finished = runtime.recorded("progressive", protocol)
    if finished is not None:
        return finished
    require_pictures(model.shape[0], fix="draw samples alone: de.sample(model, n)")
    if judge is not None:
        judge.check(model, settings.n)
    T = model.denoise.schedule.T
    work = _work(model, settings, runtime)
    steps = T + 1 - np.array(times(T))
    frames = Frames(fill(work, runtime), steps, work.facts)
    rmse = _rmse(frames)
    half = int(np.abs(steps - T / 2).argmin())
    return Measurement(
        measure="progressive",
        protocol=protocol,
        scores=(_score(rmse, half),),
        curves=(rmse, *(along.curves(judge, frames, runtime) if judge else ())),
        grids={
            "progressive": _strips(_first(frames, settings.rows), steps.tolist(), settings.seed),
            "shared latents": continuations.draw(model, settings, runtime),
        },
        facts={"times": times(T)},
        warnings=(WARNING,) if judge else (),
    )


def _protocol(
    model: Model, settings: ProgressiveSettings, runtime: Runtime, judge: Judge | None
) -> Protocol:
    drawn = SamplingSettings(
        n=settings.n, seed=settings.seed, clip=settings.clip, classes=settings.classes
    )
    return protocol_of(
        VERSION,
        model,
        settings,
        sampling=sample_facts.sampling_of(model, drawn, runtime),
        reference=judge and judge.reference,
        extractor=judge and judge.facts,
    )


def times(T: int) -> list[int]:
    """The times at which x_0_hat is recorded, falling: the paper's 951, 901, ..., 1, scaled to T.

    >>> times(1000)[:2], times(1000)[-2:], times(8)
    ([951, 901], [51, 1], [8, 7, 6, 5, 4, 3, 2, 1])
    """
    return sorted({1 + T * k // RECORDED for k in range(RECORDED)}, reverse=True)


def _work(model: Model, settings: ProgressiveSettings, runtime: Runtime) -> Work:
    """x_0_hat at the recorded times, and its squared error against the last one."""
    T = model.denoise.schedule.T
    recorded = times(T)
    sampler = steered(model, Ancestral(model.denoise, settings.clip))
    stream = Stream(settings.seed, "sample")

    def make(part: range) -> Generator[None, None, Arrays]:
        x_0_hats: list[Tensor] = []
        x_T = prior(stream, part, model.shape).to(model.device, model.dtype)
        labels = condition_of(model, settings, part)
        for frame in chain(sampler, x_T, part, stream, condition=labels):
            if frame.t in recorded:
                x_0_hats.append(frame.x_0_hat)
            yield
        last = x_0_hats[-1].double()
        mse = [(x_0_hat.double() - last).square().flatten(1).mean(1) for x_0_hat in x_0_hats]
        return {
            "frames": np.stack([data.to_uint8(x_0_hat) for x_0_hat in x_0_hats], 1),
            "mse": torch.stack(mse, 1).cpu().numpy(),
        }

    return Work(
        name="frames",
        facts=chain_facts(model, settings)
        | classes_of(model, settings)
        | {"times": recorded, "batch": runtime.batch},
        n=settings.n,
        size=runtime.batch,  # as in the sample store: the same batch, the same bits
        make=make,
        ticks=lambda _part: T,
        label=f"x_0_hat of {settings.n:,} samples",
    )


def _rmse(frames: Frames) -> Curve:
    """The distance of x_0_hat from the final sample."""
    pieces = frames.pieces
    mse = np.concatenate([pieces.part(part)["mse"] for part in pieces.parts()])
    rmse, error = root_mean(mse)
    return Curve(
        metric="rmse",
        over="reverse_steps",
        x=frames.steps,
        y=rmse,
        n=frames.n,
        error=error,
        of=Qualifiers(whose="samples"),
    )


def _score(curve: Curve, place: int) -> Score:
    """One point of a curve."""
    at = "reverse_steps", float(curve.x[place])
    return Score(
        metric=curve.metric,
        value=float(curve.y[place]),
        n=curve.n,
        error=None if curve.error is None else Error(size=float(curve.error[place])),
        of=replace(curve.of, at=at),
    )


def _first(frames: Frames, n: int) -> Array:
    """The frames of the first n samples, [n, K, H, W, C]."""
    parts = [part for part in frames.pieces.parts() if part.start < n]
    images: Array = np.concatenate([frames.pieces.part(part)["frames"] for part in parts])[:n]
    return images


def _strips(frames: Array, steps: list[int], seed: int) -> Grid:
    """A row for each of the first samples, frames [n, K, H, W, C] from left to right."""
    n, K = frames.shape[:2]
    marks = {steps[0]} | {steps[-1] * part // 5 for part in range(1, 6)}  # more would overlap
    labels = [f"{step}" if step in marks else "" for step in steps] + [""] * (n - 1) * K
    numbers = f"samples 0 to {n - 1}" if n > 1 else "sample 0"
    return Grid(
        frames.reshape(-1, *frames.shape[2:]),
        columns=K,
        labels=labels,
        caption=(
            f"Progressive generation: x̂₀ of {numbers} of seed {seed}, not chosen, after so many of "
            f"{steps[-1]:,} reverse steps. The last of each row is the sample."
        ),
    )
