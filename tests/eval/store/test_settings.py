"""Samples of different settings never mix, and no other file is touched."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddpm_eval.measure.pictures import sample_facts, samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.record import filling, store
from ddpm_eval.record.store import SampleStore, open_store
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from tests.eval import forks
from tests.eval.store.stores import make, model


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"digest": "b"}, "checkpoint: a -> b"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"clip": False}, "clip: True -> False"),
        ({"batch": 8}, "batch: 4 -> 8"),
        ({"steps": 3}, "steps: 6 -> 3"),
        ({"sampler": "ddim"}, "eta: None -> 0.0; sampler: ancestral -> ddim"),
    ],
)
def test_other_settings_are_refused_by_name(
    copy: Path, options: dict[str, Any], difference: str
) -> None:
    before = forks.contents(copy)
    with pytest.raises(FixableError, match=difference) as caught:
        make(copy, **options)
    assert "out=FOLDER" in caught.value.fix
    assert forks.contents(copy) == before


def test_each_setting_has_a_folder_of_its_own(tmp_path: Path) -> None:
    runtime = Runtime(batch=4, stores=tmp_path / "all")
    changes: list[dict[str, Any]] = [
        *({}, {"seed": 1}, {"clip": False}, {"steps": 3}, {"sampler": "ddim"}),
        *({"sampler": "ddim", "eta": 0.5}, {"steps": 3, "spacing": "trailing"}),
        *({"spacing": "2,1"}, {"spacing": "1,1"}),
    ]
    folders = {samples.store_of(model(), SamplingSettings(**change), runtime) for change in changes}
    folders |= {
        samples.store_of(model(), SamplingSettings(), replace(runtime, batch=2)),
        samples.store_of(model(digest="b"), SamplingSettings(), runtime),
    }
    assert len(folders) == len(changes) + 2
    assert {folder.parent for folder in folders} == {tmp_path / "all"}


def test_a_respacing_string_counts_its_steps() -> None:
    settings = SamplingSettings(spacing="2,1")
    assert sample_facts.facts_of(model(), settings, Runtime())["steps"] == 3
    assert (
        "3 of 6 steps, 2,1 spacing"
        in samples.draw(model(), replace(settings, n=1), Runtime(batch=1)).name
    )


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": 1}, {"clip": False}, {"batch": 3}),
        *({"steps": 1}, {"steps": 4}, {"sampler": "ddim"}, {"sampler": "ddim", "eta": 1.0}),
    ],
)
def test_every_fact_matters(whole: SampleStore, tmp_path: Path, change: dict[str, Any]) -> None:
    other = make(tmp_path / "store", 4, **change)
    assert (other.read(range(3)) != whole.read(range(3))).any()
    is_named = store.label(other.facts) != store.label(whole.facts)
    assert is_named or "seed" in change or "batch" in change


def test_stores_of_different_things_do_not_merge(whole: SampleStore, tmp_path: Path) -> None:
    other = make(tmp_path / "other", seed=1)
    with pytest.raises(FixableError, match="seed: 1 -> 0"):
        filling.merge([whole.folder, other.folder], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(FixableError, match="not a store of samples, and not empty"):
        make(tmp_path)
    assert forks.contents(tmp_path) == {"thesis.tex": b"dear"}
    with pytest.raises(FixableError, match="there is no store"):
        open_store(tmp_path)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("dear")
    with pytest.raises(FixableError, match="f: a file, where a folder is meant"):
        make(tmp_path / "f")
    assert forks.contents(tmp_path) == {"f": b"dear"}


def test_more_samples_than_a_store_holds_are_refused_before_they_are_listed(copy: Path) -> None:
    began = time.monotonic()
    for act in (make, open_store):
        with pytest.raises(FixableError, match="a store holds 1 to 10,000,000"):
            act(copy, 10**12)
    assert time.monotonic() - began < 1
