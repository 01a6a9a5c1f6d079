"""A profile, learned from training images: the error curve, the strides, the final stage."""

from collections.abc import Sequence

import numpy as np
import torch

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.codec import fit, strides
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.curve import Curve, Measuring, rows_to_measure
from ddpm_eval.codec.layers import STEPS
from ddpm_eval.codec.network import estimator, fingerprint
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.refine import refine
from ddpm_eval.codec.settings import CalibrationSettings
from ddpm_eval.codec.words import START, Array, normals
from ddpm_eval.model import Model
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.settings import to_dict

LIMIT = 24  # the highest scale: 2^8 times the usual error
_MARGIN = 4  # times what two batch sizes differ by: the tolerance
_RAW_BITS = 8.0  # bits/dim of pixels as they are


def calibrate(
    model: Model, images: ImageSet, settings: CalibrationSettings, runtime: Runtime
) -> Profile:
    """Learn a profile from n training images, drawn by the seed.

    Raises:
        FixableError: There are fewer images, or the network learned so little that files would be
            larger than raw pixels.
    """
    chosen = choose(images, settings.n, seed=settings.seed)
    bars = model.denoise.schedule.alphas_bar.numpy()
    curve, means = _measure(model, chosen, settings, runtime)
    bands = Bands(model.shape)
    levels = chosen.read(range(len(chosen))).transpose(0, 3, 1, 2)
    ends = {row: fit.final_bits(levels, mu, (fit.fit(levels, mu),)) for row, mu in means.items()}
    path, bits = strides.choose(curve, bars, bands, ends)
    if bits > _RAW_BITS * bands.n:
        raise FixableError(
            f"{model.facts.name or 'model'}: its files would have {bits / bands.n:.1f} bits/dim "
            f"and raw pixels have {_RAW_BITS:.0f}: the network learned nothing of {chosen.name}",
            "train it longer, or name the images that it was trained on",
        )
    errors, last = curve.at(np.array(path)), means[path[-1]]
    estimate, sets = estimator(model, batch=1), fit.choose_sets(levels, last)
    gains = np.diff(strides.snr(bars[path]))
    profile = Profile(
        weights=model.facts.digest,
        shape=model.shape,
        rows=tuple(path),
        alphas_bar=tuple(float(bars[row]) for row in path),
        errors=tuple(tuple(row) for row in errors[:-1].tolist()),
        bits=_tables(bands, strides.snr(bars[path]), errors),
        tile_scale=int(np.median(fit.tile_scales(levels, last))),
        sets=sets,
        tolerance=max(settings.tolerance, _MARGIN * _difference(model, path[-1])),
        fingerprint={
            "digest": fingerprint(estimate, model.shape, (path[0], path[len(path) // 2], path[-1])),
            "device": model.device.type,
            "precision": model.precision,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        },
        facts={
            "model": model.facts.name,
            "images": {"name": chosen.name, **chosen.facts.plain},
            "settings": to_dict(settings),
            "curve": {"rows": curve.rows.tolist(), "errors": curve.errors.tolist()},
            "ends": {str(row): bits / bands.n for row, bits in ends.items()},
            "expected": strides.expected(
                strides.cost(bands, gains, errors[:-1]),
                (127.5 * np.sqrt(errors @ bands.sizes / bands.n)).tolist(),
                fit.final_bits(levels, last, sets),
                bands.n,
            ),
        },
    )
    if not model.denoise.objective.learns_variance:
        return profile
    return refine(profile, model, chosen, settings, runtime)


def _measure(
    model: Model, images: ImageSet, settings: CalibrationSettings, runtime: Runtime
) -> tuple[Curve, dict[int, Array]]:
    """The error curve, and mu in 1/8 of a level at each row where a chain may end."""
    process = model.denoise.schedule
    bars = process.alphas_bar.numpy()
    rows = rows_to_measure(process.T, settings.rows)
    noise = 127.5 / np.sqrt(strides.snr(bars))
    split = max(1, sum(noise[row] <= settings.noise for row in rows))
    estimate = estimator(model, batch=runtime.batch)
    pixels = images.read(range(len(images)))
    measuring = Measuring(estimate, bars, pixels, settings.seed, runtime.batch)
    facts = {"model": model.facts.digest, "images": images.digest, "seed": settings.seed}

    def make(name: str, rows: Sequence[int], *, means: bool) -> Arrays:
        work = Work(
            name=name,
            facts=facts | {"n_images": len(images), "rows": list(rows), "batch": runtime.batch},
            n=len(rows),
            size=1,
            make=lambda part: measuring.measure([rows[i] for i in part], means=means),
            ticks=lambda part: len(part) * measuring.ticks,
            label=f"{name}, {len(images):,} training images",
        )
        return fill(work, runtime).read()

    near = make("last rows", rows[:split], means=True)
    far = make("error curve", rows[split:], means=False)
    curve = Curve(np.array(rows), np.concatenate([near["errors"], far["errors"]]))
    return curve, dict(zip(rows[:split], near["mu"].astype(np.int64), strict=True))


def _tables(bands: Bands, snr: Array, errors: Array) -> tuple[tuple[int, ...], ...]:
    """The bits of each layer for each scale: what the code needs, in whole nibbles, [K][Q]."""
    factors = np.exp2(np.arange(-LIMIT, LIMIT + 1) / STEPS)[:, None]
    divergences = [
        strides.cost(bands, np.full(len(factors), gain), factors * errors[k])
        for k, gain in enumerate(np.diff(snr))
    ]
    return tuple(strides.whole_bits(divergence, bands.n) for divergence in divergences)


def _difference(model: Model, row: int) -> float:
    """By how many levels x_0_hat differs between two sizes of a batch."""
    count = int(np.prod(model.shape))
    x_t = np.stack([normals(START, i, count) for i in range(8)]).reshape(8, *model.shape)
    one, all_ = (estimator(model, batch=batch)(x_t, row) for batch in (1, 8))
    return float(127.5 * np.abs(one - all_).max())
