"""Measures that die and go on, and processes that share them, for tests of work in pieces."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.world import World
from tests.eval import jobs

Measure = Callable[[Model, Runtime], Measurement]


class Stopped(BaseException):
    """What kill -9 looks like from inside."""


def images(n: int = 30, *, split: str = "test") -> ImageSet:
    """Test pictures, or 60 training ones."""
    n, seed = (60, 1) if split == "train" else (n, 2)
    return ImageSet.of(jobs.pictures(n, seed=seed, name=f"pictures {split}"), split=split)


def counting(model: Model, calls: list[int], *, stop: float = float("inf")) -> Model:
    """The same model on a network that counts its evaluations and may die."""
    network = model.denoise.network

    def counted(x: Tensor, t: Tensor) -> Tensor:
        calls.append(len(x))
        if len(calls) > stop:
            raise Stopped
        return network(x, t)

    denoise = type(model.denoise)(counted, model.denoise.schedule, model.denoise.objective)
    return replace(model, denoise=denoise)


def assert_resumes(measure: Measure, model: Model, runtime: Runtime, *, stops: list[int]) -> None:
    """A measurement that dies after so many evaluations, again and again, is the whole one's."""
    assert runtime.cache is not None
    whole_calls: list[int] = []
    whole = measure(counting(model, whole_calls), runtime.inside("whole"))
    runtime = runtime.inside("parts")
    calls: list[int] = []
    for stop in stops:
        with pytest.raises(Stopped):
            measure(counting(model, [], stop=stop), runtime)
    result = measure(counting(model, calls), runtime)
    assert len(calls) < len(whole_calls)
    assert_same(result, whole)
    assert_same(measure(model, replace(runtime, cache=None)), whole)  # and in memory


def assert_same(one: Measurement, two: Measurement) -> None:
    assert one.protocol == two.protocol and one.scores == two.scores and one.facts == two.facts
    assert one.warnings == two.warnings and one.grids.keys() == two.grids.keys()
    for name, grid in one.grids.items():
        np.testing.assert_array_equal(grid.images, two.grids[name].images)
        assert grid.labels == two.grids[name].labels
        assert grid.caption == two.grids[name].caption
    for curve, other in zip(one.curves, two.curves, strict=True):
        np.testing.assert_array_equal(curve.y, other.y)


def assert_shared(measure: Measure, model: Model, runtime: Runtime) -> None:
    """Two processes share the work; what each of them has is what one alone has."""
    gate, slots = threading.Barrier(2, timeout=60), [Tensor(), Tensor()]

    class Both(World):
        def sum(self, values: Tensor) -> Tensor:
            slots[self.rank] = values
            gate.wait()
            total = slots[0] + slots[1]
            gate.wait()
            return total

    alone = measure(model, runtime.inside("alone"))
    calls: list[list[int]] = [[], []]

    def work(rank: int) -> Measurement:
        world = Both(jobs.CPU, rank, 2)
        return measure(
            counting(model, calls[rank]), replace(runtime.inside("together"), world=world)
        )

    with ThreadPoolExecutor(2) as threads:
        results = [threads.submit(work, rank) for rank in range(2)]
    for result in results:
        assert_same(result.result(), alone)
    assert calls[0] and calls[1]


def files(folder: Path) -> list[Path]:
    """Every file below a folder."""
    return [path for path in folder.rglob("*") if path.is_file()]
