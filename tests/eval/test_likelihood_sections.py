"""Few steps and the ODE in a report, on measurements that the measures made."""

from pathlib import Path

import pytest

from ddpm_eval import present
from ddpm_eval.measure.bound.settings import OdeSettings
from ddpm_eval.present import document, likelihoods, sections, steps
from ddpm_eval.present.runs import Run
from ddpm_eval.record.record import Record
from tests.eval import jobs, records
from tests.eval.test_few_steps import few
from tests.eval.test_ode_measure import pictures, run


@pytest.fixture(scope="module")
def record() -> Record:
    ode = run(pictures(4), OdeSettings(paired=False, draws=2))
    return Record(name="made", measurements=(few(5, 10), ode, jobs.nll(calibrate=50)))


def test_few_steps_stand_beside_the_published_ones(record: Record) -> None:
    (measurement,) = record.of("strides")
    table = steps.table("k", measurement)
    assert [column.name for column in table.columns] == [
        "Best steps",
        "Even steps",
        "Quadratic steps",
    ]
    rows = {row.name: row.cells for row in table.rows}
    assert rows["100"][1].number == "3.076" and rows["100"][1].at_most
    assert float(rows["5"][0].number) <= float(rows["5"][1].number)
    assert rows["all"][0].bold
    section = next(
        x for x in sections.build([Run(record)]) if x.title == "The bound of fewer steps"
    )
    assert "best steps: " in section.pictures[0].alt
    assert "the scored images" in section.texts[0]


def test_the_ode_has_its_own_words(record: Record) -> None:
    titles = [section.title for section in sections.build([Run(record)])]
    assert titles.index("Bits/dim by the probability-flow ODE") < titles.index(
        "The bound of fewer steps"
    )


def test_ours_stand_apart_with_their_reasons(record: Record) -> None:
    table = likelihoods.table([Run(record)])
    assert table is not None
    ours = {row.name: row.cells for row in table.rows if row.ours}
    assert list(ours) == ["made (bound, fixedlarge σ²)", "made (bound, optimal σ²)", "made (ODE)"]
    assert [cell.number for cell in ours["made (ODE)"][1:]] == ["ODE", "discrete decoder", "", "2"]
    assert all(cells[0].muted and cells[0].notes for cells in ours.values())
    assert ours["made (bound, fixedlarge σ²)"][0].at_most and not ours["made (ODE)"][0].at_most
    assert any("pictures" in note for note in table.notes)
    other = records.only("samples", "samples")
    assert likelihoods.table([Run(other)]) is None


def test_the_report_is_whole(record: Record, tmp_path: Path) -> None:
    assert "likelihood" in [table.key for table in document.compose([record]).tables()]
    written = {path.name: path for path in present.render([record], tmp_path)}
    text = written["likelihood.md"].read_text(encoding="utf-8")
    assert "Score SDE" in text and "made (ODE)" in text
    page = next(path for path in written.values() if path.suffix == ".html")
    assert "Bits/dim by the probability-flow ODE" in page.read_text(encoding="utf-8")
