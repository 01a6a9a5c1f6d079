"""Samples of the model, by the chain (Algorithm 2)."""

from collections.abc import Generator

import numpy as np

from ddpm_eval.job import Job
from ddpm_eval.progress import finish
from ddpm_eval.results import Grid, Measurement
from ddpm_eval.shards import open_shards
from ddpm_train import data, sampler
from ddpm_train.noise import Stream

SHARD_IMAGES = 64


def measure(job: Job) -> Measurement:
    """Images 0..n-1 of the seed, not chosen; n is 64 by default."""
    subject, config = job.subject, job.config
    n, T, stream = config.n or 64, subject.denoise.schedule.T, Stream(config.seed, "sample")
    settings = {"seed": config.seed, "steps": T, "weights": subject.identity["weights"]}
    begun_with = {**settings, "checkpoint": subject.identity["checkpoint"]}
    shards = open_shards(job.work, begun_with, n=n, size=min(SHARD_IMAGES, config.batch))
    todo = [part for part in job.world.share(shards.parts()) if part in shards.missing()]

    def steps() -> Generator[None, None, None]:
        for part in todo:
            x_t = sampler.prior(stream, part, subject.shape).to(subject.device, subject.dtype)
            for frame in sampler.chain(subject.denoise, x_t, part, stream):
                if frame.t == 1:
                    shards.write(part, {"images": data.to_uint8(frame.x_0_hat)})
                yield

    finish(steps(), job.track, f"{n:,} samples", len(todo) * T)
    job.world.barrier()
    images = shards.read()["images"]
    return Measurement(
        name="samples",
        grids={
            "samples": Grid(
                images,
                columns=int(np.ceil(n**0.5)),
                labels=tuple(str(i) for i in range(n)),
                caption=f"Samples 0 to {n - 1} of seed {config.seed}, not chosen; {T:,} steps.",
            )
        },
        settings={**settings, "indices": f"0..{n - 1}"},
    )
