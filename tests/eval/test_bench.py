"""What ``bench`` says is arithmetic on what it timed, and its input is checked."""

from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from ddpm_eval import bench
from ddpm_eval.cli import app
from ddpm_train.networks.unet import UNet
from ddpm_train.presets import PRESETS, cifar10
from tests.train.test_unet import TINY, inputs, lively

CPU = torch.device("cpu")


def test_rates_are_images_and_operations_over_seconds() -> None:
    rate = bench.Rate(job="forward", precision="float32", images=8, flop=6.0, seconds=(1, 2, 4))
    assert rate.per_second() == (3.0, 4.0, 6.0)
    assert rate.flops() == 3.0
    assert replace(rate, seconds=(2,)).per_second() == (4.0, 4.0, 4.0)


def test_operations_are_those_of_the_definition() -> None:
    """One convolution's, doubled channels four times, and none of them on a fast path."""
    run, operations = bench.convolution("float32", CPU)
    assert operations == bench.REPEATS * 2 * 16 * 16 * 16 * 256 * (256 * 9)
    assert run().shape == (16, 256, 16, 16)  # type: ignore[attr-defined]
    one = cifar10().unet
    assert 3.9 < bench.flop(replace(one, base_channels=256)) / bench.flop(one) < 4.0


def test_the_timed_step_trains() -> None:
    net = lively(TINY, out_channels=2)
    x, t = inputs(TINY, 2)
    before = (net(x, t) - x).square().mean()
    step = bench.trainer(net, "float32", x, t)
    for _ in range(5):
        step()
    assert (net(x, t) - x).square().mean() < before
    assert isinstance(net, UNet)


def test_command(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(cifar10(), unet=TINY)
    monkeypatch.setitem(PRESETS, "cifar10", lambda: tiny)
    result = CliRunner().invoke(app, ["bench", "--rounds", "1", "--batch", "2"])
    assert result.exit_code == 0, result.output
    for line in ("forward", "training step", "sampling", "convolution", "float32"):
        assert line in result.output


def test_unknown_preset() -> None:
    result = CliRunner().invoke(app, ["bench", "--preset", "cifar"])
    assert result.exit_code == 2 and "cifar10" in result.output
