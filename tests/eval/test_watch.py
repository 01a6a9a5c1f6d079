"""Quality over training: points survive the record, and the best one is the best."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.commands import watched_run
from ddpm_eval.measure import watch
from ddpm_eval.measure.watch import Key, Point
from ddpm_eval.metrics.estimate import Error
from ddpm_eval.model import Model
from ddpm_eval.record import disk
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Qualifiers, Score
from ddpm_eval.record.shards import Shards
from ddpm_train.cli import app as train

BITS: Key = ("bits_per_dim", Qualifiers())
IS: Key = ("inception_score", Qualifiers(whose="samples"))
PROTOCOL = Protocol(version=2, seed=0)


def point(step: int, bits: float, score: float | None = None) -> Point:
    scores = [Score(metric="bits_per_dim", value=bits, n=40, error=Error(size=0.01 * step))]
    if score is not None:
        error = Error(size=0.5, kind="spread")
        scores.append(Score(metric=IS[0], value=score, n=40, error=error, of=IS[1]))
    return Point(step, f"digest {step}", tuple(scores))


POINTS = [point(20, 3.5, 4.0), point(10, 4.0, 2.0), point(30, 3.6, 7.0)]


def curve_of(measurement: Measurement, metric: str) -> Curve:
    curve = measurement.curve(metric)
    assert curve is not None
    return curve


def test_points_come_back_in_order_from_the_record(tmp_path: Path) -> None:
    result = watch.measurement(POINTS, PROTOCOL, BITS)
    disk.save(tmp_path, Record(name="a", subjects={"c": {}}, measurements=(result,)))
    (first,) = disk.load(tmp_path).measurements
    assert watch.points(first) == sorted(POINTS, key=lambda point: point.step)


def test_the_best_is_the_lowest_or_where_more_is_better_the_highest() -> None:
    assert watch.best(POINTS, BITS).step == 20
    assert watch.best(POINTS, IS).step == 30
    result = watch.measurement(POINTS, PROTOCOL, BITS)
    assert result.facts["best"] == {"step": 20, "checkpoint": "digest 20"}
    (score,) = result.scores
    assert (score.value, score.of.at) == (3.5, ("training_steps", 20))


def test_a_step_that_is_measured_again_counts_once() -> None:
    curve = curve_of(watch.measurement([*POINTS, point(20, 3.9)], PROTOCOL, BITS), BITS[0])
    assert curve.x.tolist() == [10, 20, 30]
    assert curve.y.tolist() == [4.0, 3.9, 3.6]


def test_what_only_some_checkpoints_have_is_a_shorter_curve() -> None:
    result = watch.measurement([point(10, 4.0), point(20, 3.0, 5.0)], PROTOCOL, BITS)
    assert curve_of(result, IS[0]).x.tolist() == [20]
    assert [score.metric for score in watch.points(result)[0].scores] == ["bits_per_dim"]
    assert curve_of(result, BITS[0]).error == pytest.approx([0.1, 0.2])


# ---------------------------------------------------------------------------------- the command

SETTINGS = (
    *("schedule.T=20", "schedule.beta_end=0.5", "optim.batch_size=8", "optim.ema_decay=0.5"),
    *("log.sample_every=0", "log.checkpoint_every=10", "log.keep=0"),
)
FEW = ["--extractor", "digits-cnn", "-n", "20", "--steps", "4", "--budget", "600", "--once"]


def run(*arguments: str, app: object = app, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(arguments))  # type: ignore[arg-type]
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with checkpoints at steps 10, 20 and 30."""
    folder = tmp_path_factory.mktemp("watch") / "run"
    changes = [word for change in (*SETTINGS, "optim.steps=30") for word in ("--set", change)]
    run("digits", "--out", str(folder), "--quiet", *changes, app=train)
    return folder


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))


def watched(reports: Path) -> Measurement:
    measurement = disk.load(reports / "run").strongest(watch.NAME)
    assert measurement is not None
    return measurement


def test_every_checkpoint_is_measured_once_and_the_best_is_kept(
    trained: Path, tmp_path: Path
) -> None:
    last = trained / "checkpoints" / "step-00000030.pt"
    hidden = last.rename(tmp_path / "later.pt")  # as if training were not there yet
    common = [str(trained), "--reports", str(tmp_path)]
    assert "step 10" in run("watch", *common, *FEW)
    first = watched(tmp_path)
    hidden.rename(last)
    text = run("watch", *common, *FEW)
    assert "step 30" in text and "step 20" not in text
    result = watched(tmp_path)
    assert len(result.curves) == 3
    for metric in ("bits_per_dim", "fid", "inception_score"):
        curve = curve_of(result, metric)
        assert curve.x.tolist() == [10, 20, 30]
        assert curve.y[:2].tolist() == curve_of(first, metric).y.tolist()
    distances = curve_of(result, "fid")
    assert distances.label == "FD(digits-cnn)"
    best = int(distances.x[distances.y.argmin()])
    facts: Any = result.facts["best"]
    assert facts["step"] == best
    original = trained / "checkpoints" / "best.pt"
    assert original.read_bytes() == original.with_name(f"step-{best:08d}.pt").read_bytes()
    text = run("watch", *common, *FEW)
    assert "every checkpoint that is there is measured" in text
    assert "step" not in text


def test_a_file_named_after_another_step_is_no_point(trained: Path, tmp_path: Path) -> None:
    place = tmp_path / "run" / "checkpoints"
    shutil.copytree(trained, tmp_path / "run")
    for step in (10, 30):
        (place / f"step-{step:08d}.pt").unlink()
    (place / "step-00000020.pt").rename(place / "step-00000025.pt")
    words = ["watch", tmp_path / "run", "--once", "--extractor", "none", "--reports", tmp_path]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 2
    assert "step-00000025.pt: holds step 20" in " ".join(result.output.split())
    assert not list(tmp_path.rglob("results.json"))


def test_a_point_is_what_the_other_commands_say(trained: Path, tmp_path: Path) -> None:
    common = [str(trained), "--reports", str(tmp_path)]
    run("watch", *common, *FEW)
    options = FEW[:-1]
    run("nll", *common, *options[-2:])
    run("fid", *common, *options[:-2])
    record = disk.load(tmp_path / "run")
    assert {item.measure for item in record.measurements} == {"bound", "quality", watch.NAME}
    bits, _, distance = watch.points(watched(tmp_path))[-1].scores
    for score, measure, metric in ((bits, "bound", BITS[0]), (distance, "quality", "fid")):
        (other,) = record.of(measure)
        wanted = other.score(metric)
        assert wanted is not None and wanted.error is not None and score.error is not None
        assert (score.metric, score.value, score.n) == (metric, wanted.value, wanted.n)
        assert score.error.size == wanted.error.size


def test_the_curve_leaves_other_measurements_alone(trained: Path, tmp_path: Path) -> None:
    first = trained / "checkpoints" / "step-00000010.pt"
    run("nll", str(first), "--name", "run", "--reports", str(tmp_path), "-n", "4")
    run("watch", str(trained), "--reports", str(tmp_path), *FEW, "--extractor", "none")
    record = disk.load(tmp_path / "run")
    assert {item.measure for item in record.measurements} == {"bound", watch.NAME}
    assert [curve.metric for curve in watched(tmp_path).curves] == ["bits_per_dim"]


def test_other_folders_and_several_processes_are_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--reports", str(tmp_path), *FEW]
    assert "not the folder of a run" in run("watch", str(tmp_path), *common, code=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "without torchrun" in run("watch", str(trained), *common, code=2)


def test_other_settings_are_curves_of_their_own(trained: Path, tmp_path: Path) -> None:
    few = [str(trained), *FEW, "--extractor", "none", "--reports", str(tmp_path)]
    run("watch", *few)
    text = run("watch", *few, "--budget", "700")
    assert "step 30" in text
    pair = disk.load(tmp_path / "run").of(watch.NAME)
    estimators = [item.protocol.estimator for item in pair]
    assert sorted(estimator.budget for estimator in estimators if estimator is not None) == [
        600,
        700,
    ]
    assert "every checkpoint that is there is measured" in run("watch", *few)


def test_it_ends_with_the_run(trained: Path, tmp_path: Path) -> None:
    settings = json.loads((trained / "config.json").read_text("utf-8"))
    assert settings["optim"]["steps"] == 30
    waiting = [word for word in FEW if word != "--once"]
    run("watch", str(trained), "--reports", str(tmp_path), *waiting, "--extractor", "none")
    assert curve_of(watched(tmp_path), "bits_per_dim").x.tolist() == [10, 20, 30]


WAITING = ["--extractor", "none", "--budget", "600", "--every", "0.1"]


def during(monkeypatch: pytest.MonkeyPatch, step: int, happens: Callable[[], object]) -> None:
    """Let something happen while the checkpoint of a step is measured."""
    whole = watched_run.WatchedRun._scores

    def scores(self: watched_run.WatchedRun, model: Model) -> tuple[Score, ...]:
        if model.facts.step == step:
            happens()
        return whole(self, model)

    monkeypatch.setattr(watched_run.WatchedRun, "_scores", scores)


def test_a_run_that_ends_during_a_measurement_is_measured_to_its_end(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = trained / "checkpoints" / "step-00000030.pt"
    hidden = last.rename(tmp_path / "later.pt")
    during(monkeypatch, 20, lambda: hidden.rename(last))
    run("watch", str(trained), "--reports", str(tmp_path), *WAITING)
    assert curve_of(watched(tmp_path), "bits_per_dim").x.tolist() == [10, 20, 30]


def test_the_best_is_kept_although_training_clears_it_away_meanwhile(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    first = copy / "checkpoints" / "step-00000010.pt"
    content = first.read_bytes()
    for step in (20, 30):
        first.with_name(f"step-{step:08d}.pt").unlink()
    (copy / "checkpoints" / "best.pt").unlink(missing_ok=True)
    during(monkeypatch, 10, first.unlink)
    run("watch", str(copy), "--reports", str(tmp_path / "reports"), *WAITING, "--once")
    assert {path.name: path.read_bytes() for path in first.parent.iterdir()} == {"best.pt": content}


def test_what_a_kill_left_of_a_checkpoint_that_is_gone_is_in_nobodys_way(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained, copy)
    arguments = ["watch", str(copy), "--reports", str(tmp_path / "reports"), *WAITING, "--once"]
    written = []

    def write(*anything: Any) -> None:
        written.append(anything)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Shards, "write", write)
        assert CliRunner().invoke(app, arguments).exit_code
    assert written
    (copy / "checkpoints" / "step-00000010.pt").unlink()
    run(*arguments)
    assert curve_of(watched(tmp_path / "reports"), "bits_per_dim").x.tolist() == [20, 30]
    assert not (tmp_path / "reports" / "run" / "unfinished").exists()


def test_another_run_of_the_same_name_is_measured_anew(trained: Path, tmp_path: Path) -> None:
    arguments = ["--reports", str(tmp_path), *WAITING, "--once"]
    run("watch", str(trained), *arguments)
    before = watched(tmp_path).facts["checkpoints"]
    other = tmp_path / "run"
    changes = [word for change in (*SETTINGS, "optim.steps=10") for word in ("--set", change)]
    run("digits", "--out", str(other), "--quiet", *changes, "--set", "seed=1", app=train)
    assert "step 10" in run("watch", str(other), *arguments)
    (record,) = tmp_path.glob("run-????????")  # the name is taken, so it has one of its own
    measurement = disk.load(record).strongest(watch.NAME)
    assert measurement is not None
    after = measurement.facts["checkpoints"]
    assert isinstance(before, dict) and isinstance(after, dict)
    assert list(after) == ["10"] and after["10"] != before["10"]
    assert watched(tmp_path).facts["checkpoints"] == before
