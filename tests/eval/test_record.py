"""A record survives the disk exactly, and what joins it replaces nothing but itself."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.record import disk
from ddpm_eval.record.protocol import EstimatorFacts, ImagesFacts
from ddpm_eval.record.record import Record
from ddpm_train.errors import FixableError
from tests.eval.made_records import SUBJECTS, bound, files, record, samples


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = record()
    disk.save(tmp_path, saved)
    loaded = disk.load(tmp_path)
    assert disk.to_json(loaded) == disk.to_json(saved)
    assert loaded.subjects == saved.subjects
    for old in saved.measurements:
        new = loaded.find(old.measure, old.protocol)
        assert new is not None
        assert (new.protocol, new.scores, new.warnings) == (old.protocol, old.scores, old.warnings)
        assert (new.facts, new.provenance) == (old.facts, old.provenance)
        for key, array in old.arrays.items():
            assert new.arrays[key].dtype == array.dtype
            np.testing.assert_array_equal(new.arrays[key], array)
        for one, other in zip(new.curves, old.curves, strict=True):
            assert (one.metric, one.over, one.log, one.of) == ("bound_term", "t", "y", other.of)
            np.testing.assert_array_equal(
                [one.x, one.y, one.error], [other.x, other.y, other.error]
            )
        for key, grid in old.grids.items():
            np.testing.assert_array_equal(new.grids[key].images, grid.images)


def test_equal_records_are_equal_bytes_however_they_came_about(tmp_path: Path) -> None:
    saved = record()
    whole, parts, detour = (tmp_path / name / "r" for name in ("whole", "parts", "detour"))
    disk.save(whole, saved)
    for measurement in reversed(saved.measurements):
        disk.add(parts, measurement, SUBJECTS)
    disk.save(detour, record(samples(9)))
    disk.save(detour, saved)
    assert files(whole) == files(parts) == files(detour)


def test_a_quick_look_leaves_a_long_measurement_alone(tmp_path: Path) -> None:
    whole, few = bound(n=297), bound(n=50, total=2.6)
    guessed = replace(
        whole, protocol=replace(whole.protocol, estimator=EstimatorFacts(budget=500)), scores=()
    )
    for measurement in (whole, few, guessed):
        assert disk.add(tmp_path, measurement, SUBJECTS) == ()
    loaded = disk.load(tmp_path)
    assert len(loaded.measurements) == 3
    assert [item.protocol.key for item in loaded.of("bound")] == [
        item.protocol.key for item in (whole, few, guessed)
    ]


def test_the_same_protocol_again_replaces_itself_alone(tmp_path: Path) -> None:
    disk.save(tmp_path, record(bound(), bound(n=5), samples()))
    disk.add(tmp_path, bound(total=2.5), SUBJECTS)
    loaded = disk.load(tmp_path)
    values = [item.scores[0].value for item in loaded.of("bound")]
    assert (values, len(loaded.of("samples"))) == ([2.5, 2.4134], 1)


def test_replace_lets_go_of_other_answers_to_the_same_question_and_says_so(tmp_path: Path) -> None:
    train = bound(n=7)
    images = ImagesFacts(digest="e", n=7, split="train")
    train = replace(train, protocol=replace(train.protocol, images=images))
    disk.save(tmp_path, record(bound(), bound(seed=3), train, samples()))
    (warning,) = disk.add(tmp_path, bound(n=50), SUBJECTS, replace=True)
    loaded = disk.load(tmp_path)
    assert "replaced 2" in warning
    assert [item.scores[0].n for item in loaded.of("bound")] == [50, 7]
    assert loaded.of("samples")


RUN = {
    **{"preset": "digits", "seed": 0, "data": {"source": "digits"}, "schedule": {"T": 9}},
    **{"unet": {}, "objective": {}},
}


def test_checkpoints_of_one_run_share_a_record_and_nothing_leaves_it(tmp_path: Path) -> None:
    first = {"a": {"step": 10, "weights": "ema", "run": RUN}}
    later = {"b": {"step": 20, "weights": "ema", "run": RUN}}
    disk.add(tmp_path, bound(), first)
    disk.add(tmp_path, bound(model="b"), later)
    loaded = disk.load(tmp_path)
    assert loaded.subjects == first | later
    assert [item.protocol.model for item in loaded.of("bound")] == ["b", "a"]


def test_a_newer_checkpoint_is_stronger_than_an_older_one_that_is_measured_later() -> None:
    early, late = (
        replace(bound(model=model), provenance={"finished": finished})
        for model, finished in (("old", "2026-02-02"), ("new", "2026-01-01"))
    )
    subjects = {"old": {"step": 10}, "new": {"step": 20}}
    ranked = Record(name="r", subjects=subjects, measurements=(early, late)).of("bound")
    assert [item.protocol.model for item in ranked] == ["new", "old"]


def test_a_run_that_is_trained_again_is_another_run(tmp_path: Path) -> None:
    first, later, again = ({"step": step, "run": RUN} for step in (10, 20, 20))
    disk.add(tmp_path / "r", bound(), {"a": first})
    disk.add(tmp_path / "r", bound(model="b"), {"b": later})
    assert disk.place(tmp_path, "r", {"c" * 9: again}) == "r-cccccccc"


@pytest.mark.parametrize(
    "other",
    [
        {"step": 20, "run": {**RUN, "seed": 1}},
        {"step": 10, "run": RUN},  # the same step, other weights: trained anew
        {"step": 20, "run": RUN, "facts": {"data_digest": "other images"}},
        {"images": 40, "file": "r"},
    ],
)
def test_another_model_of_the_same_name_gets_a_record_of_its_own(
    other: dict[str, object], tmp_path: Path
) -> None:
    first = {"a": {"step": 10, "run": RUN, "facts": {"data_digest": "images"}}}
    disk.add(tmp_path / "r", bound(), first)
    before = files(tmp_path / "r")
    second = {"0123456789": other}
    with pytest.raises(FixableError, match="another name than r"):
        disk.add(tmp_path / "r", bound(model="0123456789"), second)  # type: ignore[arg-type]
    assert files(tmp_path / "r") == before
    assert disk.place(tmp_path, "r", first) == "r"
    assert disk.place(tmp_path, "r", second) == "r-01234567"  # type: ignore[arg-type]
    assert disk.place(tmp_path, "new", second) == "new"  # type: ignore[arg-type]


def test_commands_that_add_at_once_all_get_in(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ddpm_eval.record.disk import add\n"
        "from ddpm_eval.record.record import *\n"
        "m = Measurement(measure=sys.argv[2], protocol=Protocol(version=1))\n"
        "for _ in range(10): add(Path(sys.argv[1]), m, {'a': {}})"
    )
    names = {"a", "b", "c", "d"}
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), n]) for n in names]
    assert [process.wait(60) for process in running] == [0] * len(names)
    assert {item.measure for item in disk.load(tmp_path).measurements} == names
