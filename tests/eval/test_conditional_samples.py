"""Samples of conditional models: which classes they are of, and where that is recorded."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpm_eval as de
from ddpm_eval.measure.pictures.protocols import settings_of
from ddpm_eval.measure.pictures.settings import NeighbourSettings, SamplingSettings
from ddpm_eval.record.conditions import condition_facts, labels_of_samples
from ddpm_eval.record.store import open_store
from ddpm_train.errors import FixableError

BETAS = [0.05, 0.3, 0.9]


class Levels(nn.Module):
    """Sees every image as the grey level of its class: x_0_hat = (y - 4.5) / 9."""

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        level = torch.zeros(len(x)) if labels is None else (labels - 4.5) / 9
        return level.view(-1, 1, 1, 1).expand_as(x)


MODEL = de.wrap(
    Levels(), schedule=BETAS, predicts="x_0", image_shape=(1, 8, 8), classes=10, name="levels"
)
PLAIN = de.wrap(Levels(), schedule=BETAS, predicts="x_0", image_shape=(1, 8, 8))


def classes_seen(x: np.ndarray) -> list[int]:
    assert (x == x[:, :1, :1]).all()
    return [round(float(level) / 127.5 * 9 - 9 + 4.5) for level in x[:, 0, 0, 0]]


def test_classes_are_drawn_for_each_index_and_every_class_is_as_likely() -> None:
    facts = {"seed": 5, **condition_facts(10, ())}
    drawn = labels_of_samples(facts, range(3000))
    assert drawn is not None
    counts = Counter(drawn.tolist())
    assert sorted(counts) == list(range(10))
    assert max(abs(count - 300) for count in counts.values()) < 5 * 300**0.5
    assert classes_seen(de.sample(MODEL, 40, seed=5, batch=7)) == drawn[:40].tolist()
    assert classes_seen(de.sample(MODEL, 9, seed=5)) == drawn[:9].tolist()
    other = labels_of_samples({**facts, "seed": 6}, range(40))
    assert other is not None and other.tolist() != drawn[:40].tolist()


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_classes_that_are_chosen_follow_each_other_in_turn(sampler: str) -> None:
    x = de.sample(MODEL, 8, classes=[3, 0, 7], sampler=sampler, batch=5)
    assert classes_seen(x) == [3, 0, 7, 3, 0, 7, 3, 0]


def test_a_store_knows_the_classes_and_a_larger_one_goes_on(tmp_path: Path) -> None:
    de.sample(MODEL, 6, classes=[1, 2], cache=tmp_path, batch=4)
    (folder,) = (tmp_path / "store").iterdir()
    assert "class1,2" in folder.name
    store = open_store(folder)
    assert store.labels is not None and store.labels.tolist() == [1, 2, 1, 2, 1, 2]
    assert store.sampling.condition == "classes 1,2 in turn"
    assert "classes 1,2 in turn" in store.name
    assert classes_seen(store.read(range(6))) == store.labels.tolist()
    de.sample(MODEL, 11, classes=[1, 2], cache=tmp_path, batch=4)
    assert len(open_store(folder)) == 11
    de.sample(MODEL, 6, cache=tmp_path, batch=4)
    assert len(list((tmp_path / "store").iterdir())) == 2
    images = de.images(folder, labels=True)
    assert (
        images.labels is not None and images.labels.tolist() == open_store(folder).labels.tolist()
    )  # type: ignore[union-attr]
    assert images.plain().digest == de.images(folder).digest == open_store(folder).digest


def test_progressive_generation_has_the_classes_of_the_samples() -> None:
    frames = de.progressive(MODEL, 5, classes=[8, 1], rows=5, batch=3).grids
    last = frames["progressive"].images.reshape(5, 3, 8, 8, 1)[:, -1]
    assert np.array_equal(last, de.sample(MODEL, 5, classes=[8, 1], batch=3))
    shared = frames["shared latents"].images.reshape(3, 8, 8, 8, 1)[:, 1:]
    assert {*classes_seen(shared.reshape(-1, 8, 8, 1))} == {8}


@pytest.mark.parametrize("measure", [de.sample, de.progressive])
def test_classes_that_do_not_fit_are_refused(measure: object) -> None:
    with pytest.raises(FixableError, match="classes=3: the model takes no classes"):
        measure(PLAIN, 4, classes=[3])  # type: ignore[operator]
    with pytest.raises(FixableError, match="classes=3,10: the model has 10 classes"):
        measure(MODEL, 4, classes=[3, 10])  # type: ignore[operator]
    with pytest.raises(FixableError, match="classes"):
        measure(MODEL, 4, classes=[-1])  # type: ignore[operator]


def test_settings_of_older_records_are_unchanged() -> None:
    """What has no effect is not in the protocol, whose digest is half of a record's key."""
    assert "classes" not in settings_of(SamplingSettings())
    assert "classes" not in settings_of(NeighbourSettings())["sampling"]
    assert settings_of(SamplingSettings(classes=(3,)))["classes"] == [3]
    images = de.images("digits").facts
    assert "labels" not in images.plain
    assert de.images("digits", labels=True).facts.plain["labels"] is True


def test_a_codec_takes_no_classes() -> None:
    with pytest.raises(FixableError, match="a compressed picture has none"):
        de.compress(MODEL, np.zeros((1, 8, 8, 1), np.uint8))
