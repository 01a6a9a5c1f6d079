"""The sweep: the terms of the variational bound (Eq. 5) over t and image, in bits/dim.

The network works in its own precision; everything around it is float64.
"""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.job import Job, count
from ddpm_eval.progress import finish
from ddpm_eval.results import Curve, Measurement, Quantity
from ddpm_eval.shards import open_shards
from ddpm_eval.subject import Subject
from ddpm_train import data
from ddpm_train.diffusion import bound_term, prior_kl, q_sample
from ddpm_train.noise import Stream, normal

NATS_PER_BIT = math.log(2)
SHARD_EVALUATIONS = 4000  # of the network between two writes to the disk


@dataclass(frozen=True, slots=True)
class BoundTerms:
    """The bound, image by image and term by term.

    ``bits[:, t]`` is L_t: L_0 the decoder's, L_T the prior's, all in bits/dim.
    ``mse[:, t]`` is the mean squared error of x_0_hat decoded from x_t, on the scale [-1, 1];
    column 0 is 0.
    """

    bits: np.ndarray  # [n, T+1]
    mse: np.ndarray  # [n, T+1]

    def total(self) -> np.ndarray:
        """The bound on each image's code length, [n]."""
        sums: np.ndarray = self.rate()[:, 0]
        return sums

    def decoder(self) -> np.ndarray:
        """L_0, [n]."""
        return self.bits[:, 0].astype(np.float64)

    def prior(self) -> np.ndarray:
        """L_T, [n]."""
        return self.bits[:, -1].astype(np.float64)

    def kl(self) -> np.ndarray:
        """L_1 + ... + L_{T-1}, [n]."""
        rest: np.ndarray = self.total() - self.prior() - self.decoder()
        return rest

    def rate(self) -> np.ndarray:
        """Bits/dim received once x_t is known: L_T + ... + L_t, [n, T+1]."""
        sums: np.ndarray = self.bits[:, ::-1].cumsum(1, dtype=np.float64)[:, ::-1]
        return sums


@torch.inference_mode()
def pair_terms(
    subject: Subject,
    x_0: Tensor,
    indices: Sequence[int],
    times: Sequence[int],
    *,
    seed: int,
    clip: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Evaluate the network once for each pair of an image and a time.

    Args:
        subject: The model.
        x_0: The image of each pair in [-1, 1], float64 [B, C, H, W].
        indices: Its index, which with ``seed`` and the time names the noise.
        times: The time of each pair, 1..T.
        seed: The seed of the stream "nll".
        clip: Keep x_0_hat inside [-1, 1], as in the original's evaluation.

    Returns:
        L_{t-1} in bits/dim and the mean squared error of x_0_hat, both float64 [B].
    """
    t = torch.tensor(times)
    x_0 = x_0.to(subject.device)
    eps = normal(Stream(seed, "nll"), indices, x_0.shape[1:], steps=times)
    denoise = subject.denoise
    x_t = q_sample(denoise.schedule, x_0, t, eps.to(x_0)).to(subject.dtype)
    output = denoise.network(x_t, t.to(subject.device))
    x_t = x_t.double()
    p, x_0_hat = denoise.read(output, x_t, t, clip=clip)
    nats = bound_term(denoise.schedule, x_0, x_t, t, p, decoder=subject.decoder)
    bits = nats.flatten(1).mean(1) / NATS_PER_BIT
    mse = (x_0 - x_0_hat).square().flatten(1).mean(1)
    return bits.cpu().numpy(), mse.cpu().numpy()


def sweep(
    subject: Subject,
    x_0: Tensor,
    indices: Sequence[int],
    *,
    seed: int,
    clip: bool = True,
    batch: int = 64,
) -> Generator[None, None, BoundTerms]:
    """Evaluate every time of every image once.

    Args:
        subject: The model.
        x_0: The images in [-1, 1], float64 [n, C, H, W].
        indices: Their indices in the data set, which name the noise.
        seed: The seed of the noise.
        clip: Keep x_0_hat inside [-1, 1].
        batch: Pairs of image and time in one evaluation of the network.

    Yields:
        After each batch.

    Returns:
        The terms in float32.
    """
    T, n = subject.denoise.schedule.T, len(indices)
    bits, mse = np.zeros((2, n, T + 1))
    prior = prior_kl(subject.denoise.schedule, x_0).flatten(1).mean(1)
    bits[:, T] = prior / NATS_PER_BIT
    rows, times = np.divmod(np.arange(n * T), T)
    for start in range(0, n * T, batch):
        row, t = rows[start : start + batch], times[start : start + batch] + 1
        chosen = [indices[i] for i in row]
        found = pair_terms(subject, x_0[row], chosen, t.tolist(), seed=seed, clip=clip)
        bits[row, t - 1], mse[row, t] = found
        yield
    return BoundTerms(bits.astype(np.float32), mse.astype(np.float32))


def measure(job: Job) -> Measurement:
    """The full bound of the first n images of a split: every term, once each."""
    config, subject = job.config, job.subject
    images = job.images(config.split)
    n, T = count(config.n, images), subject.denoise.schedule.T
    settings = {
        "split": config.split,
        "dataset": images.name,
        "data_digest": images.digest,
        "variance": subject.model.objective.variance,
        "clip": config.clip,
        "weights": subject.identity["weights"],
        "T": T,
        "seed": config.seed,
    }
    begun_with = {**settings, "checkpoint": subject.identity["checkpoint"]}
    shards = open_shards(job.work, begun_with, n=n, size=max(1, SHARD_EVALUATIONS // T))
    todo = [part for part in job.world.share(shards.parts()) if part in shards.missing()]

    def evaluations() -> Generator[None, None, None]:
        for part in todo:
            terms = yield from sweep(
                subject,
                data.to_model(images.read(part)).double(),
                part,
                seed=config.seed,
                clip=config.clip,
                batch=config.batch,
            )
            shards.write(part, {"bits": terms.bits, "mse": terms.mse})

    total = sum(-(-len(part) * T // config.batch) for part in todo)
    finish(evaluations(), job.track, f"bits/dim, {n:,} images x {T:,} steps", total)
    job.world.barrier()
    return summarise(BoundTerms(**shards.read()), settings)


def summarise(terms: BoundTerms, settings: dict[str, Any]) -> Measurement:
    """Turn the terms into the numbers that are published."""
    n, columns = terms.bits.shape
    parts = {
        "total": terms.total(),
        "prior": terms.prior(),
        "kl": terms.kl(),
        "decoder": terms.decoder(),
    }
    curve = Curve(
        x=np.arange(columns),
        y=terms.bits.mean(0, dtype=np.float64),
        x_name="t",
        y_name="L_t (bits/dim)",
        n=n,
        stderr=stderr(terms.bits),
    )
    return Measurement(
        name="nll",
        quantities={
            name: Quantity(float(each.mean()), "bits/dim", n=n, stderr=float(stderr(each)))
            for name, each in parts.items()
        },
        curves={"terms": curve},
        arrays={"terms": terms.bits, "mse": terms.mse},
        settings=settings,
    )


def stderr(each: np.ndarray) -> np.ndarray:
    """The standard error of the mean over images (axis 0); 0 for a single image."""
    n = len(each)
    found: np.ndarray = each.std(0, ddof=1, dtype=np.float64) / n**0.5 if n > 1 else 0 * each[0]
    return found
