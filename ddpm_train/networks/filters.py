"""Half and twice the size by a filter: (1, 3, 3, 1), as in StyleGAN2 and NCSN++.

The kernel K is the outer product of (1, 3, 3, 1) / 8 with itself. Outside the image are zeros.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_TAPS = (1.0, 3.0, 3.0, 1.0)


def kernel_for(x: Tensor) -> Tensor:
    """K for every channel of x, [C, 1, 4, 4]."""
    taps = torch.tensor(_TAPS, device=x.device, dtype=x.dtype) / sum(_TAPS)
    return torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)


def halve(x: Tensor) -> Tensor:
    """Filter, then keep every second pixel, [B, C, H, W] -> [B, C, H/2, W/2].

    >>> halve(torch.ones(1, 1, 4, 4)).flatten().tolist() == [0.765625] * 4
    True
    """
    return F.conv2d(x, kernel_for(x), stride=2, padding=1, groups=x.shape[1])


def double(x: Tensor) -> Tensor:
    """Put zeros between pixels and filter with 4 K, [B, C, H, W] -> [B, C, 2H, 2W].

    >>> double(torch.ones(1, 1, 4, 4))[0, 0, 3, 3].item()
    1.0
    """
    kernel = 4 * kernel_for(x)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


def blur(x: Tensor) -> Tensor:
    """Filter what a 3x3 convolution with a stride of 2 then halves, [B, C, H, W] -> H+1, W+1."""
    return F.conv2d(x, kernel_for(x), padding=2, groups=x.shape[1])
