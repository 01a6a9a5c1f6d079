"""3x3 convolutions with fewer multiplications, on CPUs.

Winograd's F(4, 3), along the height alone: with d the six rows of pixels under four rows of the
output and g the three rows of a kernel,

    y = A' [(G g) * (B' d)]

takes six products, each a 1x3 convolution along the width, where the definition takes twelve. One
dimension is enough: in two, the transforms cost more than the products that they save, and the
rounding grows.

The kernel and the pixels, as polynomials, are evaluated at 0, a, -a, b, -b and infinity. The usual
points are 1 and 2; with a = 1/sqrt(2) and b = sqrt(2) = 2a the four rows of the output are rounded
about alike, and the error falls by a third, to less than twice that of the direct sum:

        | 1   0  -5/2  0   1   0 |       |   1     0     0  |
        | 0  -b  -2    a   1   0 |       | -1/3  -a/3  -1/6 |        | 1  2   2  1   1  0 |
   B' = | 0   b  -2   -a   1   0 |   G = | -1/3   a/3  -1/6 |   A' = | 0  b  -b  b  -b  0 |
        | 0  -a  -1/2  b   1   0 |       |  1/6   b/6   1/3 |        | 0  1   1  2   2  0 |
        | 0   a  -1/2 -b   1   0 |       |  1/6  -b/6   1/3 |        | 0  a  -a 2b -2b  1 |
        | 0   1   0  -5/2  0   1 |       |   0     0     1  |

Activations are [B, H, W, C] here. The six products lie side by side as groups of channels,
[B, H/4, W, 6, C], so that one grouped convolution makes them all. Where they are in bf16, the sums
before and after them are in float32 and rounded once: here and below.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ddpm_train.fast import capability

PRODUCTS = 6
_A, _B = 0.5**0.5, 2**0.5
_LEAST_ROWS = 8  # and channels: below, the sums cost more than they save
LEAST_CHANNELS = {torch.float32: 64, torch.bfloat16: 128}


def suits(channels_in: int, channels: int, rows: int, dtype: torch.dtype) -> bool:
    """Whether a 3x3 convolution, padded with 1, is faster this way on this processor."""
    least = LEAST_CHANNELS.get(dtype)
    many = least is not None and min(channels_in, channels) >= least
    pays = capability.saves_products() and sums_pay(dtype)
    return pays and many and rows >= _LEAST_ROWS and rows % 4 == 0


def sums_pay(dtype: torch.dtype) -> bool:
    """Whether sums cost less than the products that they save: with matrix units they do not."""
    return dtype != torch.bfloat16 or not capability.has_matrix_units()


def convolve(x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """``conv2d(x, weight, bias, padding=1)``, [B, C, H, W] -> [B, K, H, W], ``channels_last``.

    The products and the output have ``dtype``, by default that of ``x``.
    """
    y: Tensor = _Convolution.apply(x, weight, bias, dtype or x.dtype)
    return y


class _Convolution(torch.autograd.Function):
    """The three transforms, and backwards their adjoints: half the multiplications there too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, dtype: torch.dtype) -> Tensor:
        v = transform_input(pad(x.permute(0, 2, 3, 1)), dtype)
        u = transform_kernel(widen(weight)).to(dtype)
        # In bf16 save u and v: v is no larger than x in float32, and u is not computed twice.
        ctx.transformed = dtype == torch.bfloat16
        ctx.save_for_backward(*((v, u) if ctx.transformed else (x, weight)))
        ctx.dtypes = x.dtype, weight.dtype
        products = multiply(v, u, transform_bias(widen(bias)).to(dtype))
        B, _, H, W = x.shape
        # Not a view: autograd lets no view be changed in place afterwards.
        y = torch.empty((B, len(bias), H, W), dtype=dtype, memory_format=torch.channels_last)
        transform_output(products, out=y.permute(0, 2, 3, 1))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        v, u = ctx.saved_tensors
        if not ctx.transformed:
            v, u = transform_input(pad(v.permute(0, 2, 3, 1)), v.dtype), transform_kernel(u)
        grad, (of_x, of_weight) = grad.permute(0, 2, 3, 1), ctx.dtypes
        needs = [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False]
        along_v, along_u, _ = torch.ops.aten.convolution_backward(
            *(_as_groups(transform_output_grad(grad, v.dtype)), _as_groups(v), u),
            *(None, (1, 1), (0, 1), (1, 1), False, (0, 0), PRODUCTS, needs),
        )
        along_x = along_weight = along_bias = None
        if needs[0]:
            products = along_v.permute(0, 2, 3, 1).unflatten(3, (PRODUCTS, -1))
            along_x = transform_input_grad(products).permute(0, 3, 1, 2).to(of_x)
        if needs[1]:
            along_weight = transform_kernel_grad(widen(along_u)).to(of_weight)
        if ctx.needs_input_grad[2]:
            along_bias = grad.sum((0, 1, 2), dtype=of_weight)
        return along_x, along_weight, along_bias, None


def pad(x: Tensor) -> Tensor:
    """Add a row of zeros above and below, [B, H, W, C] -> [B, H+2, W, C], as wide as sums."""
    B, H, W, C = x.shape
    padded = x.new_empty(B, H + 2, W, C, dtype=torch.promote_types(x.dtype, torch.float32))
    padded[:, :: H + 1].zero_()
    padded[:, 1:-1] = x
    return padded


def transform_kernel(weight: Tensor) -> Tensor:
    """G g, [K, C, 3, 3] -> [6 K, C, 1, 3]."""
    K, C, _, width = weight.shape
    g_0, g_1, g_2 = weight.permute(2, 0, 3, 1)
    out = weight.new_empty(PRODUCTS, K, width, C)
    out[0].copy_(g_0)
    even = torch.mul(g_0, -1 / 3).sub_(g_2, alpha=1 / 6)
    torch.sub(even, g_1, alpha=_A / 3, out=out[1])
    torch.add(even, g_1, alpha=_A / 3, out=out[2])
    torch.mul(g_0, 1 / 6, out=even).add_(g_2, alpha=1 / 3)
    torch.add(even, g_1, alpha=_B / 6, out=out[3])
    torch.sub(even, g_1, alpha=_B / 6, out=out[4])
    out[5].copy_(g_2)
    return out.view(PRODUCTS * K, 1, width, C).permute(0, 3, 1, 2)


def transform_kernel_grad(grad: Tensor) -> Tensor:
    """The adjoint of ``transform_kernel``, [6 K, C, 1, 3] -> [K, C, 3, 3]."""
    u = grad.permute(0, 2, 3, 1).unflatten(0, (PRODUCTS, -1)).squeeze(2)  # [6, K, 3, C]
    out = grad.new_empty(u.shape[1], 3, *u.shape[2:])
    one, two = u[1] + u[2], u[3] + u[4]
    torch.sub(u[0], one, alpha=1 / 3, out=out[:, 0]).add_(two, alpha=1 / 6)
    torch.sub(u[5], one, alpha=1 / 6, out=out[:, 2]).add_(two, alpha=1 / 3)
    torch.sub(u[2], u[1], out=one)
    torch.sub(u[3], u[4], out=two)
    torch.mul(one, _A / 3, out=out[:, 1]).add_(two, alpha=_B / 6)
    return out.permute(0, 3, 1, 2)


def transform_bias(bias: Tensor) -> Tensor:
    """A bias of the products that reaches each of the four rows once, [K] -> [6 K]."""
    shares = bias.new_tensor([0, 1 + _B, 1 - _B, 1 + _A, 1 - _A, 0]) / 6
    return (shares[:, None] * bias).flatten()


def transform_input(x: Tensor, dtype: torch.dtype) -> Tensor:
    """B' d of every four rows, padded [B, H+2, W, C] -> [B, H/4, W, 6, C] in ``dtype``."""
    B, rows, W, C = x.shape
    d_0, d_1, d_2, d_3, d_4, d_5 = (x[:, j : j + rows - 5 : 4] for j in range(6))
    out = x.new_empty(B, rows // 4, W, PRODUCTS, C, dtype=dtype)
    v_0, v_1, v_2, v_3, v_4, v_5 = out.unbind(3)
    even, odd = torch.sub(d_4, d_2, alpha=2), torch.sub(d_3, d_1, alpha=2)
    torch.add(even, odd, alpha=_A, out=v_1)
    torch.sub(even, odd, alpha=_A, out=v_2)
    torch.sub(d_4, d_2, alpha=0.5, out=even)
    torch.sub(d_3, d_1, alpha=0.5, out=odd)
    torch.add(even, odd, alpha=_B, out=v_3)
    torch.sub(even, odd, alpha=_B, out=v_4)
    torch.add(d_0, d_4, out=even)
    torch.add(d_1, d_5, out=odd)
    torch.sub(even, d_2, alpha=2.5, out=v_0)
    torch.sub(odd, d_3, alpha=2.5, out=v_5)
    return out


def transform_input_grad(v: Tensor) -> Tensor:
    """The adjoint of ``transform_input(pad(x))``, [B, H/4, W, 6, C] -> [B, H, W, C]."""
    B, fours, W, _, C = v.shape
    v_0, v_1, v_2, v_3, v_4, v_5 = _for_sums(v)
    out = v_0.new_empty(B, 4 * fours + 2, W, C)
    d_0, d_1, d_2, d_3 = (out[:, j : j + 4 * fours - 3 : 4] for j in range(4))
    one, two = v_1 - v_2, v_3 - v_4
    torch.sub(v_5, one, alpha=_B, out=d_1).sub_(two, alpha=_A)
    torch.mul(v_5, -2.5, out=d_3).add_(one, alpha=_A).add_(two, alpha=_B)
    torch.add(v_1, v_2, out=one)
    torch.add(v_3, v_4, out=two)
    torch.mul(v_0, -2.5, out=d_2).sub_(one, alpha=2).sub_(two, alpha=0.5)
    d_0.copy_(v_0)
    out[:, 4 * fours :].zero_()
    out[:, 4::4] += one.add_(two).add_(v_0)
    out[:, 5::4] += v_5
    return out[:, 1:-1]


def multiply(v: Tensor, u: Tensor, bias: Tensor) -> Tensor:
    """(G g) * (B' d), [B, H/4, W, 6, C] -> [B, H/4, W, 6, K]."""
    m = F.conv2d(_as_groups(v), u, bias, padding=(0, 1), groups=PRODUCTS)
    products: Tensor = m.permute(0, 2, 3, 1).unflatten(3, (PRODUCTS, -1))
    return products


def transform_output(m: Tensor, out: Tensor) -> None:
    """A' m, [B, H/4, W, 6, K] -> ``out``, [B, H, W, K]; ``m`` may be used up."""
    y_0, y_1, y_2, y_3 = out.unflatten(1, (-1, 4)).unbind(2)
    m_0, m_1, m_2, m_3, m_4, m_5 = _for_sums(m)
    one, two = m_1 - m_2, m_3 - m_4
    m_1.add_(m_2)
    m_3.add_(m_4)
    torch.add(m_1, m_3, alpha=2, out=y_2)
    torch.add(m_0.add_(m_1, alpha=2), m_3, out=y_0)
    torch.mul(torch.add(one, two, out=m_2), _B, out=y_1)
    torch.add(m_5.add_(one, alpha=_A), two, alpha=2 * _B, out=y_3)


def transform_output_grad(y: Tensor, dtype: torch.dtype) -> Tensor:
    """The adjoint of ``transform_output``, [B, H, W, K] -> [B, H/4, W, 6, K] in ``dtype``."""
    B, H, W, K = y.shape
    y_0, y_1, y_2, y_3 = _for_sums(y.unflatten(1, (-1, 4)), 2)
    out = y.new_empty(B, H // 4, W, PRODUCTS, K, dtype=dtype)
    m_0, m_1, m_2, m_3, m_4, m_5 = out.unbind(3)
    m_0.copy_(y_0)
    m_5.copy_(y_3)
    even, odd = torch.add(y_2, y_0, alpha=2), torch.add(y_1, y_3, alpha=0.5)
    torch.add(even, odd, alpha=_B, out=m_1)
    torch.sub(even, odd, alpha=_B, out=m_2)
    torch.add(y_0, y_2, alpha=2, out=even)
    torch.add(y_1, y_3, alpha=2, out=odd)
    torch.add(even, odd, alpha=_B, out=m_3)
    torch.sub(even, odd, alpha=_B, out=m_4)
    return out


def _for_sums(parts: Tensor, dim: int = 3) -> list[Tensor]:
    return [widen(part) for part in parts.unbind(dim)]


def widen(x: Tensor) -> Tensor:
    """Convert to the precision of sums."""
    return x.float() if x.dtype == torch.bfloat16 else x


def _as_groups(products: Tensor) -> Tensor:
    """[B, H/4, W, 6, C] -> [B, 6 C, H/4, W] of the same memory."""
    return products.flatten(3).permute(0, 3, 1, 2)
