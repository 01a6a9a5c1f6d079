"""Each table holds our numbers where they belong, and never two networks' in one."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ddpm_eval.metrics.registry import METRICS
from ddpm_eval.present import (
    comparable,
    contents,
    differences,
    published,
    qualities,
    references,
    tables,
)
from ddpm_eval.present.runs import Run
from ddpm_eval.present.table4 import table_4
from ddpm_eval.present.tables import Row, Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Measurement
from tests.eval import records


def run(*measurements: Measurement, name: str = "mine", size: int = 32, **objective: Json) -> Run:
    return Run(records.modelled(records.only(name, *measurements), size, **objective))


def ours(table: Table | None) -> list[Row]:
    return [row for row in table.rows if row.ours] if table else []


def reasons(table: Table, column: int) -> list[str]:
    (row,) = ours(table)
    return [table.notes[mark - 1] for mark in row.cells[column].notes]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extractor": {"name": "digits-cnn"}}, "features of digits-cnn, not Inception-v3"),
        ({"extractor": None}, "features of an unnamed network, not Inception-v3"),
        ({"sampling": {"sampler": "ddim"}}, "sampled by ddim, not by the ancestral chain"),
        ({"sampling": {"T": 0}}, "the record does not say how the samples were made"),
        ({"sampling": {"steps": 100}}, "sampled in 100 steps, not 1,000"),
        (
            {"reference": {"split": "test"}},
            "FID against CIFAR-10 test, not the training set",
        ),
        ({"reference": {"split": ""}}, "FID against CIFAR-10, not the training set"),
        ({"reference": {"n": 49_000}}, "FID against 49,000 training images, not 50,000"),
        ({"reference": {"dataset": "other"}}, "measured on other, not CIFAR-10"),
    ],
)
def test_fid_by_another_protocol_is_greyed_with_its_reason(
    change: dict[str, Any], reason: str
) -> None:
    table = published.table_1([run(records.changed(records.quality(), **change))])
    fid = ours(table)[0].cells[1]
    assert fid.muted
    assert not fid.bold
    assert reasons(table, 1) == [reason]


def test_images_that_nobody_drew_have_no_sampler() -> None:
    images = records.changed(records.quality(), sampling=None, images={"n": 50_000})
    table = published.table_1([run(images)])
    assert reasons(table, 1) == ["the record does not say how the samples were made"]


def test_a_conditional_model_stands_among_conditional_ones() -> None:
    plain = records.changed(records.quality(), sampling={"condition": ""})
    drawn = records.changed(records.quality(), sampling={"condition": "classes drawn from 10"})
    assert [comparable.block(run(item)) for item in (plain, drawn)] == [
        "Unconditional",
        "Conditional",
    ]
    table = published.table_1([run(drawn)])
    names = [row.name for row in table.rows if row.block == "Conditional"]
    assert "mine" in names and "BigGAN" in names
    assert "the samples are of classes drawn from 10" in table.notes


def test_a_score_network_stands_beside_ncsn_and_says_its_sampler() -> None:
    drawn = records.changed(records.quality(), sampling={"sampler": "langevin"})
    table = published.table_1([run(drawn)])
    names = [row.name for row in table.rows if row.block == "Unconditional"]
    assert {"mine", "NCSN", "NCSNv2"} <= {*names}
    (row,) = ours(table)
    assert [cell.number for cell in row.cells] == ["9.5", "3.17", "", ""]
    assert not any(cell.muted for cell in row.cells)
    remark = "sampled by annealed Langevin dynamics, as NCSN and NCSNv2 are"
    assert reasons(table, 1) == [remark]
    assert comparable.verdict(run(drawn)).endswith(f"Mind that {remark}.")
    fewer = records.changed(drawn, sampling={"steps": 116})
    assert reasons(published.table_1([run(fewer)]), 1)[0] == "sampled in 116 steps, not 1,000"


def test_inception_score_needs_no_reference() -> None:
    (row,) = ours(published.table_1([run(records.quality(reference="CIFAR-10 test"))]))
    assert [row.cells[0].muted, row.cells[1].muted] == [False, True]


def test_a_measurement_against_the_training_set_is_preferred() -> None:
    test = records.quality(reference="CIFAR-10 test")
    pair = run(test, records.quality())
    assert not ours(published.table_1([pair]))[0].cells[1].muted
    assert ours(published.table_1([run(test)]))[0].cells[1].muted


@pytest.mark.parametrize(
    ("objective", "block", "name"),
    [
        ({}, "ε prediction", "L_simple"),
        ({"loss": "L"}, "ε prediction", "L, fixed isotropic Σ"),
        ({"loss": "L", "variance": "fixedsmall"}, "ε prediction", "L, fixed isotropic Σ"),
        ({"loss": "L", "variance": "learned"}, "ε prediction", "L, learned diagonal Σ"),
        ({"prediction": "mu_tilde", "loss": "mse"}, "μ̃ prediction", "MSE on μ̃"),
    ],
)
def test_a_run_stands_in_its_row_of_table_2(
    objective: dict[str, Json], block: str, name: str
) -> None:
    (row,) = ours(published.table_2([run(records.quality(), **objective)]))
    assert (row.block, row.name) == (block, f"mine: {name}")
    assert row.cells[1].number == "3.17"
    assert name in {row.name for row in references.tables()["ablation"].rows}


@pytest.mark.parametrize(
    "objective",
    [
        {"prediction": "mu_tilde"},
        {"loss": "mse"},
        {"variance": "learned_range", "loss": "L"},
        {"variance": "learned"},
    ],
)
def test_an_objective_of_no_row_has_no_table_2(objective: dict[str, Json]) -> None:
    assert published.table_2([run(records.quality(), **objective)]) is None


def test_other_data_have_no_table_2() -> None:
    assert published.table_2([run(records.quality(reference="digits train"))]) is None
    assert published.table_2([run(records.measured("quality"))]) is None


def lsun(name: str = "LSUN church", size: int = 256, n: int = 50_000) -> Run:
    return run(records.quality(n, f"{name} train"), size=size)


def test_lsun_stands_in_its_column_of_table_3() -> None:
    table = published.table_3([lsun(), lsun("bedroom_train_lmdb")])
    rows = ours(table)
    assert [[cell.number for cell in row.cells] for row in rows] == [
        ["", "3.17", ""],
        ["3.17", "", ""],
    ]
    assert not any(cell.muted for row in rows for cell in row.cells)
    assert rows[0].cells[1].bold  # below StyleGAN2's 3.86
    assert published.table_3([run(records.quality())]) is None
    assert published.table_3([lsun("cat pictures")]) is None


def test_lsun_of_another_size_is_greyed() -> None:
    table = published.table_3([lsun(size=64)])
    assert table is not None
    assert reasons(table, 1) == ["images of 64 pixels, not 256"]
    assert ours(table)[0].cells[1].muted


def test_adm_s_table_has_the_run_s_data_set_alone_and_says_that_the_evaluator_differs() -> None:
    table = published.adm([lsun("LSUN cats")])
    assert table is not None
    assert {row.block for row in table.rows} == {"LSUN cats 256x256"}
    assert len(table.rows) == 4
    assert [cell.number for cell in table.rows[-1].cells] == ["3.17", "5.12", "0.67", "0.580"]
    assert all("ADM evaluator" in reason for reason in reasons(table, 1))
    imagenet = published.adm([lsun("ImageNet", 64)])
    assert imagenet is not None
    assert {row.block for row in imagenet.rows} == {"ImageNet 64x64"}
    assert published.adm([run(records.quality())]) is None


def test_the_n_of_recall_is_of_the_reference_images_that_its_error_is_over() -> None:
    (table,) = qualities.tables([run(records.quality(1_000))])
    cells = dict(zip((column.name for column in table.columns), table.rows[0].cells, strict=True))
    assert (cells["Precision"].n, cells["Recall"].n) == (1_000, 50_000)
    assert "n counts samples, of Recall and Coverage reference images" in table.caption
    over_both = "a standard error over samples and reference for KID, Precision, Recall, Density,"
    assert over_both in table.caption
    fid = tuple(score for score in records.quality().scores if score.metric == "fid")
    assert (
        "recall"
        not in next(qualities.tables([run(replace(records.quality(), scores=fid))])).caption
    )


def test_recall_of_few_samples_is_not_the_published_one() -> None:
    table = published.adm([lsun("LSUN cats", n=1_000)])
    assert table is not None
    assert ours(table)[0].cells[3].muted
    assert "Recall on 1,000 samples, not 50,000" in reasons(table, 3)


def test_each_network_has_a_table_of_its_own_with_its_yardstick() -> None:
    digits = records.measured("quality")
    runs = [run(digits), run(records.quality()), run(records.quality(10_000), name="other")]
    plain, other = qualities.tables(runs)
    assert [plain.key, other.key] == ["quality", "quality-digits-cnn"]
    assert [row.name for row in plain.rows] == ["mine", "other"]
    assert [column.name for column in plain.columns][:2] == ["IS", "FID"]
    assert not any("digits" in column.name for column in plain.columns)
    bare = {column.name for column in other.columns if "(digits-cnn)" not in column.name}
    assert bare == {metric.title for metric in METRICS.values() if metric.plain}
    assert "digits-cnn" in other.title and "Inception-v3" in plain.title
    place = [column.name for column in other.columns].index("FD(digits-cnn)")
    shown = {row.name: str(row.cells[place]) for row in other.rows}
    assert shown == {"mine": "1.45 ± 0.14 (n=512)", "held-out images": "0.36 ± 0.09 (n=297)"}
    assert "no FID" in other.caption and "no FID" not in plain.caption
    assert plain.rows[0].block == "against CIFAR-10 train, 50,000 images"


def test_rows_of_one_reference_stand_together_in_the_order_of_the_runs() -> None:
    pair = (records.quality(reference="CIFAR-10 test"), records.quality())
    (table,) = qualities.tables([run(*pair, name="a"), run(*pair, name="b")])
    assert [[row.name for row in rows] for _, rows in table.blocks()] == [["a", "b"], ["a", "b"]]
    assert [block.split(",")[0] for block, _ in table.blocks()] == [
        "against CIFAR-10 train",
        "against CIFAR-10 test",
    ]


def test_runs_stand_above_one_yardstick() -> None:
    runs = [run(records.measured("quality"), name=name) for name in ("b", "a")]
    (table,) = qualities.tables(runs)
    assert [row.name for row in table.rows] == ["b", "a", "held-out images"]


def test_the_verdict_of_a_small_network_says_that_it_is_no_fid() -> None:
    text = comparable.verdict(run(records.measured("quality")))
    assert "FD(digits-cnn) 1.45 ± 0.14 (n=512); held-out images have 0.36 ± 0.09 (n=297)." in text
    assert "not an FID" in text
    assert text.endswith("nothing to compare yet.")


# ------------------------------------------------------------------------------- Table 4


def test_ten_published_rows_stand_above_ten_of_ours_with_a_rate_for_each_variance() -> None:
    measurement = records.stretched(records.measured("rate_distortion"), 1000)
    table = table_4("t4", measurement)
    blocks = dict(table.blocks())
    assert list(blocks) == ["Paper", "digits, 297 images, optimal"]
    assert [len(rows) for rows in blocks.values()] == [10, 10]
    labels = {tuple(row.name for row in rows) for rows in blocks.values()}
    assert len(labels) == 1  # the same steps in the same order
    for row, source in zip(
        blocks["Paper"], references.tables()["rate_distortion"].rows, strict=True
    ):
        assert [cell.number for cell in row.cells] == [
            str(source.numbers["rate"].value),
            *("", "", ""),
            str(source.numbers["rmse"].value),
        ]
    assert [column.name for column in table.columns][1:4] == [
        *("Rate, fixedsmall", "Rate, fixedlarge", "Rate, calibrated")
    ]
    row = next(row for row in table.rows if row.ours and row.name == "900")
    wanted = [
        next(c for c in measurement.curves if c.metric == metric and c.of.variance == variance)
        for metric, variance in (
            *(("rate", "optimal"), ("rate", "fixedsmall")),
            *(("rate", "fixedlarge"), ("rate", "calibrated")),
            ("rmse", ""),
        )
    ]
    shown = [float(cell.number) for cell in row.cells]
    assert shown == pytest.approx([curve.y[899] for curve in wanted], rel=5e-3)
    assert [bool(cell.spread) for cell in row.cells] == [True, False, False, False, True]
    assert "0.11994" in tables.csv(table)


def test_other_numbers_of_steps_have_ten_rows_too() -> None:
    table = table_4("t4", records.stretched(records.measured("rate_distortion"), 40))
    rows = [row for row in table.rows if row.ours]
    assert [row.name for row in rows] == [str(4 * k) for k in range(10, 0, -1)]
    assert rows[0].cells[0].number == "2.512"


def test_the_decomposition_is_that_of_the_model_s_own_variance() -> None:
    text = contents.decomposition(records.measured("rate_distortion"))
    assert "2.512 ± 0.012 bits/dim of rate and 3.401 ± 0.008 bits/dim of distortion" in text
    assert "RMSE of 2.640 ± 0.015 grey levels. The paper's model on CIFAR-10: 1.78 and 1.97" in text


# ------------------------------------------------------------------------------- every table


def every_table(runs: Sequence[Run]) -> Iterator[Table]:
    yield from published.tables(runs)
    yield from qualities.tables(runs)
    bits = contents.bits(runs)
    if bits is not None:
        yield bits
    one, other = (run.record for run in runs[:2])
    yield differences.table(one, other, differences.between(one, other))
    yield table_4("t4", records.measured("rate_distortion"))
    yield contents.scores("neighbours", records.measured("neighbours"))


PRINTABLE = "".join(chr(c) for c in range(32, 127))


def named(*names: str) -> list[Run]:
    measurements = (records.quality(), records.bound(), records.measured("quality"))
    return [run(*measurements, name=name) for name in names]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_table_compiles_in_latex(tmp_path: Path) -> None:
    runs = [*named(records.HOSTILE, records.LATEX_SPECIALS, PRINTABLE), lsun("LSUN cat")]
    every = list(every_table(runs))
    assert {table.key for table in every} >= {"table1", "table3", "adm", "quality", "differences"}
    body = "\n\\clearpage\n".join(map(tables.latex, every))
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\usepackage{xcolor}\n"
        f"\\begin{{document}}\n{body}\\end{{document}}\n"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-800:]
    assert b"Missing character" not in done.stdout
    assert "[U+" not in body.replace("[U+4E2D]", "")  # every sign of ours has a command


def test_names_are_text_in_every_table_and_format() -> None:
    for table in every_table(named(records.HOSTILE, "=1+1", records.LATEX_SPECIALS)):
        markdown, csv = tables.markdown(table), tables.csv(table)
        assert "<img" not in markdown
        assert not re.search(r'(^|,)"?[=+@]', csv, re.MULTILINE), table.key
        lines = [line for line in markdown.splitlines() if line.startswith("|")]
        assert len({len(re.split(r"(?<!\\)\|", line)) for line in lines}) == 1
