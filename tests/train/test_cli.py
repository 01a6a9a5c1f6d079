"""ddpm-train as a person and a scheduler meet it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from ddpm_train import checkpoint, runs
from ddpm_train.cli import app
from ddpm_train.log import read_log
from ddpm_train.meter import Meter, duration
from ddpm_train.presets import PRESETS
from ddpm_train.weights import weights_digest

RUN = CliRunner()
SMALL = [
    "--set", "schedule.T=10", "--set", "schedule.beta_end=0.5", "--set", "optim.steps=4",
    "--set", "optim.batch_size=8", "--set", "log.sample_every=0", "--set", "log.every=1",
]  # fmt: skip


def digits(out: Path, *more: str, code: int = 0) -> str:
    result = RUN.invoke(app, ["digits", "--out", str(out), *SMALL, *more])
    assert result.exit_code == code, result.output
    return result.output


def test_train_again_resume_and_export(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert "complete at step 4" in digits(run)
    assert "resuming from step 4" in digits(run)
    longer = RUN.invoke(app, ["resume", str(run), "--set", "optim.steps=6"])
    assert longer.exit_code == 0 and "complete at step 6" in longer.output
    path = runs.find(run)
    out = tmp_path / "ema.pt"
    assert RUN.invoke(app, ["export", str(path), str(out)]).exit_code == 0
    full, slim = checkpoint.load(path), checkpoint.load(out)
    assert not slim.weights and not slim.optimizer and slim.step == 6
    assert weights_digest(slim.ema, slim.model) == weights_digest(full.ema, full.model)
    assert out.stat().st_size < 0.3 * path.stat().st_size
    half = tmp_path / "half.pt"
    assert RUN.invoke(app, ["export", str(path), str(half), "--half"]).exit_code == 0
    rounded, size = checkpoint.load(half), sum(value.nbytes for value in slim.ema.values())
    assert sum(value.nbytes for value in rounded.ema.values()) == size / 2
    net, exact = checkpoint.network(rounded), checkpoint.network(slim).state_dict()
    for name, value in net.state_dict().items():  # half a unit of float16's last place, at most
        limit = exact[name].abs() * 2**-11 + 2**-25
        assert value.dtype == torch.float32 and ((value - exact[name]).abs() <= limit).all()


def test_json_lines_are_the_events(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in digits(tmp_path / "run", "--json").splitlines()]
    assert [line["step"] for line in lines if line["event"] == "stepped"] == [1, 2, 3, 4]
    assert lines[-1] == {"event": "ended", "step": 4, "complete": True}


def test_tensorboard_follows_and_changes_nothing(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    digits(tmp_path / "plain")
    digits(tmp_path / "board", "--set", "log.tensorboard=true", "--set", "optim.steps=2")
    digits(tmp_path / "board", "--set", "log.tensorboard=true")
    board = EventAccumulator(str(tmp_path / "board" / "tensorboard"))
    board.Reload()
    lines = read_log(tmp_path / "plain" / "log.jsonl")
    assert [(x.step, pytest.approx(x.value)) for x in board.Scalars("loss")] == [
        (line["step"], line["loss"]) for line in lines
    ]
    one, two = (checkpoint.load(runs.find(tmp_path / name)) for name in ("plain", "board"))
    assert weights_digest(one.weights, one.model) == weights_digest(two.weights, two.model)


def test_a_missing_tensorboard_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert "ddpm-eval[tensorboard]" in digits(
        tmp_path / "run", "--set", "log.tensorboard=true", code=2
    )


def test_quiet_says_nothing(tmp_path: Path) -> None:
    assert digits(tmp_path / "run", "--quiet") == ""


def test_presets_are_listed_with_every_setting() -> None:
    listing = RUN.invoke(app, ["presets"]).output
    assert all(name in listing for name in PRESETS)
    assert "optim.ema_decay" in RUN.invoke(app, ["presets", "cifar10"]).output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "optim.lrr=1"], "did you mean optim.lr"),
        (["--set", "optim.lr=x"], "not a number"),
        (["--set", "unet.image_size=9"], "image_size"),
        (["--set", "unet.attn_resolutions=5"], "attn_resolutions"),
        (["--set", "schedule.T=1"], "schedule.T"),
        (["--set", "objective.loss=mse"], "objective.loss=L_simple"),
        (["--device", "cuda:77"], "--device cpu"),
        (["--device", "toaster"], "auto, cpu, cuda"),
        (["--set", "data.source=npz", "--data", "nothing.npz"], "nothing.npz"),
    ],
)
def test_bad_settings_are_one_line_and_a_fix(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    text = digits(tmp_path / "run", *arguments, code=2)
    assert message in text and "fix:" in text and "Traceback" not in text
    assert len(text.strip().splitlines()) <= 4
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.partial"))


def test_changed_settings_are_refused_unless_accepted(tmp_path: Path) -> None:
    run = tmp_path / "run"
    digits(run)
    assert "optim.lr: 0.002 -> 0.1" in digits(run, "--set", "optim.lr=0.1", code=2)
    more = ["--set", "optim.lr=0.1", "--set", "optim.steps=5", "--accept-changes"]
    assert "going on with changes" in digits(run, *more)


@pytest.mark.parametrize(
    "arguments", [["resume", "nowhere"], ["presets", "imagenet"], ["export", "a.pt", "b.pt"]]
)
def test_wrong_names_are_refused(arguments: list[str]) -> None:
    result = RUN.invoke(app, arguments)
    assert result.exit_code == 2 and "fix:" in result.output


def test_a_damaged_settings_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"preset": "digi')
    result = RUN.invoke(app, ["resume", str(tmp_path)])
    assert result.exit_code == 2 and "config.json: damaged" in result.output


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1"])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "ddpm_train", "digits", "--out", str(run), "--json"]
    with subprocess.Popen(
        [*command, "--set", "log.every=1", "--set", "log.sample_every=0"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line).get("step", 0) >= 2:
                break
        began = time.monotonic()
        process.send_signal(getattr(signal, name))
        rest = process.stdout.read()
        status = process.wait()
    assert time.monotonic() - began < 10
    assert status == 128 + getattr(signal, name)
    ended = json.loads(rest.splitlines()[-1])
    assert ended["event"] == "ended" and not ended["complete"]
    assert checkpoint.load(runs.find(run)).step == ended["step"]


@pytest.mark.parametrize("locale", [{"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}, {"HOME": ""}])
def test_odd_terminals_do_not_matter(tmp_path: Path, locale: dict[str, str]) -> None:
    run = tmp_path / "röhre ☂"
    command = [sys.executable, "-m", "ddpm_train", "digits", "--out", str(run), *SMALL]
    result = subprocess.run(command, capture_output=True, env={**os.environ, **locale})
    assert result.returncode == 0, result.stderr
    assert b"complete at step 4" in result.stderr


@pytest.mark.parametrize("program", ["ddpm_train", "ddpm_eval"])
def test_help_does_not_wait_for_torch(program: str) -> None:
    code = (
        f"import sys; from {program}.cli import app\n"
        "try: app(['--help'])\nfinally: sys.exit(99 if 'torch' in sys.modules else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert result.returncode == 0 and b"Usage" in result.stdout


def test_plain_lines_give_the_time_left(monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    clock = iter([0.0, 31.0, 31.0, 31.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    Meter("work", 100).move(25, "fine")
    assert "work 25/100 fine 2 min left" in capsys.readouterr().err
    assert duration(86_400 * 5) == "5 d 00 h"


@pytest.mark.parametrize("command", [["ddpm_train", "--help"], ["ddpm_eval", "fid", "--help"]])
def test_help_fits_narrow_terminals_of_few_letters(command: list[str]) -> None:
    few = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "COLUMNS": "40"}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=os.environ | few, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"Usage" in done.stdout
