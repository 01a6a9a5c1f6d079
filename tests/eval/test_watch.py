"""Quality over training: points survive the record, and the best one is the best."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.commands import watching
from ddpm_eval.job import Job
from ddpm_eval.measure import watch
from ddpm_eval.measure.watch import Point
from ddpm_eval.record import disk
from ddpm_eval.record import lowering as results
from ddpm_eval.record.conversion import convert
from ddpm_eval.record.schema1 import Measurement, Quantity, Report
from ddpm_eval.record.shards import Shards
from ddpm_train.cli import app as train


def point(step: int, bits: float, score: float | None = None) -> Point:
    found = {"bits/dim": Quantity(bits, "bits/dim", 40, 0.01 * step)}
    if score is not None:
        found["IS"] = Quantity(score, "", 40, 0.5)
    return Point(step, f"digest {step}", found)


POINTS = [point(20, 3.5, 4.0), point(10, 4.0, 2.0), point(30, 3.6, 7.0)]


def test_points_come_back_in_order_from_the_record(tmp_path: Path) -> None:
    made = watch.measurement(POINTS, {"seed": 0}, "bits/dim")
    disk.save(tmp_path, convert(Report("a", {"checkpoint": "c"}, {watch.NAME: made})))
    found = watch.points(results.load(tmp_path).measurements[watch.NAME])
    assert found == sorted(POINTS, key=lambda point: point.step)


def test_the_best_is_the_lowest_or_where_more_is_better_the_highest() -> None:
    assert watch.best(POINTS, "bits/dim").step == 20
    assert watch.best(POINTS, "IS").step == 30
    made = watch.measurement(POINTS, {}, "bits/dim")
    assert made.settings["best"] == {"by": "bits/dim", "step": 20, "checkpoint": "digest 20"}
    assert made.settings["best_steps"] == {"bits/dim": 20, "IS": 30}
    assert made.quantities["best bits/dim"] == POINTS[0].quantities["bits/dim"]


def test_a_step_that_is_measured_again_counts_once() -> None:
    made = watch.measurement([*POINTS, point(20, 3.9)], {}, "bits/dim")
    assert made.curves["bits/dim"].x.tolist() == [10, 20, 30]
    assert made.curves["bits/dim"].y.tolist() == [4.0, 3.9, 3.6]


def test_what_only_some_checkpoints_have_is_a_shorter_curve() -> None:
    made = watch.measurement([point(10, 4.0), point(20, 3.0, 5.0)], {}, "bits/dim")
    assert made.curves["IS"].x.tolist() == [20]
    assert watch.points(made)[0].quantities.keys() == {"bits/dim"}
    assert made.curves["bits/dim"].stderr == pytest.approx([0.1, 0.2])


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
    return results.load(reports / "run").measurements[watch.NAME]


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
    found = watched(tmp_path)
    for name in ("bits/dim", "FD(digits-cnn)", "IS(digits-cnn)"):
        curve = found.curves[name]
        assert curve.x.tolist() == [10, 20, 30]
        assert curve.y[:2].tolist() == first.curves[name].y.tolist()
    distances = found.curves["FD(digits-cnn)"]
    best = int(distances.x[distances.y.argmin()])
    assert found.settings["best"]["step"] == best  # type: ignore[index, call-overload]
    kept = trained / "checkpoints" / "best.pt"
    assert kept.read_bytes() == kept.with_name(f"step-{best:08d}.pt").read_bytes()
    text = run("watch", *common, *FEW)
    assert "every checkpoint that is there is measured" in text
    assert "step" not in text


def test_a_point_is_what_the_other_commands_say(trained: Path, tmp_path: Path) -> None:
    common = [str(trained), "--reports", str(tmp_path)]
    run("watch", *common, *FEW)
    options = FEW[:-1]
    run("nll", *common, *options[-2:])
    run("fid", *common, *options[:-2])
    found = results.load(tmp_path / "run").measurements
    assert set(found) == {"nll", "quality", watch.NAME}  # watch outlives a change of checkpoint
    last = watch.points(found[watch.NAME])[-1].quantities
    assert last["bits/dim"] == found["nll"].quantities["total"]
    name = "FD(digits-cnn)"
    assert last[name] == found["quality"].quantities[name]


def test_the_curve_leaves_other_measurements_alone(trained: Path, tmp_path: Path) -> None:
    first = trained / "checkpoints" / "step-00000010.pt"
    run("nll", str(first), "--name", "run", "--reports", str(tmp_path), "-n", "4")
    run("watch", str(trained), "--reports", str(tmp_path), *FEW, "--extractor", "none")
    after = results.load(tmp_path / "run")
    assert set(after.measurements) == {"nll", watch.NAME}
    assert {each["step"] for each in disk.load(tmp_path / "run").subjects.values()} == {10, 20, 30}
    assert watched(tmp_path).curves.keys() == {"bits/dim"}


def test_other_settings_and_other_folders_are_refused(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ["--reports", str(tmp_path), *FEW]
    last = (trained / "checkpoints" / "step-00000030.pt").rename(tmp_path / "later.pt")
    run("watch", str(trained), *common)
    last.rename(trained / "checkpoints" / "step-00000030.pt")
    text = run("watch", str(trained), *common, "--seed", "1", code=2)
    assert "other settings: seed" in text and "--name" in text
    assert len(watch.points(watched(tmp_path))) == 2
    assert "not the folder of a run" in run("watch", str(tmp_path), *common, code=2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "without torchrun" in run("watch", str(trained), *common, code=2)


def test_nothing_new_under_other_settings_is_refused_not_passed_over(
    trained: Path, tmp_path: Path
) -> None:
    few = [*FEW, "--extractor", "none", "--reports", str(tmp_path)]
    run("watch", str(trained), *few)
    assert "other settings: budget" in run("watch", str(trained), *few, "--budget", "700", code=2)
    assert "other settings" in run("watch", str(trained), *FEW, *few[-2:], code=2)


def test_it_ends_with_the_run(trained: Path, tmp_path: Path) -> None:
    settings = json.loads((trained / "config.json").read_text("utf-8"))
    assert settings["optim"]["steps"] == 30
    waiting = [word for word in FEW if word != "--once"]
    run("watch", str(trained), "--reports", str(tmp_path), *waiting, "--extractor", "none")
    assert watched(tmp_path).curves["bits/dim"].x.tolist() == [10, 20, 30]


WAITING = ["--extractor", "none", "--budget", "600", "--every", "0.1"]


def during(monkeypatch: pytest.MonkeyPatch, step: int, happens: Callable[[], object]) -> None:
    """Let something happen while the checkpoint of a step is measured."""
    measured = watching._quantities

    def quantities(job: Job, n: int) -> dict[str, Any]:
        if job.subject.facts.step == step:
            happens()
        return measured(job, n)

    monkeypatch.setattr(watching, "_quantities", quantities)


def test_a_run_that_ends_during_a_measurement_is_measured_to_its_end(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = trained / "checkpoints" / "step-00000030.pt"
    hidden = last.rename(tmp_path / "later.pt")
    during(monkeypatch, 20, lambda: hidden.rename(last))
    run("watch", str(trained), "--reports", str(tmp_path), *WAITING)
    assert watched(tmp_path).curves["bits/dim"].x.tolist() == [10, 20, 30]


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
    assert watched(tmp_path / "reports").curves["bits/dim"].x.tolist() == [20, 30]
    assert not (tmp_path / "reports" / "run" / "unfinished").exists()


def test_another_run_of_the_same_name_is_measured_anew(trained: Path, tmp_path: Path) -> None:
    arguments = ["--reports", str(tmp_path), *WAITING, "--once"]
    run("watch", str(trained), *arguments)
    before = watched(tmp_path).settings["checkpoints"]
    other = tmp_path / "run"
    changes = [word for change in (*SETTINGS, "optim.steps=10") for word in ("--set", change)]
    run("digits", "--out", str(other), "--quiet", *changes, "--set", "seed=1", app=train)
    assert "step 10" in run("watch", str(other), *arguments)
    (record,) = tmp_path.glob("run-????????")  # the name is taken, so it has one of its own
    after = results.load(record).measurements[watch.NAME].settings["checkpoints"]
    assert isinstance(before, dict) and isinstance(after, dict)
    assert list(after) == ["10"] and after["10"] != before["10"]
    assert watched(tmp_path).settings["checkpoints"] == before
