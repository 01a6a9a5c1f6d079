"""One list of rows, the same numbers in every format, and no comparison that does not hold."""

import csv
import io
import re
from collections.abc import Sequence

import pandas as pd
import pytest
from rich.console import Console

from ddpm_eval.present import comparable, contents, escape, published, references, tables
from ddpm_eval.present.tables import Cell, Row, Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Measurement, Quantity, Report
from tests.eval import records

PAPER = {"dataset": "CIFAR-10", "n": 10_000, "total": 3.7412, "variance": "fixedlarge"}


def our_row(*reports: Report) -> tuple[Row, Table]:
    table = published.table_1(reports)
    return table.rows[-1], table


def reasons(cell: Cell, table: Table) -> list[str]:
    return [table.notes[mark - 1] for mark in cell.notes]


def test_a_number_by_the_papers_protocol_is_compared() -> None:
    row, table = our_row(records.report("mine", records.nll(**PAPER), records.quality()))
    assert row.block == "Unconditional"
    assert list(map(str, row.cells)) == [
        "9.46 ± 0.11 (n=50,000)",
        "3.17 (n=50,000)",
        "≤ 3.741 ± 0.012 (n=10,000)",
        "",
    ]
    assert not any(cell.muted or cell.notes for cell in row.cells)
    assert table.notes == ()
    ddpm = next(r for r in table.rows if r.name == "DDPM (L_simple)")
    assert [row.cells[1].bold, ddpm.cells[1].bold] == [True, True]  # both 3.17


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"dataset": "digits"}, "measured on digits, not CIFAR-10"),
        ({"n": 9_000}, "9,000 images, not 10,000"),
        ({"split": "validation"}, "validation images, not test images"),
    ],
)
def test_what_is_not_the_papers_measurement_is_set_apart(
    changed: dict[str, Json], reason: str
) -> None:
    row, table = our_row(records.report("mine", records.nll(**{**PAPER, "total": 1.5, **changed})))
    cell = row.cells[2]
    assert cell.muted
    assert not cell.bold
    assert reasons(cell, table) == [reason]
    assert [r.name for r in table.rows if r.cells[2].bold] == ["Sparse Transformer"]


@pytest.mark.parametrize(
    ("changed", "remark"),
    [
        ({"variance": "fixedsmall"}, "fixedsmall"),
        ({"clip": False}, "not clipped"),
        ({"weights": "raw"}, "raw"),
        ({"precision": "bf16"}, "evaluated in bf16"),
    ],
)
def test_other_choices_are_compared_but_never_silently(
    changed: dict[str, Json], remark: str
) -> None:
    report = records.report("mine", records.nll(**{**PAPER, **changed}))
    row, table = our_row(report)
    assert not row.cells[2].muted
    assert [remark in reason for reason in reasons(row.cells[2], table)] == [True]
    assert remark in comparable.verdict(report)


def test_train_images_stand_in_the_train_column() -> None:
    row, table = our_row(records.report("mine", records.nll(**{**PAPER, "split": "train"})))
    assert not row.cells[2].number
    assert row.cells[3].muted
    assert reasons(row.cells[3], table) == ["10,000 images, not 50,000"]


def test_fid_of_fewer_samples_or_another_reference_is_not_the_papers() -> None:
    row, table = our_row(
        records.report("mine", records.quality(n=10_000, reference="CIFAR-10 test"))
    )
    assert reasons(row.cells[1], table) == [
        "FID on 10,000 samples, not 50,000",
        "FID against CIFAR-10 test, not the training set",
    ]
    assert row.cells[1].muted


def test_a_frechet_distance_of_another_network_is_no_fid() -> None:
    other = Measurement("quality", {"FD(digits-cnn)": Quantity(1.0, "", 50_000)})
    assert not any(cell.number for cell in our_row(records.report("mine", other))[0].cells)


def test_bold_is_the_best_of_its_block() -> None:
    table = published.table_1([])
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
    rows = published.table_1([records.report()]).rows[:-1]
    for row, printed in zip(rows, references.tables()["cifar10"].rows, strict=True):
        assert row.name == printed.name
        shown = [str(cell) for cell in row.cells if cell.number]
        assert shown == [str(number) for number in printed.numbers.values()]


def test_the_verdict_tells_apart_what_may_be_compared() -> None:
    mixed = records.report("mine", records.nll(**PAPER), records.quality(n=5_000))
    said = comparable.verdict(mixed)
    assert said.startswith("At most 3.741 ± 0.012 bits/dim on 10,000 test images of CIFAR-10.")
    assert "Not comparable with the paper's Table 1: IS, FID (" in said
    assert said.endswith("The rest is comparable with the paper's Table 1.")
    alone = comparable.verdict(records.report("mine", records.nll(**PAPER)))
    assert alone.endswith("This is comparable with the paper's Table 1.")
    assert "nothing to compare" in comparable.verdict(records.report("mine", records.samples()))


def test_the_bound_is_taken_apart_beside_trivial_models() -> None:
    table = contents.bits([records.report()])
    assert table is not None
    numbers = {row.name.partition(" (")[0]: row.cells for row in table.rows}
    parts = [float(numbers[name][0].number) for name in ("Prior", "Steps", "Decoder")]
    assert sum(parts) == pytest.approx(float(numbers["Total bound"][0].number), abs=2e-3)
    assert str(numbers["untrained network"][0]) == "11.320 ± 0.080"
    assert str(numbers["untrained network"][1]) == "16"
    assert list(numbers)[-2:] == ["independent-pixel histograms", "untrained network"]
    assert contents.bits([records.report("r", records.samples())]) is None


def hostile() -> Table:
    named = [records.report(name) for name in (records.HOSTILE, records.LATEX_SPECIALS, "=1+1")]
    return published.table_1(named)


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
    found = pd.read_csv(io.StringIO(tables.csv(table)))
    assert len(found) == len(table.rows)
    assert found["NLL test"].dtype == float
    ours = found[found["name"] == records.HOSTILE].iloc[0]
    assert ours["NLL test"] == 2.413
    assert ours["NLL test bound"] == "<="
    assert ours["NLL test n"] == 360
    assert ours["NLL test comparable"] == "no"
    assert ours["notes"] == "measured on digits, not CIFAR-10; 360 images, not 10,000"
    ddpm = found[found["name"] == "DDPM (L_simple)"].iloc[0]
    assert (ddpm["IS"], ddpm["IS +-"], ddpm["FID"]) == (9.46, 0.11, 3.17)
    rows = list(csv.reader(io.StringIO(tables.csv(table))))
    assert {len(row) for row in rows} == {len(rows[0])}
    assert rows[-1][1] == "'=1+1"  # no formula in a spreadsheet


def test_the_terminal_shows_names_as_text() -> None:
    name = "[bold red]mine[/] \x1b[31m"
    console = Console(width=160, file=io.StringIO(), color_system=None)
    console.print(tables.terminal(published.table_1([records.report(name)])))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "[bold red]mine[/]" in text
    assert "\x1b" not in text
    assert "≤ 2.413 ± 0.012 (n=360) [1,2]" in text


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
    pair: Sequence[Report] = [records.report("a"), records.report("b", records.nll(n=99))]
    table = published.table_1(pair)
    assert [row.name for row in table.rows[-2:]] == ["a", "b"]
    assert table.notes == (
        "measured on digits, not CIFAR-10",
        "360 images, not 10,000",
        "99 images, not 10,000",
    )
    assert table.rows[-1].cells[2].notes == (1, 3)
