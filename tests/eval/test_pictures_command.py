"""The commands to look with: what they refuse before anything is opened."""

import inspect
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.commands import pictures
from ddpm_eval.config import EvalConfig, PicturesConfig, QualityConfig, SamplingConfig

runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
DDIM = "--sampler ddim --steps 8 --eta 1"
OTHERS = "--inception W --accept-weights 01234567"
FILES = ["--images", "a.png", "b.png"]


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        (["--pairs", "0"], "--pairs 0: not two indices", "--pairs 0,1"),
        (["--pairs", "0,1,2"], "not two indices", "--pairs 0,1"),
        (["--pairs", "0,-1"], "a negative index", "count from 0"),
        (["--lambdas", "a"], "--lambdas a: not numbers", "0.25,0.5"),
        (["--mix", "cubic"], "--mix cubic: not a choice", "linear or spherical"),
        (["--resize", "big", *FILES], "--resize big: not a choice", "lanczos"),
        (["--resize", "box"], "--resize: of no effect without --images", "add --images"),
        ([*FILES, "--pairs", "0,1"], "two kinds of sources", "one of them"),
    ],
)
def test_interpolate_refuses_what_it_cannot_read(
    arguments: list[str], problem: str, fix: str
) -> None:
    result = runner.invoke(app, ["interpolate", "x.pt", *arguments])
    assert result.exit_code == 2
    assert problem in result.output and fix in result.output


@pytest.mark.parametrize(
    "arguments",
    [["interpolate", "--t", "-1"], ["neighbours", "--k", "0"], ["neighbours", "--held-out", "-1"]],
)
def test_amounts_out_of_range_are_refused(arguments: list[str]) -> None:
    assert runner.invoke(app, [*arguments, "x.pt"]).exit_code == 2


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", ".."])
def test_a_record_stays_below_its_folder(name: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "x.pt"
    checkpoint.write_bytes(b"")
    result = runner.invoke(app, ["reconstruct", str(checkpoint), "--name", name])
    assert result.exit_code == 2
    assert f"--name {name}: not a plain name" in result.output


@pytest.mark.parametrize("command", ["progressive", "neighbours"])
@pytest.mark.parametrize(
    ("extractor", "problem"),
    [([], "without --extractor"), (["--extractor", "digits-cnn"], "with --extractor digits-cnn")],
)
@pytest.mark.parametrize("option", ["--inception", "--accept-weights"])
def test_weights_that_nothing_looks_through_are_refused(
    command: str, extractor: list[str], problem: str, option: str
) -> None:
    result = runner.invoke(app, [command, "x.pt", option, "W", *extractor])
    assert result.exit_code == 2
    assert f"{option}: of no effect {problem}" in result.output
    assert "add --extractor inception" in result.output


@pytest.mark.parametrize("command", ["progressive", "reconstruct", "interpolate", "neighbours"])
def test_a_missing_checkpoint_is_named(command: str) -> None:
    result = runner.invoke(app, [command, "nowhere.pt"])
    assert result.exit_code == 2 and "no such checkpoint" in result.output


COMMON = "--seed 3 --batch 5 --no-clip --raw --data D --dataset npz --device cpu --name N --quiet"
LOOKS = {
    "progressive": (
        f"-n 7 --extractor inception {OTHERS}",
        {"pictures": PicturesConfig(extractor="inception"), "n": 7,
         "quality": QualityConfig(inception="W", accept="01234567")},
    ),
    "reconstruct": ("-n 7 --split train", {"n": 7, "split": "train"}),
    "interpolate": (
        "--pairs 0,1 --pairs 5,9 --t 0 --lambdas 0.5,1 --mix spherical --split train",
        {"pictures": PicturesConfig(pairs=((0, 1), (5, 9)), t=0, lambdas=(0.5, 1.0),
                                    mix="spherical"), "split": "train"},
    ),
    "neighbours": (
        f"-n 7 --k 2 --held-out 9 {DDIM} --extractor inception {OTHERS}",
        {"pictures": PicturesConfig(k=2, held_out=9, extractor="inception"), "n": 7,
         "quality": QualityConfig(inception="W", accept="01234567"),
         "sampling": SamplingConfig(sampler="ddim", steps=8, eta=1.0)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", LOOKS)
def test_every_option_arrives(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    own, expected = LOOKS[command]
    seen: list[Any] = []
    monkeypatch.setattr(pictures, "run", lambda *args: seen.extend(args))
    monkeypatch.setattr(pictures, "Place", lambda *args, **kwargs: (args, kwargs))
    result = runner.invoke(app, [command, "x.pt", *own.split(), *COMMON.split()])
    assert result.exit_code == 0, result.output
    _, config, (args, kwargs) = seen
    assert config == EvalConfig(seed=3, batch=5, clip=False, **expected)
    assert [str(arg) for arg in args[:3]] == ["x.pt", "N", "reports"]
    assert (str(args[3].data), args[3].dataset) == ("D", "npz")
    assert kwargs == {"device": "cpu", "raw": True, "quiet": True}
    words = f"{own} {COMMON}".replace("--accept-weights", "--accept").split()
    given = {word.lstrip("-").replace("-", "_") for word in words}
    options = inspect.signature(getattr(pictures, command)).parameters.keys()
    assert options - given <= {
        "checkpoint",
        "reports",
        "images",
        "resize",
    }  # tried below; none is left untried


def test_files_and_defaults_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(pictures, "run", lambda *args: seen.extend(args))
    monkeypatch.setattr(pictures, "Place", lambda *args, **kwargs: None)
    runner.invoke(app, ["interpolate", "x.pt", "--images", "a.png", "b.png", "--resize", "box"])
    assert seen[1].pictures == PicturesConfig(files=("a.png", "b.png"), resize="box")
