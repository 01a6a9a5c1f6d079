"""Pictures that the chain makes piece by piece: resumed after a kill, shared between processes."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from ddpm_eval.job import Job
from ddpm_eval.progress import finish
from ddpm_eval.record.shards import Arrays, Shards, open_shards

Make = Callable[[range], Generator[None, None, Arrays]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is made, in ``n`` items of which ``size`` go into one file.

    Attributes:
        stage: The name of this work: its folder inside ``job.work``.
        settings: What the result depends on beside the checkpoint: unfinished work with others is
            refused.
        n: How many items there are.
        size: How many items are made at once.
        make: Makes a range of items, yielding after each evaluation of the network; its arrays
            have the items on their first axis.
        ticks: How often it yields.
        label: What progress is called.
    """

    stage: str
    settings: dict[str, Any]
    n: int
    size: int
    make: Make
    ticks: Callable[[range], int]
    label: str


def collect(job: Job, plan: Plan) -> Shards:
    """Make all items; every process finds all of them."""
    begun_with = plan.settings | {"checkpoint": job.subject.facts.digest}
    folder = job.work / plan.stage
    shards = open_shards(folder, begun_with, n=plan.n, size=plan.size, world=job.world)
    todo = job.world.share(shards.missing(job.world))

    def work() -> Generator[None, None, None]:
        for part in todo:
            arrays = yield from plan.make(part)
            shards.write(part, arrays)

    finish(work(), job.track, plan.label, sum(plan.ticks(part) for part in todo))
    job.world.barrier()
    return shards


def describe(job: Job) -> dict[str, Any]:
    """The settings that every measure of pictures records."""
    subject = job.subject
    return {
        "seed": job.config.seed,
        "weights": subject.facts.weights,
        "T": subject.denoise.schedule.T,
        "steps": subject.denoise.schedule.T,
        "clip": job.config.clip,
    }
