"""The fast paths that this processor has; ``DDPM_FAST=0`` in the environment masks them all.

Results differ by rounding alone. Tests that run once more with the mask cover processors without
such paths.
"""

import os
import platform

import torch

ENABLED = os.environ.get("DDPM_FAST", "1") != "0"
_X86 = platform.machine().lower() in ("x86_64", "amd64")
_POINTWISE = "_convolution_pointwise"  # convolutions of packed weights; not part of torch's API


def saves_products() -> bool:
    """Whether fewer multiplications are faster: other processors' libraries do so by themselves."""
    return ENABLED and _X86


def multiplies_bf16() -> bool:
    """Whether bf16 numbers are multiplied by the processor itself, not emulated."""
    return ENABLED and (not _X86 or torch.cpu._is_avx512_bf16_supported() or has_matrix_units())


def has_matrix_units() -> bool:
    """Whether products of bf16 matrices cost less than the sums that would save them."""
    return ENABLED and bool(torch.cpu._is_amx_tile_supported())


def packs_weights() -> bool:
    """Whether convolutions take weights that are laid out for them once."""
    available = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, _POINTWISE)
    return ENABLED and bool(available)
