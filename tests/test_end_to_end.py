"""The whole way on real images: train, resume, measure, write up, in seconds."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app as evaluate
from ddpm_eval.record import lowering as results
from ddpm_eval.record.schema1 import Report
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


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A trained run and the folder of its records."""
    root = tmp_path_factory.mktemp("world")
    changes = [word for change in SETTINGS for word in ("--set", change)]
    run("digits", "--out", str(root / "digits"), "--quiet", *changes, app=train)
    return root / "digits", root / "reports"


@pytest.fixture(scope="module")
def report(world: tuple[Path, Path]) -> Report:
    checkpoint, reports = map(str, world)
    for command in (
        ["nll", "-n", "8", "--first"],
        ["baselines", "-n", "8", "--first"],
        ["sample", "-n", "5"],
        ["training"],
    ):
        run(command[0], checkpoint, *command[1:], "--reports", reports)
    return results.load(world[1] / "digits")


def test_the_bound_is_the_sum_of_its_parts(report: Report) -> None:
    nll = report.measurements["nll"]
    q = nll.quantities
    assert q["total"].value == pytest.approx(
        q["prior"].value + q["kl"].value + q["decoder"].value, rel=1e-9
    )
    assert all(value.n == 8 and value.unit == "bits/dim" for value in q.values())
    assert nll.arrays["terms"].shape == nll.arrays["mse"].shape == (8, 21)
    each = nll.arrays["terms"].sum(1, dtype=np.float64)
    assert q["total"].stderr == pytest.approx(each.std(ddof=1) / math.sqrt(8), rel=1e-6)
    assert nll.settings["clip"] is True and nll.settings["weights"] == "ema"
    assert (nll.settings["dataset"], nll.settings["split"]) == ("digits", "test")


def test_training_beats_not_training(report: Report) -> None:
    nll, base = report.measurements["nll"], report.measurements["baselines"]
    assert nll.quantities["total"].value < base.quantities["untrained network"].value


def test_the_loss_curve_is_the_log(report: Report, world: tuple[Path, Path]) -> None:
    lines = [json.loads(x) for x in (world[0] / "log.jsonl").read_text().splitlines()]
    loss = report.measurements["training"].curves["loss"]
    assert loss.x.tolist() == [line["step"] for line in lines] == [50, 100, 150]
    assert loss.y.tolist() == [line["loss"] for line in lines]


def test_every_number_says_where_it_comes_from(report: Report) -> None:
    for measurement in report.measurements.values():
        origin = measurement.provenance
        assert {"command", "seconds", "hardware", "versions"} <= origin.keys()
        assert str(Path.home()) not in json.dumps(dict(origin))
    assert report.subject["step"] == 150 and len(str(report.subject["checkpoint"])) == 64


def test_pictures_show_the_samples_and_images_of_the_record(
    world: tuple[Path, Path], report: Report
) -> None:
    for command in (
        ["progressive", "-n", "3"],
        ["reconstruct", "-n", "2"],
        ["interpolate", "--pairs", "0,1", "--lambdas", "0.5"],
        ["neighbours", "-n", "5", "--batch", "5"],
    ):
        options = ["--reports", str(world[1]), "--name", "looks"]
        run(command[0], str(world[0]), *command[1:], *options)
    found = {**report.measurements, **results.load(world[1] / "looks").measurements}
    drawn = found["samples"].grids["samples"].images
    strips = found["progressive"].grids["progressive"]
    last = strips.images[strips.columns - 1 :: strips.columns].astype(int)
    assert np.abs(last - drawn[:3]).max() <= 1  # another batch
    nearest = found["neighbours"].grids["pixels"]
    numbers = [int(label) for label in nearest.labels[:: nearest.columns]]
    shown = nearest.images[:: nearest.columns].astype(int)
    assert np.abs(shown - drawn[numbers]).max() <= 1
    assert found["neighbours"].settings["memorised"] is False
    path = found["interpolation"].grids["path"].images
    originals = found["reconstructions"].grids["reconstructions"].images[-2:]
    np.testing.assert_array_equal(path[[0, -1]], originals)
    rates = found["reconstructions"].settings["frames"]["rate"]  # type: ignore[index, call-overload]
    mean = found["nll"].arrays["terms"][:2, 1:].sum(1, dtype=np.float64).mean()
    assert rates[-1] == pytest.approx(mean, rel=1e-4)


def test_results_do_not_depend_on_batch_size_or_interruption(
    world: tuple[Path, Path], report: Report
) -> None:
    checkpoint, reports = world
    again = ["--reports", str(reports), "--name", "again"]
    run("nll", str(checkpoint), "-n", "8", "--first", "--set", "compute.batch=7", *again)
    run("sample", str(checkpoint), "-n", "5", "--batch", "2", *again)
    found = results.load(reports / "again").measurements
    one, two = found["nll"].arrays["terms"], report.measurements["nll"].arrays["terms"]
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6)
    total = found["nll"].quantities["total"].value
    assert total == pytest.approx(report.measurements["nll"].quantities["total"].value, rel=1e-5)
    grids = (found["samples"], report.measurements["samples"])
    one, two = (grid.grids["samples"].images.astype(int) for grid in grids)
    assert np.abs(one - two).max() <= 1


def test_the_report_is_written_from_the_record_alone(
    world: tuple[Path, Path], report: Report
) -> None:
    run("report", "digits", "--reports", str(world[1]))
    folder = world[1] / "digits"
    page = (folder / "report.html").read_text(encoding="utf-8")
    total = report.measurements["nll"].quantities["total"]
    for text in (f"{total.value:.3f}", "independent-pixel", "untrained network", "Gated PixelCNN"):
        assert text in page
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    run("report", "digits", "--reports", str(world[1]))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nll", "nowhere.pt"], "no such checkpoint"),
        (["nll", "CKPT", "--split", "val"], "choose test or train"),
        (["nll", "CKPT", "-n", "100000"], "has 297 images"),
        (["nll", "CKPT", "--data", "nowhere"], "nowhere"),
        (["nll", "CKPT", "--device", "cuda:9"], "--device cpu"),
        (["fid", "CKPT", "--extractor", "digits-cnn", "--precision", "float8"], "choose float32"),
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
