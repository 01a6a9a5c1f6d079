"""What an archive of test images needs, beside the bound and beside JPEG XL's picture of them all.

``python -m tests.benchmarks.codec CHECKPOINT --archive`` calls it: the images are put into an
archive, which a fresh process reads back, and into one mosaic, which JPEG XL writes losslessly. The
bound with the best variance is estimated from 40 evaluations an image, with its error over draws.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import ddpm_eval as de
from ddpm_eval.choice import ImageSet
from ddpm_eval.codec.profile import Profile
from ddpm_eval.measure.bound import estimate
from ddpm_eval.measure.bound.scoring import prior_bits, sweep_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import calibrated_name, variance_tables
from ddpm_eval.measure.files.codecs import CODECS
from ddpm_eval.measure.files.own_bound import variance_of
from ddpm_eval.model import Model
from ddpm_eval.runtime import Runtime
from ddpm_train.data.images import Pixels

EVALUATIONS = 40  # an image, from which the bound is estimated


def measure(
    options: argparse.Namespace, model: Model, chosen: ImageSet, profile: Profile
) -> dict[str, Any]:
    """Everything about one archive of some images."""
    pixels = chosen.read(range(len(chosen)))
    began = time.process_time()
    data = obtain(options, model, pixels, profile)
    seconds = (time.process_time() - began) / len(chosen)
    bound, error = estimate_bound(options, model, chosen, profile)
    rate, jxl = 8 * len(data) / pixels.size, measure_mosaic(pixels)
    return {
        "images": len(chosen),
        "bits/dim": rate,
        "bound": bound,
        "error of the bound": error,
        "over the bound": rate / bound,
        "mosaic": jxl,
        "beside the mosaic": rate / jxl if jxl else math.nan,
        "float64": not options.plain,
        "write": seconds,
        "exact in a fresh process": count_exact(options, data, profile, pixels),
    }


def obtain(options: argparse.Namespace, model: Model, pixels: Pixels, profile: Profile) -> bytes:
    """Write the archive; with ``--cache``, take the one that an earlier call wrote."""
    name = f"{profile.digest[:8]}-{len(pixels)}-{'plain' if options.plain else 'portable'}.archive"
    place = options.cache / name if options.cache else None
    if place is not None and place.exists():
        return bytes(place.read_bytes())
    data = de.archive(model, pixels, profile=profile, portable=not options.plain, check=False)
    if place is not None:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    return data


def count_exact(options: argparse.Namespace, data: bytes, profile: Profile, pixels: Pixels) -> int:
    """Read an archive in a fresh process; count the pictures with the exact pixels."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profile.save(folder / "profile.json")
        (folder / "all.archive").write_bytes(data)
        command = ["decompress", str(folder / "all.archive"), "--out", str(folder / "out")]
        command += ["--profile", str(folder / "profile.json"), "--model", str(options.checkpoint)]
        command += ["--weights", options.weights] * bool(options.weights)
        command += ["--threads", "1", "--quiet"]
        subprocess.run([sys.executable, "-m", "ddpm_eval", *command], check=True)
        paths = sorted((folder / "out").rglob("*.png"), key=lambda path: (len(path.stem), path))
        pictures = [np.asarray(Image.open(path)).reshape(pixels.shape[1:]) for path in paths]
    return sum(bool((a == b).all()) for a, b in zip(pictures, pixels, strict=True))


def measure_mosaic(pixels: Pixels) -> float:
    """Write all images as one picture of JPEG XL: lossless bits/dim; 0 if it is missing."""
    codec = next(codec for codec in CODECS if codec.name == "JPEG XL")
    if not codec.version or codec.exact is None:
        return 0.0
    n, height, width, channels = pixels.shape
    rows = max(rows for rows in range(1, math.isqrt(n) + 1) if n % rows == 0)
    grid = pixels.reshape(rows, n // rows, height, width, channels).swapaxes(1, 2)
    whole = np.ascontiguousarray(grid.reshape(rows * height, -1, channels))
    return 8 * len(codec.encode(whole, codec.exact)) / pixels.size


def estimate_bound(
    options: argparse.Namespace, model: Model, images: ImageSet, profile: Profile
) -> tuple[float, float]:
    """Estimate the T-step bound with the best variance; its error is that over draws."""
    table = None
    if model.variance != "optimal":
        table = variance_of(profile, model.denoise.schedule)
    settings = BoundSettings(budget=EVALUATIONS * len(images))
    runtime = Runtime(cache=options.cache)
    variances = variance_tables(model, table)
    sweep = sweep_of(model, images, settings, runtime, variances=variances)
    names = estimate.variance_names(sweep)
    sums = estimate.parts(names, model.denoise.schedule.T)
    result, _ = estimate.run({"nll": sweep}, images, settings, runtime, sums=estimate.wanted(sums))
    best = calibrated_name(model) if table is not None else ""
    place = next(i for i, s in enumerate(sums) if (s.part, s.variance) == ("total", best))
    prior = float(prior_bits(model, images).mean())
    return float(result.value[place]) + prior, float(result.these[place])


def table(about: dict[str, Any]) -> str:
    """The figures as Markdown."""
    over, error = about["over the bound"], about["error of the bound"] / about["bound"]
    rows = [
        ("archive, bits/dim with all bytes", f"{about['bits/dim']:.3f}"),
        (
            "bound with the best variance",
            f"{about['bound']:.3f} ± {about['error of the bound']:.3f}",
        ),
        ("archive over that bound", f"{over:.4f} ± {over * error:.4f}"),
        ("JPEG XL's mosaic, bits/dim", f"{about['mosaic']:.3f}"),
        ("archive beside it", f"{about['beside the mosaic']:.3f}"),
        ("network in", "float64" if about["float64"] else "float32"),
        ("write, s an image", f"{about['write']:.2f}"),
        ("exact in a fresh process", str(about["exact in a fresh process"])),
    ]
    lines = [f"| archive of {about['images']} images | |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {name} | {text} |" for name, text in rows)])
