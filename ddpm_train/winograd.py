"""3x3 convolutions with fewer multiplications, on CPUs.

Winograd's F(4, 3), along the height alone: with d the six rows of pixels under four rows of the
output and g the three rows of a kernel,

    y = A' [(G g) * (B' d)]

takes six products, each a 1x3 convolution along the width, where the definition takes twelve. One
dimension is enough: in two, the transforms cost more than the products that they save, and the
rounding grows. Here it is about twice that of the direct sum.

        |  4  0 -5  0  1  0 |       | 1/4    0    0   |
        |  0 -4 -4  1  1  0 |       | -1/6 -1/6 -1/6  |        | 1  1  1  1  1  0 |
   B' = |  0  4 -4 -1  1  0 |   G = | -1/6  1/6 -1/6  |   A' = | 0  1 -1  2 -2  0 |
        |  0 -2 -1  2  1  0 |       | 1/24 1/12  1/6  |        | 0  1  1  4  4  0 |
        |  0  2 -1 -2  1  0 |       | 1/24 -1/12 1/6  |        | 0  1 -1  8 -8  1 |
        |  0  4  0 -5  0  1 |       |  0     0    1   |

Activations are [B, H, W, C] here. The six products lie side by side as groups of channels,
[B, H/4, W, 6, C], so that one grouped convolution makes them all.

In bf16 the twentieths that these sums cancel would show, and F(2, 3) takes its place: four products
for six, of sums of two rows,

    y_0 = g_0 (d_0 - d_2) + s + r,   y_1 = s - r - g_2 (d_1 - d_3),
    s = (g_0 + g_1 + g_2)/2 (d_1 + d_2),   r = (g_0 - g_1 + g_2)/2 (d_2 - d_1).

Its sums are in float32 and rounded once; the network's error grows by some 2%.
"""

import platform
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

PRODUCTS = 6
_LEAST_ROWS = 8  # and channels: below, the transforms cost more than they save
_LEAST_CHANNELS = 32
# Elsewhere the library that convolves does the like by itself.
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def suits(channels_in: int, channels: int, rows: int) -> bool:
    """Whether a 3x3 convolution, padded with 1, is faster this way on this processor."""
    wide = min(channels_in, channels) >= _LEAST_CHANNELS
    return IS_X86 and wide and rows >= _LEAST_ROWS and rows % 4 == 0


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``conv2d(x, weight, bias, padding=1)``, [B, C, H, W] -> [B, K, H, W], ``channels_last``."""
    y: Tensor = _Convolution.apply(x, weight, bias)
    return y


class _Convolution(torch.autograd.Function):
    """The three parts and, backwards, their adjoints: half the multiplications there too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        products = multiply(spread(pad(x.permute(0, 2, 3, 1))), kernels(weight), biases(bias))
        B, _, H, W = x.shape
        # Made as what it is: autograd lets no view be changed in place afterwards.
        y = torch.empty((B, len(bias), H, W), dtype=x.dtype, memory_format=torch.channels_last)
        gather(products, out=y.permute(0, 2, 3, 1))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        grad = grad.permute(0, 2, 3, 1)
        asked = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        along_products, along_kernels, _ = torch.ops.aten.convolution_backward(
            _as_groups(spread_grad(grad)),
            _as_groups(spread(pad(x.permute(0, 2, 3, 1)))),
            kernels(weight),
            *(None, (1, 1), (0, 1), (1, 1), False, (0, 0), PRODUCTS, asked),
        )
        along_x = along_weight = None
        if asked[0]:
            products = along_products.permute(0, 2, 3, 1).unflatten(3, (PRODUCTS, -1))
            along_x = gather_grad(products).permute(0, 3, 1, 2)
        if asked[1]:
            along_weight = kernels_grad(along_kernels)
        return along_x, along_weight, grad.sum((0, 1, 2)) if ctx.needs_input_grad[2] else None


def pad(x: Tensor) -> Tensor:
    """A row of zeros above and below, [B, H, W, C] -> [B, H+2, W, C]."""
    return F.pad(x, (0, 0, 0, 0, 1, 1))


def kernels(weight: Tensor) -> Tensor:
    """G g, [K, C, 3, 3] -> [6 K, C, 1, 3]."""
    K, C, _, width = weight.shape
    g_0, g_1, g_2 = weight.permute(2, 0, 3, 1)
    out = weight.new_empty(PRODUCTS, K, width, C)
    torch.mul(g_0, 1 / 4, out=out[0])
    ends = (g_0 + g_2).mul_(-1 / 6)
    torch.sub(ends, g_1, alpha=1 / 6, out=out[1])
    torch.add(ends, g_1, alpha=1 / 6, out=out[2])
    torch.mul(g_0, 1 / 24, out=ends).add_(g_2, alpha=1 / 6)
    torch.add(ends, g_1, alpha=1 / 12, out=out[3])
    torch.sub(ends, g_1, alpha=1 / 12, out=out[4])
    out[5].copy_(g_2)
    return out.view(PRODUCTS * K, 1, width, C).permute(0, 3, 1, 2)


def kernels_grad(grad: Tensor) -> Tensor:
    """The adjoint of ``kernels``, [6 K, C, 1, 3] -> [K, C, 3, 3]."""
    u = grad.permute(0, 2, 3, 1).unflatten(0, (PRODUCTS, -1)).squeeze(2)  # [6, K, 3, C]
    out = grad.new_empty(u.shape[1], 3, *u.shape[2:])
    one, two = u[1] + u[2], u[3] + u[4]
    torch.mul(u[0], 1 / 4, out=out[:, 0]).sub_(one, alpha=1 / 6).add_(two, alpha=1 / 24)
    torch.sub(u[5], one, alpha=1 / 6, out=out[:, 2]).add_(two, alpha=1 / 6)
    torch.sub(u[2], u[1], out=one)
    torch.sub(u[3], u[4], out=two)
    torch.mul(one, 1 / 6, out=out[:, 1]).add_(two, alpha=1 / 12)
    return out.permute(0, 3, 1, 2)


def biases(bias: Tensor) -> Tensor:
    """A bias of the products, [K] -> [6 K]: what the second has reaches each of the four rows."""
    return F.pad(bias, (len(bias), (PRODUCTS - 2) * len(bias)))


def spread(x: Tensor, out: Tensor | None = None) -> Tensor:
    """B' d of every four rows, padded [B, H+2, W, C] -> [B, H/4, W, 6, C]."""
    B, rows, W, C = x.shape
    d_0, d_1, d_2, d_3, d_4, d_5 = (x[:, j : j + rows - 5 : 4] for j in range(6))
    if out is None:
        out = x.new_empty(B, rows // 4, W, PRODUCTS, C)
    v_0, v_1, v_2, v_3, v_4, v_5 = out.unbind(3)
    torch.add(d_4, d_2, alpha=-4, out=v_1)
    torch.add(d_3, d_1, alpha=-4, out=v_0)
    torch.sub(v_1, v_0, out=v_2)
    v_1.add_(v_0)
    torch.sub(d_4, d_2, out=v_3)
    torch.sub(d_3, d_1, out=v_0)
    torch.sub(v_3, v_0, alpha=2, out=v_4)
    v_3.add_(v_0, alpha=2)
    torch.add(d_4, d_2, alpha=-5, out=v_0).add_(d_0, alpha=4)
    torch.add(d_5, d_3, alpha=-5, out=v_5).add_(d_1, alpha=4)
    return out


def gather_grad(v: Tensor) -> Tensor:
    """The adjoint of ``spread(pad(x))``, [B, H/4, W, 6, C] -> [B, H, W, C]."""
    B, fours, W, _, C = v.shape
    v_0, v_1, v_2, v_3, v_4, v_5 = v.unbind(3)
    out = v.new_empty(B, 4 * fours + 2, W, C)
    d_0, d_1, d_2, d_3 = (out[:, j : j + 4 * fours - 3 : 4] for j in range(4))
    above, odd, even = out[:, 4::4], v_1 - v_2, v_3 - v_4
    torch.mul(v_0, 4, out=d_0)
    torch.sub(v_5, odd, out=d_1).mul_(4).sub_(even, alpha=2)
    torch.add(odd, v_5, alpha=-5, out=d_3).add_(even, alpha=2)
    torch.add(v_1, v_2, out=odd)
    torch.add(v_3, v_4, out=even)
    torch.add(odd, even, alpha=1 / 4, out=d_2).add_(v_0, alpha=5 / 4).mul_(-4)
    out[:, 4 * fours :].zero_()
    above += odd.add_(even).add_(v_0)
    out[:, 5::4] += v_5
    return out[:, 1:-1]


def multiply(v: Tensor, kernels: Tensor, biases: Tensor) -> Tensor:
    """(G g) * (B' d), [B, H/4, W, 6, C] -> [B, H/4, W, 6, K]."""
    m = F.conv2d(_as_groups(v), kernels, biases, padding=(0, 1), groups=PRODUCTS)
    products: Tensor = m.permute(0, 2, 3, 1).unflatten(3, (PRODUCTS, -1))
    return products


def gather(m: Tensor, out: Tensor | None = None) -> Tensor:
    """A' m, [B, H/4, W, 6, K] -> [B, H, W, K]; ``m`` is used up."""
    B, fours, W, _, K = m.shape
    if out is None:
        out = m.new_empty(B, 4 * fours, W, K)
    y_0, y_1, y_2, y_3 = out.unflatten(1, (fours, 4)).unbind(2)
    m_0, m_1, m_2, m_3, m_4, m_5 = m.unbind(3)
    torch.sub(m_1, m_2, out=y_3)
    torch.sub(m_3, m_4, out=y_2)
    torch.add(y_3, y_2, alpha=2, out=y_1)
    y_3.add_(y_2, alpha=8).add_(m_5)
    m_1.add_(m_2)
    m_3.add_(m_4)
    torch.add(m_1, m_3, alpha=4, out=y_2)
    torch.add(m_0, m_1, out=y_0).add_(m_3)
    return out


def spread_grad(y: Tensor) -> Tensor:
    """The adjoint of ``gather``, [B, H, W, K] -> [B, H/4, W, 6, K]."""
    B, H, W, K = y.shape
    y_0, y_1, y_2, y_3 = y.unflatten(1, (H // 4, 4)).unbind(2)
    out = y.new_empty(B, H // 4, W, PRODUCTS, K)
    m_0, m_1, m_2, m_3, m_4, m_5 = out.unbind(3)
    torch.add(y_0, y_2, out=m_1)
    torch.add(y_1, y_3, out=m_0)
    torch.sub(m_1, m_0, out=m_2)
    m_1.add_(m_0)
    torch.add(y_0, y_2, alpha=4, out=m_3)
    torch.add(y_1, y_3, alpha=4, out=m_0)
    torch.sub(m_3, m_0, alpha=2, out=m_4)
    m_3.add_(m_0, alpha=2)
    m_0.copy_(y_0)
    m_5.copy_(y_3)
    return out


def kernels_of_two(weight: Tensor) -> tuple[Tensor, ...]:
    """Of F(2, 3), [K, C, 3, 3] -> 4 times [K, C, 1, 3]; the last one has the sign of its sum."""
    g_0, g_1, g_2 = weight.split(1, 2)
    ends = g_0 + g_2
    return g_0, (ends + g_1) / 2, (ends - g_1) / 2, -g_2


def spread_to_two(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Of F(2, 3), padded [B, H+2, W, C] -> [4, B, H/2, W, C] in ``dtype``."""
    B, rows, W, C = x.shape
    d_0, d_1, d_2, d_3 = (x[:, j : j + rows - 3 : 2] for j in range(4))
    out = x.new_empty(4, B, rows // 2 - 1, W, C, dtype=dtype)
    torch.sub(d_0, d_2, out=out[0])
    torch.add(d_1, d_2, out=out[1])
    torch.sub(d_2, d_1, out=out[2])
    torch.sub(d_1, d_3, out=out[3])
    return out


def gather_two(products: Sequence[Tensor], out: Tensor) -> None:
    """Of F(2, 3), 4 times [B, H/2, W, K] -> ``out``, [B, H, W, K]."""
    m_0, m_1, m_2, m_3 = products
    y_0, y_1 = out.unflatten(1, (-1, 2)).unbind(2)
    torch.add(m_1, m_2, out=y_0).add_(m_0)
    torch.sub(m_1, m_2, out=y_1).add_(m_3)


def _as_groups(products: Tensor) -> Tensor:
    """[B, H/4, W, 6, C] -> [B, 6 C, H/4, W] of the same memory."""
    return products.flatten(3).permute(0, 3, 1, 2)
