"""Samples for callers that hand over a job."""

from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import samples
from ddpm_eval.measure.pictures.samples import Samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.runtime import Runtime
from ddpm_train.reading import expanded


def ensure(job: Job, n: int) -> Samples:
    """Draw what is missing of samples 0..n-1."""
    config, sampling = job.config, job.config.sampling
    settings = SamplingSettings(
        n=n,
        seed=config.seed,
        clip=config.clip,
        sampler=sampling.sampler,
        steps=sampling.steps,
        eta=sampling.eta,
    )
    runtime = Runtime(
        world=job.world,
        cache=job.work,
        stores=job.stores or job.work / "store",
        batch=config.batch,
        track=job.track,
        notify=job.notify,
    )
    out = expanded(sampling.out) if sampling.out else None
    return samples.draw(job.subject, settings, runtime, out)
