"""One list of rows, the same numbers in every format, and no comparison that does not hold."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from ddpm_eval.metrics import registry
from ddpm_eval.metrics.registry import Metric
from ddpm_eval.present import (
    comparable,
    contents,
    differences,
    document,
    escape,
    published,
    qualities,
    references,
    tables,
)
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Row, Table
from ddpm_eval.record import disk
from ddpm_eval.record.protocol import EstimatorFacts
from ddpm_eval.record.record import Record
from ddpm_eval.record.scores import Qualifiers, Score
from tests.eval import records

OF_DEMO = "the variance is optimal; the paper's is fixedlarge for L_simple"


def table_1(*reports: Record) -> Table:
    return published.table_1([Run(record) for record in reports])


def our_row(*reports: Record) -> tuple[Row, Table]:
    table = table_1(*reports)
    return table.rows[-1], table


def reasons(cell: Cell, table: Table) -> list[str]:
    return [table.notes[mark - 1] for mark in cell.notes]


def text_of(record: Record) -> str:
    return comparable.verdict(Run(record))


def test_a_number_by_the_papers_protocol_is_compared() -> None:
    row, table = our_row(records.paper())
    assert row.block == "Unconditional"
    assert [cell.number for cell in row.cells] == ["9.5", "3.17", "3.741", ""]
    assert [cell.n for cell in row.cells[:3]] == [50_000, 50_000, 10_000]
    assert str(row.cells[2]) == "≤ 3.741 ± 0.015 (n=10,000)"
    assert not any(cell.muted or cell.notes for cell in row.cells)
    assert table.notes == ()
    ddpm = next(r for r in table.rows if r.name == "DDPM (L_simple)")
    assert [row.cells[1].bold, ddpm.cells[1].bold] == [True, True]  # both 3.17


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"images": {"dataset": "digits"}}, "measured on digits, not CIFAR-10"),
        ({"n": 9_000}, "9,000 images, not 10,000"),
        ({"images": {"split": "validation"}}, "validation images, not test images"),
        ({"images": {"split": ""}}, "unnamed images, not test images"),
    ],
)
def test_what_is_not_the_papers_measurement_is_set_apart(
    change: dict[str, Any], reason: str
) -> None:
    bound = records.valued(records.bound(**change), bits_per_dim=1.5)
    row, table = our_row(records.paper(bound))
    cell = row.cells[2]
    assert cell.muted
    assert not cell.bold
    assert reasons(cell, table) == [reason]
    assert [r.name for r in table.rows if r.cells[2].bold] == ["Sparse Transformer"]


def test_images_of_another_size_are_not_cifar_10_whatever_they_are_called() -> None:
    row, table = our_row(records.modelled(records.paper(), 8))
    assert all(cell.muted for cell in row.cells[:3])
    assert reasons(row.cells[1], table) == ["images of 8 pixels, not 32"]


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"variance": "fixedsmall"}, "fixedsmall"),
        ({"clip": False}, "not clipped"),
        ({"weights": "raw"}, "raw"),
        ({"weights": "unknown"}, "not known whether the weights are averaged"),
        ({"precision": "bf16"}, "evaluated in bf16"),
        ({"estimator": EstimatorFacts(budget=9)}, "estimated"),
    ],
)
def test_other_choices_are_compared_but_never_silently(change: dict[str, Any], remark: str) -> None:
    record = records.paper(records.bound(**change))
    row, table = our_row(record)
    assert not row.cells[2].muted
    assert [remark in reason for reason in reasons(row.cells[2], table)] == [True]
    assert remark in text_of(record)


def test_train_images_stand_in_the_train_column() -> None:
    row, table = our_row(records.paper(records.bound(images={"split": "train"})))
    assert not row.cells[2].number
    assert row.cells[3].muted
    assert reasons(row.cells[3], table) == ["10,000 images, not 50,000"]


def test_train_and_test_bounds_share_table_1_and_the_bits() -> None:
    train = records.bound(images={"split": "train", "digest": "train"})
    record = records.paper(records.bound(), records.valued(train, bits_per_dim=3.2))
    row = table_1(record).rows[-1]
    assert [cell.number for cell in row.cells] == ["", "", "3.741", "3.200"]
    table = contents.bits([Run(record)])
    assert table is not None
    assert [name for name, _ in table.blocks()] == ["The bound", "The bound on training images"]


def test_fid_of_fewer_samples_or_another_reference_is_not_the_papers() -> None:
    row, table = our_row(records.paper(records.quality(10_000, "CIFAR-10 test")))
    assert reasons(row.cells[1], table) == [
        "FID on 10,000 samples, not 50,000",
        "FID against CIFAR-10 test, not the training set",
    ]
    assert row.cells[1].muted


def test_a_frechet_distance_of_another_network_is_no_fid() -> None:
    assert not any(cell.number for cell in our_row(records.only("mine", "quality"))[0].cells)


def test_bold_is_the_best_of_its_block() -> None:
    table = table_1()
    bold = {(r.block, i): r.name for r in table.rows for i, c in enumerate(r.cells) if c.bold}
    assert bold == {
        ("Conditional", 0): "StyleGAN2 + ADA (v1)",
        ("Conditional", 1): "StyleGAN2 + ADA (v1)",
        ("Unconditional", 0): "StyleGAN2 + ADA (v1)",
        ("Unconditional", 1): "DDPM (L_simple)",
        ("Unconditional", 2): "Sparse Transformer",
        ("Unconditional", 3): "Gated PixelCNN",
    }


def test_every_published_row_is_there_as_printed() -> None:
    rows = table_1(records.digits()).rows[:-1]
    for row, printed in zip(rows, references.tables()["cifar10"].rows, strict=True):
        assert row.name == printed.name
        shown = [str(cell) for cell in row.cells if cell.number]
        assert shown == [str(number) for number in printed.numbers.values()]


def test_the_verdict_tells_apart_what_may_be_compared() -> None:
    mixed = text_of(records.paper(records.bound(), records.quality(5_000)))
    assert mixed.startswith("At most 3.741 ± 0.015 bits/dim on 10,000 test images of CIFAR-10.")
    assert "Not comparable with the paper's Table 1: IS, FID (" in mixed
    assert mixed.endswith("The rest is comparable with the paper's Table 1.")
    alone = text_of(records.paper(records.bound()))
    assert alone.endswith("This is comparable with the paper's Table 1.")
    assert "nothing to compare" in text_of(records.only("mine", "samples"))


def test_the_table_of_bits_holds_the_terms_then_what_trivial_models_need() -> None:
    table = contents.bits([Run(records.digits())])
    assert table is not None
    numbers = {row.name: row.cells for row in table.rows}
    bound = records.measured("bound")
    for name, part in (("Prior (what x_T still says)", "prior"), ("Total bound", "total")):
        score = bound.score("bits_per_dim", part=part, variance="")
        assert score is not None
        assert (numbers[name][0].number, numbers[name][0].spread) == score.texts
    assert [row.name for row in table.rows if row.cells[0].bold] == ["Total bound"]
    assert numbers["untrained network"][1].number == "16"
    assert list(numbers)[-2:] == ["independent-pixel histograms", "untrained network"]
    assert contents.bits([Run(records.only("r", "samples"))]) is None


def hostile() -> Table:
    names = (records.HOSTILE, records.LATEX_SPECIALS, "=1+1")
    return table_1(*(records.digits(name) for name in names))


def cells_of(markdown: str) -> list[list[str]]:
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]


def test_markdown_keeps_its_shape_and_shows_names_as_text() -> None:
    text = tables.markdown(hostile())
    widths = {len(row) for row in cells_of(text)}
    assert widths == {5}
    assert "<img" not in text
    assert not re.search(r"(?<!\\)[$#~]", text)
    shown = [re.sub(r"\\(.)", r"\1", row[0]).strip() for row in cells_of(text)]
    assert '"&gt;&lt;img src=x onerror=alert(1)&gt; (this run)' in shown


def test_csv_is_read_back_as_numbers_and_names() -> None:
    table = hostile()
    frame = pd.read_csv(io.StringIO(tables.csv(table)))
    assert len(frame) == len(table.rows)
    assert frame["NLL test"].dtype == float
    ours = frame[frame["name"] == records.HOSTILE].iloc[0]
    assert ours["NLL test"] == 5.913
    assert ours["NLL test bound"] == "<="
    assert ours["NLL test n"] == 297
    assert ours["NLL test comparable"] == "no"
    assert ours["notes"] == f"measured on digits, not CIFAR-10; 297 images, not 10,000; {OF_DEMO}"
    ddpm = frame[frame["name"] == "DDPM (L_simple)"].iloc[0]
    assert (ddpm["IS"], ddpm["IS +-"], ddpm["FID"]) == (9.46, 0.11, 3.17)
    rows = list(csv.reader(io.StringIO(tables.csv(table))))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[-1][1] == "'=1+1"  # no formula in a spreadsheet


def test_the_terminal_shows_names_as_text() -> None:
    name = "[bold red]mine[/] \x1b[31m"
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(tables.terminal(table_1(records.digits(name))))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "[bold red]mine[/]" in text
    assert "\x1b" not in text
    assert "≤ 5.913 ± 0.015 (n=297) [1,2,3]" in text


def test_latex_is_ascii_and_escaped() -> None:
    text = tables.latex(hostile())
    assert text.isascii()
    assert r"100\% a\_b \& \$x\$ \#1 \{c\} \textasciitilde{}d \textasciicircum{}e" in text
    assert r"\textbackslash{}f \'{e} \ensuremath{\tilde \mu} [U+4E2D]" in text
    for line in text.splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 4


@pytest.mark.parametrize("name", ["a\nb", "a\r\n| b", "a\x00b\x1b", "a\u202eb", "a\udc80b"])
def test_names_stay_on_their_line(name: str) -> None:
    for escaped in (escape.markdown(name), escape.latex(name), escape.clean(name)):
        assert escaped.isprintable()
        assert escaped.encode()


def test_several_runs_share_their_reasons() -> None:
    few = records.counted(records.measured("bound"), 99)
    table = table_1(records.digits("a"), records.only("b", few))
    assert [row.name for row in table.rows[-2:]] == ["a", "b"]
    assert table.notes == (
        "measured on digits, not CIFAR-10",
        "297 images, not 10,000",
        OF_DEMO,
        "99 images, not 10,000",
    )
    assert table.rows[-1].cells[2].notes == (1, 3, 4)


# ------------------------------------------------------------------------- a metric of one's own


@pytest.fixture
def toy() -> Iterator[str]:
    """A metric that another package registers."""
    registry.register("toy", Metric(title="Toy", better="higher", other_title="Toy"))
    yield "toy"
    del registry._METRICS["toy"]


def with_toy(name: str, value: float) -> Record:
    quality = records.measured("quality")
    of = Qualifiers(whose="samples", extractor="(digits-cnn)")
    score = Score(metric="toy", value=value, n=512, of=of)
    return records.only(name, replace(quality, scores=(*quality.scores, score)))


def test_one_entry_brings_a_metric_into_table_record_page_and_comparison(
    toy: str, tmp_path: Any
) -> None:
    disk.save(tmp_path, with_toy("a", 0.25))
    record = disk.load(tmp_path)
    assert "Toy(digits-cnn)" in str(record.measurements[0])
    (table,) = qualities.tables([Run(record)])
    column = [str(column) for column in table.columns].index("Toy(digits-cnn) ↑")
    assert table.rows[0].cells[column].number == "0.250"
    gaps = {item.name: item for item in differences.between(record, with_toy("b", 0.5))}
    assert gaps["Toy(digits-cnn)"].gap.value == 0.25
    page = document.compose([record, with_toy("b", 0.5)], compare=True)
    assert any("Toy(digits-cnn): b is 0.250 higher than a" in x for x in page.sections[0].texts)


def test_a_metric_that_is_not_registered_here_is_shown_by_its_key() -> None:
    (table,) = qualities.tables([Run(with_toy("a", 0.25))])
    assert [column.name for column in table.columns][-1] == "toy(digits-cnn)"


def test_a_key_is_registered_for_one_metric(toy: str) -> None:
    registry.register("toy", registry.METRICS["toy"])
    with pytest.raises(ValueError, match="fid is another metric"):
        registry.register("fid", Metric(title="other"))
