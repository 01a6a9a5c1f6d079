"""Reports of other systems' kinds: conditional models and score networks in the paper's Table 1."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_train.cli import app

SHORT = ["--set", "optim.steps=2", "--set", "log.sample_every=0", "--quiet"]
UNET = ["--set", "unet.base_channels=32", "--set", "schedule.T=8"]
NCSN = [
    *("--set", "refinenet.base_channels=8", "--set", "refinenet.levels=5"),
    *(
        "--set",
        "refinenet.sigma_begin=1",
        "--set",
        "schedule.T=5",
        "--set",
        "schedule.snr_end=0.25",
    ),
]


@pytest.mark.parametrize(
    ("preset", "changes", "sampler", "block", "neighbour"),
    [
        ("digits-conditional", UNET, "ancestral", "Conditional", "BigGAN"),
        ("ncsn-digits", NCSN, "langevin", "Unconditional", "NCSN"),
    ],
)
def test_a_report_has_the_row_in_its_block_of_table_1(
    preset: str, changes: list[str], sampler: str, block: str, neighbour: str, tmp_path: Path
) -> None:
    """And no number beside the published ones: FD of digits through digits-cnn is no FID."""
    line = [preset, "--out", str(tmp_path / preset), *SHORT, *changes]
    outcome = CliRunner().invoke(app, line)
    assert outcome.exit_code == 0, outcome.output
    model = de.load(tmp_path / preset, device="cpu")
    sampling = SamplingSettings(sampler=sampler)  # type: ignore[arg-type]
    train = de.images("digits", split="train")
    result = de.quality(
        model, train, n=64, extractor="digits-cnn", metrics=["fid"], sampling=sampling
    )
    page = de.report(result, tmp_path / "report" / preset)
    rows = (page.parent / "table1.md").read_text("utf-8").splitlines()
    places = {row.split("|")[1].strip(" _"): i for i, row in enumerate(rows) if "|" in row}
    assert not re.search(r"\d", rows[places[f"{preset} (this run)"]].split("|", 2)[2])
    heads = sorted(places[name] for name in ("Conditional", "Unconditional") if name in places)
    mine = places[f"{preset} (this run)"]
    assert max(at for at in heads if at < mine) == places[block]
    assert max(at for at in heads if at < places[neighbour]) == places[block]
