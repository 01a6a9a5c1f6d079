"""Samples of the model, by the chain (Algorithm 2), kept in a store."""

import contextlib
import json
import math
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import ddpm_train
from ddpm_eval.job import Job
from ddpm_eval.progress import finish
from ddpm_eval.record import filling
from ddpm_eval.record import store as stores
from ddpm_eval.record.schema1 import Measurement
from ddpm_eval.record.scores import Grid
from ddpm_eval.record.store import SampleStore
from ddpm_train import data, samplers
from ddpm_train.chain import chain, prior, walk
from ddpm_train.config import SamplerConfig
from ddpm_train.files import require_space
from ddpm_train.noise import Stream
from ddpm_train.samplers import Sampler

SHOWN = 64  # samples in the record's grid


def measure(job: Job) -> Measurement:
    """Images 0..n-1 of the seed, not chosen; n is 64 by default. The first 64 are shown."""
    n = job.config.n or SHOWN
    store = ensure(job, n)
    job.notify(f"samples 0..{n - 1} are in {store.folder}")
    shown = min(n, SHOWN)
    return Measurement(
        name="samples",
        grids={
            "samples": Grid(
                store.read(range(shown)),
                columns=math.ceil(shown**0.5),
                labels=tuple(str(i) for i in range(shown)),
                caption=f"Samples 0 to {shown - 1} of seed {job.config.seed}, not chosen; "
                f"{store.label}.",
            )
        },
        settings={
            **store.facts,
            "samples": store.name,
            "samples_digest": store.digest,
            "n": n,
            "indices": f"0..{n - 1}",
        },
    )


def ensure(job: Job, n: int) -> SampleStore:
    """Make the missing ones of samples 0..n-1 of the job's subject, and open all of them.

    Raises:
        FixableError: The settings mean nothing, the store is of something else or is being filled
            by another process, or the disk is full.
    """
    fill(job, n)
    return stores.open_store(folder(job), n)


def fill(job: Job, n: int, within: range | None = None) -> list[range]:
    """Make the missing ones of samples 0..n-1, or of those whose batch begins within a range.

    Returns:
        The ranges that are missing afterwards, for others to make.
    """
    sampler = _sampler(job)
    store = SampleStore(folder(job), facts(job), stores.require_count(n))
    within = within or range(n)
    job.world.once(lambda: filling.begin(store))
    missing = store.shards.missing(job.world)
    ours = [part for part in missing if part.start in within]
    with contextlib.ExitStack() as held:
        if ours:
            job.world.once(lambda: held.enter_context(_hold(job, store, ours, within)))
        todo = job.world.share(ours)
        label = f"{sum(len(part) for part in ours):,} samples"
        work = _draw(job, sampler, store, todo)
        finish(work, job.track, label, len(todo) * sampler.schedule.T)
        job.world.barrier()
    return [part for part in missing if part not in ours]


def facts(job: Job) -> dict[str, Any]:
    """All that the samples depend on, as plain JSON: the identity of their store."""
    subject, config = job.subject, job.config
    T, how = subject.denoise.schedule.T, config.sampling
    channels, *size = subject.shape
    found = {
        "checkpoint": subject.facts.digest,
        "weights": subject.facts.weights,
        "seed": config.seed,
        "sampler": how.sampler,
        "steps": how.steps or T,
        "eta": how.eta if how.sampler == "ddim" else None,
        "T": T,
        "clip": config.clip,
        "precision": subject.precision,
        "shape": [*size, channels],
        "batch": config.batch,
        "program": ddpm_train.__version__,
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def folder_name(facts: dict[str, Any]) -> str:
    """A short folder name that differs where the samples do.

    >>> folder_name({"checkpoint": "0123456789ab", "weights": "ema", "seed": 3, "sampler": "ddim",
    ...     "steps": 50, "eta": 0.5, "clip": True, "precision": "float32", "batch": 64})
    '01234567-ema-seed3-ddim50-eta0.5-batch64'
    """
    parts = [
        facts["checkpoint"][:8],
        facts["weights"],
        f"seed{facts['seed']}",
        f"{facts['sampler']}{facts['steps']}",
        "" if facts["eta"] is None else f"eta{facts['eta']}",
        "" if facts["clip"] else "unclipped",
        "" if facts["precision"] == "float32" else facts["precision"],
        f"batch{facts['batch']}",
    ]
    return "-".join(part for part in parts if part).replace(" ", "_")


def folder(job: Job) -> Path:
    """Where the job's samples are kept."""
    out = job.config.sampling.out
    return Path(out) if out else (job.stores or job.work / "store") / folder_name(facts(job))


def _sampler(job: Job) -> Sampler:
    sampling = job.config.sampling
    config = SamplerConfig(sampler=sampling.sampler, steps=sampling.steps, eta=sampling.eta)
    return samplers.build(job.subject.denoise, config, clip=job.config.clip)


@contextlib.contextmanager
def _hold(job: Job, store: SampleStore, missing: Sequence[range], within: range) -> Iterator[None]:
    """Keep other writers off, see that all fits on the disk, and say what is not expected."""
    with filling.reserve(store, within, job.notify):
        size = sum(len(part) for part in missing) * math.prod(store.shape)
        require_space(store.folder, size + 2000 * len(missing) + 1_000_000)
        for part in missing:
            path = store.shards.path(part)
            if path.exists():
                job.notify(f"{path}: damaged; samples {part.start}..{part.stop - 1} are made again")
        batch = store.facts["batch"]
        if store.n < batch:
            job.notify(
                f"a whole batch of {batch} samples is made, so that image i is the same whatever "
                f"-n is; --batch {store.n} makes {store.n}"
            )
        yield


def _draw(
    job: Job, sampler: Sampler, store: SampleStore, parts: Sequence[range]
) -> Generator[None, None, None]:
    """Walk the chain of each range; yields after every step."""
    subject, stream = job.subject, Stream(job.config.seed, "sample")
    for part in parts:
        x_T = prior(stream, part, subject.shape).to(subject.device, subject.dtype)
        x_0 = yield from walk(chain(sampler, x_T, part, stream))
        store.shards.write(part, {"images": data.to_uint8(x_0)})
