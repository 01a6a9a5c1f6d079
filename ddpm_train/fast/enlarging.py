"""Enlarging by nearest neighbours and a 3x3 convolution in one, with a quarter of the products.

Along one dimension, with w_0, w_1, w_2 the kernel and S its sum, a pixel d_k becomes two of
the output,

    S d_k + w_0 (d_k-1 - d_k)   and   S d_k - w_2 (d_k - d_k+1):

three products of pixels and of differences of neighbours. In both dimensions that is nine products,
one by one pixel each, where the definition takes 36.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from ddpm_train.fast import capability, winograd
from ddpm_train.fast.winograd import widen

KINDS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of pixels of an enlarged image: their row and column
_LEAST = 64  # channels


def suits(channels: int, dtype: torch.dtype) -> bool:
    """Whether ``convolve`` is faster than its two parts, one by one, on a CPU."""
    pays = capability.saves_products() and winograd.sums_pay(dtype)
    return pays and dtype in winograd.LEAST_CHANNELS and channels >= _LEAST


def convolve(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``conv2d(x enlarged twice, weight, bias, padding=1)``, [B, C, H, W] -> [B, K, 2H, 2W].

    The products and the output have ``dtype``, by default that of ``x``.
    """
    dtype = dtype or x.dtype
    with torch.autocast("cpu", enabled=False):
        parts = differences(widen(x).permute(0, 2, 3, 1))
        products = [
            widen(F.conv2d(part.permute(0, 3, 1, 2).to(dtype), kernel.to(dtype)))
            for part, kernel in zip(parts, kernels_of_differences(widen(weight)), strict=True)
        ]
        products = [product.permute(0, 2, 3, 1) for product in products]
        products[0] = products[0] + bias
        kinds = [torch.add(*terms).to(dtype) for terms in assemble(products)]
    rows = torch.stack([torch.stack(kinds[:2], 3), torch.stack(kinds[2:], 3)], 2)
    return rows.flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)


def kernels_of_differences(weight: Tensor) -> list[Tensor]:
    """The kernels of ``differences``, [K, C, 3, 3] -> [1, 2, 2 and 4 K, C, 1, 1]."""
    whole = weight.new_ones(1, 3)
    ends = weight.new_tensor([[1, 0, 0], [0, 0, -1]])
    return [
        torch.einsum("ah,bw,kchw->abkc", *sums, weight).flatten(0, 2)[:, :, None, None]
        for sums in product((whole, ends), repeat=2)
    ]


def differences(x: Tensor) -> tuple[Tensor, ...]:
    """Give pixels and their differences along W, along H and along both, [B, H, W, C].

    Zeros surround the image, so that there are W + 1 differences along W, H + 1 along H.
    """
    padded = F.pad(x, (0, 0, 1, 1, 1, 1))
    down = padded[:, :-1] - padded[:, 1:]
    right = padded[:, 1:-1, :-1] - padded[:, 1:-1, 1:]
    return x, right, down[:, :, 1:-1], down[:, :, :-1] - down[:, :, 1:]


def assemble(products: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Give the two terms of each kind of pixel of the enlarged image, [B, H, W, K]."""
    pixels, right, down, corner = products
    _, H, W, K = pixels.shape
    right, down, corner = (part.unflatten(3, (-1, K)) for part in (right, down, corner))
    columns = [pixels + right[:, :, b : b + W, b] for b in range(2)]
    return [
        (columns[b], down[:, a : a + H, :, a] + corner[:, a : a + H, b : b + W, 2 * a + b])
        for a, b in KINDS
    ]
