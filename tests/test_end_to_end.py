"""The whole way on real images: train, resume, measure, write up, in seconds."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app as evaluate
from ddpm_eval.present import verdicts
from ddpm_eval.record import disk
from ddpm_eval.record.record import Measurement, Record
from ddpm_train.cli import app as train

RUN = CliRunner()
SETTINGS = [
    "schedule.T=20",
    "schedule.beta_end=0.5",
    "optim.steps=150",
    "optim.batch_size=16",
    "log.sample_every=0",
    "log.every=50",
    "optim.warmup_steps=5",
    "optim.ema_decay=0.8",
]


def run(*arguments: str, app: object = evaluate, code: int = 0) -> str:
    result = RUN.invoke(app, list(arguments))  # type: ignore[arg-type]
    assert result.exit_code == code, result.output
    return result.output


def strongest(record: Record, measure: str) -> Measurement:
    measurement = record.strongest(measure)
    assert measurement is not None
    return measurement


def bits(measurement: Measurement, **of: str) -> float:
    score = measurement.score("bits_per_dim", **{"part": "total", "variance": "", **of})
    assert score is not None
    return score.value


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A trained run and the folder of its records."""
    root = tmp_path_factory.mktemp("world")
    changes = [word for change in SETTINGS for word in ("--set", change)]
    run("digits", "--out", str(root / "digits"), "--quiet", *changes, app=train)
    return root / "digits", root / "reports"


@pytest.fixture(scope="module")
def report(world: tuple[Path, Path]) -> Record:
    checkpoint, reports = map(str, world)
    for command in (
        ["nll", "-n", "8", "--first"],
        ["baselines", "-n", "8", "--first"],
        ["sample", "-n", "5"],
        ["training"],
    ):
        run(command[0], checkpoint, *command[1:], "--reports", reports)
    return disk.load(world[1] / "digits")


def test_the_bound_is_the_sum_of_its_parts(report: Record) -> None:
    bound = strongest(report, "bound")
    parts = [bits(bound, part=part) for part in ("prior", "steps", "decoder")]
    assert bits(bound) == pytest.approx(sum(parts), rel=1e-9)
    assert all(score.n == 8 for score in bound.scores)
    assert bound.arrays["terms"].shape == bound.arrays["mse"].shape == (8, 21)
    sums = bound.arrays["terms"].sum(1, dtype=np.float64)
    total = bound.score("bits_per_dim", part="total")
    assert total is not None and total.error is not None
    assert total.error.size == pytest.approx(sums.std(ddof=1) / math.sqrt(8), rel=1e-6)
    protocol, images = bound.protocol, bound.protocol.images
    assert protocol.clip is True and protocol.weights == "ema"
    assert images is not None and (images.dataset, images.split) == ("digits", "test")


def test_training_beats_not_training(report: Record) -> None:
    untrained = bits(strongest(report, "baselines"), whose="untrained network")
    assert bits(strongest(report, "bound")) < untrained


def test_the_loss_curve_is_the_log(report: Record, world: tuple[Path, Path]) -> None:
    lines = [json.loads(x) for x in (world[0] / "log.jsonl").read_text().splitlines()]
    loss = strongest(report, "training").curve("loss")
    assert loss is not None
    assert loss.x.tolist() == [line["step"] for line in lines] == [50, 100, 150]
    assert loss.y.tolist() == [line["loss"] for line in lines]


def test_every_number_says_where_it_comes_from(report: Record) -> None:
    for measurement in report.measurements:
        origin = measurement.provenance
        assert {"command", "seconds", "hardware", "versions"} <= origin.keys()
        assert str(Path.home()) not in json.dumps(dict(origin))
    ((digest, subject),) = report.subjects.items()
    assert subject["step"] == 150 and len(digest) == 64


def test_pictures_show_the_samples_and_images_of_the_record(
    world: tuple[Path, Path], report: Record
) -> None:
    for command in (
        ["progressive", "-n", "3"],
        ["reconstruct", "-n", "2", "--first"],
        ["interpolate", "--pairs", "0,1", "--set", "interpolation.lambdas=0.5"],
        ["neighbours", "-n", "5", "--set", "compute.batch=5"],
    ):
        options = ["--reports", str(world[1]), "--name", "looks"]
        run(command[0], str(world[0]), *command[1:], *options)
    looks = disk.load(world[1] / "looks")
    drawn = strongest(report, "samples").grids["samples"].images
    strips = strongest(looks, "progressive").grids["progressive"]
    last = strips.images[strips.columns - 1 :: strips.columns].astype(int)
    assert np.abs(last - drawn[:3]).max() <= 1  # another batch
    near = strongest(looks, "neighbours")
    nearest = near.grids["pixels"]
    numbers = [int(label) for label in nearest.labels[:: nearest.columns]]
    shown = nearest.images[:: nearest.columns].astype(int)
    assert np.abs(shown - drawn[numbers]).max() <= 1
    assert "No sign of memorisation" in verdicts.sentences(near)[0]
    path = strongest(looks, "interpolation").grids["path"].images
    strip = strongest(looks, "reconstructions")
    originals = strip.grids["reconstructions"].images[-2:]
    np.testing.assert_array_equal(path[[0, -1]], originals)
    rates = strip.facts["frames"]["rate"]  # type: ignore[index, call-overload]
    mean = strongest(report, "bound").arrays["terms"][:2, 1:].sum(1, dtype=np.float64).mean()
    assert rates[-1] == pytest.approx(mean, rel=1e-4)


def test_results_do_not_depend_on_batch_size_or_interruption(
    world: tuple[Path, Path], report: Record
) -> None:
    checkpoint, reports = world
    again = ["--reports", str(reports), "--name", "again"]
    run("nll", str(checkpoint), "-n", "8", "--first", "--set", "compute.batch=7", *again)
    run("sample", str(checkpoint), "-n", "5", "--batch", "2", *again)
    pair = report, disk.load(reports / "again")
    one, two = (strongest(record, "bound").arrays["terms"] for record in pair)
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    first, second = (bits(strongest(record, "bound")) for record in pair)
    assert second == pytest.approx(first, rel=1e-5)
    drawn = (strongest(record, "samples").grids["samples"].images for record in pair)
    one, two = (images.astype(int) for images in drawn)
    assert np.abs(one - two).max() <= 1


def test_a_quick_look_is_listed_beside_the_long_measurement(
    world: tuple[Path, Path], report: Record
) -> None:
    quick = ["-n", "4", "--first", "--reports", str(world[1]), "--name", "looks"]
    for n in ("8", "4"):
        quick[1] = n
        run("nll", str(world[0]), *quick)
    bounds = disk.load(world[1] / "looks").of("bound")
    assert [bound.scores[0].n for bound in bounds] == [8, 4]
    assert bits(bounds[0]) == bits(strongest(report, "bound"))
    run("report", "looks", "--reports", str(world[1]))
    page = (world[1] / "looks" / "report.md").read_text("utf-8")
    table = page.partition("## Also measured")[2].partition("##")[0]
    assert f"number of images 4 | {bits(bounds[1]):.3f}" in table


def test_the_report_is_written_from_the_record_alone(
    world: tuple[Path, Path], report: Record
) -> None:
    run("report", "digits", "--reports", str(world[1]))
    folder = world[1] / "digits"
    page = (folder / "report.html").read_text(encoding="utf-8")
    total = bits(strongest(report, "bound"))
    for text in (f"{total:.3f}", "independent-pixel", "untrained network", "Gated PixelCNN"):
        assert text in page
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run("report", "digits", "--reports", str(world[1]))
    assert {path: path.read_bytes() for path in before} == before


_DIGITS = ("--extractor", "digits-cnn")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nll", "nowhere.pt"], "no such checkpoint"),
        (["nll", "CKPT", "--split", "val"], "choose test or train"),
        (["nll", "CKPT", "-n", "100000"], "has 297 images"),
        (["nll", "CKPT", "--data", "nowhere"], "nowhere"),
        (["nll", "CKPT", "--device", "cuda:9"], "--device cpu"),
        (["fid", "CKPT", *_DIGITS, "--set", "compute.precision=float8"], "choose one of float32"),
        (["report", "--reports", "nowhere"], "ddpm-eval nll"),
        (["report", "nobody"], "nobody"),
    ],
)
def test_bad_input_is_one_line_and_a_fix(
    world: tuple[Path, Path], arguments: list[str], message: str
) -> None:
    text = run(*[str(world[0]) if x == "CKPT" else x for x in arguments], code=2)
    assert message in text and "fix:" in text and len(text.strip().splitlines()) <= 4


def test_a_damaged_checkpoint_is_not_measured(world: tuple[Path, Path], tmp_path: Path) -> None:
    clean = next((world[0] / "checkpoints").glob("*.pt")).read_bytes()
    path = tmp_path / "broken.pt"
    path.write_bytes(clean[:-1000])
    text = run("nll", str(path), "--reports", str(tmp_path), code=2)
    assert "broken.pt: damaged" in text
    assert not list(tmp_path.rglob("results.json"))
