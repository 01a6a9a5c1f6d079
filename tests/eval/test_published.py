"""Each table holds our numbers where they belong, and never two networks' in one."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from ddpm_eval.present import comparable, contents, differences, published, references, tables
from ddpm_eval.present.tables import Row, Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Measurement, Report
from tests.eval import records


def modelled(found: Measurement, size: int = 32, **objective: Json) -> Report:
    told = {"prediction": "eps", "loss": "L_simple", "variance": "fixedlarge", **objective}
    model: Json = {"objective": told, "unet": {"image_size": size}}
    return Report("mine", {"checkpoint": "a", "model": model}, {found.name: found})


def ours(table: Table | None) -> list[Row]:
    return [row for row in table.rows if row.ours] if table else []


def reasons(table: Table, column: int) -> list[str]:
    (row,) = ours(table)
    return [table.notes[mark - 1] for mark in row.cells[column].notes]


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"extractor": "digits-cnn"}, "features of digits-cnn, not Inception-v3"),
        ({"extractor": None}, "features of an unnamed network, not Inception-v3"),
        ({"sampler": "ddim"}, "sampled by ddim, not by the ancestral chain"),
        ({"sampler": None}, "the record does not say how the samples were made"),
        ({"T": None}, "the record does not say how the samples were made"),
        ({"steps": 100}, "sampled in 100 steps, not 1,000"),
        ({"reference": "CIFAR-10 test"}, "FID against CIFAR-10 test, not the training set"),
        ({"reference": "other train"}, "FID against other train, not the training set"),
        ({"reference_n": 49_000}, "FID against 49,000 training images, not 50,000"),
    ],
)
def test_fid_by_another_protocol_is_greyed_with_its_reason(
    changed: dict[str, Json], reason: str
) -> None:
    table = published.table_1([modelled(records.quality(**changed))])
    fid = ours(table)[0].cells[1]
    assert fid.muted
    assert not fid.bold
    assert reasons(table, 1) == [reason]


@pytest.mark.parametrize("sampler", ["ancestral", "ddpm"])
def test_the_whole_chain_may_be_called_by_either_name(sampler: str) -> None:
    assert (
        not ours(published.table_1([modelled(records.quality(sampler=sampler))]))[0].cells[1].muted
    )


def test_inception_score_needs_no_reference() -> None:
    (row,) = ours(published.table_1([modelled(records.quality(reference="CIFAR-10 test"))]))
    assert [row.cells[0].muted, row.cells[1].muted] == [False, True]


def test_a_measurement_against_the_training_set_is_preferred() -> None:
    test = records.quality("quality-test", reference="CIFAR-10 test")
    report = modelled(records.quality())
    both = replace(report, measurements={"quality-test": test, **report.measurements})
    assert not ours(published.table_1([both]))[0].cells[1].muted
    alone = ours(published.table_1([modelled(test)]))[0]
    assert alone.cells[1].muted


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
    (row,) = ours(published.table_2([modelled(records.quality(), **objective)]))
    assert (row.block, row.name) == (block, f"mine: {name}")
    assert row.cells[1].number == "3.17"
    assert name in {each.name for each in references.tables()["ablation"].rows}


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
    assert published.table_2([modelled(records.quality(), **objective)]) is None


def test_other_data_have_no_table_2() -> None:
    assert published.table_2([modelled(records.quality(dataset="digits"))]) is None
    assert published.table_2([modelled(records.digits_quality())]) is None


def lsun(name: str = "LSUN church", size: int = 256, **settings: Json) -> Report:
    found = records.quality(dataset=name, reference=f"{name} train", **settings)
    return modelled(found, size)


def test_lsun_stands_in_its_column_of_table_3() -> None:
    table = published.table_3([lsun(), lsun("bedroom_train_lmdb")])
    rows = ours(table)
    assert [[cell.number for cell in row.cells] for row in rows] == [
        ["", "3.17", ""],
        ["3.17", "", ""],
    ]
    assert not any(cell.muted for row in rows for cell in row.cells)
    assert rows[0].cells[1].bold  # below StyleGAN2's 3.86
    assert published.table_3([modelled(records.quality())]) is None
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
    assert [cell.number for cell in table.rows[-1].cells] == ["3.17", "5.12", "0.670", "0.580"]
    assert all("ADM evaluator" in reason for reason in reasons(table, 1))
    imagenet = published.adm([lsun("ImageNet", 64)])
    assert imagenet is not None
    assert {row.block for row in imagenet.rows} == {"ImageNet 64x64"}
    assert published.adm([modelled(records.quality())]) is None


def test_the_n_of_recall_is_of_the_reference_images_that_its_error_is_over() -> None:
    found = records.quality(n=1_000)
    (table,) = contents.quality([modelled(found)])
    cells = dict(zip((column.name for column in table.columns), table.rows[0].cells, strict=True))
    assert (cells["precision"].n, cells["recall"].n) == (1_000, 50_000)
    assert "n counts samples, and for recall reference images" in table.caption
    of_fid = replace(found, quantities={"FID": found.quantities["FID"]})
    assert "recall" not in next(contents.quality([modelled(of_fid)])).caption


def test_recall_of_few_samples_is_not_the_published_one() -> None:
    table = published.adm([lsun("LSUN cats", n=1_000)])
    assert table is not None
    assert ours(table)[0].cells[3].muted
    assert "recall on 1,000 samples, not 50,000" in reasons(table, 3)


def test_each_network_has_a_table_of_its_own_with_its_yardstick() -> None:
    runs = [
        modelled(records.digits_quality()),
        modelled(records.quality()),
        replace(modelled(records.quality(n=10_000)), name="other"),
    ]
    plain, digits = contents.quality(runs)
    assert [plain.key, digits.key] == ["quality", "quality-digits-cnn"]
    assert [row.name for row in plain.rows] == ["mine", "other"]
    assert [column.name for column in plain.columns][:2] == ["IS", "FID"]
    assert not any("digits" in column.name for column in plain.columns)
    plain_names = {"KD", "precision", "recall"}
    assert all(c.name in plain_names or "(digits-cnn)" in c.name for c in digits.columns)
    assert "digits-cnn" in digits.title
    place = [column.name for column in digits.columns].index("FD(digits-cnn)")
    found = {row.name: str(row.cells[place]) for row in digits.rows}
    assert found == {"mine": "15.70 (n=1,000)", "held-out images": "10.50 (n=297)"}
    assert "no FID" in digits.caption
    assert plain.rows[0].block == "against CIFAR-10 train, 50,000 images"


def test_rows_of_one_reference_stand_together_in_the_order_of_the_record() -> None:
    both = {"quality": records.quality()}
    both["quality-test"] = records.quality("quality-test", reference="CIFAR-10 test")
    (table,) = contents.quality([Report("a", {}, both), Report("b", {}, both)])
    assert [[row.name for row in rows] for _, rows in table.blocks()] == [["a", "b"], ["a", "b"]]
    assert [block.split(",")[0] for block, _ in table.blocks()] == [
        "against CIFAR-10 train",
        "against CIFAR-10 test",
    ]


def test_runs_stand_above_one_yardstick() -> None:
    runs = [replace(modelled(records.digits_quality()), name=name) for name in ("b", "a")]
    (table,) = contents.quality(runs)
    assert [row.name for row in table.rows] == ["b", "a", "held-out images"]


def test_the_verdict_of_a_small_network_says_that_it_is_no_fid() -> None:
    said = comparable.verdict(modelled(records.digits_quality()))
    assert "FD(digits-cnn) 15.70 (n=1,000); held-out images have 10.50 (n=297)" in said
    assert "no FID" in said
    assert said.endswith("nothing to compare yet.")


def every_table(reports: Sequence[Report]) -> Iterator[Table]:
    yield from published.tables(reports)
    yield from contents.quality(reports)
    bits = contents.bits(reports)
    if bits is not None:
        yield bits
    one, other = reports[:2]
    yield differences.table(one, other, differences.between(one, other))
    yield published.table_4("t4", records.rate_distortion())
    yield contents.quantities(records.neighbours(8))


PRINTABLE = "".join(chr(c) for c in range(32, 127))


def named(*names: str) -> list[Report]:
    bound = records.nll(dataset="CIFAR-10", n=10_000)
    other = records.digits_quality(name="quality-x")
    return [
        replace(
            lsun(),
            name=name,
            measurements={"quality": records.quality(), "nll": bound, "quality-x": other},
        )
        for name in names
    ]


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_every_table_compiles_in_latex(tmp_path: Path) -> None:
    reports = [*named(records.HOSTILE, records.LATEX_SPECIALS, PRINTABLE), lsun("LSUN cat")]
    made = list(every_table(reports))
    assert {table.key for table in made} >= {"table1", "table3", "adm", "quality", "differences"}
    body = "\n\\clearpage\n".join(map(tables.latex, made))
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
