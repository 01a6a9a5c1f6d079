"""Whether the network's own errors make files smaller, learned from training images.

A profile of version 1 comes first. Then the network of learned variances is evaluated at the rows
of its chain, and what layers would cost with the errors M of every pixel (``pixel_errors``) is
compared over exponents and over two transforms: blocks, whose frequencies have errors of their own,
and single pixels, where M is sharpest.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, replace

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec import final, fit, strides
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.curve import Measuring
from ddpm_eval.codec.layers import STEPS, begin
from ddpm_eval.codec.network import estimator
from ddpm_eval.codec.pixel_errors import Evaluation, PixelErrors, split, weights
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import CalibrationSettings
from ddpm_eval.codec.words import Array
from ddpm_eval.model import Model
from ddpm_eval.record.fill import Make, Work, fill
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_SAMPLED = 16  # tiles that a layer's usual bits are computed from
_WORTH = 8  # bits of a tile that have to be saved: files are whole bytes
_TOLERANCE = 2e-5  # of logarithms, at least
_MARGIN = 4  # times what two batch sizes differ by: the tolerance
_LEAST = 1e-12  # of an error


@dataclass(frozen=True, eq=False)
class Candidates:
    """What layers cost at one row, for every exponent [G] with blocks of one size.

    Attributes:
        bands: The transform.
        gain: SNR_s - SNR_t.
        scales: Of tiles, [Q].
    """

    bands: Bands
    gain: float
    scales: Array

    def measure(self, missed: Array, errors: Array) -> Arrays:
        """The errors of bands [G, J], the bits D of a tile [G] and those of each scale [G, Q].

        Args:
            missed: x_0 - x_0_hat, [N, C, H, W].
            errors: M of every pixel, as much.
        """
        squares = np.square(self.bands.transform(missed))
        tables = [self._measure(squares, errors, exponent) for exponent in EXPONENTS]
        return {name: np.stack([table[name] for table in tables]) for name in tables[0]}

    def _measure(self, squares: Array, errors: Array, exponent: float) -> Arrays:
        bands, gain = self.bands, self.gain
        means = np.maximum(self._means(squares), _LEAST)
        w = weights(bands, means, errors, exponent)
        means = means / self._means(w)
        w = weights(bands, means, errors, exponent)
        usual = gain * means[bands.of] * w  # x of each coefficient
        own = np.exp2(np.rint(STEPS * np.log2(squares.sum(1) / means[bands.of].sum())) / STEPS)
        x = usual * own[:, None]
        bits = np.log2(1 + x) + ((1 + gain * squares) / (1 + x) - 1) / math.log(2)
        sampled = usual[:: max(1, len(usual) // _SAMPLED)]
        divergences = [np.log2(1 + factor * sampled) for factor in np.exp2(self.scales / STEPS)]
        return {
            "errors": means,
            "bits": 0.5 * bits.sum(1).mean(),
            "divergence": np.array([0.5 * bits_of.sum(1).mean() for bits_of in divergences]),
        }

    def _means(self, coefficients: Array) -> Array:
        """The mean of each band, [N, n] -> [J]."""
        whole = np.bincount(self.bands.of, coefficients.mean(0), self.bands.count)
        return np.asarray(whole / self.bands.sizes)


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a chain, measured on training images.

    Attributes:
        profile: Of version 1, whose chain it is.
        measuring: The images and the noise, and the network with its own errors.
    """

    profile: Profile
    measuring: Measuring

    @property
    def blocks(self) -> list[int]:
        """The sides of blocks that are tried."""
        return sorted({self.profile.bands.block, 1})

    def measure(self, part: range) -> Generator[None, None, Arrays]:
        """What ``Candidates`` measure at rows of strides, by names that end in a block's side."""
        tables = []
        for k in part:
            evaluation, x_0 = yield from self._evaluate(k)
            missed, stride = x_0 - evaluation.x_0_hat, self.profile.strides[k]
            errors, scales = evaluation.errors, np.arange(-stride.limit, stride.limit + 1)
            table: Arrays = {}
            for block in self.blocks:
                candidates = Candidates(Bands(self.profile.shape, block), stride.gain, scales)
                measured = candidates.measure(missed, np.asarray(errors))
                table |= {f"{name}-{block}": array for name, array in measured.items()}
            tables.append(table)
        return {name: np.stack([table[name] for table in tables]) for name in tables[0]}

    def last(self, part: range) -> Generator[None, None, Arrays]:
        """Round mu and h of all images at the last row, [1, N, C, H, W] each."""
        evaluation, _ = yield from self._evaluate(len(self.profile.strides))
        rounded = [np.rint(values) for values, _, _ in final.values(evaluation)]
        return {name: array[None] for name, array in zip(("mu", "h"), rounded, strict=True)}

    def _evaluate(self, k: int) -> Generator[None, None, tuple[Evaluation, Array]]:
        row, measuring, outputs, originals = self.profile.rows[k], self.measuring, [], []
        for first in range(0, len(measuring.pixels), measuring.batch):
            part = range(first, min(first + measuring.batch, len(measuring.pixels)))
            x_0, x_t = measuring.noisy(part, row)
            outputs.append(measuring.estimate(x_t, row))
            originals.append(x_0)
            yield
        usual = self.profile.usual_errors[k]
        return split(np.concatenate(outputs), usual), np.concatenate(originals)


def refine(
    profile: Profile,
    model: Model,
    images: ImageSet,
    settings: CalibrationSettings,
    runtime: Runtime,
) -> Profile:
    """Let a profile use the network's own errors, where they save bits of training images.

    Args:
        profile: Of version 1.
        model: Of learned variances.
        images: The profile's.
        settings: The profile's.
        runtime: How the work is carried out.

    Returns:
        A profile of version 2; or the same one, whose facts say what would be saved.
    """
    pixels = images.read(range(len(images)))
    bars = model.denoise.schedule.alphas_bar.numpy()
    estimate = estimator(model, batch=runtime.batch, errors=True)
    rows = Rows(profile, Measuring(estimate, bars, pixels, settings.seed, runtime.batch))
    tables = _measure_rows("errors of pixels", rows, images, runtime, rows.measure)
    last = _measure_rows("errors of pixels at the end", rows, images, runtime, rows.last)
    mu, h = (last[name][0].astype(np.int64) for name in ("mu", "h"))
    levels = pixels.transpose(0, 3, 1, 2)
    sets = fit.choose_sets(levels, mu, h)
    after = fit.final_bits(levels, mu, sets, h)
    before = fit.final_bits(levels, mu, profile.sets)
    n, usual = profile.bands.n, EXPONENTS.index(0)
    before += float(_bits(tables, profile.bands.block, n)[:, usual].sum())
    block = min(rows.blocks, key=lambda side: float(_bits(tables, side, n).min(1).sum()))
    best = _bits(tables, block, n).argmin(1)
    saved = before - after - float(_bits(tables, block, n).min(1).sum())
    facts = dict(profile.facts) | {"pixel_errors": {"saved": saved / before}}
    if saved < _WORTH:
        return replace(profile, facts=facts)
    chosen = np.arange(len(best)), best
    divergence = tables[f"divergence-{block}"][chosen]
    rmse = [reached["rmse"] for reached in profile.facts["expected"][:-1]]
    middle = divergence[:, divergence.shape[1] // 2]
    exponents = tuple(EXPONENTS[i] for i in best.tolist())
    return replace(
        profile,
        errors=tuple(map(tuple, tables[f"errors-{block}"][chosen].tolist())),
        bits=tuple(strides.whole_bits(row, n) for row in divergence),
        sets=sets,
        pixel_errors=PixelErrors(block, exponents, _tolerance(model, profile)),
        facts=facts | {"expected": strides.expected(middle, rmse, after, n)},
    )


def _measure_rows(name: str, rows: Rows, images: ImageSet, runtime: Runtime, make: Make) -> Arrays:
    """What is measured at all rows of strides, or at the last one."""
    profile, measuring = rows.profile, rows.measuring
    work = Work(
        name=name,
        facts={
            "profile": profile.digest,
            "images": images.digest,
            "seed": measuring.seed,
            "batch": measuring.batch,
        },
        n=1 if make == rows.last else len(profile.strides),
        size=1,
        make=make,
        ticks=lambda part: len(part) * measuring.ticks,
        label=f"{name}, {len(images):,} training images",
    )
    return fill(work, runtime).read()


def _bits(tables: Arrays, block: int, n: int) -> Array:
    """What layers of tiles of n dimensions get with blocks of one size, [K, G]."""
    return strides.layer_bits(tables[f"bits-{block}"], n)


def _tolerance(model: Model, profile: Profile) -> float:
    """How far h may differ between machines: four times the difference of two sizes of a batch."""
    row, usual = profile.rows[-1], profile.usual_errors[-1]
    x_t = begin(profile.bands, 8)
    one, all_ = (
        np.asarray(split(estimator(model, batch=batch, errors=True)(x_t, row), usual).logarithms)
        for batch in (1, 8)
    )
    return max(_TOLERANCE, _MARGIN * float(np.abs(one - all_).max()))
