"""Settings of the codec: how a profile is learned, how files are written."""

from dataclasses import dataclass
from typing import Annotated

from ddpm_train.leaves import Range, Seed


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationSettings:
    """What a profile is learned from."""

    n: Annotated[int, Range(0)] = 256  # training images, drawn by the seed; 0: all
    rows: Annotated[int, Range(8, 1000)] = 48  # times at which the error curve is measured
    noise: Annotated[float, Range(0)] = 16.0  # levels of it where the chain may end, at most
    tolerance: Annotated[float, Range(0, 1)] = 2e-4  # levels two machines may differ by, at least
    seed: Seed = 0  # of the images and the noise


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionSettings:
    """How files are written; reading them needs none of it."""

    bits: Annotated[float, Range(0)] = 0.0  # end before so many bits/dim; 0: with everything
    rmse: Annotated[float, Range(0)] = 0.0  # end at this error in levels; 0: with everything
    effort: Annotated[int, Range(10, 16)] = 13  # how long good codewords are looked for
    portable: bool = True  # exact on other machines too

    @property
    def survivors(self) -> int:
        """How many prefixes the search keeps."""
        return 1 << (self.effort - 2)

    @property
    def prefixes(self) -> int:
        """How many beginnings of a file are kept over its short layers: 1 below effort 14."""
        return 1 << max(0, self.effort - 13)

    @property
    def lossless(self) -> bool:
        """Whether files hold the exact pixels."""
        return not (self.bits or self.rmse)


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveSettings:
    """How an archive is written; reading it needs none of it."""

    stride: Annotated[float, Range(0)] = 0.5  # bits that one more stride of a tile has to save
    portable: bool = True  # its network is evaluated in float64, so that any machine reads it
    check: bool = True  # whether the archive is read again before it is given
