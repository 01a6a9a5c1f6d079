"""Samples and pictures from Python: in memory, nothing written, every error names its setting."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ddpm_eval as de
from ddpm_eval.measure.pictures import samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record.store import open_store
from ddpm_eval.runtime import Runtime
from ddpm_eval.sources import trained_on
from ddpm_train.config import DataConfig
from ddpm_train.errors import FixableError
from ddpm_train.presets import digits
from tests.eval import jobs


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Net(torch.nn.Module):
    """Shrinks what it sees: no two samples are equal."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return 0.7 * x + 0.001 * t.view(-1, 1, 1, 1)


def wrapped(channels: int = 1) -> Model:
    betas = np.linspace(0.01, 0.6, 12).tolist()
    return de.wrap(Net(), schedule=betas, image_shape=(channels, 8, 8))


TEST = de.images("digits", split="test")


def test_samples_are_an_array_of_levels_and_nothing_is_written() -> None:
    x = de.sample(wrapped(), 5, seed=3)
    assert x.dtype == np.uint8 and x.shape == (5, 8, 8, 1)
    assert len({image.tobytes() for image in x}) == 5
    np.testing.assert_array_equal(de.sample(wrapped(), 3, seed=3, batch=5), x[:3])
    assert (de.sample(wrapped(), 5, seed=4) != x).any()
    assert not list(Path().iterdir())


def test_a_cache_keeps_samples_that_a_longer_call_goes_on_with() -> None:
    x = de.sample(wrapped(), 8, batch=4, cache="work")
    (store,) = Path("work/store").iterdir()
    files = {path: path.stat().st_mtime_ns for path in store.glob("images-*")}
    more = de.sample(wrapped(), 12, batch=4, cache="work")
    np.testing.assert_array_equal(more[:8], x)
    assert (
        files == {path: path.stat().st_mtime_ns for path in files} and len(open_store(store)) == 12
    )
    np.testing.assert_array_equal(de.images(store).read(range(12)), more)


@pytest.mark.parametrize(
    "call",
    [
        lambda model: de.progressive(model, 3),
        lambda model: de.reconstruct(model, TEST, n=3),
        lambda model: de.interpolate(model, TEST),
        lambda model: de.neighbours(model, TEST[:60], TEST[60:], n=6, held_out=40),
    ],
)
def test_measurements_are_made_in_memory_and_name_their_model(call: Callable[[Model], Any]) -> None:
    result = call(wrapped())
    assert result.protocol.model == wrapped().facts.digest and result.grids
    assert result.provenance["models"].keys() == {wrapped().facts.digest}
    assert not list(Path().iterdir())


def test_more_channels_than_a_picture_has_are_sampled_but_not_shown() -> None:
    assert de.sample(wrapped(5), 2).shape == (2, 8, 8, 5)
    with pytest.raises(FixableError, match="5 channels cannot be shown"):
        de.progressive(wrapped(5), 2)


SMALL = np.zeros((9, 4, 4, 1), np.uint8)
WRONG: list[tuple[str, Callable[[], Any]]] = [
    ("n=0: out of range", lambda: de.sample(wrapped(), 0)),
    ("n=1000000000000: out of range", lambda: de.sample(wrapped(), 10**12)),
    ("seed=18446744073709551616: out of range", lambda: de.sample(wrapped(), 2, seed=2**64)),
    ("seed=-1: out of range", lambda: de.sample(wrapped(), 2, seed=-1)),
    ("eta=2: out of range", lambda: de.sample(wrapped(), 2, sampler="ddim", eta=2)),
    ("sampler=euler", lambda: de.sample(wrapped(), 2, sampler="euler")),
    ("steps=13: the model has 12", lambda: de.sample(wrapped(), 2, steps=13)),
    ("batch=0", lambda: de.sample(wrapped(), 2, batch=0)),
    ("model=str: not a model", lambda: de.sample("runs/x")),  # type: ignore[arg-type]
    ("rows=0: out of range", lambda: de.progressive(wrapped(), 2, rows=0)),
    ("n=1,000: digits test has 297", lambda: de.reconstruct(wrapped(), TEST, n=1000)),
    ("t=13: the model has 12", lambda: de.interpolate(wrapped(), TEST, t=13)),
    ("lambdas=2: out of range", lambda: de.interpolate(wrapped(), TEST, lambdas=[2])),
    ("mix=cubic: not a choice", lambda: de.interpolate(wrapped(), TEST, mix="cubic")),
    ("pairs=5: not a list of values", lambda: de.interpolate(wrapped(), TEST, pairs=[5])),  # type: ignore[list-item]
    ("k=0: out of range", lambda: de.neighbours(wrapped(), TEST, TEST, k=0)),
    ("does not say what it was trained on", lambda: de.neighbours(wrapped(), n=2)),
    ("training: of which data set", lambda: de.neighbours(TEST[:4])),
    (
        "the samples are 8x8x1",
        lambda: de.neighbours(TEST[:4], np.zeros((9, 4, 4, 1), np.uint8), TEST),
    ),
]


@pytest.mark.parametrize(("message", "call"), WRONG, ids=[message for message, _ in WRONG])
def test_what_is_wrong_names_the_setting(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(FixableError) as caught:
        call()
    assert message in caught.value.problem and "--" not in str(caught.value)


def test_images_are_looked_at_wherever_they_are() -> None:
    drawn = TEST.read(range(40))
    np.savez("x.npz", images=drawn)
    results = [de.neighbours(what, TEST, held_out=0) for what in (drawn, "x.npz", TEST[:40])]
    for result in results:
        assert result.score("copies").value == 40  # type: ignore[union-attr]


def store(folder: Path, *, source: DataConfig, digest: str | None) -> None:
    run = replace(digits(), data=source)
    model = jobs.subject()
    file = {} if digest is None else {"data_digest": digest}
    model = replace(model, facts=replace(model.facts, run=run, file=file))
    samples.fill_store(model, SamplingSettings(n=12), Runtime(batch=12), folder)


def test_a_store_leads_to_the_images_of_its_model() -> None:
    store(Path("a"), source=DataConfig(source="digits"), digest=None)
    outcome = trained_on(open_store(Path("a")), "train")
    assert (outcome.name, len(outcome)) == ("digits train", 1500)
    result = de.neighbours("a")
    assert result.protocol.reference is not None and result.protocol.images is not None
    assert (result.protocol.reference.n, result.protocol.images.n) == (1500, 297)
    assert result.protocol.sampling == open_store(Path("a")).sampling


def test_other_images_at_the_place_of_the_training_images_are_refused() -> None:
    np.savez("x.npz", train=jobs.pictures(20).pixels, test=jobs.pictures(20, seed=1).pixels)
    source = DataConfig(source="npz", path="x.npz")
    digest = de.images("x.npz", split="train").digest
    store(Path("a"), source=source, digest=digest)
    assert len(trained_on(open_store(Path("a")), "test")) == 20
    Path("x.npz").rename("y.npz")
    with pytest.raises(FixableError, match="no such file"):
        trained_on(open_store(Path("a")), "train")
    assert len(trained_on(open_store(Path("a")), "train", path="y.npz")) == 20
    np.savez("x.npz", train=jobs.pictures(20, seed=2).pixels)
    with pytest.raises(FixableError, match="other images than the model was trained on"):
        trained_on(open_store(Path("a")), "train")


def test_a_store_of_a_model_that_nobody_knows_asks_for_images() -> None:
    samples.fill_store(jobs.subject(), SamplingSettings(n=4), Runtime(batch=4), Path("a"))
    with pytest.raises(FixableError, match="does not say what its model was trained on"):
        de.neighbours("a")
