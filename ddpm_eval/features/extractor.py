"""What every extractor is, and what it gives."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple, Protocol

import torch

from ddpm_eval.record.arrays import Array
from ddpm_train.data.images import Pixels


class Features(NamedTuple):
    """What an extractor says of B images, float32."""

    pool: Array  # [B, dim]: what distances are taken in
    logits: Array  # [B, classes]: what the Inception score is taken from
    spatial: Array | None = None  # [B, spatial_dim]: what sFID is taken in


class Extractor(Protocol):
    """A network with fixed weights that takes uint8 images [B, H, W, C]."""

    @property
    def name(self) -> str:
        """Which network."""

    @property
    def digest(self) -> str:
        """SHA-256 of its weights."""

    @property
    def suffix(self) -> str:
        """What a measure's name carries: nothing for the published Inception, or ``(name)``."""

    @property
    def preprocessing(self) -> str:
        """What happens to an image before the network sees it."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The dimensions of ``pool``, ``logits`` and ``spatial``; the last is 0 without it."""

    @property
    def batch(self) -> int:
        """How many images to hand over at once on this device."""

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse images of a shape [H, W, C] that the network was not made for."""

    def __call__(self, pixels: Pixels) -> Features:
        """Give the features of images."""


@contextlib.contextmanager
def exactly(device: torch.device) -> Iterator[None]:
    """Compute in float32 and nothing shorter, the same each time, however samples are drawn.

    A GPU otherwise takes TF32 for convolutions by default, and for products where it was asked to.
    """
    if device.type != "cuda":
        yield
        return
    products = torch.backends.cuda.matmul
    before, products.allow_tf32 = products.allow_tf32, False
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        products.allow_tf32 = before
