"""Shared latents (the paper's Figure 7): how much the rest of the chain decides from x_t on."""

from collections.abc import Generator

import numpy as np

from ddpm_eval.measure.pictures.protocols import (
    chain_facts,
    classes_of,
    condition_of,
    steered,
)
from ddpm_eval.measure.pictures.settings import ProgressiveSettings
from ddpm_eval.model import Model
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.scores import Grid
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.chain import chain, prior, walk
from ddpm_train.noise import Stream
from ddpm_train.samplers import Ancestral

CONTINUATIONS = 7  # of each frozen x_t


def frozen(T: int) -> list[int]:
    """The times at which x_t is shared: the paper's 1000, 750, 500, 250, scaled to T.

    >>> frozen(1000), frozen(2)
    ([1000, 750, 500, 250], [2, 1])
    """
    return sorted({max(1, T * k // 4) for k in range(1, 5)}, reverse=True)


def draw(model: Model, settings: ProgressiveSettings, runtime: Runtime) -> Grid:
    """Continue sample 0 from each frozen x_t, a row for each time; x_t stands on the left."""
    stops, T = frozen(model.denoise.schedule.T), model.denoise.schedule.T
    images = fill(_work(model, settings, stops), runtime).read()["images"]
    rows = [[f"t = {t:,}"] + [""] * CONTINUATIONS for t in stops]
    return Grid(
        images.reshape(-1, *images.shape[2:]),
        columns=1 + CONTINUATIONS,
        labels=[text for row in rows for text in row],
        caption=(
            f"Shared latents: the x_t of sample 0 of seed {settings.seed} at t of {T:,} (left), "
            f"and {CONTINUATIONS} samples that begin there, each with its own noise."
        ),
    )


def _work(model: Model, settings: ProgressiveSettings, stops: list[int]) -> Work:
    T, sampler = model.denoise.schedule.T, steered(model, Ancestral(model.denoise, settings.clip))
    first, others = (Stream(settings.seed, name) for name in ("sample", "continue"))

    def make(part: range) -> Generator[None, None, Arrays]:
        (row,) = part
        t, rows = stops[row], range(CONTINUATIONS)
        x_t = prior(first, [0], model.shape).to(model.device, model.dtype)
        label = condition_of(model, settings, [0])
        for frame in chain(sampler, x_t, [0], first, condition=label):
            x_t = frame.x_t
            if frame.t == t:
                break
            yield
        start = x_t.expand(CONTINUATIONS, *x_t.shape[1:])
        labels = None if label is None else label.expand(CONTINUATIONS)
        x_0 = yield from walk(chain(sampler, start, rows, others, start=t, condition=labels))
        return {"images": np.concatenate([data.to_uint8(x_t), data.to_uint8(x_0)])[None]}

    return Work(
        name="continuations",
        facts=chain_facts(model, settings)
        | classes_of(model, settings)
        | {"frozen": stops, "continuations": CONTINUATIONS},
        n=len(stops),
        size=1,
        make=make,
        ticks=lambda _part: T,
        label="continuations of shared latents",
    )
