"""What bits/dim are worth: models that know nothing, and models that know each pixel alone."""

from dataclasses import replace

import numpy as np

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.bound import scoring
from ddpm_eval.measure.bound.facts import mean_bits
from ddpm_eval.measure.bound.likelihood import assemble
from ddpm_eval.measure.bound.settings import BaselineSettings, BoundSettings
from ddpm_eval.measure.bound.sweep import Every, variance_tables
from ddpm_eval.model import Model
from ddpm_eval.record.fill import finish
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.settings import to_dict
from ddpm_train.weights import build_network

MEASURE = "baselines"
VERSION = 1
UNTRAINED_IMAGES = 16
"""Its bound varies little from image to image."""


def measure(
    model: Model,
    images: ImageSet,
    settings: BaselineSettings,
    runtime: Runtime,
    *,
    training: ImageSet,
) -> Measurement:
    """Measure bits/dim of an untrained network and of independent-pixel histograms.

    Args:
        model: The network that is taken untrained.
        images: The images to choose from.
        settings: Which are coded, and the seed.
        runtime: How the work is carried out.
        training: The images that the histograms are counted on.

    Raises:
        FixableError: The network is not one of ours.
    """
    chosen = choose(images, settings.n, seed=settings.seed, first=settings.first)
    protocol = Protocol(
        version=VERSION,
        model=model.facts.digest,
        weights=model.facts.weights,
        images=chosen.facts,
        variance=model.variance,
        precision=model.precision,
        seed=settings.seed,
        settings={"baselines": to_dict(settings), "training": training.facts.plain},
    )
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    places = range(len(chosen))
    histogram = histogram_bits(training.read(range(len(training))), chosen.read(places))
    untrained = untrained_bits(model, chosen, settings.seed, runtime)
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=(
            mean_bits(untrained, whose="untrained network"),
            mean_bits(histogram, whose="histograms"),
        ),
        facts={"histogram": "Krichevsky-Trofimov estimate of each pixel from the training images"},
    )


def histogram_bits(train: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Compute the code length under one histogram for each pixel and channel, [n] bits/dim.

        p(level) = (count + 1/2) / (n_train + 128)      (Krichevsky and Trofimov 1981)

    Args:
        train: The images that are counted, uint8 [N, H, W, C].
        images: The images that are coded, uint8 [n, H, W, C].

    >>> same = np.full((1000, 2, 2, 1), 7, np.uint8)
    >>> f"{histogram_bits(same, same[:1])[0]:.3f}"  # a constant pixel costs almost nothing
    '0.173'
    """
    columns, wanted = train.reshape(len(train), -1), images.reshape(len(images), -1)
    bits = np.zeros(len(images))
    for pixel in range(columns.shape[1]):
        seen = np.bincount(columns[:, pixel], minlength=256)
        bits -= np.log2((seen + 0.5) / (len(train) + 128))[wanted[:, pixel]]
    return bits / columns.shape[1]


def untrained_bits(model: Model, images: ImageSet, seed: int, runtime: Runtime) -> np.ndarray:
    """Compute the bound of the network as it was initialised, of a few images, [n] bits/dim."""
    if model.config is None:
        raise FixableError(
            "model: its network is not one of ours, so nobody knows its initial weights",
            "measure a checkpoint",
        )
    network = build_network(model.config, seed=seed).eval()
    network = network.to(model.device, model.dtype).requires_grad_(requires_grad=False)
    process = model.denoise.schedule
    denoise = Denoiser(network, process, model.denoise.objective, model.denoise.errors)
    fresh = replace(model, denoise=denoise)
    some = images[: min(len(images), UNTRAINED_IMAGES)]
    tables, pairs = variance_tables(fresh), Every(len(some), process.T)
    settings = BoundSettings(seed=seed)
    sweep = scoring.sweep_of(fresh, some, settings, runtime, variances=tables)
    total = -(-len(pairs) // runtime.batch)
    work = sweep.over(pairs, range(len(pairs)))
    terms = finish(work, runtime.track, "untrained network", total)
    return assemble(terms, scoring.prior_bits(fresh, some), tables).total()
