"""Table 4 and Figure 5: published and own points in their places."""

import re

import numpy as np
import pytest

from ddpm_eval.present import contents, document, figures, published, references
from ddpm_eval.present.tables import csv
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity, Report
from tests.eval import records


def measured(T: int = 1000) -> Measurement:
    x = np.arange(1, T + 1)
    share = x / T
    curves = {
        "distortion": Curve(x, 100 - 98 * share, "steps", "RMSE", 50, 0.5 + 0 * share),
        "rate (fixedlarge)": Curve(x, 2 * share**9, "steps", "rate", 50, 0.01 * share),
        "rate (fixedsmall)": Curve(x, 3 * share**9, "steps", "rate", 50, 0.02 * share),
    }
    quantities = {
        "RMSE": Quantity(2.0, "grey levels", 50, 0.5),
        "rate": Quantity(2.0, "bits/dim", 50, 0.01),
        "distortion": Quantity(1.9, "bits/dim", 50, 0.02),
    }
    settings = {"dataset": "digits", "T": T, "distortion": "127.5 times the root"}
    return Measurement("rate_distortion", quantities, curves, settings=settings)


def test_ten_published_rows_stand_above_ten_of_ours_with_a_rate_for_each_variance() -> None:
    table = published.table_4("t4", measured())
    blocks = dict(table.blocks())
    assert list(blocks) == ["Paper", "digits, 50 images, fixedlarge"]
    assert [len(rows) for rows in blocks.values()] == [10, 10]
    labels = {tuple(row.name for row in rows) for rows in blocks.values()}
    assert len(labels) == 1  # the same steps in the same order
    for row, source in zip(
        blocks["Paper"], references.tables()["rate_distortion"].rows, strict=True
    ):
        assert [cell.number for cell in row.cells] == [
            str(source.numbers["rate"].value),
            "",
            str(source.numbers["rmse"].value),
        ]
    assert [column.name for column in table.columns][1] == "Rate, fixedsmall"
    ours = next(row for row in table.rows if row.ours and row.name == "900")
    found = [float(cell.number) for cell in ours.cells]
    assert found == pytest.approx([2 * 0.9**9, 3 * 0.9**9, 100 - 98 * 0.9], abs=0.06)
    assert found[:2] == pytest.approx([2 * 0.9**9, 3 * 0.9**9], abs=6e-4)
    assert [cell.spread for cell in ours.cells] == ["0.009", "", "0.5"]
    assert "0.11994" in csv(table)


def test_other_numbers_of_steps_have_ten_rows_too() -> None:
    ours = [row for row in published.table_4("t4", measured(40)).rows if row.ours]
    assert [row.name for row in ours[:10]] == [str(4 * k) for k in range(10, 0, -1)]
    assert ours[0].cells[0].number == "2.000"


def markers(svg: bytes) -> int:
    """How many markers and bands lie on the data of an SVG."""
    groups = re.findall(r'<g clip-path="[^"]*">(.*?)</g>', svg.decode(), re.DOTALL)
    return sum(group.count("<use ") for group in groups)


def test_published_points_are_drawn_where_the_steps_are_the_same() -> None:
    points = [(int(r), 0.1 * i, 10.0 * i) for i, r in enumerate(range(100, 1100, 100))]
    same, other = (
        figures.rate_distortion("f", found.curves["distortion"], contents.rates(found), points, "")
        for found in (measured(), measured(40))
    )
    assert same.shape[0] > 2 * 990
    bands = 5
    assert markers(same.files["svg"]) == 30 + bands
    assert markers(other.files["svg"]) == 10 + bands
    assert "Three panels" in same.alt


def test_the_report_has_the_section() -> None:
    found = document.compose([Report("run", {}, {"rate_distortion": measured()})])
    section = next(s for s in found.sections if s.title == "Rate and distortion")
    (text,) = section.texts
    assert "2.000 ± 0.010 bits/dim of rate and 1.900 ± 0.020 bits/dim of distortion" in text
    assert (
        "RMSE of 2.0 ± 0.5 grey levels. The paper's model on CIFAR-10: 1.78 and 1.97 at 0.95."
        in text
    )
    numbers = next(s for s in found.sections if s.title == "Rate and distortion in numbers")
    assert [table.key for table in numbers.tables] == [
        "rate_distortion-table4",
        "rate_distortion-quantities",
    ]
    assert len(section.pictures) == 1


def test_train_and_test_bounds_share_table_1_and_the_bits() -> None:
    test, train = records.nll(), records.nll(split="train", total=2.2)
    report = Report("run", {}, {"nll": test, "nll-train": train})
    row = published.table_1([report]).rows[-1]
    assert [cell.number for cell in row.cells] == ["", "", "2.413", "2.200"]
    table = contents.bits([report])
    assert table is not None
    assert [name for name, _ in table.blocks()] == ["The bound", "The bound on training images"]
