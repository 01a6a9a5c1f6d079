"""Half the multiplications, the same convolution: forwards and in every gradient."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ddpm_train import winograd
from ddpm_train.unet import Convolution

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
    *given, upstream = parts(shape, torch.float64)
    for part in given:
        part.requires_grad_()
    found, wanted = winograd.convolve(*given), F.conv2d(*given, padding=1)
    assert found.shape == wanted.shape and relative(found, wanted) < 1e-14
    ours, theirs = (torch.autograd.grad(y, given, upstream) for y in (found, wanted))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape and relative(a, b) < 1e-14


def test_rounding_stays_small() -> None:
    """In float32, against float64."""
    *given, upstream = parts((2, 256, 128, 16, 16), torch.float32)
    for part in given:
        part.requires_grad_()
    exact = [part.detach().double().requires_grad_() for part in given]
    found, wanted = winograd.convolve(*given), F.conv2d(*exact, padding=1)
    assert relative(found, wanted) < 4e-6
    ours = torch.autograd.grad(found, given, upstream)
    theirs = torch.autograd.grad(wanted, exact, upstream.double())
    for a, b in zip(ours, theirs, strict=True):
        assert relative(a, b) < 4e-6


def test_gradients_that_nobody_asks_for_are_not_made() -> None:
    x, weight, bias, upstream = parts(SHAPES[0], torch.float64)
    bias.requires_grad_()
    (found,) = torch.autograd.grad(winograd.convolve(x, weight, bias), bias, upstream)
    torch.testing.assert_close(found, upstream.sum((0, 2, 3)))


@pytest.mark.parametrize("rows", [6, 7, 8, 12])
def test_layers_of_any_size_convolve(rows: int) -> None:
    """Also where rows do not come in fours, and where a batch was made for other layouts."""
    layer = Convolution(32, 32).requires_grad_(requires_grad=False)
    x = torch.randn(2, 32, rows, 9, generator=torch.Generator().manual_seed(2))
    wanted = F.conv2d(x.double(), layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[union-attr]
    assert relative(layer(x), wanted) < 4e-6
    assert relative(layer(x.to(memory_format=torch.channels_last)), wanted) < 4e-6


@pytest.mark.parametrize("rows", [2, 8])
def test_two_rows_are_the_convolution(rows: int) -> None:
    """F(2, 3), its parts put together in float64."""
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(2, rows, 5, 3, generator=generator, dtype=torch.float64)
    weight = torch.randn(4, 3, 3, 3, generator=generator, dtype=torch.float64)
    products = [
        F.conv2d(v.permute(0, 3, 1, 2), kernel, padding=(0, 1)).permute(0, 2, 3, 1)
        for v, kernel in zip(
            winograd.spread_to_two(winograd.pad(x), torch.float64),
            winograd.kernels_of_two(weight),
            strict=True,
        )
    ]
    found = torch.full((2, rows, 5, 4), torch.nan, dtype=torch.float64)
    winograd.gather_two(products, found)
    wanted = F.conv2d(x.permute(0, 3, 1, 2), weight, padding=1).permute(0, 2, 3, 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-13)
