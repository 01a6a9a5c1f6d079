"""Which published row a run may stand beside: every fact that differs is named, with its reason."""

import re
from typing import Any

import pytest

from ddpm_eval.features import inception
from ddpm_eval.features.resizing import RESIZERS
from ddpm_eval.present import beside, references
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections import quality
from ddpm_eval.present.tables import Cell, Row, Table
from ddpm_eval.record.record import Measurement
from tests.eval import records

PUBLISHED = {
    "name": "inception-v3",
    "digest": beside.PORT,
    "preprocessing": inception.DESCRIPTION.preprocessing("tf1"),
}


def paper(**changes: Any) -> Measurement:
    """FID by the paper's protocol, through the published network."""
    return records.changed(records.quality(), **{"extractor": PUBLISHED, **changes})


def run(measurement: Measurement, size: int = 32) -> Run:
    return Run(records.modelled(records.only("mine", measurement), size))


def only(*runs: Run) -> Table:
    (table,) = beside.tables(runs)
    return table


def row(table: Table, name: str, block: str = "") -> Row:
    return next(row for row in table.rows if row.name == name and block in row.block)


def cells(table: Table, line: Row) -> dict[str, Cell]:
    return dict(zip((column.name for column in table.columns), line.cells, strict=True))


def verdict(measurement: Measurement, size: int = 32, name: str = "DDPM (L_simple)") -> str:
    table = only(run(measurement, size))
    return cells(table, row(table, name))["Beside it?"].number


def test_the_paper_s_protocol_stands_beside_the_paper_as_far_as_it_is_stated() -> None:
    assert verdict(paper()) == "as far as stated"
    (text,) = beside.sentences([run(paper())])
    assert text.startswith("FID may stand beside DDPM (L, fixed isotropic Σ) (13.51), DDPM")
    facts = cells(only(run(paper())), row(only(run(paper())), "DDPM (L_simple)"))
    assert facts["Rounding"].number == "not stated"
    assert facts["Steps"].number == "1,000" and not facts["Steps"].muted


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"weights": "raw"}, "weights (EMA, here raw)"),
        ({"weights": "unknown"}, "weights (EMA, here not known)"),
        ({"sampling": {"sampler": "ddim"}}, "sampler (ancestral, here ddim)"),
        ({"sampling": {"steps": 50}}, "steps (1,000, here 50)"),
        ({"sampling": {"n": 5_000}}, "samples (50,000, here 5,000)"),
        ({"reference": {"split": "test"}}, "split (train, here test)"),
        ({"reference": {"n": 10_000}}, "reference images (50,000, here 10,000)"),
        (
            {"extractor": {**PUBLISHED, "digest": "ab" * 32}},
            "network (inception-2015-12-05, here inception-v3 abababab)",
        ),
        (
            {"extractor": {**PUBLISHED, "preprocessing": "bilinear resize to 299x299; x"}},
            "resizing (TensorFlow 1's bilinear resize, here bilinear resize)",
        ),
        ({"reference": {"dataset": "faces"}}, "data (CIFAR-10 32x32, here faces 32x32)"),
    ],
)
def test_each_fact_that_differs_is_named_and_set_apart(change: dict[str, Any], fact: str) -> None:
    measurement = paper(**change)
    (text,) = beside.sentences([run(measurement)])
    assert text.endswith(f"The nearest is DDPM (L_simple) (3.17), from which it differs in {fact}.")
    assert verdict(measurement) == f"no: {fact.partition(' (')[0]}"
    table = only(run(measurement))
    apart = [
        name for name, cell in cells(table, row(table, "DDPM (L_simple)")).items() if cell.muted
    ]
    assert [name.lower() for name in apart] == [fact.partition(" (")[0]]


def test_images_that_nobody_drew_leave_the_sampler_open() -> None:
    images = paper(sampling=None, images={"n": 50_000, "digest": "e" * 64})
    assert verdict(images) == "no: sampler, steps"


def test_images_of_another_size_are_other_data() -> None:
    assert verdict(paper(), 64) == "no: data"


def test_a_row_of_which_nothing_is_stated_cannot_be_told() -> None:
    assert verdict(paper(), name="NCSN") == "cannot be told"
    assert verdict(paper(), 64, name="NCSN") == "no: data"


def test_adm_cuts_levels_off_and_stylegan2_has_another_network() -> None:
    measurement = paper(reference={"dataset": "LSUN cat", "split": "train"})
    table = only(run(measurement, 256))
    blocks = {row.block for row in table.rows if row.block}
    assert blocks == {"As their authors report them", "By ADM's evaluator"}
    ends = {(row.block[:2], row.name): cells(table, row)["Beside it?"].number for row in table.rows}
    assert ends["By", "ADM (dropout)"] == "no: rounding"
    assert ends["By", "DDPM"] == "as far as stated"
    assert ends["As", "DDPM"] == "no: network"


def test_guided_samples_of_imagenet_are_of_another_sampler() -> None:
    measurement = paper(reference={"dataset": "ImageNet"}, sampling={"steps": 250})
    table = only(run(measurement, 128))
    ends = {row.name: cells(table, row)["Beside it?"].number for row in table.rows}
    assert ends["ADM-G"] == "no: sampler, rounding"
    assert ends["ADM-G (25 steps)"] == "no: sampler, steps, rounding"
    assert ends["LOGAN"] == "cannot be told"


def test_the_demo_reads_why_its_distance_is_no_fid() -> None:
    """On the record that the measures wrote."""
    demo = Run(records.digits())
    table = only(demo)
    ours = cells(table, table.rows[0])
    assert table.rows[0].ours and ours["Data"].number.startswith("digits 8x8 ")
    (section,) = quality.beside_published([demo])
    assert section.title == beside.TITLE
    assert "network (inception-2015-12-05, here digits-cnn" in section.texts[0]
    assert "resizing (TensorFlow 1's bilinear resize, here none)" in section.texts[0]


def test_every_setup_has_a_source_and_known_facts() -> None:
    setups = [row.setup for table in references.tables().values() for row in table.rows]
    stated = [setup for setup in setups if setup is not None]
    assert len(stated) > 25
    for setup in stated:
        assert len(setup.source) > 20
        assert setup.weights in (None, "ema", "raw")
        assert setup.rounding in (None, "rounded", "cut off")
        assert setup.resize in (None, RESIZERS["tf1"].about)


def test_the_port_is_our_inception() -> None:
    """Spelled twice, since reports are written without torch."""
    assert inception.DESCRIPTION.published == beside.PORT


def test_a_record_without_a_distance_has_no_such_section() -> None:
    assert not list(quality.beside_published([Run(records.only("mine", "bound"))]))


def test_the_terms_are_one_line_for_samples_and_held_out_images() -> None:
    lines = list(quality.terms(records.measured("quality")))
    assert len(lines) == 2
    for line in lines:
        number, mean, trace, other, cross = (
            float(part) for part in re.findall(r"(?<=[ ])\d+\.\d+", line)
        )
        assert mean + trace + other - cross == pytest.approx(number, abs=0.01)
