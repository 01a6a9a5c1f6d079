"""The prepared network is the network: every switch, any batch, in stated precision."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ddpm_train.architectures import UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast import blocks, capability
from ddpm_train.fast import prepare as inference
from ddpm_train.fast.plain import Plain
from ddpm_train.networks.unet import UNet
from tests.train.test_unet import TINY, inputs, lively, relative

SMALL = UNetConfig(
    image_size=16,
    base_channels=64,
    channel_mult=(1, 2, 1),
    num_res_blocks=2,
    attn_resolutions=(8,),
    dropout=0.1,
)
SWITCHES = {
    "the paper's": SMALL,
    "other systems'": replace(
        SMALL,
        time_order="interleaved",
        pad_down="both",
        norm_eps=1e-5,
        time_modulation="scale_shift",
        heads=4,
    ),
    "improved": replace(
        SMALL, time_order="cos_sin", time_freq_shift=0, time_scale=0.25, head_channels=32
    ),
    "ADM": replace(
        SMALL, time_modulation="scale_shift", resample="block", head_channels=32, pad_down="both"
    ),
    "resampled without weights": replace(SMALL, resample="none"),
    "Fourier features": replace(TINY, fourier=(3, 5)),
    "rows not in fours": replace(TINY, image_size=12, attn_resolutions=(6,)),
    "one level": replace(TINY, channel_mult=(1,), attn_resolutions=()),
    "large images": replace(
        TINY, image_size=64, base_channels=32, channel_mult=(1, 1, 1), attn_resolutions=(16,)
    ),
}


@pytest.fixture
def bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that multiplies bf16 numbers, which others emulate."""
    monkeypatch.setattr(capability, "multiplies_bf16", lambda: True)


def truth(config: UNetConfig, x: Tensor, t: Tensor, *, out_channels: int = 3) -> Tensor:
    """The network itself in float64, which no fast path touches."""
    with torch.no_grad():
        return lively(config, out_channels=out_channels, dtype=torch.float64)(x.double(), t)


@pytest.mark.parametrize("name", SWITCHES)
def test_is_the_network(name: str) -> None:
    config = SWITCHES[name]
    x, t = inputs(config, 3)
    result = inference.prepare(lively(config, out_channels=5), 1000)(x, t)
    wanted = truth(config, x, t, out_channels=5)
    assert result.dtype == torch.float32 and result.shape == wanted.shape
    assert wanted.std() > 0.1 and relative(result, wanted) < 5e-6


def test_both_kinds_of_convolution_were_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """And without packed weights it is the same function."""
    x, t = inputs(SMALL, 2)
    monkeypatch.setattr(capability, "saves_products", lambda: True)
    fewer = inference.prepare(lively(SMALL), 1000)(x, t)
    monkeypatch.setattr(capability, "saves_products", lambda: False)
    direct = inference.prepare(lively(SMALL), 1000)(x, t)
    monkeypatch.setattr(capability, "packs_weights", lambda: False)
    plain = inference.prepare(lively(SMALL), 1000)(x, t)
    assert not torch.equal(fewer, direct)
    for other in (direct, plain):
        assert relative(other, fewer) < 5e-6


@pytest.mark.parametrize("config", [SMALL, SWITCHES["other systems'"]], ids=["small", "others"])
@pytest.mark.parametrize("amx", [False, True])
def test_bf16_keeps_two_digits(
    config: UNetConfig, amx: bool, bf16: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capability, "has_matrix_units", lambda: amx)
    x, t = inputs(config, 2)
    result = inference.prepare(lively(config), 1000, precision="bf16")(x, t)
    assert result.dtype == torch.float32
    wanted = truth(config, x, t)
    assert t.tolist() == [1000, 1]
    assert 1e-4 < relative(result[:1], wanted[:1]) < 0.02
    assert relative(result[1:], wanted[1:]) < 5e-6  # t = 1 is evaluated in float32


def test_rows_of_mixed_times_keep_their_places(bf16: None) -> None:
    x, _ = inputs(TINY, 5)
    t = torch.tensor([10, 900, 1, 11, 500])
    network = inference.prepare(lively(TINY), 1000, precision="bf16")
    exact = inference.prepare(lively(TINY), 1000)(x, t)
    errors = [relative(a, b) for a, b in zip(network(x, t), exact, strict=True)]
    assert [error < 5e-6 for error in errors] == [True, False, True, False, False]
    assert max(errors) < 0.03


def test_companions_and_the_size_of_the_batch_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, t = inputs(SMALL, 5)
    network = inference.prepare(lively(SMALL), 1000)
    together = network(x, t)
    others = torch.cat([3 - x[:1], x[1:2]])
    assert relative(network(others, torch.stack([t[4], t[1]]))[1:], together[1:2]) < 5e-6
    monkeypatch.setattr(blocks, "_CACHE_ELEMENTS", 2 * x[0].numel() * 64 // 3)  # two at a time
    assert relative(network(x, t), together) < 5e-6


def test_times_may_be_looked_up_or_computed() -> None:
    """The table holds what the layers say of every t, the last included."""
    x, t = inputs(SMALL, 3)
    network = inference.prepare(lively(SMALL), 1000)
    assert relative(network(x, t.double()), network(x, t)) < 3e-6
    half = t.clamp(max=999).double() + 0.5
    assert relative(network(x, half), truth(SMALL, x, half)) < 5e-6


def test_training_on_changes_nothing() -> None:
    net = lively(TINY)
    x, t = inputs(TINY, 2)
    network = inference.prepare(net, 1000)
    before = network(x, t)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(2)
    assert torch.equal(network(x, t), before) and net.training


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_network_may_be_used_up(precision: str, bf16: None) -> None:
    net = lively(TINY)
    x, t = inputs(TINY, 2)
    before = inference.prepare(net, 1000, precision=precision)(x, t)
    assert not any(parameter.is_meta for parameter in net.parameters())
    network = inference.prepare(net, 1000, precision=precision, use_up=True)
    assert torch.equal(network(x, t), before)
    first = sum(p.numel() for p in net.parameters() if not p.is_meta)
    assert first < 0.4 * sum(p.numel() for p in net.parameters())


def test_layout_of_the_input_does_not_matter() -> None:
    x, t = inputs(SMALL, 2)
    first = x.clone()
    network = inference.prepare(lively(SMALL), 1000)
    assert torch.equal(network(x.to(memory_format=torch.channels_last), t), network(x, t))
    assert torch.equal(x, first)


def test_the_accelerators_way_is_the_network() -> None:
    """Run on the CPU: the copy in its own precision, without a graph."""
    x, t = inputs(TINY, 2)
    for dtype, bound in ((torch.float32, 5e-6), (torch.bfloat16, 0.02)):
        network = Plain(lively(TINY), dtype, compiled=False)
        result = network(x, t)
        assert result.dtype == torch.float32 and relative(result, truth(TINY, x, t)) < bound


@pytest.mark.parametrize(
    ("options", "problem", "fix"),
    [
        ({"precision": "fp8"}, "precision=fp8", "float32, tf32, bf16"),
        ({"precision": "tf32"}, "tf32: not on cpu", "float32 or bf16"),
        ({"precision": "bf16"}, "emulates", "use float32"),
        ({"compiled": True}, "no C++ compiler", "g++"),
    ],
    ids=["unknown", "tf32", "bf16", "compile"],
)
def test_what_is_not_here_is_said(
    options: dict[str, object], problem: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capability, "multiplies_bf16", lambda: False)
    monkeypatch.setattr(inference.shutil, "which", lambda name: None)
    with pytest.raises(FixableError) as caught:
        inference.prepare(UNet(TINY, out_channels=2), 10, **options)  # type: ignore[arg-type]
    assert problem in caught.value.problem and fix in caught.value.fix
