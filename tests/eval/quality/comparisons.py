"""Comparisons of digits for the tests of quality."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.features import (
    EXTRACTORS,
    Entry,
    Extractor,
    Outputs,
    digits_cnn,
)
from ddpm_eval.measure.quality import quality
from ddpm_eval.measure.quality.reference import Comparison, Reference
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score
from ddpm_eval.runtime import Runtime
from ddpm_train.data.arrays import digits
from ddpm_train.data.images import Form, Split, Stack
from ddpm_train.world import World
from tests.eval import jobs

CPU = torch.device("cpu")


def stack(split: Split) -> Stack:
    """The digits without their classes."""
    images = digits(split, Form(8, 1)).images
    assert isinstance(images, Stack)
    return images


TRAIN, TEST = stack("train"), stack("test")


FD = "FD(digits-cnn)"


@dataclass
class Counting:
    """Counts the images that the digits' network sees; after ``limit`` of them it is killed.

    Threads play processes here, and ``+=`` of two of them may lose a count: it takes turns.
    """

    limit: int = 10**9
    seen: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)
    bad: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "Counting":
        """Be the extractor ``digits-cnn`` from now on."""
        entry = EXTRACTORS["digits-cnn"]
        whole = digits_cnn.load(None, "", CPU)
        description = replace(entry.description, batch=(32, 32))

        def network(levels: Tensor) -> Outputs:
            with self.turn:
                self.seen += len(levels)
            if self.seen > self.limit:
                raise KeyboardInterrupt
            outputs = whole.network(levels)
            if self.bad:
                outputs.pool[0, 0] = torch.nan
            return outputs

        def load(path: Any, resize: str, device: torch.device, *, accept: str = "") -> Extractor:
            counting = replace(whole, description=description, network=network)
            return replace(counting, **self.changes)

        monkeypatch.setitem(EXTRACTORS, "digits-cnn", Entry(entry.description, load))
        return self


def images(source: Stack, split: str = "") -> ImageSet:
    return ImageSet.of(source, split=split)


def compare(
    samples: Stack | ImageSet,
    against: Stack | Reference,
    features: Path | None = None,
    *,
    held_out: Stack | None = None,
    world: Any = None,
    **settings: Any,
) -> Measurement:
    (only,) = compare_all(samples, against, features, held_out=held_out, world=world, **settings)
    return only


def compare_all(
    samples: Stack | ImageSet,
    against: Stack | Reference,
    features: Path | None = None,
    *,
    held_out: Stack | None = None,
    world: Any = None,
    **settings: Any,
) -> tuple[Measurement, ...]:
    reference = against
    if isinstance(against, Stack):
        split = "test" if against.name.endswith("test") else "train"
        reference = Reference(images=images(against, split))
    assert isinstance(reference, Reference)
    comparison = Comparison(
        samples=samples if isinstance(samples, ImageSet) else images(samples),
        reference=reference,
        held_out=None if held_out is None else images(held_out, "test"),
    )
    runtime = Runtime(world=world or World(CPU), features=features)
    plain = {"extractors": ("digits-cnn",), **settings}
    return quality.measure(comparison, QualitySettings(**plain), runtime)


def blurred(stack: Stack, name: str = "blurred") -> Stack:
    x = stack.pixels.astype(float)
    return Stack(name, ((x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3).astype(np.uint8))


def value(measurement: Measurement, metric: str, **of: object) -> Score:
    score = measurement.score(metric, **of)
    assert score is not None
    return score


def install_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extractor of 8 features, two ways of resizing, and no logits."""
    description = replace(
        EXTRACTORS["digits-cnn"].description,
        **{"name": "toy", "dim": 8, "logits": 0, "side": 4, "resizes": ("tf1", "antialias")},
        normalisation="none",
        published="7" * 64,
    )

    def load(path: Any, resize: str, device: torch.device, *, accept: str = "") -> Extractor:
        return Extractor(
            description=description,
            network=lambda levels: Outputs(levels[:, 0].flatten(1)[:, :8]),
            digest="7" * 64,
            resize=resize,
            device=device,
        )

    monkeypatch.setitem(EXTRACTORS, "toy", Entry(description, load))


def pictures(split: str) -> ImageSet:
    n, seed = (60, 1) if split == "train" else (30, 2)
    return images(jobs.pictures(n, seed=seed, name=f"pictures {split}"), split)
