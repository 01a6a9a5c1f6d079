"""The network as the codec sees it: x_0_hat of x_t, arrays in and out."""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch

from ddpm_eval.codec.words import START, Array, normals
from ddpm_eval.model import Model
from ddpm_train.errors import FixableError

Estimate: TypeAlias = Callable[[Array, int], Array]
"""x_0_hat in [-1, 1] of x_t [B, C, H, W] at a row of the schedule, in the model's precision.

Where the profile uses it, what the network expects to miss in each pixel lies behind x_0_hat, along
the channels: [B, 2 C, H, W] float64.
"""


class NotANumber(FixableError):
    """The network gives NaN."""


def estimator(model: Model, *, batch: int, errors: bool = False) -> Estimate:
    """Evaluate a model's network on ``batch`` tiles at a time.

    Args:
        model: The model.
        batch: How many tiles.
        errors: Whether M of every pixel is wanted too, of a network of learned variances.
    """
    dtype = torch.float64 if model.dtype == torch.float64 else torch.float32

    @torch.inference_mode()
    def estimate(x_t: Array, row: int) -> Array:
        """Evaluate.

        Raises:
            NotANumber: The network gives NaN.
        """
        parts = []
        for part in torch.from_numpy(x_t).split(batch):
            x = part.to(model.device, model.dtype)
            k = torch.full((len(x),), row)
            output = model.denoise.evaluate(x, k)
            x_0_hat = model.denoise.read(output, x, k, clip=True).x_0_hat.to(dtype).cpu()
            if errors:
                missed = model.denoise.pixel_errors(output.to(dtype).cpu(), k)
                x_0_hat = torch.cat([x_0_hat.double(), missed], 1)
            parts.append(x_0_hat.numpy())
        whole = np.concatenate(parts)
        if np.isnan(whole).any():
            raise NotANumber(
                f"{model.facts.name or 'model'}: its network gives NaN at t = {row:,}",
                "take an earlier checkpoint; this training has failed",
            )
        return whole

    return estimate


def fingerprint(estimate: Estimate, shape: Sequence[int], rows: Sequence[int]) -> str:
    """What the network computes here to the last bit: 16 hex digits of a SHA-256.

    Two machines with the same fingerprint compute files alike, almost certainly.
    """
    sha = hashlib.sha256()
    count = int(np.prod(shape))
    for row in rows:
        x_t = normals(START, row, count).reshape(1, *shape)
        sha.update(np.ascontiguousarray(estimate(x_t, row)).tobytes())
    return sha.hexdigest()[:16]
