"""Jobs that die and go on, and processes that share them, for tests of work in pieces."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from ddpm_eval.job import Job
from ddpm_eval.record.schema1 import Measurement
from ddpm_train.world import World
from tests.eval import jobs


def ask(job: Job, **options: Any) -> Job:
    """The same job with other settings; those of pictures by their own names."""
    pictures = {key: options.pop(key) for key in [*options] if hasattr(job.config.pictures, key)}
    config = replace(job.config, pictures=replace(job.config.pictures, **pictures), **options)
    return replace(job, config=config)


class Stopped(BaseException):
    """What kill -9 looks like from inside."""


def counting(job: Job, calls: list[int], *, stop: float = float("inf")) -> Job:
    """The same job on a network that counts its evaluations and may die."""
    whole = job.subject.denoise
    network = whole.network

    def counted(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) > stop:
            raise Stopped
        return network(x, t)

    denoise = type(whole)(counted, whole.schedule, job.subject.denoise.objective)
    return replace(job, subject=replace(job.subject, denoise=denoise))


def resumes(measure: Callable[[Job], Measurement], job: Job, *, stops: list[int]) -> None:
    """A measurement that dies after so many evaluations, again and again, is the whole one's."""
    whole_calls: list[int] = []
    whole = measure(counting(replace(job, work=job.work / "whole"), whole_calls))
    calls: list[int] = []
    for stop in stops:
        with pytest.raises(Stopped):
            measure(counting(job, [], stop=stop))
    found = measure(counting(job, calls))
    assert len(calls) < len(whole_calls)
    same(found, whole)


def same(one: Measurement, two: Measurement) -> None:
    assert one.settings == two.settings and one.quantities == two.quantities
    for name, grid in one.grids.items():
        np.testing.assert_array_equal(grid.images, two.grids[name].images)
        assert grid.labels == two.grids[name].labels
    for name, curve in one.curves.items():
        np.testing.assert_array_equal(curve.y, two.curves[name].y)


def shared(measure: Callable[[Job], Measurement], job: Job) -> None:
    """Two processes share the work; what each of them finds is what one alone finds."""
    gate, slots = threading.Barrier(2, timeout=60), [Tensor(), Tensor()]

    class Both(World):
        def sum(self, values: Tensor) -> Tensor:
            slots[self.rank] = values
            gate.wait()
            total = slots[0] + slots[1]
            gate.wait()
            return total

    alone = measure(replace(job, work=job.work / "alone"))
    calls: list[list[int]] = [[], []]
    with ThreadPoolExecutor(2) as threads:
        found = [
            threads.submit(
                measure, counting(replace(job, world=Both(jobs.CPU, rank, 2)), calls[rank])
            )
            for rank in range(2)
        ]
    for each in found:
        same(each.result(), alone)
    assert calls[0] and calls[1]
