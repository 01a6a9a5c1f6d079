"""Other image codecs: how each one is set, and the bytes and the error that come of it.

Every byte of a file counts: its head, its container, its tables. Of two settings with the same
error the one with fewer bytes is taken: bare codestreams, where a program writes them, and colours
at full resolution, because these pictures are small.
"""

import importlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import numpy as np
from PIL import Image, features

from ddpm_train.data.images import Pixels

PLUGIN, PACKAGE = "pillow_jxl", "pillow-jxl-plugin"
_QUALITIES = (5, 15, 30, 45, 60, 70, 80, 88, 94, 98)
_DECIBELS = (15, 20, 25, 30, 35, 40, 45)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCodec:
    """One codec.

    Attributes:
        name: What people call it.
        format: What Pillow calls it.
        feature: What Pillow was built with where it can write it; empty: a plugin's.
        exact: Settings that keep every pixel; None: it has none.
        lossy: Settings from few bytes to many.
        colour: Settings of colour images alone.
    """

    name: str
    format: str
    feature: str = ""
    exact: Mapping[str, Any] | None = None
    lossy: tuple[Mapping[str, Any], ...] = ()
    colour: Mapping[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """The version of the program that writes it; empty where none is installed."""
        if not self.feature:
            return metadata.version(PACKAGE) if find_spec(PLUGIN) else ""
        return str(features.version(self.feature)) if features.check(self.feature) else ""

    def encode(self, picture: Pixels, settings: Mapping[str, Any]) -> bytes:
        """Write a picture [H, W, 1 or 3] as a file."""
        if not self.feature:
            importlib.import_module(PLUGIN)
        out, is_grey = io.BytesIO(), picture.shape[2] == 1
        image = Image.fromarray(picture[..., 0] if is_grey else picture)
        image.save(out, self.format, **settings, **({} if is_grey else self.colour))
        return out.getvalue()

    def decode(self, data: bytes, channels: int) -> Pixels:
        """Read a picture [H, W, channels] from a file that ``encode`` wrote."""
        with Image.open(io.BytesIO(data), formats=(self.format,)) as image:
            levels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
        return levels.reshape(*levels.shape[:2], channels)


def _qualities(**settings: Any) -> tuple[Mapping[str, Any], ...]:
    return tuple({"quality": quality, **settings} for quality in _QUALITIES)


CODECS = (
    ImageCodec(name="PNG", format="PNG", feature="zlib", exact={"optimize": True}),
    ImageCodec(
        name="WebP",
        format="WEBP",
        feature="webp",
        exact={"lossless": True, "quality": 100, "method": 6},
        lossy=_qualities(method=6),
    ),
    ImageCodec(
        name="JPEG XL",
        format="JXL",
        exact={"lossless": True, "effort": 9},
        lossy=_qualities(effort=7),
    ),
    ImageCodec(
        name="JPEG 2000",
        format="JPEG2000",
        feature="jpg_2000",
        exact={"irreversible": False, "no_jp2": True, "num_resolutions": 3},
        lossy=tuple(
            {
                **{"irreversible": True, "no_jp2": True, "num_resolutions": 3},
                **{"quality_mode": "dB", "quality_layers": [decibels]},
            }
            for decibels in _DECIBELS
        ),
        colour={"mct": 1},
    ),
    ImageCodec(
        name="AVIF",
        format="AVIF",
        feature="avif",
        lossy=_qualities(speed=4),
        colour={"subsampling": "4:4:4"},
    ),
    ImageCodec(
        name="JPEG",
        format="JPEG",
        feature="jpg",
        lossy=_qualities(optimize=True),
        colour={"subsampling": "4:4:4"},
    ),
)
"""The one registry of codecs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A codec with settings; ``is_exact`` where these keep every pixel."""

    codec: ImageCodec
    settings: Mapping[str, Any]
    is_exact: bool = False

    def run(self, picture: Pixels) -> tuple[int, float]:
        """Write a picture and read it back: the bytes, and the mean squared error in levels."""
        data = self.codec.encode(picture, self.settings)
        missed = self.codec.decode(data, picture.shape[2]) - picture.astype(np.float64)
        return len(data), float(np.square(missed).mean())


def trials() -> list[Trial]:
    """Every setting of every codec that is installed."""
    installed = [codec for codec in CODECS if codec.version]
    return [
        trial
        for codec in installed
        for trial in (
            *([] if codec.exact is None else [Trial(codec, codec.exact, is_exact=True)]),
            *(Trial(codec, settings) for settings in codec.lossy),
        )
    ]


def absent() -> list[str]:
    """The names of the codecs that are not installed."""
    return [codec.name for codec in CODECS if not codec.version]
