"""What every source of images gives, and the one crossing between uint8 and [-1, 1]."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ddpm_train.config import Filter
from ddpm_train.errors import FixableError

Split = Literal["train", "test"]
CHANNELS = (1, 3)  # gray and RGB
Pixels: TypeAlias = NDArray[np.uint8]
"""Images as they are stored, [n, H, W, C], levels 0..255."""


class Images(Protocol):
    """Images in a fixed order, safe to read from threads and after a fork."""

    @property
    def name(self) -> str:
        """What they are, for people: ``CIFAR-10 train``."""

    @property
    def digest(self) -> str:
        """SHA-256 (hex) that changes with the images, their order or their form."""

    def __len__(self) -> int: ...

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Give the images at these indices, [len(indices), H, W, C] uint8, a fresh array."""


@dataclass(frozen=True, slots=True)
class Form:
    """What the network expects of an image, and how one of another size gets there."""

    image_size: int
    channels: int
    resize: Filter = "none"
    remedy: str = ""  # what to say about another size, where it is not a setting of training

    def __str__(self) -> str:
        return f"{self.image_size}x{self.image_size}x{self.channels}, resize {self.resize}"

    def fit(self, picture: Image.Image) -> Image.Image:
        """Centre-crop to a square, then resize with the filter that the settings name."""
        size = (self.image_size, self.image_size)
        if picture.size == size:
            return picture
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        return square.resize(size, Image.Resampling[self.resize.upper()])

    def check_size(self, width: int, height: int, what: str) -> None:
        """Refuse ``what`` if it has another size and nothing says how to resize it.

        Raises:
            FixableError: Names both sizes.
        """
        if self.resize == "none" and (width, height) != (self.image_size, self.image_size):
            trained = f", or set unet.image_size={width}" if width == height else ""
            raise FixableError(
                f"{what}: {width}x{height} pixels; {self.image_size}x{self.image_size} expected",
                self.remedy or f"set data.resize=lanczos (centre crop, then resize){trained}",
            )


@dataclass(frozen=True, eq=False)
class Stack:
    """Images held in memory, C-contiguous. Their digest covers every pixel."""

    name: str
    pixels: Pixels

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the shape and all pixels in order."""
        sha = hashlib.sha256(repr(self.pixels.shape).encode())
        sha.update(self.pixels.data)
        return sha.hexdigest()

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Give the images at these indices."""
        return self.pixels[np.asarray(indices, np.int64)]


def stack(name: str, pixels: Pixels, form: Form) -> Stack:
    """Hold images [n, H, W, C] in memory in the form that the network expects.

    Raises:
        FixableError: They have another number of channels, or another size and no resize is set.
    """
    n, height, width, channels = pixels.shape
    if channels not in CHANNELS:
        raise FixableError(
            f"{name}: {channels} channels; images that can be shown have 1 or 3",
            "write them as [n, H, W, C], gray or RGB, with the channels last",
        )
    if channels != form.channels:
        raise FixableError(
            f"{name}: {channels} channel(s); {form.channels} expected",
            f"set unet.channels={channels}",
        )
    form.check_size(width, height, name)
    if (height, width) != (form.image_size, form.image_size):
        planes = [Image.fromarray(plane) for image in pixels for plane in np.moveaxis(image, 2, 0)]
        fitted = np.stack([np.asarray(form.fit(plane)) for plane in planes])
        pixels = np.moveaxis(fitted.reshape(n, channels, *fitted.shape[1:]), 1, 3)
    return Stack(name, np.ascontiguousarray(pixels))


def own_name(name: str) -> str:
    """What a user's images are called: never as a published data set is.

    >>> own_name("faces"), own_name("CIFAR-10"), own_name("digits")
    ('faces', 'CIFAR-10 (own copy)', 'digits (own copy)')
    """
    plain = "".join(sign for sign in name.lower() if sign.isalnum())
    return f"{name} (own copy)" if plain in ("cifar10", "digits") else name


# ---------------------------------------------------------------------- uint8 <-> [-1, 1]


def to_model(pixels: Pixels) -> Tensor:
    """Turn levels 0..255 [n, H, W, C] into what the network sees: x / 127.5 - 1, [n, C, H, W].

    >>> to_model(np.array([[[[0], [255]]]], np.uint8))
    tensor([[[[-1.,  1.]]]])
    """
    planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
    return torch.from_numpy(planes).float() / 127.5 - 1


def to_uint8(x: Tensor) -> Pixels:
    """Turn a model's images [n, C, H, W] into levels 0..255 [n, H, W, C]: clip, then round.

    Truncating instead loses a level on 63 of the 256 in float32.

    Raises:
        FixableError: A pixel is NaN, which no level stands for.

    >>> to_uint8(torch.tensor([-3.0, -1.0, 0.0, 0.99, 1.0]).view(1, 1, 1, 5)).ravel()
    array([  0,   0, 128, 254, 255], dtype=uint8)
    """
    if x.isnan().any():
        raise FixableError("the images hold NaN", "use an earlier checkpoint, or float32")
    levels = ((x.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
