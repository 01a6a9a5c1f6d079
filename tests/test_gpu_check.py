"""The check of CUDA machines, run on the CPU: all that it does can be done."""

import json
import sys
from pathlib import Path

import pytest
import torch

from ddpm_train.networks.unet import UNet
from ddpm_train.presets import digits
from tests.benchmarks import gpu, table


def test_the_whole_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "gpu.json"
    words = ["--device", "cpu", "--preset", "digits", "--batches", "2", "--extract", "4"]
    monkeypatch.setattr(sys, "argv", ["gpu", *words, "--no-compile", "--out", str(out)])
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    gpu.main()
    record = json.loads(out.read_text())
    assert record["agreement"]["float32"] < 1e-5 and record["resumed"] == 0
    assert record["sum over one process"] == 8.0 and record["left out"] == []
    jobs = {(row["contestant"], row["job"]) for row in record["speed"]}
    assert {("ours float32", "sampling"), ("diffusers float32", "training step")} <= jobs
    assert record["extraction"]["ours"] > 0
    assert "| ours float32 | sampling | 2 |" in table.gpu(record)


def test_what_does_not_fit_into_the_time_is_left_out() -> None:
    cpu = torch.device("cpu")
    assert gpu.speed(digits(), cpu, 2, gpu.Clock(-1.0), compiled=False) == []


def test_a_wrong_network_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison is no comparison of a network with itself."""
    original = UNet.load_state_dict

    def rounded(self: UNet, weights: dict[str, torch.Tensor], **options: object) -> object:
        return original(self, {key: value.half().float() for key, value in weights.items()})

    monkeypatch.setattr(UNet, "load_state_dict", rounded)
    errors = gpu.agreement(digits(), torch.device("cpu"), compiled=False)
    assert errors["float32"] > 1e-5
