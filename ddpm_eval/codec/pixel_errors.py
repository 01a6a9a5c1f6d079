"""A variance for every pixel, where the network learned what it misses (version 2 of the format).

A network of learned variances puts out, beside x_0_hat, the mean square M that it expects to miss
in each pixel. How far it can be relied on depends on t: a power of it shapes the profile's errors,

    error of coefficient u of band j = errors_j w_u 2^(scale / 3),   w = c (T o T) M^g,  g in [0, 1]

where (T o T) M^g are the variances of coefficients if the pixels' are M^g, and c keeps the sum of
the errors of a tile. So a tile's scale means what it means without M, and how many bits a layer has
follows from integers of the file alone. In the final stage h = 4 log2 M, on whose rounding both
sides agree as they do on means, is one more number that the scale of a pixel is linear in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.words import Array

REACH = 1024.0  # times more or less than the usual error: where M is cut off
STEPS = 4.0  # of h to a factor of 2 in M


@dataclass(frozen=True, slots=True)
class PixelErrors:
    """How a profile of version 2 uses what the network says of its errors.

    Attributes:
        block: The side of a block of the bands' transform.
        exponents: g at each row of the chain but the last, [K].
        tolerance: How far two machines may differ in h.
    """

    block: int
    exponents: tuple[float, ...]
    tolerance: float


class Evaluation(NamedTuple):
    """One evaluation of the network.

    Attributes:
        x_0_hat: [tiles, C, H, W].
        errors: M of every pixel, cut off at REACH, [tiles, C, H, W] float64; None: not used.
    """

    x_0_hat: Array
    errors: Array | None = None

    @property
    def logarithms(self) -> Array | None:
        """4 log2 of M, which the final stage rounds."""
        return None if self.errors is None else np.asarray(STEPS * np.log2(self.errors))

    def parts(self, count: int) -> list["Evaluation"]:
        """The evaluations of ``count`` pictures of as many tiles each."""
        errors = [None] * count if self.errors is None else np.split(self.errors, count)
        pairs = zip(np.split(self.x_0_hat, count), errors, strict=True)
        return [Evaluation(x_0_hat, own) for x_0_hat, own in pairs]


def split(output: Array, usual: float | None) -> Evaluation:
    """Take x_0_hat and M apart.

    Args:
        output: Of the network, ``network.Estimate``.
        usual: What M usually is; None: the profile does not use it, and it is not there.
    """
    if usual is None:
        return Evaluation(output)
    x_0_hat, errors = np.split(output, 2, axis=1)
    return Evaluation(x_0_hat, np.clip(errors, usual / REACH, usual * REACH))


def weights(bands: Bands, band_errors: Array, errors: Array, exponent: float) -> Array:
    """Give w of every coefficient, [tiles, n].

    Args:
        bands: The transform T.
        band_errors: errors_j, [J].
        errors: M of every pixel, [tiles, C, H, W].
        exponent: g.
    """
    variances = bands.variances(errors**exponent)
    usual = band_errors[bands.of]
    return np.asarray(variances * (usual.sum() / (variances @ usual))[:, None])
