"""The published ways of resizing images for a network: one entry each. They give other numbers.

FID moves by the resizing as much as by a better model (Parmar, Zhang and Zhu 2022), so numbers of
two ways never share a column.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate


class Resizer(NamedTuple):
    """Brings levels, float32 [B, C, H, W], to [B, C, side, side]; ``about`` names it in words."""

    apply: Callable[[Tensor, int], Tensor]
    about: str


def tf1(x: Tensor, side: int) -> Tensor:
    """Resize as TensorFlow 1 did: bilinear, corners and centres not aligned.

    The same operations in the same order as torch-fidelity's, so the same bits, but columns first,
    while there are few rows.
    """
    columns, beside, share = _grid(x.shape[3], side, x)
    left, right = x[..., columns], x[..., beside]
    x = left + (right - left) * share
    rows, below, share = _grid(x.shape[2], side, x)
    top, bottom = x[:, :, rows], x[:, :, below]
    return top + (bottom - top) * share[:, None]


def _grid(size: int, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``side`` places: the pixel before, the one after, and the latter's share."""
    scale = torch.tensor(size / side, dtype=torch.float32, device=like.device)
    places = torch.arange(side, dtype=torch.float32, device=like.device) * scale
    before = places.long()
    return before, (before + 1).clamp_max(size - 1), places - before


def antialias(x: Tensor, side: int) -> Tensor:
    """Resize as torchmetrics does since version 1.8: bilinear, centres aligned, antialiased."""
    return interpolate(x, (side, side), mode="bilinear", align_corners=False, antialias=True)


def bicubic(x: Tensor, side: int) -> Tensor:
    """Resize as EDM2 does for DINOv2: bicubic, antialiased, not rounded, beyond 0..255 too."""
    return interpolate(x, (side, side), mode="bicubic", align_corners=False, antialias=True)


def clean(x: Tensor, side: int) -> Tensor:
    """Resize as clean-fid does: bicubic, antialiased (Pillow's on floats), clipped to 0..255."""
    return bicubic(x, side).clamp(0, 255)


def plain_bicubic(x: Tensor, side: int) -> Tensor:
    """Resize as CMMD does for CLIP: bicubic without antialiasing, not rounded."""
    return interpolate(x, (side, side), mode="bicubic", align_corners=False)


def pillow(x: Tensor, side: int) -> Tensor:
    """Resize as dgm-eval does for DINOv2: Pillow's bicubic on 8 bits, rounded to whole levels."""
    levels = x.permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()
    resized = [
        np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))
        for image in levels
    ]
    return torch.from_numpy(np.stack(resized)).to(x.device).permute(0, 3, 1, 2).float()


RESIZERS: dict[str, Resizer] = {
    "tf1": Resizer(tf1, "TensorFlow 1's bilinear resize"),
    "antialias": Resizer(antialias, "bilinear resize with antialiasing (torchmetrics 1.8)"),
    "clean": Resizer(clean, "Pillow's bicubic resize on floats, clipped (clean-fid)"),
    "pillow": Resizer(pillow, "Pillow's bicubic resize on 8 bits (dgm-eval)"),
    "bicubic": Resizer(bicubic, "bicubic resize with antialiasing (EDM2)"),
    "plain-bicubic": Resizer(plain_bicubic, "bicubic resize without antialiasing (CMMD)"),
}
"""The one registry of ways of resizing, by the names that ``--protocols`` takes."""
