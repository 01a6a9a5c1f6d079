"""What bits/dim are worth: models that know nothing, and models that know each pixel alone."""

from dataclasses import replace

import numpy as np

from ddpm_eval.job import Job, count
from ddpm_eval.measure.bound import likelihood
from ddpm_eval.progress import finish
from ddpm_eval.record.schema1 import Measurement, Quantity
from ddpm_train import checkpoint, data
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError

UNTRAINED_IMAGES = 16
"""Its bound varies little from image to image."""


def measure(job: Job) -> Measurement:
    """Bits/dim of an untrained network and of independent-pixel histograms."""
    test, train = job.images(job.config.split), job.images("train")
    n = count(job.config.n, test)
    histogram = histogram_bits(train.read(range(len(train))), test.read(range(n)))
    untrained = untrained_bits(job, min(n, UNTRAINED_IMAGES))
    quantities = {
        "untrained network": untrained,
        "independent-pixel histograms": histogram,
    }
    return Measurement(
        name="baselines",
        quantities={
            name: Quantity(
                float(bits.mean()), "bits/dim", n=len(bits), stderr=float(likelihood.stderr(bits))
            )
            for name, bits in quantities.items()
        },
        settings={
            "split": job.config.split,
            "dataset": test.name,
            "histogram": "Krichevsky-Trofimov estimate of each pixel from the training images",
        },
    )


def histogram_bits(train: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Code length under one histogram for each pixel and channel, [n] bits/dim.

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


def untrained_bits(job: Job, n: int) -> np.ndarray:
    """The bound of the network as it was initialised, [n] bits/dim."""
    subject, config = job.subject, job.config
    if subject.config is None:
        raise FixableError(
            "baselines: the network is not one of ours, so nobody knows its initial weights",
            "measure a checkpoint",
        )
    network = checkpoint.build_network(subject.config, seed=config.seed).eval()
    network = network.to(subject.device, subject.dtype).requires_grad_(requires_grad=False)
    process = subject.denoise.schedule
    fresh = replace(
        subject,
        denoise=Denoiser(network, process, subject.denoise.objective, subject.denoise.errors),
    )
    x_0 = data.to_model(job.images(config.split).read(range(n))).double()
    work = likelihood.run_sweep(fresh, x_0, range(n), seed=config.seed, batch=config.batch)
    label = "untrained network"
    return finish(work, job.track, label, -(-n * process.T // config.batch)).total()
