"""Rate and distortion of real files, all bytes counted, beside the bound and other codecs.

A file of a model's codec decodes from any prefix: after k layers its bytes are a rate, and the
picture that they decode to has an error. Both stand on the axes of the bound's curve, which no file
can beat but by chance. Other codecs write the same images, each byte of theirs counted too.
"""

from collections.abc import Generator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec.codec import Codec
from ddpm_eval.measure.bound import likelihood, rate_distortion
from ddpm_eval.measure.bound.calibration import training_images
from ddpm_eval.measure.bound.facts import protocol_of
from ddpm_eval.measure.bound.settings import BoundSettings
from ddpm_eval.measure.bound.sweep import calibrated_name
from ddpm_eval.measure.files import codecs, pictures, results
from ddpm_eval.measure.files.codecs import Trial
from ddpm_eval.measure.files.own_bound import bound_of
from ddpm_eval.measure.files.prefixes import Prefixes, decode_prefixes
from ddpm_eval.measure.files.settings import FileSettings
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.export import require_pictures
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.settings import to_dict

MEASURE = "files"
VERSION = 1
"""Of these numbers and of the bound's; it rises when they move."""
_IMAGES_AT_ONCE = 64  # between two writes of unfinished work


def measure(
    codec: Codec,
    images: ImageSet,
    bound: BoundSettings,
    runtime: Runtime,
    *,
    files: FileSettings,
    training: ImageSet | None = None,
) -> Measurement:
    """Measure real files of images: bytes, errors of their prefixes, other codecs, the bound.

    Args:
        codec: The model and its profile, which write them.
        images: The images to choose from.
        bound: Which are written, and the noise of the bound.
        runtime: How the work is carried out.
        files: How they are written.
        training: Training images, to learn the bound's best variance from.

    Raises:
        FixableError: There are too few images.
    """
    model, profile = codec.model, codec.profile
    require_pictures(model.shape[0], fix="measure a model of 1 or 3 channels")
    chosen = likelihood.choose_images(images, bound)
    learned = training_images(chosen, training, bound)
    trials = codecs.trials() if files.codecs else []
    versions = {trial.codec.name: trial.codec.version for trial in trials}
    protocol = protocol_of(model, chosen, bound, training=learned)
    own: dict[str, Any] = {"files": to_dict(files), "profile": profile.digest}
    tree: dict[str, Any] = {**protocol.settings, **own, "codecs": versions}
    protocol = replace(protocol, version=VERSION, settings=tree)
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    for name in codecs.absent() if files.codecs else []:
        runtime.notify(f"{name} is left out: pip install 'ddpm-eval[codecs]'")
    terms, variances = bound_of(model, chosen, bound, runtime, profile=profile, training=learned)
    prefixes = decode_prefixes(codec, chosen, files, runtime)
    sizes, errors = _others(chosen, trials, versions, runtime)
    _check_exact(trials, errors)
    best, dims = calibrated_name(model), int(np.prod(model.shape))
    totals = {"": terms.total()}
    if best in variances:
        other = terms.with_variance(best, model.denoise.schedule, variances[best])
        totals = {best: other.total(), **totals}
    rates = results.Rates(dims, trials, sizes, errors)
    times = np.array(profile.rows)[prefixes.layers]
    steps = model.denoise.schedule.T + 1 - times
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=results.scores(prefixes, rates, totals, codec.evaluations),
        curves=(
            *results.curves(prefixes, rates, steps),
            *rate_distortion.curves_of(model, terms, variances),
        ),
        grids=pictures.grid(prefixes, chosen),
        arrays=_arrays(prefixes, totals.get(best, totals[""]), rates),
        facts={
            "variance": best if best in totals else model.variance,
            "layers": prefixes.layers.tolist(),
            "times": times.tolist(),
            "head": float(prefixes.heads.mean()),
            "stored": int(prefixes.is_stored.sum()),
            "absent": codecs.absent() if files.codecs else [],
            **pictures.frames(prefixes, steps, dims),
        },
        warnings=_warnings(prefixes),
    )


def _others(
    images: ImageSet, trials: list[Trial], versions: Mapping[str, str], runtime: Runtime
) -> tuple[Array, Array]:
    """Write every image by every setting of the other codecs: bytes and mean squared errors."""
    if not trials:
        nothing = np.zeros((len(images), 0))
        return nothing, nothing

    def make(part: range) -> Generator[None, None, Arrays]:
        sizes, errors = np.zeros((2, len(part), len(trials)))
        for i, picture in enumerate(images.read(part)):
            for j, trial in enumerate(trials):
                sizes[i, j], errors[i, j] = trial.run(picture)
            yield
        return {"sizes": sizes, "errors": errors}

    work = Work(
        name="codecs",
        facts={
            "images": to_dict(images.facts),
            "versions": dict(versions),
            "settings": [dict(trial.settings) for trial in trials],
        },
        n=len(images),
        size=_IMAGES_AT_ONCE,
        make=make,
        ticks=len,
        label=f"other codecs, {len(trials)} settings",
    )
    arrays = fill(work, runtime).read()
    return arrays["sizes"], arrays["errors"]


def _check_exact(trials: list[Trial], errors: Array) -> None:
    """Refuse a codec that says that it keeps every pixel and does not.

    Raises:
        FixableError: Names it.
    """
    for trial, missed in zip(trials, errors.T, strict=True):
        if trial.is_exact and missed.any():
            raise FixableError(
                f"{trial.codec.name} {trial.codec.version}: not lossless on this machine",
                "install another version, or leave the codecs out: files.codecs=false",
            )


def _arrays(prefixes: Prefixes, bound: Array, rates: results.Rates) -> dict[str, Array]:
    """What stands behind the means, image by image."""
    return {
        "bytes": prefixes.sizes,
        "bound": bound,
        "prefix_bytes": prefixes.ends,
        "prefix_mse": prefixes.mse,
        "codec_bytes": rates.sizes,
        "codec_mse": rates.errors,
    }


def _warnings(prefixes: Prefixes) -> tuple[str, ...]:
    wrong = int((~prefixes.is_exact).sum())
    if not wrong:
        return ()
    return (f"{wrong:,} files did not decode to their exact pixels: the network is not the same",)
