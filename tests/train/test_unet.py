"""The network: the paper's, weight for weight, and a pure function of its inputs."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ddpm_train.architectures import UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast.norm import GroupNorm
from ddpm_train.networks import encoder
from ddpm_train.networks.blocks import ResidualBlock
from ddpm_train.networks.embeddings import time_embedding
from ddpm_train.networks.unet import UNet
from ddpm_train.presets import celebahq256, cifar10
from tests.benchmarks import peer

TINY = UNetConfig(
    image_size=8,
    channels=2,
    base_channels=64,  # with 32, a group is one channel and forgets its mean
    channel_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(4,),
    dropout=0.0,
)
NARROW256 = replace(celebahq256().unet, base_channels=32, image_size=64)


@torch.no_grad()
def lively(config: UNetConfig, *, out_channels: int = 3, dtype: torch.dtype | None = None) -> UNet:
    """A network with weights that matter everywhere, also where they begin at zero or one."""
    net = UNet(config, out_channels=out_channels)
    generator = torch.Generator().manual_seed(1)
    for parameter in net.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
        else:
            parameter.add_(0.2 * noise)
    return net.to(dtype)


def inputs(config: UNetConfig, B: int, *, size: tuple[int, int] | None = None) -> Any:
    """Images and their times, among them the first and the last."""
    generator = torch.Generator().manual_seed(2)
    H, W = size or (config.image_size, config.image_size)
    x = torch.randn(B, config.channels, H, W, generator=generator)
    t = torch.randint(1, 1001, (B,), generator=generator)
    t[:2] = torch.tensor([1000, 1])[:B]
    return x, t


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def random_keep(net: UNet, B: int, *, drop: float = 0.3) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(B, net.dropout_elements, generator=generator) >= drop


# ----------------------------------------------------------------------- the paper's network


@pytest.mark.parametrize(
    ("config", "parameters", "tensors"),
    [(cifar10().unet, 35_746_307, 328), (celebahq256().unet, 113_673_219, 450)],
    ids=["cifar10", "256x256"],
)
def test_size(config: UNetConfig, parameters: int, tensors: int) -> None:
    net = UNet(config, out_channels=3)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert len(net.state_dict()) == tensors


@pytest.mark.parametrize(
    ("config", "B"),
    [
        (cifar10().unet, 2),
        (NARROW256, 2),
        (replace(TINY, num_res_blocks=3, attn_resolutions=(8,), channel_mult=(1,)), 5),
        pytest.param(celebahq256().unet, 1, marks=pytest.mark.slow),
    ],
    ids=["cifar10", "256x256 narrow", "one level", "256x256"],
)
def test_agrees_with_diffusers(config: UNetConfig, B: int) -> None:
    ours, theirs = lively(config), peer.build(config, out_channels=3)
    peer.copy_weights(ours, theirs, config)
    x, t = inputs(config, B)
    with torch.no_grad():
        wanted = peer.predict(theirs.eval(), x, t)
        assert wanted.std() > 0.1
        assert relative(ours(x, t), wanted) < 5e-6


def test_gradients_agree_with_diffusers() -> None:
    """Of every parameter and of the input; B, C, H, W and the output's channels all differ."""
    ours, theirs = lively(TINY, out_channels=5), peer.build(TINY, out_channels=5)
    peer.copy_weights(ours, theirs, TINY)
    x, t = inputs(TINY, 3, size=(8, 16))
    x = x.requires_grad_()
    keys = [peer.name(key, 2) for key, _ in ours.named_parameters()]
    parameters = dict(theirs.named_parameters())
    y = ours(x, t)
    assert y.shape == (3, 5, 8, 16)
    assert relative(y, peer.predict(theirs, x, t)) < 5e-6
    result = torch.autograd.grad(y.square().sum(), [x, *ours.parameters()])
    wanted = torch.autograd.grad(
        peer.predict(theirs, x, t).square().sum(), [x, *(parameters[key] for key in keys)]
    )
    floor = 1e-3 * max(gradient.norm() for gradient in wanted)  # keys' biases have none at all
    for key, a, b in zip(["x", *keys], result, wanted, strict=True):
        assert (a - b).norm() < 1e-5 * max(b.norm(), floor), key


def test_gradient_is_a_slope() -> None:
    """With dropout: the derivative along a random direction is the difference quotient."""
    net = lively(replace(TINY, dropout=0.3), dtype=torch.float64)
    x, t = inputs(TINY, 2)
    x, keep = x.double(), random_keep(net, 2)
    generator = torch.Generator().manual_seed(4)
    along = [
        torch.randn(p.shape, generator=generator, dtype=torch.float64) * 1e-2
        for p in net.parameters()
    ]

    def loss(step: float) -> Tensor:
        moved = {
            name: parameter + step * direction
            for (name, parameter), direction in zip(net.named_parameters(), along, strict=True)
        }
        y: Tensor = torch.func.functional_call(net, moved, (x, t, None, keep))
        return y.square().mean()

    gradient = torch.autograd.grad(loss(0.0), list(net.parameters()))
    slope = sum((g * d).sum() for g, d in zip(gradient, along, strict=True))
    with torch.no_grad():
        quotient = (loss(1e-4) - loss(-1e-4)) / 2e-4
    torch.testing.assert_close(slope, quotient, rtol=1e-6, atol=0)


def test_down_pads_below_and_to_the_right_only() -> None:
    """On ones, a kernel of ones counts the pixels under it: 9, at the far edges 6, 4."""
    down = UNet(TINY, out_channels=2).down[0]
    with torch.no_grad():
        for block in down.blocks:
            block.conv2.weight.zero_()
        down.downsample.weight.fill_(1 / 64)
        _, halved = down(torch.ones(1, 64, 8, 8), torch.zeros(1, 256), None)
    line = torch.tensor([3.0, 3.0, 3.0, 2.0])
    torch.testing.assert_close(halved[0, 5], line[:, None] * line)


@pytest.mark.parametrize(
    ("size", "tolerance"), [((8, 8), 5e-6), ((48, 64), 3e-6)], ids=["small", "large"]
)
@pytest.mark.parametrize("swish", [False, True])
def test_norms_and_their_gradients_are_exact(
    size: tuple[int, int], tolerance: float, swish: bool
) -> None:
    """Also where the mean is far from zero. In float64 PyTorch's own norm is the truth."""
    norm = GroupNorm(32, 64, 1e-6)
    generator = torch.Generator().manual_seed(5)
    x, upstream = torch.randn(2, 2, 64, *size, generator=generator)
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.randn(64, generator=generator))
    x = (x + 5).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = norm(x, swish=swish)
    result = torch.autograd.grad(y, [x, norm.weight, norm.bias], upstream)
    exact = [a.detach().double().requires_grad_() for a in (x, norm.weight, norm.bias)]
    truth = F.group_norm(exact[0], 32, exact[1], exact[2], 1e-6)
    truth = F.silu(truth) if swish else truth
    wanted = torch.autograd.grad(truth, exact, upstream.double())
    assert relative(y, truth) < tolerance and relative(result[0], wanted[0]) < tolerance
    for a, b in zip(result[1:], wanted[1:], strict=True):
        assert relative(a, b) < 2e-5


def test_norms_of_bf16_images_are_those_of_float32() -> None:
    norm = GroupNorm(32, 64, 1e-6)
    x = torch.randn(2, 64, 8, 8, generator=torch.Generator().manual_seed(6)).bfloat16()
    x.requires_grad_()
    wide = x.detach().float().requires_grad_()
    result, wanted = norm(x, swish=True), norm(wide, swish=True)
    assert result.dtype == torch.float32 and torch.equal(result, wanted)
    ours, theirs = (
        torch.autograd.grad(y.square().sum(), of)[0] for y, of in ((result, x), (wanted, wide))
    )
    assert ours.dtype == torch.bfloat16 and torch.equal(ours, theirs.bfloat16())


def test_time_embedding() -> None:
    """Sines, then cosines, of (t - 1) 10000^(-j/(half-1)); t may be a fraction."""
    t = torch.tensor([1.0, 2.5, 1000.0])
    with torch.autocast("cpu", torch.bfloat16):
        result = time_embedding(t, 128)
    angles = [[(u - 1) / 10_000 ** (j / 63) for j in range(64)] for u in t.tolist()]
    wanted = [[*map(math.sin, row), *map(math.cos, row)] for row in angles]
    torch.testing.assert_close(result, torch.tensor(wanted).double(), rtol=0, atol=1e-6)
    assert result.dtype == torch.float64


# --------------------------------------------------------------------------- a pure function


def test_companions_in_the_batch_do_not_matter() -> None:
    net = lively(replace(TINY, dropout=0.3))
    x, t = inputs(TINY, 4)
    keep = random_keep(net, 4)
    alone = net(x, t, keep=keep)[1:2]
    others = [torch.cat([-2 * a[:1], a[1:2], a[2:] * 3]) for a in (x, t)]
    changed = torch.cat([~keep[:1], keep[1:2], ~keep[2:]])
    assert relative(net(*others, keep=changed)[1:2], alone) < 1e-6
    assert relative(net(x[1:2], t[1:2], keep=keep[1:2]), alone) < 5e-6


def test_layout_gradients_and_mode_do_not_matter() -> None:
    net = lively(TINY)
    x, t = inputs(TINY, 3)
    y = net(x, t)
    torch.testing.assert_close(net(x.to(memory_format=torch.channels_last), t), y)
    torch.testing.assert_close(net.eval()(x, t.float()), y)
    with torch.no_grad():
        torch.testing.assert_close(net(x, t), y)
        assert relative(lively(TINY, dtype=torch.float64)(x.double(), t), y.double()) < 1e-5


@pytest.mark.parametrize("base_channels", [64, 128], ids=["small", "wide"])
def test_bf16_is_near(base_channels: int) -> None:
    """With 8 bits of mantissa in every layer, output and gradients keep their first two digits."""
    config = replace(TINY, dropout=0.3, base_channels=base_channels)
    net = lively(config)
    x, t = inputs(config, 3)
    keep = random_keep(net, 3)
    result = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            y = net(x, t, keep=keep)
        y.float().square().sum().backward()
        gradient = torch.cat([cast(Tensor, p.grad).flatten() for p in net.parameters()])
        net.zero_grad()
        result.append((y.detach().float(), gradient))
    for ours, exact in zip(*result, strict=True):
        assert 1e-4 < relative(ours, exact) < 0.03


def test_compiles_into_one_graph() -> None:
    net = lively(replace(TINY, dropout=0.3))
    x, t = inputs(TINY, 3)
    keep = random_keep(net, 3)
    compiled: Callable[..., Tensor] = torch.compile(net, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, t, keep=keep), net(x, t, keep=keep))


# ------------------------------------------------------------------------------------ dropout


def test_dropout_elements() -> None:
    """One for each activation between the two convolutions of a block."""
    assert UNet(cifar10().unet, out_channels=3).dropout_elements == (
        5 * (128 * 32**2 + 256 * 16**2 + 256 * 8**2 + 256 * 4**2) + 2 * 256 * 4**2
    )
    assert UNet(TINY, out_channels=3).dropout_elements == 0


def test_without_a_mask_nothing_is_dropped_or_scaled() -> None:
    plain, dropping = lively(TINY), lively(replace(TINY, dropout=0.3))
    x, t = inputs(TINY, 3)
    assert torch.equal(plain(x, t), dropping(x, t))


def test_what_is_kept_is_scaled_and_what_is_dropped_is_zero() -> None:
    """A mask does to every block what zeros do to the input channels of its second convolution."""
    x, t = inputs(TINY, 3)
    dropping = lively(replace(TINY, dropout=0.3))
    plain = lively(TINY)
    keep = torch.ones(3, dropping.dropout_elements, dtype=torch.bool)
    blocks = [
        (a, b)
        for a, b in zip(dropping.modules(), plain.modules(), strict=True)
        if isinstance(a, ResidualBlock) and isinstance(b, ResidualBlock)
    ]
    assert len(blocks) == 8
    for i, (a, b) in enumerate(blocks):
        part = keep[:, a.first : a.first + a.elements].view(3, -1, a.conv2.in_channels)
        part[:, :, i::7] = False  # [H, W, C]
        with torch.no_grad():
            b.conv2.weight[:, i::7] = 0
            b.conv2.weight /= 0.7
    assert relative(dropping(x, t, keep=keep), plain(x, t)) < 1e-5
    assert sum(a.elements for a, _ in blocks) == dropping.dropout_elements


# ------------------------------------------------------------------------------ initial weights


def test_initial_weights_are_the_papers() -> None:
    net = UNet(cifar10().unet, out_channels=3)
    small = []
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:
            fans = parameter[0].numel() + parameter[:, 0].numel()
            unit = parameter.double() * math.sqrt(fans / 6)  # uniform in [-gain, gain]
            if unit.abs().max() < 0.5:
                small.append(name.split(".")[-2])
                unit *= 1e5
            assert 1 - 20 / unit.numel() < unit.abs().max() < 1 + 1e-6, name
            error = 5 / unit.numel() ** 0.5
            assert abs(unit.mean()) < error and abs(unit.var() - 1 / 3) < error, name
    assert Counter(small) == {"conv2": 22, "proj": 6, "conv_out": 1}


def test_initial_weights_depend_on_the_seed_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    a, again, b = (UNet(TINY, out_channels=2, seed=seed).state_dict() for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    drawn = [key for key in a if key.endswith("weight") and "norm" not in key]
    assert all(torch.equal(a[key], again[key]) for key in a)
    assert not any(torch.equal(a[key], b[key]) for key in drawn)
    starts = [a[key].flatten()[:4] / a[key].abs().max() for key in drawn]
    assert len({tuple(start.tolist()) for start in starts}) == len(starts)


# ------------------------------------------------------------------------- impossible settings


@pytest.mark.parametrize(
    ("change", "problem", "fix"),
    [
        ({"image_size": 30, "attn_resolutions": ()}, "unet.image_size=30", "multiple of 8"),
        ({"image_size": 0}, "unet.image_size=0", "from 1 to 4,096"),
        ({"channels": 0}, "unet.channels=0", "from 1 to 64"),
        ({"base_channels": 48}, "unet.base_channels=48", "multiple of 32"),
        ({"base_channels": 0}, "unet.base_channels=0", "from 1 to"),
        ({"time_freq_shift": 64}, "unet.time_freq_shift=64", "less than 64"),
        ({"norm_eps": -1.0}, "unet.norm_eps=-1.0", "above 0"),
        ({"channel_mult": ()}, "unet.channel_mult=()", "1 to 12 values"),
        ({"channel_mult": (1, 0, 2, 2)}, "unet.channel_mult=0", "from 1 to 64"),
        ({"num_res_blocks": 0}, "unet.num_res_blocks=0", "from 1 to 64"),
        ({"attn_resolutions": (16, 5)}, "unet.attn_resolutions: no level has 5", "32, 16, 8, 4"),
        ({"dropout": 1.0}, "unet.dropout=1.0", "0 or more and below 1"),
        ({"dropout": -0.1}, "unet.dropout=-0.1", "0 or more and below 1"),
    ],
)
def test_impossible_settings_are_named(change: Any, problem: str, fix: str) -> None:
    with pytest.raises(FixableError) as caught:
        UNet(replace(UNetConfig(), **change), out_channels=3)
    assert problem in caught.value.problem and fix in caught.value.fix


@pytest.mark.parametrize("base", [4, 16, 24, 31, 32, 48, 62, 64])
@pytest.mark.parametrize("mults", [(1,), (1, 2), (2, 3), (1, 1, 2)])
@pytest.mark.parametrize(("blocks", "least"), [(1, 1), (2, 1), (1, 4)])
def test_widths_that_no_norm_can_split_are_refused_before_they_are_built(
    base: int, mults: tuple[int, ...], blocks: int, least: int
) -> None:
    config = UNetConfig(
        image_size=8, base_channels=base, channel_mult=mults, num_res_blocks=blocks,
        attn_resolutions=(), group_channels=least,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "_check_groups", lambda _: None)
        try:
            UNet(config, out_channels=3, seed=None)
            splits = True
        except (ValueError, ZeroDivisionError):
            splits = False
    if splits:
        encoder.check(config)
    else:
        with pytest.raises(FixableError, match="do not split into"):
            encoder.check(config)
