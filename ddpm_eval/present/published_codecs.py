"""Published curves of codecs on CIFAR-10, with what their rates count (``codecs.toml``)."""

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

COLOURS = 3  # numbers in a pixel


@dataclass(frozen=True, slots=True)
class PublishedCurve:
    """PSNR over rate.

    Attributes:
        name: Of the codec.
        counted: What a rate is: files, estimates, sums of KL terms.
        bpp: Bits per pixel, rising.
        psnr: In dB; infinite where the pixels are exact.
    """

    name: str
    counted: str
    bpp: tuple[float, ...]
    psnr: tuple[float, ...]

    @property
    def points(self) -> list[tuple[float, float]]:
        """Bits/dim and PSNR, without the exact pixels and without nothing sent."""
        pairs = zip(self.bpp, self.psnr, strict=True)
        return [(bpp / COLOURS, psnr) for bpp, psnr in pairs if bpp and math.isfinite(psnr)]

    @property
    def last(self) -> float:
        """Bits/dim at the end of the curve."""
        return self.bpp[-1] / COLOURS

    @property
    def is_counted_in_bytes(self) -> bool:
        """Whether rates are of files, and not of what files might need."""
        return self.counted.startswith("bytes")

    @property
    def is_lossless(self) -> bool:
        """Whether the end of the curve has the exact pixels."""
        return math.isinf(self.psnr[-1])


@dataclass(frozen=True, slots=True)
class PublishedCodecs:
    """All curves, their source and what they were measured on."""

    source: str
    protocol: str
    curves: tuple[PublishedCurve, ...]


@cache
def published_codecs() -> PublishedCodecs:
    """Read the curves.

    >>> bpg = next(curve for curve in published_codecs().curves if curve.name == "BPG")
    >>> round(bpg.last, 2), bpg.is_lossless, bpg.counted
    (4.74, True, 'bytes, as the source gives them')
    """
    text = resources.files("ddpm_eval.present").joinpath("codecs.toml").read_text("utf-8")
    content = tomllib.loads(text)
    curves = (
        PublishedCurve(row["name"], row["counted"], tuple(row["bpp"]), tuple(row["psnr"]))
        for row in content["curves"]
    )
    return PublishedCodecs(content["source"], content["protocol"], tuple(curves))
