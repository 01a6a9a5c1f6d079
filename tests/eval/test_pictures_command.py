"""The commands to look with, from their options to the record, on a tiny network."""

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.cli import app
from ddpm_eval.commands import pictures, samples
from ddpm_eval.record import disk
from ddpm_eval.record.record import Measurement
from ddpm_train import checkpoint
from ddpm_train.weights import build_network
from tests.train.conftest import make_tiny

RUN = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"})
FILES = ["--images", "a.png", "b.png"]


@pytest.fixture(autouse=True)
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights, T = 20, 8x8 gray, which nobody knows the data of."""
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    model = make_tiny().model
    weights = build_network(model, seed=3).state_dict()
    checkpoint.save(path, checkpoint.Checkpoint(model=model, step=1, ema=weights))
    return path


def run(*arguments: object, code: int = 0) -> str:
    result = RUN.invoke(app, [str(word) for word in arguments])
    assert result.exit_code == code, result.output
    return result.output


def measured(*arguments: object) -> Measurement:
    """The one measurement of a record that a command writes."""
    run(*arguments, "--reports", "reports", "--name", "x")
    (measurement,) = disk.load(Path("reports/x")).measurements
    return measurement


@pytest.mark.parametrize(
    ("arguments", "problem", "fix"),
    [
        (["--pairs", "0"], "--pairs 0: not two indices", "--pairs 0,1"),
        (["--pairs", "0,1,2"], "not two indices", "--pairs 0,1"),
        (["--pairs", "0,-1"], "a negative index", "count from 0"),
        (["--lambdas", "a"], "not a number", "interpolation.lambdas"),
        (["--set", "interpolation.lambdas=0.5,1.5"], "out of range", "from 0 to 1"),
        (["--mix", "cubic"], "not a choice", "linear, spherical"),
        (["--set", "interpolation.seed=18446744073709551616"], "out of range", "seed"),
        (["--set", "interpolation.sed=1"], "no setting interpolation.sed", "interpolation.seed"),
        (["--resize", "box"], "--resize: of no effect without --images", "add --images"),
        ([*FILES, "--pairs", "0,1"], "two kinds of sources", "one of them"),
        (["--split", "valid"], "--split valid: not a split", "test or train"),
    ],
)
def test_interpolate_refuses_what_it_cannot_read(
    model: Path, arguments: list[str], problem: str, fix: str
) -> None:
    text = run("interpolate", model, *arguments, code=2)
    assert problem in text and fix in text
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["interpolate", "--t", "-1"],
        ["neighbours", "--k", "0"],
        ["neighbours", "--held-out", "-1"],
        ["sample", "-n", "1000000000000"],
        ["sample", "--seed", "18446744073709551616"],
        ["neighbours", "--set", "neighbours.sampling.eta=2"],
    ],
)
def test_amounts_out_of_range_are_refused(model: Path, arguments: list[str]) -> None:
    text = run(*arguments, model, code=2)
    assert "Traceback" not in text and len(text.strip().splitlines()) < 12
    assert not list(Path().iterdir())


@pytest.mark.parametrize("name", ["../x", "a/b", "/x", ".."])
def test_a_record_stays_below_its_folder(model: Path, name: str) -> None:
    text = run("reconstruct", model, "--name", name, code=2)
    assert f"--name {name}: not a plain name" in text


@pytest.mark.parametrize("command", ["progressive", "neighbours"])
@pytest.mark.parametrize(
    ("extractor", "problem"),
    [([], "without --extractor"), (["--extractor", "digits-cnn"], "with --extractor digits-cnn")],
)
@pytest.mark.parametrize("option", ["--extractor-weights", "--accept-weights"])
def test_weights_that_nothing_looks_through_are_refused(
    model: Path, command: str, extractor: list[str], problem: str, option: str
) -> None:
    text = run(command, model, option, "W", *extractor, code=2)
    assert f"{option} W: of no effect {problem}" in text
    assert "add --extractor inception" in text


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--sampler", "euler"], "--sampler euler: unknown"),
        (["--set", "samples.convention=mine"], "convention=mine: unknown"),
        (["--eta", "1"], "--eta 1.0 has no effect on the ancestral sampler"),
    ],
)
def test_names_are_refused_before_a_model_is_loaded(
    tmp_path: Path, words: list[str], text: str
) -> None:
    (tmp_path / "empty.pt").touch()  # which would be called damaged
    assert text in run("sample", tmp_path / "empty.pt", *words, code=2)


@pytest.mark.parametrize("command", ["progressive", "reconstruct", "interpolate", "neighbours"])
def test_a_missing_checkpoint_is_named(command: str) -> None:
    assert "no such checkpoint" in run(command, "nowhere.pt", code=2)


@pytest.mark.parametrize("command", ["reconstruct", "interpolate", "neighbours"])
def test_unknown_images_are_asked_for(model: Path, command: str) -> None:
    assert "name the images: --dataset" in run(command, model, code=2)


@pytest.mark.parametrize(
    "command",
    [pictures.progressive, pictures.reconstruct, pictures.interpolate, pictures.neighbours,
     samples.sample],
)  # fmt: skip
def test_a_command_has_twelve_options_at_most(command: Any) -> None:
    assert len(inspect.signature(command).parameters) - 1 <= 12  # the first is an argument


COMMANDS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "progressive": (["-n", "7", "--seed", "3"], {"n": 7, "seed": 3}),
    "reconstruct": (["-n", "3", "--first", "--seed", "3", "--split", "train"],
                    {"n": 3, "first": True, "seed": 3}),
    "interpolate": (["--pairs", "0,1", "--pairs", "5,9", "--t", "4", "--split", "train",
                     "--lambdas", "0.5", "--mix", "spherical", "--seed", "3"],
                    {"mix": "spherical", "pairs": [[0, 1], [5, 9]], "t": 4, "seed": 3,
                     "lambdas": [0, 0.5, 1]}),
    "neighbours": (["-n", "6", "--k", "2", "--held-out", "40",
                    "--sampler", "ddim", "--steps", "5", "--seed", "3",
                    "--set", "neighbours.sampling.eta=0.5"],
                   {"k": 2, "held_out": 40, "sampling.n": 6, "sampling.sampler": "ddim",
                    "sampling.steps": 5, "seed": 3, "sampling.seed": 3, "sampling.eta": 0.5}),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_options_arrive_in_the_protocol(model: Path, command: str) -> None:
    options, expected = COMMANDS[command]
    result = measured(command, model, "--dataset", "digits", *options)
    for name, value in expected.items():
        at: Any = result.protocol.settings
        for part in name.split("."):
            at = at[part]
        assert at == value, name
    split = "train" if "train" in options else "test"
    if result.protocol.images is not None:
        assert (result.protocol.images.dataset, result.protocol.images.split) == ("digits", split)
    assert not (Path("reports/x/unfinished")).exists()


def test_the_command_and_the_function_give_the_same(model: Path) -> None:
    result = measured("interpolate", model, "--dataset", "digits", "--pairs", "3,8")
    images = de.images("digits", split="test")
    other = de.interpolate(de.load(model), images, pairs=[(3, 8)])
    assert result.protocol == other.protocol
    for name, grid in result.grids.items():
        np.testing.assert_array_equal(grid.images, other.grids[name].images)


def test_a_finished_measurement_is_shown_and_replaced_when_asked(model: Path) -> None:
    words = ["neighbours", model, "-n", "4", "--dataset", "digits", "--reports", "reports"]
    assert "not measured again" not in run(*words)
    assert "not measured again" in run(*words)
    assert "not measured again" not in run(*words, "--replace")
    assert len(disk.load(Path("reports/tiny")).measurements) == 1
    run(*words, "--set", "neighbours.sampling.seed=1")
    assert len(disk.load(Path("reports/tiny")).measurements) == 2


def test_two_picture_files_are_mixed(model: Path) -> None:
    images = de.images("digits", split="test").read([3, 8])
    for name, image in zip(("a.png", "b.png"), images, strict=True):
        Image.fromarray(image[..., 0]).save(name)
    result = measured("interpolate", model, *FILES, "--t", "7")
    named = de.interpolate(de.load(model), de.images("digits", split="test"), pairs=[(3, 8)], t=7)
    np.testing.assert_array_equal(result.grids["path"].images, named.grids["path"].images)
    assert result.facts["pairs"] == [["a.png", "b.png"]]
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12)).save("b.png")
    text = run("interpolate", model, *FILES, code=2)
    assert "12x12 pixels; 8x8 expected" in text and "add --resize lanczos" in text
    run("interpolate", model, *FILES, "--resize", "box", "--t", "3")
    Path("b.png").write_text("no picture")
    assert "a broken picture" in run("interpolate", model, *FILES, code=2)
    text = run("interpolate", model, "--images", "a.png", "nowhere.png", code=2)
    assert "nowhere.png" in text
