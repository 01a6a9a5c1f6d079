"""Records of the first schema are read, and say in fields what they said in names."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.record import disk, schema1
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.schema1 import Quantity, Report
from ddpm_eval.record.schema1.convert import convert
from ddpm_eval.record.scores import Score
from ddpm_train.errors import FixableError
from tests.eval import records


@pytest.fixture(scope="module")
def old() -> dict[str, Any]:
    """What the file says."""
    plain: dict[str, Any] = json.loads((records.SCHEMA_1 / "results.json").read_text())
    assert plain["schema"] == 1
    return plain


@pytest.fixture(scope="module")
def new() -> Record:
    return disk.load(records.SCHEMA_1)


def strongest(record: Record, measure: str) -> Measurement:
    measurement = record.strongest(measure)
    assert measurement is not None
    return measurement


def numbers(quantities: dict[str, Any]) -> list[tuple[float, int, float | None]]:
    return sorted((q["value"], q["n"], q["stderr"]) for q in quantities.values())


def written(scores: tuple[Score, ...]) -> list[tuple[float, int, float | None]]:
    pairs = ((score, score.error) for score in scores)
    return sorted((s.value, s.n, None if error is None else error.size) for s, error in pairs)


NAMES = (*("baselines", "interpolation", "neighbours", "nll", "progressive", "quality"),)
NAMES += ("rate_distortion", "reconstructions", "samples", "training", "watch")


@pytest.mark.parametrize("name", NAMES)
def test_every_number_curve_and_picture_is_there(
    name: str, old: dict[str, Any], new: Record
) -> None:
    before = old["measurements"][name]
    after = strongest(new, "bound" if name == "nll" else name)
    assert repr(written(after.scores)) == repr(numbers(before["quantities"]))
    assert len(after.curves) == len(before["curves"])
    assert after.grids.keys() == before["grids"].keys()
    assert after.arrays.keys() == before["arrays"].keys()
    assert after.provenance == before["provenance"]
    assert [*after.warnings] == before["warnings"]
    identities = [(score.metric, score.of) for score in after.scores]
    identities += [(curve.metric, curve.of) for curve in after.curves]
    assert len({*identities}) >= max(len(after.scores), len(after.curves))


def test_names_became_fields(old: dict[str, Any], new: Record) -> None:
    bound, quality = old["measurements"]["nll"], old["measurements"]["quality"]
    for name, metric, of in (
        ("total", "bits_per_dim", {"part": "total", "variance": ""}),
        ("kl", "bits_per_dim", {"part": "steps", "variance": ""}),
        ("total (optimal)", "bits_per_dim", {"part": "total", "variance": "optimal"}),
        ("variance mismatch (fixedlarge)", "variance_mismatch", {"variance": "fixedlarge"}),
    ):
        score = strongest(new, "bound").score(metric, **of)
        assert score is not None and score.value == bound["quantities"][name]["value"]
    for name, metric, whose in (
        ("FD(digits-cnn)", "fid", "samples"),
        ("FD(digits-cnn) of held-out images", "fid", "held-out images"),
        ("KD(digits-cnn)", "kid", "samples"),
    ):
        score = strongest(new, "quality").score(metric, whose=whose, extractor="(digits-cnn)")
        assert score is not None and score.value == quality["quantities"][name]["value"]


def test_errors_say_what_they_are(new: Record) -> None:
    kinds = {
        score.metric: (score.error.kind, score.error.over, score.error.parts)
        for score in strongest(new, "quality").scores
        if score.error is not None
    }
    assert kinds == {
        "inception_score": ("spread", "10 parts", 10),
        "fid": ("standard error", "samples", 0),
        "kid": ("spread", "100 subsets", 0),
        "precision": ("standard error", "samples", 0),
        "recall": ("standard error", "reference images", 0),
    }


def test_settings_became_the_protocol(old: dict[str, Any], new: Record) -> None:
    protocol = strongest(new, "bound").protocol
    output = old["measurements"]["nll"]["settings"]
    images = protocol.images
    assert images is not None
    assert (images.dataset, images.split, images.digest) == (
        "digits",
        "test",
        output["data_digest"],
    )
    assert (images.n, protocol.variance, protocol.clip) == (297, "fixedlarge", True)
    assert protocol.settings["calibration"] == output["calibration"]
    quality, output = strongest(new, "quality").protocol, old["measurements"]["quality"]["settings"]
    sampling, reference, extractor = quality.sampling, quality.reference, quality.extractor
    assert sampling is not None and reference is not None and extractor is not None
    assert (sampling.n, sampling.steps, sampling.T, sampling.seed) == (512, 200, 200, 0)
    assert (reference.dataset, reference.split, reference.n) == ("digits", "train", 1500)
    assert (extractor.name, extractor.digest) == ("digits-cnn", output["extractor_digest"])
    assert {item.protocol.model for item in new.measurements} == {"", *new.subjects}
    assert [*new.subjects] == [old["subject"]["checkpoint"]]


def test_a_record_that_is_added_to_becomes_one_of_today(tmp_path: Path) -> None:
    for path in records.SCHEMA_1.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    record = disk.load(tmp_path)
    fresh = records.changed(records.measured("bound"), images={"n": 50})
    disk.add(tmp_path, fresh, record.subjects)
    assert json.loads((tmp_path / "results.json").read_text())["schema"] == 2
    again = disk.load(tmp_path)
    assert len(again.measurements) == len(record.measurements) + 1
    for measurement in record.measurements:
        assert again.find(measurement.measure, measurement.protocol) is not None


def test_converting_is_the_same_each_time(new: Record) -> None:
    again = disk.load(records.SCHEMA_1)
    assert disk.to_json(again) == disk.to_json(new)


STRANGE = (
    schema1.Measurement("unheard of"),
    schema1.Measurement("nll", {"total of nothing": Quantity(1.0, "bits/dim", 1)}),
)


@pytest.mark.parametrize("strange", STRANGE, ids=["measure", "number"])
def test_what_no_version_measured_is_refused(strange: schema1.Measurement) -> None:
    with pytest.raises(FixableError, match="measure again"):
        convert(Report("r", {"checkpoint": "c"}, {strange.name: strange}))


def test_damage_is_noticed(tmp_path: Path) -> None:
    for path in records.SCHEMA_1.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "results.json").read_text()
    (tmp_path / "results.json").write_text(text.replace("6.187348297246929", "6.187348297246928"))
    with pytest.raises(FixableError, match="edited or damaged"):
        disk.load(tmp_path)


def test_a_train_split_and_an_estimate_are_fields_of_the_protocol() -> None:
    quantity = Quantity(6.0, "bits/dim", 40, 0.1)
    estimate = schema1.Measurement(
        "nll-train",
        {"total": quantity, "total of these images": quantity},
        {"terms": schema1.Curve(np.arange(3), np.ones(3), "t", "L_t", 40)},
        settings={
            **{"split": "train", "dataset": "digits", "seed": 3, "T": 9, "weights": "raw"},
            "estimator": {"evaluations": 500, "budget": 600},
        },
    )
    record = convert(Report("r", {"checkpoint": "c"}, {"nll-train": estimate}))
    (bound,) = record.measurements
    assert bound.measure == "bound"
    protocol = bound.protocol
    assert protocol.images is not None and protocol.images.split == "train"
    assert protocol.estimator is not None and protocol.estimator.budget == 600
    assert (protocol.weights, protocol.seed, protocol.model) == ("raw", 3, "c")
    assert [score.of.part for score in bound.scores] == ["total", "these images"]
