"""Half the multiplications, the same convolution: forwards and in every gradient."""

from collections.abc import Callable
from functools import partial
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ddpm_train.fast import capability, enlarging, winograd
from ddpm_train.fast.layers import Convolution

SHAPES = [(3, 40, 48, 12, 5), (1, 32, 64, 8, 1), (2, 64, 32, 4, 7)]  # B, C, K, H, W


def parts(shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Input, weight, bias and what comes back from above."""
    B, C, K, H, W = shape
    generator = torch.Generator().manual_seed(1)
    sizes = [(B, C, H, W), (K, C, 3, 3), (K,), (B, K, H, W)]
    drawn = [torch.randn(size, generator=generator, dtype=dtype) for size in sizes]
    drawn[1] /= (9 * C) ** 0.5
    return [drawn[0].contiguous(memory_format=torch.channels_last), *drawn[1:]]


def relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_is_the_convolution(shape: tuple[int, ...]) -> None:
    """In float64 to its last digits: an identity, not an approximation."""
    *inputs, upstream = parts(shape, torch.float64)
    for part in inputs:
        part.requires_grad_()
    result, wanted = winograd.convolve(*inputs), F.conv2d(*inputs, padding=1)
    assert result.shape == wanted.shape and relative(result, wanted) < 1e-14
    ours, theirs = (torch.autograd.grad(y, inputs, upstream) for y in (result, wanted))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and relative(a, b) < 1e-14


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_enlarges_then_convolves(shape: tuple[int, ...]) -> None:
    """The same identity, with nearest neighbours before it."""
    *inputs, upstream = parts(shape, torch.float64)
    for part in inputs:
        part.requires_grad_()
    x, weight, bias = inputs
    enlarged = F.interpolate(x, scale_factor=2.0, mode="nearest")
    result, wanted = enlarging.convolve(*inputs), F.conv2d(enlarged, weight, bias, padding=1)
    assert result.shape == wanted.shape and relative(result, wanted) < 1e-14
    upstream = upstream.repeat_interleave(2, 2).repeat_interleave(2, 3).cumsum(3)
    ours, theirs = (torch.autograd.grad(y, inputs, upstream) for y in (result, wanted))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and relative(a, b) < 1e-13


def test_rounding_stays_small() -> None:
    """In float32, against float64."""
    *inputs, upstream = parts((2, 256, 128, 16, 16), torch.float32)
    for part in inputs:
        part.requires_grad_()
    exact = [part.detach().double().requires_grad_() for part in inputs]
    result, wanted = winograd.convolve(*inputs), F.conv2d(*exact, padding=1)
    assert relative(result, wanted) < 4e-6
    ours = torch.autograd.grad(result, inputs, upstream)
    theirs = torch.autograd.grad(wanted, exact, upstream.double())
    for a, b in zip(ours, theirs, strict=True):
        assert relative(a, b) < 4e-6


@pytest.mark.parametrize("asked", [0, 1, 2])
def test_each_gradient_can_be_had_alone(asked: int) -> None:
    *inputs, upstream = parts(SHAPES[0], torch.float64)
    inputs[asked].requires_grad_()
    ours, theirs = (
        torch.autograd.grad(y, inputs[asked], upstream)[0]
        for y in (winograd.convolve(*inputs), F.conv2d(*inputs, padding=1))
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [6, 7, 8, 10, 12])
def test_layers_of_any_size_convolve(rows: int) -> None:
    """Also where rows do not come in fours, and where a batch was made for other layouts."""
    layer = Convolution(64, 64).requires_grad_(requires_grad=False)
    x = torch.randn(2, 64, rows, 9, generator=torch.Generator().manual_seed(2))
    wanted = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[union-attr]
    assert relative(layer(x), wanted) < 4e-6
    assert relative(layer(x.to(memory_format=torch.channels_last)), wanted) < 4e-6


Kind = Callable[..., Tensor]


def enlarged(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)


@pytest.mark.parametrize(
    ("kind", "defined", "scale"),
    [(winograd.convolve, partial(F.conv2d, padding=1), 1), (enlarging.convolve, enlarged, 2)],
    ids=["convolve", "enlarge"],
)
def test_products_in_bf16_are_rounded_little_more_than_the_direct_sum(
    kind: Kind, defined: Kind, scale: int
) -> None:
    """Forwards and in every gradient less than twice and a half."""
    x, weight, bias, upstream = parts((2, 128, 128, 8, 16), torch.float32)
    upstream = upstream.repeat(1, 1, scale, scale)
    inputs = [part.requires_grad_() for part in (x, weight, bias)]
    exact = [part.detach().double().requires_grad_() for part in inputs]
    short = [part.detach().bfloat16().requires_grad_() for part in inputs]
    wanted, direct, result = defined(*exact), defined(*short), kind(*inputs, torch.bfloat16)
    assert result.dtype == torch.bfloat16
    assert relative(result, wanted) < 2.5 * relative(direct, wanted)
    ours, theirs, right = (
        torch.autograd.grad(y, of, upstream.to(y.dtype))
        for y, of in ((result, inputs), (direct, short), (wanted, exact))
    )
    for a, b, c in zip(ours, theirs, right, strict=True):
        assert a.dtype == torch.float32
        assert relative(a, c) < 2.5 * relative(b, c)


def test_gradients_have_the_precision_of_what_they_are_of() -> None:
    """bf16 images do not round the gradients of float32 weights."""
    x, weight, bias, upstream = parts((2, 128, 128, 8, 4), torch.float32)
    inputs = [x.bfloat16().requires_grad_(), weight.requires_grad_(), bias.requires_grad_()]
    y = winograd.convolve(inputs[0], inputs[1], inputs[2])
    result = torch.autograd.grad(y, inputs, upstream.bfloat16())
    assert [item.dtype for item in result] == [torch.bfloat16, torch.float32, torch.float32]
    for item in result[1:]:
        assert not torch.equal(item, item.bfloat16().float())


def test_under_autocast_the_layer_convolves_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "saves_products", lambda: True)
    monkeypatch.setattr(winograd, "sums_pay", lambda dtype: True)
    layer = Convolution(128, 128)
    x = torch.randn(2, 128, 8, 8, generator=torch.Generator().manual_seed(2))
    with torch.autocast("cpu", torch.bfloat16):
        result = layer(x)
    bias = cast(Tensor, layer.bias)
    assert torch.equal(result, winograd.convolve(x, layer.weight, bias, torch.bfloat16))
    result.float().square().sum().backward()
    assert layer.weight.grad is not None and layer.weight.grad.dtype == torch.float32
    double = layer.double()
    with torch.autocast("cpu", torch.bfloat16):
        assert double(x.double()).dtype == torch.float64


def test_matrix_units_convolve_bf16_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the sums around the products would cost more than they save."""
    monkeypatch.setattr(capability, "saves_products", lambda: True)
    for amx in (True, False):
        monkeypatch.setattr(capability, "has_matrix_units", lambda amx=amx: amx)
        assert winograd.suits(128, 128, 8, torch.float32)
        assert enlarging.suits(128, torch.float32)
        assert winograd.suits(128, 128, 8, torch.bfloat16) is not amx
        assert enlarging.suits(128, torch.bfloat16) is not amx


@pytest.mark.parametrize(
    ("channels", "rows", "dtype", "suits"),
    [
        (32, 8, torch.float32, False),
        (64, 8, torch.float32, True),
        (64, 8, torch.bfloat16, False),
        (128, 8, torch.bfloat16, True),
        (64, 4, torch.float32, False),
        (64, 10, torch.float32, False),
        (64, 12, torch.float32, True),
        (256, 8, torch.float64, False),
    ],
)
def test_small_and_odd_layers_are_convolved_directly(
    channels: int, rows: int, dtype: torch.dtype, suits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capability, "saves_products", lambda: True)
    monkeypatch.setattr(capability, "has_matrix_units", lambda: False)
    assert winograd.suits(channels, channels, rows, dtype) is suits
    assert winograd.suits(channels, 512, rows, dtype) is suits
