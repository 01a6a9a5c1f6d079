"""Stores of samples of a small model, for the tests of stores."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpm_eval.measure.pictures import samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record.store import SampleStore, open_store
from ddpm_eval.runtime import Runtime
from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from tests.eval import forks, jobs

N = 18  # in batches of 4: five shards, the last of which holds two more


T = 6


def model(*, seconds: float = 0.0, digest: str = "a") -> Model:
    """A model whose network feels its whole batch: another composition gives other images."""
    plain = jobs.subject(T=T, digest=digest)
    inner = plain.denoise.network

    def network(x: Tensor, t: Tensor) -> Tensor:
        time.sleep(seconds)
        return inner(x, t) + 0.2 * x.mean() + 0.01 * len(x)

    denoise = Denoiser(network, plain.denoise.schedule, ObjectiveConfig())
    return replace(plain, denoise=denoise)


def fill(folder: Path, n: int = N, within: range | None = None, **options: Any) -> list[range]:
    """Fill a store; options belong to the model, to Runtime or to the settings."""
    parts = {key: options.pop(key) for key in ("seconds", "digest") if key in options}
    of_runtime = {key: options.pop(key) for key in ("world", "notify", "batch") if key in options}
    runtime = Runtime(**{"batch": 4, **of_runtime})
    subject = options.pop("subject", None) or model(**parts)
    return samples.fill_store(subject, SamplingSettings(n=n, **options), runtime, folder, within)


def make(folder: Path, n: int = N, **options: Any) -> SampleStore:
    fill(folder, n, **options)
    return open_store(folder, n)


def assert_same_files(folder: Path, whole: SampleStore) -> None:
    assert forks.contents(folder) == forks.contents(whole.folder)
