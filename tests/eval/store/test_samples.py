"""Samples in a store are images, and their measurement says how they were drawn."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from ddpm_eval.measure.pictures import samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.record import filling
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_eval.record.store import SampleStore, open_store
from ddpm_eval.runtime import Runtime
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.presets import digits
from ddpm_train.settings import to_dict
from tests.eval.pieces import counting
from tests.eval.store.stores import N, assert_same_files, make, model


def test_without_a_folder_samples_stay_in_memory_and_are_the_same(
    whole: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in (N, 5):
        drawn = samples.draw(model(), SamplingSettings(n=n), Runtime(batch=4))
        np.testing.assert_array_equal(drawn.read(range(n)), whole.read(range(n)))
        assert drawn.facts == whole.facts and len(drawn) == n and drawn.name == whole.name
    assert not list(tmp_path.iterdir())
    first = samples.draw(model(), SamplingSettings(n=N), Runtime(batch=4, cache=tmp_path / "cache"))
    assert isinstance(first, SampleStore) and first.folder.parent == tmp_path / "cache" / "store"
    assert_same_files(first.folder, whole)


def test_a_store_is_images(whole: SampleStore) -> None:
    pixels = whole.read(range(N))
    assert pixels.dtype == np.uint8 and pixels.shape == (N, 8, 8, 1)
    order = [17, 0, 5, 5, 9]
    np.testing.assert_array_equal(whole.read(order), pixels[order])
    assert whole.digest == Stack("memory", pixels).digest
    assert open_store(whole.folder, 6).digest == Stack("memory", pixels[:6]).digest
    for outside in ([N], [-1]):  # the last batch holds more, which is not looked at
        with pytest.raises(IndexError):
            whole.read(outside)
    assert whole.name == "samples (ancestral, 6 steps, seed 0)"


def test_only_what_is_asked_for_is_read(copy: Path, whole: SampleStore) -> None:
    opened = open_store(copy)
    for path in sorted(copy.glob("images-*.npz"))[1:]:
        path.unlink()
    np.testing.assert_array_equal(opened.read([3, 1]), whole.read([3, 1]))


def test_pixels_are_rounded(tmp_path: Path) -> None:
    """The last x_0_hat of a network that knows its answer, 99.6 grey levels, is stored as 100."""
    process = model().denoise.schedule

    def network(x: Tensor, t: Tensor) -> Tensor:
        bar = process.alphas_bar[t].view(-1, 1, 1, 1)
        return ((x - bar.sqrt() * (99.6 / 127.5 - 1)) / (1 - bar).sqrt()).float()

    denoise = Denoiser(network, process, ObjectiveConfig())
    result = make(tmp_path / "store", 3, subject=replace(model(), denoise=denoise))
    assert np.unique(result.read(range(3))).tolist() == [100]


def test_the_measurement_says_what_was_drawn(tmp_path: Path) -> None:
    settings = SamplingSettings(n=70, sampler="ddim", steps=3, eta=0.5)
    texts: list[str] = []
    runtime = Runtime(batch=4, notify=texts.append)
    result = samples.measure(model(), settings, runtime, tmp_path / "a")
    grid, opened = result.grids["samples"], open_store(tmp_path / "a", 70)
    np.testing.assert_array_equal(grid.images, opened.read(range(64)))
    assert (grid.columns, grid.labels[63]) == (8, "63")
    assert "DDIM (eta 0.5), 3 of 6 steps" in grid.caption
    assert result.protocol.sampling == SamplingFacts(
        sampler="ddim", steps=3, T=6, seed=0, n=70, eta=0.5, batch=4
    )
    assert opened.sampling == result.protocol.sampling
    assert result.facts["samples_digest"] == opened.digest
    assert texts == [f"samples 0..69 are in {tmp_path / 'a'}"]


def test_finished_samples_are_shown_and_not_drawn_again(tmp_path: Path) -> None:
    settings, calls = SamplingSettings(n=4), []
    first = samples.measure(model(), settings, Runtime(batch=4))
    runtime = Runtime(batch=4, recorded=lambda name, protocol: first if (name, protocol) == (
        "samples", first.protocol) else None)  # fmt: skip
    assert samples.measure(counting(model(), calls), settings, runtime) is first and not calls
    again = samples.measure(counting(model(), calls), replace(settings, seed=1), runtime)
    assert again is not first and calls


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_cannot_be_shown_are_refused_before_work(channels: int) -> None:
    calls: list[int] = []
    many = replace(counting(model(), calls), shape=(channels, 8, 8))
    with pytest.raises(FixableError, match=f"{channels} channels cannot be shown"):
        samples.measure(many, SamplingSettings(n=4), Runtime())
    assert not calls


def test_a_store_knows_what_its_model_was_trained_on(tmp_path: Path) -> None:
    facts = replace(model().facts, run=digits(), name="step-9.pt", file={"data_digest": "d"})
    subject = replace(model(), facts=facts)
    opened = make(tmp_path / "a", subject=subject)
    assert opened.about["data"] == to_dict(digits().data) and opened.about["data_digest"] == "d"
    merged = filling.merge([tmp_path / "a"], tmp_path / "b")
    assert merged.about == opened.about == open_store(tmp_path / "b").about
    assert make(tmp_path / "c").about == {}  # nobody knows
