"""Bytes and errors of images as scores and curves: means over images, with their errors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_eval.measure.bound.facts import mean_bits, scored, stderr_of
from ddpm_eval.measure.bound.rate_distortion import GREY_LEVELS, root_mean
from ddpm_eval.measure.files.codecs import Trial
from ddpm_eval.measure.files.prefixes import Prefixes
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.scores import Curve, Qualifiers, Score

OURS = ".ddpm"
YARDSTICK = "JPEG XL"
LEVELS = (20.0, 10.0, 5.0, 2.5)
"""RMSE in grey levels at which codecs are compared."""
_PEAK = 255.0
_BITS = 8.0


@dataclass(frozen=True, slots=True, eq=False)
class Rates:
    """What the other codecs need of n images.

    Attributes:
        dims: Numbers in an image.
        trials: The settings, P of them.
        sizes: Bytes, [n, P].
        errors: Mean squared errors in grey levels, [n, P].
    """

    dims: int
    trials: Sequence[Trial]
    sizes: Array
    errors: Array

    def bits(self, sizes: Array) -> Array:
        """Bytes as bits/dim."""
        return np.asarray(_BITS * sizes / self.dims)

    def lossless(self) -> Iterator[tuple[str, Array]]:
        """Each codec that keeps every pixel, and its bytes [n]."""
        for trial, sizes in zip(self.trials, self.sizes.T, strict=True):
            if trial.is_exact:
                yield trial.codec.name, sizes

    def lossy(self) -> Iterator[tuple[str, Array, Array]]:
        """Each codec with its bytes and errors over its settings, both [n, k]."""
        for name in dict.fromkeys(trial.codec.name for trial in self.trials):
            places = [
                j
                for j, trial in enumerate(self.trials)
                if trial.codec.name == name and not trial.is_exact
            ]
            if places:
                yield name, self.sizes[:, places], self.errors[:, places]


def scores(
    prefixes: Prefixes, rates: Rates, bounds: Mapping[str, Array], evaluations: int
) -> tuple[Score, ...]:
    """List the bits/dim of lossless files, then of what they stand beside.

    Args:
        prefixes: The files.
        rates: The other codecs.
        bounds: The bound of each image [n] by its variance; "" is the model's own.
        evaluations: Of the network for one file, each way.
    """
    n, own = len(prefixes.sizes), prefixes.sizes
    best = next(iter(bounds))
    others = dict(rates.lossless())
    yardstick = others.get(YARDSTICK)
    listed = [_file_bits(rates.bits(sizes), name) for name, sizes in [(OURS, own), *others.items()]]
    listed += [mean_bits(bound, variance=name) for name, bound in bounds.items()]
    listed.append(ratio("file_over_bound", rates.bits(own), bounds[best], variance=best))
    if yardstick is not None:
        sized = [(OURS, own), *((name, sizes) for name, sizes in others.items())]
        listed += [
            ratio("size_ratio", sizes, yardstick, whose=name)
            for name, sizes in sized
            if name != YARDSTICK
        ]
    exact = int(prefixes.is_exact.sum())
    return (
        *listed,
        *lossy_scores(rates.bits(prefixes.ends), prefixes.mse, OURS),
        *(
            score
            for name, sizes, errors in rates.lossy()
            for score in lossy_scores(rates.bits(sizes), errors, name)
        ),
        Score(metric="exact_files", value=exact, n=n),
        Score(metric="evaluations", value=evaluations, n=1),
    )


def _file_bits(bits: Array, whose: str) -> Score:
    error = float(stderr_of(bits))
    return scored("file_bits_per_dim", float(bits.mean()), len(bits), error, whose=whose)


def ratio(metric: str, above: Array, below: Array, **of: str) -> Score:
    """Divide the means of two numbers of the same images, its error by the delta method.

        r = mean(a) / mean(b),   error = stderr(a - r b) / mean(b)

    >>> print(ratio("size_ratio", np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0])))
    2.000 ± 0.000 (n=3)
    """
    value = float(above.mean() / below.mean())
    error = float(stderr_of(above - value * below) / below.mean())
    return scored(metric, value, len(above), error, **of)


def lossy_scores(bits: Array, mse: Array, whose: str) -> Iterator[Score]:
    """Average the bits/dim that every image needs for the same RMSE, where all of them reach it.

    Between two files of an image lines are drawn through the logarithms of both.

    >>> bits, mse = np.array([[0.5, 1.0, 4.0]]), np.array([[1600.0, 100.0, 25.0]])
    >>> [(score.of.at, round(score.value, 3)) for score in lossy_scores(bits, mse, "PNG")]
    [(('rmse', 20.0), 0.707), (('rmse', 10.0), 1.0), (('rmse', 5.0), 4.0)]
    """
    rmse = np.sqrt(mse)
    for level in LEVELS:
        if not ((rmse.min(1) > 0) & (rmse.min(1) <= level) & (level <= rmse.max(1))).all():
            continue
        needed = np.array([_bits_at(level, *pair) for pair in zip(bits, rmse, strict=True)])
        error = float(stderr_of(needed))
        of = {"whose": whose, "at": ("rmse", level)}
        yield scored("file_bits_per_dim", float(needed.mean()), len(needed), error, **of)


def _bits_at(level: float, bits: Array, rmse: Array) -> float:
    order = np.argsort(rmse)
    return float(np.exp(np.interp(np.log(level), np.log(rmse[order]), np.log(bits[order]))))


def curves(prefixes: Prefixes, rates: Rates, steps: Array) -> Iterator[Curve]:
    """Draw error over rate for every codec, and our rate and error over the reverse steps.

    Args:
        prefixes: The files.
        rates: The other codecs.
        steps: How many reverse steps each prefix stands for, [S].
    """
    own = rates.bits(prefixes.ends)
    yield from _distortion(own, prefixes.mse, OURS)
    for name, sizes, errors in rates.lossy():
        yield from _distortion(rates.bits(sizes), errors, name)
    of, n = Qualifiers(whose=OURS), len(own)
    rmse, error = root_mean(prefixes.mse / GREY_LEVELS**2)
    for metric, y, size in (
        ("file_bits_per_dim", own.mean(0), stderr_of(own)),
        ("rmse", rmse, error),
    ):
        yield Curve(metric=metric, over="reverse_steps", x=steps, y=y, n=n, error=size, of=of)


def _distortion(bits: Array, mse: Array, whose: str) -> Iterator[Curve]:
    """RMSE and PSNR of the mean squared error over bits/dim, from few bits to many.

    PSNR is 10 log10(255^2 / mean mse); its error is that of the mean by the delta method.
    """
    places = np.argsort(bits.mean(0), kind="stable")
    places = places[mse.mean(0)[places] > 0]  # the exact pixels have no place on a logarithm
    if not len(places):
        return
    x, errors, of = bits.mean(0)[places], mse[:, places], Qualifiers(whose=whose)
    n, mean = len(mse), errors.mean(0)
    rmse, error = root_mean(errors / GREY_LEVELS**2)
    psnr = 10 * np.log10(_PEAK**2 / mean)
    for metric, y, size in (
        ("rmse", rmse, error),
        ("psnr", psnr, 10 / np.log(10) * stderr_of(errors) / mean),
    ):
        yield Curve(metric=metric, over="file_bits_per_dim", x=x, y=y, n=n, error=size, of=of)
