"""Three seeds of training: known as one configuration, and told from a single run's error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app as evaluate
from ddpm_eval.present import document, retraining
from ddpm_eval.present.runs import Run
from ddpm_eval.record import disk
from ddpm_eval.record.record import Record
from ddpm_train.cli import app as train

SETTINGS = [
    *("schedule.T=20", "schedule.beta_end=0.5", "optim.steps=30", "optim.batch_size=16"),
    *("log.sample_every=0", "optim.warmup_steps=5", "optim.ema_decay=0.8"),
]


def run(*arguments: str, app: object = evaluate) -> None:
    result = CliRunner().invoke(app, list(arguments))  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Three trainings on digits with seeds 0 to 2, and a fourth with another learning rate."""
    root = tmp_path_factory.mktemp("seeds")
    reports = str(root / "reports")
    for name, *changes in (
        *((f"seed{i}", f"seed={i}", f"log.every={i + 1}") for i in range(3)),
        ("slow", "optim.lr=1e-4"),
    ):
        words = [word for change in (*SETTINGS, *changes) for word in ("--set", change)]
        run("digits", "--out", str(root / name), "--quiet", *words, app=train)
        run("nll", str(root / name), "-n", "24", "--reports", reports, "--quiet")
    return [disk.load(root / "reports" / name) for name in ("seed0", "seed1", "seed2", "slow")]


def test_the_mean_and_the_spread_over_seeds_stand_beside_each_runs_own_error(
    seeds: list[Record],
) -> None:
    table = retraining.table([Run(record, several=True) for record in seeds])
    assert table is not None
    row = next(row for row in table.rows if row.name.startswith("The bound ("))
    scores = [record.measurements[0].score("bits_per_dim", part="total") for record in seeds[:3]]
    values = [score.value for score in scores if score is not None]
    sizes = [score.error.size for score in scores if score is not None and score.error is not None]
    mean, spread, within, count = (float(cell.number) for cell in row.cells)
    assert count == 3 and row.block == "seed0, seed1 and seed2"
    assert mean == pytest.approx(np.mean(values), abs=1e-3)
    assert spread == pytest.approx(np.std(values, ddof=1), rel=0.01)
    assert within == pytest.approx(np.mean(np.square(sizes)) ** 0.5, rel=0.01)
    together = document.compose(seeds)
    assert table in [table for section in together.sections for table in section.tables]


def test_a_run_alone_or_the_same_seed_twice_has_no_spread(seeds: list[Record]) -> None:
    again = replace(seeds[0], name="again")
    for records in ([seeds[0]], [seeds[0], again], [seeds[0], seeds[3]]):
        assert retraining.table([Run(record, several=True) for record in records]) is None


def test_other_images_or_another_step_are_no_other_seed(seeds: list[Record]) -> None:
    for change in ({"step": 29}, {"weights": "raw"}, {"facts": {"data_digest": "other"}}):
        subjects = {key: {**subject, **change} for key, subject in seeds[1].subjects.items()}
        other = replace(seeds[1], subjects=subjects)
        assert retraining.table([Run(seeds[0]), Run(other)]) is None


def test_a_comparison_says_what_one_training_each_cannot_decide(seeds: list[Record]) -> None:
    def remark(one: int, other: int) -> str:
        pair = [seeds[one], seeds[other]]
        texts = document.compose(pair, compare=True).sections[0].texts
        assert retraining.remark(*pair) in ("", texts[-1])
        return retraining.remark(*pair)

    assert "differ by the seed of training alone" in remark(0, 1)
    assert "Each side is one training" in remark(0, 3)
    nobody = [replace(seeds[i], subjects={}) for i in (0, 3)]
    assert not retraining.remark(*nobody)


def test_the_command_writes_it(seeds: list[Record], tmp_path: Path) -> None:
    folders = [str(tmp_path / record.name) for record in seeds]
    for record, folder in zip(seeds, folders, strict=True):
        disk.save(Path(folder), record)
    run("report", *folders, "--together", "--reports", str(tmp_path), "--quiet")
    pages = [path.read_text() for path in tmp_path.rglob("report.md")]
    assert any("Trainings of one configuration" in page for page in pages)
