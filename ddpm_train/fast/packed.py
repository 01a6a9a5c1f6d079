"""Convolutions whose weights are laid out for evaluation once, of [B, H, W, C] on CPUs."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.fast import capability, winograd


class Convolution:
    """A convolution whose weights are laid out for it, of 3x3 or 1x1."""

    def __init__(
        self,
        layer: nn.Conv2d | tuple[Tensor, Tensor],
        dtype: torch.dtype,
        *,
        rows: int,
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        """Lay the weights out for images ``rows`` tall."""
        weight, bias = (
            (layer.weight, cast(Tensor, layer.bias)) if isinstance(layer, nn.Conv2d) else layer
        )
        self.channels, _, size, _ = weight.shape
        self.geometry = [size // 2 if padding is None else padding] * 2, [stride] * 2
        self._lay_out(weight, bias, dtype, rows)

    def _lay_out(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, rows: int) -> None:
        self.weight = _pack(weight.to(dtype), (rows, rows), *self.geometry)
        self.bias = bias.to(dtype, copy=True)

    def __call__(self, x: Tensor) -> Tensor:
        """Convolve, [B, H, W, C] -> [B, H', W', K]."""
        return _convolve(x, self.weight, self.bias, *self.geometry)

    def of(self, x: Tensor) -> Tensor:
        """Convolve x, in float32; gives float32 or its own type."""
        return self(x.to(self.bias.dtype))

    def of_swish(self, x: Tensor) -> Tensor:
        """Convolve swish(x), ``x`` in float32, which is used up; gives float32 or its own type."""
        return self.of(F.silu(x, inplace=True))

    def add_to(self, out: Tensor, x: Tensor) -> None:
        """Add the convolution of x to ``out``, which it fits."""
        if self.weight.is_mkldnn:
            pictures = out.permute(0, 3, 1, 2), x.permute(0, 3, 1, 2)
            torch.ops.mkldnn._convolution_pointwise_.binary(
                *(*pictures, self.weight, self.bias, *self.geometry, [1, 1], 1, "add", 1.0),
                *(None, [], None),
            )
        else:
            out.add_(self(x))


class _Winograd(Convolution):
    """A 3x3 convolution by F(4, 3)."""

    def _lay_out(self, weight: Tensor, bias: Tensor, dtype: torch.dtype, rows: int) -> None:
        kernels = winograd.transform_kernel(weight.double()).to(dtype)
        self.weight = _pack(kernels, (rows // 4, rows), [0, 1], [1, 1], winograd.PRODUCTS)
        self.bias = winograd.transform_bias(bias).to(dtype)

    def of(self, x: Tensor) -> Tensor:
        """Convolve x; gives float32."""
        return self._of_padded(winograd.pad(x))

    def of_swish(self, x: Tensor) -> Tensor:
        """Convolve swish(x); gives float32."""
        return self._of_padded(_padded_swish(x))

    def _of_padded(self, x: Tensor) -> Tensor:
        """Convolve what has a row of zeros above and below, [B, H+2, W, C] -> [B, H, W, K]."""
        v = winograd.transform_input(x, self.bias.dtype).flatten(3)
        products = _convolve(v, self.weight, self.bias, [0, 1], [1, 1], winograd.PRODUCTS)
        B, rows, W, _ = x.shape
        y = x.new_empty(B, rows - 2, W, self.channels)
        winograd.transform_output(products.unflatten(3, (winograd.PRODUCTS, -1)), y)
        return y


def fastest(layer: nn.Conv2d, dtype: torch.dtype, *, rows: int) -> Convolution:
    """Lay out a 3x3 convolution of the same size by the faster of the two algorithms."""
    fewer = winograd.suits(layer.in_channels, layer.out_channels, rows, dtype)
    return (_Winograd if fewer else Convolution)(layer, dtype, rows=rows)


def _padded_swish(x: Tensor) -> Tensor:
    """Compute swish(x) and add a row of zeros above and below, [B, H, W, C] -> [B, H+2, W, C]."""
    B, H, W, C = x.shape
    padded = x.new_empty(B, H + 2, W, C)
    padded[:, :: H + 1].zero_()
    torch.ops.aten.silu.out(x, out=padded[:, 1:-1])
    return padded


def _pack(
    weight: Tensor,
    size: tuple[int, int],
    padding: list[int],
    stride: list[int],
    groups: int = 1,
) -> Tensor:
    """Lay weights out as the convolution of images of a height and width reads them, where it can.

    For images of another size the library may convert them at every evaluation: in groups of 192
    channels that takes twenty times as long as the convolution.
    """
    weight = weight.clone(memory_format=torch.channels_last)
    if not capability.packs_weights():
        return weight
    hint = [4, weight.shape[1] * groups, *size]
    packed: Tensor = torch.ops.mkldnn._reorder_convolution_weight(
        weight, padding, stride, [1, 1], groups, hint
    )
    return packed


def _convolve(
    x: Tensor, weight: Tensor, bias: Tensor, padding: list[int], stride: list[int], groups: int = 1
) -> Tensor:
    """Convolve, [B, H, W, C] -> [B, H', W', K], with weights that ``_pack`` laid out."""
    x = x.permute(0, 3, 1, 2)
    y: Tensor
    if weight.is_mkldnn:
        y = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, padding, stride, [1, 1], groups, "none", [], ""
        )
    else:
        y = F.conv2d(x, weight, bias, stride, padding, 1, groups)
    return y.permute(0, 2, 3, 1)
