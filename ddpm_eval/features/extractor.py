"""An extractor: a network with fixed weights that turns images into features."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ddpm_eval.features.resizing import RESIZERS
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.protocol import ExtractorFacts
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError


class Features(NamedTuple):
    """The features of B images, float32."""

    pool: Array  # [B, dim]: distances are taken in them
    logits: Array | None = None  # [B, classes]: the Inception score is taken from them
    spatial: Array | None = None  # [B, spatial_dim]: sFID is taken in them


class Outputs(NamedTuple):
    """The same as tensors on the device, as a network gives them."""

    pool: Tensor
    logits: Tensor | None = None
    spatial: Tensor | None = None


Network = Callable[[Tensor], Outputs]
"""Maps levels 0..255, float32 [B, C, side, side] after resizing, to features."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What an extractor is, whatever its weights.

    Attributes:
        name: Which network, as it is called on the command line.
        dim: How many features it has.
        logits: Of how many classes it has logits; 0: none.
        spatial: How many spatial features it has; 0: none.
        channels: How many channels the network takes; gray images are repeated for 3.
        side: The height and width that the network takes.
        resizes: The published ways of bringing images to that size, the default first.
        normalisation: What happens to levels afterwards, for people and for the digest.
        published: SHA-256 of the published weights.
        plain: Whether numbers through the published weights and the default resizing carry no
            suffix: true of Inception alone.
        short: The name in a suffix, where it is another.
        classes: The names of what its logits tell, where a data set has the same ones.
        batch: Images at once on a CPU and on a GPU.
    """

    name: str
    dim: int
    logits: int = 0
    spatial: int = 0
    channels: int = 3
    side: int
    resizes: tuple[str, ...]
    normalisation: str
    published: str
    plain: bool = False
    short: str = ""
    batch: tuple[int, int] = (8, 128)
    classes: tuple[str, ...] = ()

    def preprocessing(self, resize: str) -> str:
        """What happens to an image before the network."""
        gray = "gray to RGB by repetition; " if self.channels == 3 else ""
        way = f"{RESIZERS[resize].about} to {self.side}x{self.side}; " if resize else ""
        return f"{gray}{way}{self.normalisation}"

    def suffix(self, digest: str, resize: str) -> str:
        """What the title of a metric carries behind it.

        >>> from ddpm_eval.features.inception import DESCRIPTION
        >>> DESCRIPTION.suffix(DESCRIPTION.published, "tf1")
        ''
        >>> DESCRIPTION.suffix(DESCRIPTION.published, "clean")
        '[clean]'
        >>> DESCRIPTION.suffix("0123456789abcdef", "clean")
        '(inception-01234567)[clean]'
        """
        network = "" if self.plain else f"({self.short or self.name})"
        if digest != self.published:
            network = f"({self.short or self.name}-{digest[:8]})"
        return network + (f"[{resize}]" if resize and resize != self.resizes[0] else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractor:
    """A network with its weights, and how images reach it: takes uint8 images [B, H, W, C].

    Attributes:
        description: What it is, whatever its weights.
        network: Maps resized levels to features.
        digest: SHA-256 of its weights.
        resize: The way of resizing, a key of ``RESIZERS``; empty: none.
        device: Where it computes.
    """

    description: Description
    network: Network
    digest: str
    resize: str
    device: torch.device

    @property
    def name(self) -> str:
        """Which network."""
        return self.description.name

    @property
    def suffix(self) -> str:
        """What the title of a metric carries: nothing for the published Inception and resizing."""
        return self.description.suffix(self.digest, self.resize)

    @property
    def preprocessing(self) -> str:
        """What happens to an image before the network sees it."""
        return self.description.preprocessing(self.resize)

    @property
    def facts(self) -> ExtractorFacts:
        """What a protocol says of it."""
        return ExtractorFacts(name=self.name, digest=self.digest, preprocessing=self.preprocessing)

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The numbers of features, of classes and of spatial features; 0 without them."""
        return self.description.dim, self.description.logits, self.description.spatial

    @property
    def batch(self) -> int:
        """How many images to hand over at once on this device."""
        return self.description.batch[self.device.type != "cpu"]

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse images of a shape [H, W, C] that the network was not made for.

        Raises:
            FixableError: They have other channels, or another size and the network resizes none.
        """
        height, width, channels = shape
        wanted, side = self.description.channels, self.description.side
        if not self.resize and (height, width, channels) != (side, side, wanted):
            raise FixableError(
                f"{self.name} looks at {side}x{side}x{wanted}; these images are "
                f"{height}x{width}x{channels}",
                "use extractor=inception",
            )
        if channels not in (1, wanted):
            raise FixableError(
                f"images of {channels} channels; {self.name} looks at gray or RGB", "convert them"
            )

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Features:
        """Give the features of images in float32 and nothing shorter."""
        with exactly(self.device):
            x = torch.from_numpy(pixels).to(self.device).permute(0, 3, 1, 2).float()
            x = x.expand(-1, self.description.channels, -1, -1)
            if self.resize:
                x = RESIZERS[self.resize].apply(x, self.description.side)
            outputs = self.network(x)
        pool, logits, spatial = outputs
        return Features(
            _array(pool),
            None if logits is None else _array(logits),
            None if spatial is None else _array(spatial),
        )


def _array(x: Tensor) -> Array:
    array: Array = x.float().cpu().numpy()
    return array


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
