"""Data are known by their content: names and paths are for people."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_train import data, loop
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import DataConfig, RunConfig
from ddpm_train.data.images import Form, stack
from ddpm_train.errors import FixableError
from ddpm_train.session import check_same


def write(path: Path, seed: int) -> Path:
    draw = np.random.default_rng(seed)
    sets = {name: draw.integers(0, 256, (8, 4, 4, 1), np.uint8) for name in ("train", "test")}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **sets)
    return path


def npz(path: Path) -> DataConfig:
    return DataConfig(source="npz", path=str(path))


def opened(path: Path) -> data.Images:
    return data.load(npz(path), image_size=4, channels=1)


def test_a_run_goes_on_with_the_same_images_elsewhere(tiny: RunConfig, tmp_path: Path) -> None:
    before, after = write(tmp_path / "a/x.npz", 0), write(tmp_path / "b/y.npz", 0)
    run = replace(tiny, data=npz(before))
    facts = loop.facts(opened(before))
    old = Checkpoint(model=tiny.model, step=1, run=run, facts=facts | {"log": {"step": 1}})
    moved = replace(tiny, data=npz(after))
    notes = check_same(moved, loop.facts(opened(after)), old, accept_changes=False)
    assert len(notes) == 1 and "the same images at another place" in notes[0]
    other = write(tmp_path / "b/z.npz", 1)
    with pytest.raises(FixableError, match=r"data\.path.*run\.data_digest"):
        check_same(replace(tiny, data=npz(other)), loop.facts(opened(other)), old,
                   accept_changes=False)  # fmt: skip
    flipped = replace(moved, data=replace(moved.data, flip=not run.data.flip))
    with pytest.raises(FixableError, match=r"data\.flip"):
        check_same(flipped, loop.facts(opened(after)), old, accept_changes=False)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_relative_path_that_leads_elsewhere_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: data.Split
) -> None:
    ours, theirs = write(tmp_path / "a/x.npz", 0), write(tmp_path / "b/x.npz", 1)
    facts = loop.facts(opened(ours))
    config = npz(Path("x.npz"))
    monkeypatch.chdir(ours.parent)
    same = data.load_of_run(config, facts, image_size=4, channels=1, split=split)
    assert len(same) == 8
    monkeypatch.chdir(theirs.parent)
    with pytest.raises(FixableError, match=r"path=x\.npz: other images than the model was trained"):
        data.load_of_run(config, facts, image_size=4, channels=1, split=split)
    assert len(data.load_of_run(config, {}, image_size=4, channels=1, split=split)) == 8


def test_no_file_has_the_name_of_a_published_set(tmp_path: Path) -> None:
    assert opened(write(tmp_path / "CIFAR-10.npz", 0)).name == "CIFAR-10 (own copy) train"
    assert opened(write(tmp_path / "faces.npz", 0)).name == "faces train"


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_cannot_be_shown_are_refused_at_the_start(channels: int) -> None:
    with pytest.raises(FixableError, match=f"{channels} channels; images that can be shown"):
        stack("x train", np.zeros((2, 4, 4, channels), np.uint8), Form(4, channels))
