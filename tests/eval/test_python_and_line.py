"""Python gives what the command line gives, writes nothing and leaves the process as it was."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ddpm_eval as de
from ddpm_eval.model import Model
from ddpm_eval.record import disk
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_train.errors import FixableError
from tests.eval.command_lines import record, run

ROOT = Path(__file__).parents[2]


def test_python_gives_the_commands_number_to_the_last_digit(tiny: Path, tmp_path: Path) -> None:
    run("nll", tiny, "-n", "20", "--calibrate", "8", "--reports", tmp_path, "--quiet")
    run("nll", tiny, "--budget", "300", "--reports", tmp_path, "--quiet")
    of_command = {item.protocol.key: item for item in record(tmp_path).measurements}
    model = de.load(tiny)
    for measurement in (
        de.bits_per_dim(model, n=20, calibrate=8),
        de.bits_per_dim(model, de.images("digits", split="test"), budget=300),
    ):
        assert measurement.scores == of_command[measurement.protocol.key].scores
        assert measurement.protocol == of_command[measurement.protocol.key].protocol


def test_nothing_is_written_and_nothing_of_the_process_changes(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "empty"
    work.mkdir()
    monkeypatch.chdir(work)

    def state() -> list[Any]:
        return [
            torch.get_num_threads(),
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.is_grad_enabled(),
            torch.initial_seed(),
            torch.distributed.is_initialized(),
            torch.get_rng_state().sum().item(),
            np.random.get_state()[1].sum(),  # type: ignore[index]  # noqa: NPY002
        ]

    before = state()
    model = de.load(tiny)
    de.bits_per_dim(model, n=4)
    de.bits_per_dim(model, n=20, budget=200)
    de.rate_distortion(model, n=4, calibrate=2)
    de.baselines(model, n=2)
    assert state() == before
    assert not list(work.iterdir())
    de.bits_per_dim(model, n=4, cache="cache")
    assert [path.name for path in work.iterdir()] == ["cache"]
    first = {path: path.read_bytes() for path in work.rglob("*") if path.is_file()}
    again = de.bits_per_dim(model, n=4, cache=Path("cache"))
    assert again.scores == de.bits_per_dim(model, n=4).scores
    assert {path: path.read_bytes() for path in work.rglob("*") if path.is_file()} == first


def test_the_library_tunes_no_memory() -> None:
    """glibc's mallopt is called by the command line alone."""
    code = (
        "import ctypes\nclass Guard(ctypes.CDLL):\n"
        "    def __getattr__(self, name):\n"
        "        if name == 'mallopt': raise AssertionError(name)\n"
        "        return super().__getattr__(name)\n"
        "ctypes.CDLL = Guard\nimport torch\n"
        "import ddpm_eval as de\n"
        "class Nothing(torch.nn.Module):\n    def forward(self, x, t): return 0 * x\n"
        "model = de.wrap(Nothing(), schedule=[0.1, 0.5], image_shape=(1, 8, 8))\n"
        "de.bits_per_dim(model, 'digits', n=2)\nimport os\n"
        "assert 'OMP_WAIT_POLICY' not in os.environ\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=clean)


def test_what_was_measured_says_where_it_is_from(tiny: Path) -> None:
    measurement = de.bits_per_dim(de.load(tiny), n=2)
    origin = json.loads(json.dumps(measurement.provenance))
    assert origin["command"] == ""
    assert origin["models"][measurement.protocol.model]["step"] == 7


def test_a_report_from_python_is_the_commands(tiny: Path, tmp_path: Path) -> None:
    """A loaded model, its record by the command, and the page of either."""
    run("nll", tiny, "-n", "4", "--reports", tmp_path, "--quiet")
    run("report", "tiny", "--reports", tmp_path)
    model = de.load(tiny)
    results = [de.bits_per_dim(model, n=4), de.rate_distortion(model, n=4)]
    page = de.report(results[:1], tmp_path / "mine" / "tiny")
    one, two = (disk.load(path) for path in (tmp_path / "tiny", page.parent))
    assert one.measurements[0].scores == two.measurements[0].scores
    assert one.subjects == two.subjects
    text = de.report(results, str(page.parent)).read_text("utf-8")
    assert "Rate" in text and f"{results[0].scores[0].value:.3f}" in text
    assert len(disk.load(page.parent).measurements) == 2
    other = de.wrap(torch.nn.Conv2d(1, 1, 1), schedule=[0.1, 0.2], image_shape=(1, 8, 8))
    with pytest.raises(FixableError, match="a record of another model"):
        de.report(replace(results[0], protocol=replaced(results[0], other)), page.parent)
    pair = de.report([tmp_path / "tiny", page.parent.parent / "tiny"], tmp_path / "pair")
    assert pair.name == "report.html"
    with pytest.raises(FixableError, match="0 measurements and 0 records"):
        de.report([], tmp_path)


def replaced(measurement: Measurement, model: Model) -> Protocol:
    return replace(measurement.protocol, model=model.facts.digest)
