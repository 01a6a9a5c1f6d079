"""Group norm and swish: exact on large images too, and with little memory on CPUs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

GROUPS = 32
_NAIVE_PIXELS = 32 * 32  # of which PyTorch's naive sums are exact enough


class _Normalise(torch.autograd.Function):
    """Group norm on a CPU and the swish behind it, if any; saves its input alone."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        groups_eps: tuple[int, float],
        swish: bool,  # noqa: FBT001 - autograd passes no names
    ) -> Tensor:
        B, C, H, W = x.shape
        groups, eps = groups_eps
        wide = _as_weights(x, weight)
        if _is_large(wide):
            mean, rstd = _exact_statistics(wide, groups, eps)
            normal = _scale_and_shift(wide, weight, bias, mean, rstd)
        else:
            sizes = B, C, H * W, groups
            normal, mean, rstd = torch.native_group_norm(wide, weight, bias, *sizes, eps)
        ctx.save_for_backward(x, weight, bias, mean, rstd)
        ctx.groups, ctx.swish = groups, swish
        return F.silu(normal, inplace=True) if swish else normal

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, mean, rstd = ctx.saved_tensors
        B, C, H, W = x.shape
        wide, grad = _as_weights(x, weight), _as_weights(grad, weight)
        if ctx.swish:
            normal = _scale_and_shift(wide, weight, bias, mean, rstd)
            grad = torch.ops.aten.silu_backward(grad, normal)
        sizes, needs = (B, C, H * W, ctx.groups), ctx.needs_input_grad[:3]
        along_x, along_weight, along_bias = torch.ops.aten.native_group_norm_backward(
            grad, wide, mean, rstd, weight, *sizes, needs
        )
        if along_x is not None:
            along_x = along_x.to(x.dtype)
        return along_x, along_weight, along_bias, None, None


def _as_weights(x: Tensor, weight: Tensor) -> Tensor:
    """Convert images to the weights' precision: bf16's own backward takes three times as long."""
    return x.to(weight.dtype).contiguous(memory_format=torch.channels_last)


def _is_large(x: Tensor) -> bool:
    """Whether PyTorch's sums over images of this size lose digits on a CPU."""
    return x.dtype == torch.float32 and x.shape[2] * x.shape[3] > _NAIVE_PIXELS


def _exact_statistics(x: Tensor, groups: int, eps: float) -> tuple[Tensor, Tensor]:
    """The mean and 1 / the deviation of each group, [B, groups], by sums that lose no digits."""
    B, _, H, W = x.shape
    mean, square = (
        v.sum((2, 3)).double().view(B, groups, -1).mean(2) / (H * W) for v in (x, x.square())
    )
    return mean.to(x.dtype), (square - mean.square() + eps).rsqrt().to(x.dtype)


def _scale_and_shift(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    """Normalise each channel by its group's mean and deviation, then scale and shift."""
    B, C, _, _ = x.shape
    groups = mean.shape[1]
    scale = weight.view(groups, -1) * rstd[:, :, None]
    shift = bias.view(groups, -1) - mean[:, :, None] * scale
    return torch.addcmul(shift.view(B, C, 1, 1), x, scale.view(B, C, 1, 1))


class GroupNorm(nn.GroupNorm):
    """PyTorch's, but as exact on large images as on small ones.

    On CPUs PyTorch sums ``channels_last`` images naively: at 256x256 its statistics lose two
    digits of seven, three where the mean is five times the deviation.
    """

    def forward(self, input: Tensor, *, swish: bool = False) -> Tensor:
        """Normalise each group of channels of each image, then scale and shift, [B, C, H, W].

        On CPUs in the precision of the weights.
        """
        if input.device.type == "cpu":
            if not torch.compiler.is_compiling():
                settings = self.weight, self.bias, (self.num_groups, self.eps), swish
                output: Tensor = _Normalise.apply(input, *settings)
                return output
            if _is_large(input):
                statistics = _exact_statistics(input, self.num_groups, self.eps)
                normal = _scale_and_shift(input, self.weight, self.bias, *statistics)
                return F.silu(normal) if swish else normal
        normal = super().forward(input)
        return F.silu(normal, inplace=not torch.is_grad_enabled()) if swish else normal
