"""Interpolation between two images (the paper's Figures 8 and 9).

Both are encoded by q(x_t | x_0), mixed, and decoded from t on. The noise that encodes an image
belongs to its pixels and the noise that decodes to the pair, whichever image comes first: so a path
moves by lambda alone, and from the other end it is the same path.
"""

import hashlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import pieces
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.schema1 import Measurement
from ddpm_eval.record.scores import Grid
from ddpm_eval.record.shards import Arrays
from ddpm_train import data
from ddpm_train.chain import chain, walk
from ddpm_train.data.images import Form
from ddpm_train.data.pictures import decode
from ddpm_train.diffusion import q_sample
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal, splitmix64
from ddpm_train.reading import existing, unreadable
from ddpm_train.samplers import Ancestral

COARSE = 8  # the rows of coarse to fine are t = 0, T/8, ..., T


def linear(part: float) -> float:
    """The paper's weight of a noise: the variance of a mix of two shrinks, to a half at 1/2."""
    return part


def spherical(part: float) -> float:
    """The weight of a noise on the great circle between two: the variance stays 1.

    >>> round(spherical(0.3) ** 2 + spherical(0.7) ** 2, 12)
    1.0
    """
    return math.sin(part * math.pi / 2)


MIXES: Mapping[str, Callable[[float], float]] = {"linear": linear, "spherical": spherical}
"""How the weight of an image's noise follows from the weight of the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Two images, uint8 [2, H, W, C], and what they are called."""

    pixels: Array
    names: tuple[str, str]

    @property
    def keys(self) -> tuple[int, int]:
        """What names the noise of each image: its pixels, wherever they were read from."""
        first, second = (
            int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:4]) for image in self.pixels
        )
        return first, second

    @property
    def key(self) -> int:
        """What names the noise that decodes: both images, in either order."""
        low, high = sorted(self.keys)
        return splitmix64(low << 32 | high) >> 32


def measure(job: Job) -> Measurement:
    """The path between each pair at one t, and between the first pair from coarse to fine.

    Raises:
        FixableError: An image is not there, is of another size, or is paired with itself; t lies
            beyond T; or lambda outside 0 to 1.
    """
    pictures, T = job.config.pictures, job.subject.denoise.schedule.T
    t = T // 2 if pictures.t is None else pictures.t
    if t > T:
        raise FixableError(
            f"--t {t:,}: the model has {T:,} steps",
            f"choose 0 to {T:,}; the paper takes {T // 2:,}",
        )
    lambdas = _lambdas(pictures.lambdas)
    pairs, origin = _pairs(job)
    rows = [(pair, t) for pair in pairs]
    rows += [(pairs[0], T * part // COARSE) for part in range(COARSE + 1)]
    settings = pieces.describe(job) | {
        "t": t,
        "lambdas": lambdas,
        "mix": pictures.mix,
        "pairs": [list(pair.names) for pair in pairs],
        "keys": [list(pair.keys) for pair in pairs],
    }
    found = pieces.collect(job, _plan(job, rows, lambdas, settings | origin)).read()["pictures"]
    path, coarse = found[: len(pairs)], found[len(pairs) :]
    return Measurement(
        name="interpolation",
        grids={
            "path": _path(job, pairs, path, settings),
            "coarse to fine": _coarse(job, pairs[0], coarse, [t for _, t in rows[len(pairs) :]]),
        },
        settings=settings | origin,
    )


def encode(job: Job, pair: Pair, t: int, lambdas: Sequence[float]) -> Tensor:
    """Mix two images at t, [len(lambdas), C, H, W] float64.

        x_t = sqrt(alpha-bar_t) ((1 - l) x_0 + l x_0') + sqrt(1 - alpha-bar_t) (v eps + w eps')

    With v = 1 - l and w = l that is (1 - l) x_t + l x_t', the paper's mix.
    """
    x_0 = data.to_model(pair.pixels).double()
    stream = Stream(job.config.seed, "encode")
    eps = normal(stream, pair.keys, x_0.shape[1:]).double()  # one noise for every t
    mixed = mix(x_0, lambdas, linear)
    noise = mix(eps, lambdas, MIXES[job.config.pictures.mix])
    return q_sample(job.subject.denoise.schedule, mixed, torch.full((len(lambdas),), t), noise)


def mix(two: Tensor, lambdas: Sequence[float], weight: Callable[[float], float]) -> Tensor:
    """Weigh two tensors for each lambda, so that 1 - lambda from the other end is the same."""
    first, second = (
        torch.tensor([weight(part) for part in parts], dtype=two.dtype).view(-1, 1, 1, 1)
        for parts in ([round(1 - x, 12) for x in lambdas], lambdas)
    )
    return first * two[0] + second * two[1]


def _plan(
    job: Job, rows: list[tuple[Pair, int]], lambdas: list[float], settings: dict[str, Any]
) -> pieces.Plan:
    """Every row of both figures, lambda = 0 to 1."""
    subject, batch = job.subject, job.config.batch
    stream = Stream(job.config.seed, "encode")
    sampler = Ancestral(subject.denoise, job.config.clip)

    def make(part: range) -> Generator[None, None, Arrays]:
        ((pair, t),) = rows[part.start : part.stop]
        found = []
        for x_t in encode(job, pair, t, lambdas).split(batch):
            x_0_hat = x_t  # at t = 0 the pixels are mixed
            if t:
                start = x_t.to(subject.device, subject.dtype)
                same = [pair.key] * len(x_t)  # the noise is fixed over lambda
                x_0_hat = yield from walk(chain(sampler, start, same, stream, start=t))
            found.append(data.to_uint8(x_0_hat))
        return {"pictures": np.concatenate(found)[None]}

    return pieces.Plan(
        stage="rows",
        settings=settings | {"rows": [t for _, t in rows]},
        n=len(rows),
        size=1,
        make=make,
        ticks=lambda part: rows[part.start][1] * -(-len(lambdas) // batch),
        label=f"{len(rows)} interpolations",
    )


# ----------------------------------------------------------------------------- what is mixed


def _lambdas(asked: Sequence[float]) -> list[float]:
    """The path in order, its ends included."""
    wrong = [x for x in asked if not 0 <= x <= 1]
    if wrong:
        raise FixableError(
            f"--lambdas {wrong[0]:g}: outside 0 to 1", "give numbers such as 0.25,0.5"
        )
    return sorted({0.0, 1.0, *(round(x, 12) for x in asked)})


def _pairs(job: Job) -> tuple[list[Pair], dict[str, Any]]:
    """The pairs, and where their images come from."""
    if job.config.pictures.files:
        return [_of_files(job)], {"dataset": "files"}
    images = job.images(job.config.split)
    pairs = []
    for a, b in job.config.pictures.pairs:
        if a == b:
            raise FixableError(f"--pairs {a},{b}: an image with itself", "name two images")
        if max(a, b) >= len(images):
            raise FixableError(
                f"--pairs {a},{b}: {images.name} has {len(images):,} images",
                f"choose indices 0 to {len(images) - 1:,}",
            )
        pairs.append(_pair(images.read([a, b]), (str(a), str(b))))
    name = images.name.removesuffix(" train").removesuffix(" test")
    origin = {"dataset": name, "split": job.config.split, "data_digest": images.digest}
    return pairs, origin


def _pair(pixels: Array, names: tuple[str, str]) -> Pair:
    if np.array_equal(pixels[0], pixels[1]):
        raise FixableError(
            f"{names[0]} and {names[1]} are the same picture", "name two that differ"
        )
    return Pair(pixels, names)


def _of_files(job: Job) -> Pair:
    """Decode two files of the user's as the network expects them."""
    resize: Any = job.config.pictures.resize
    C, size, _ = job.subject.shape
    form = Form(size, C, resize, remedy="add --resize lanczos (centre crop, then resize)")
    paths = [existing(file, "a PNG, JPEG or WebP picture") for file in job.config.pictures.files]
    pixels = np.stack([decode(_bytes(path), str(path), form) for path in paths])
    return _pair(pixels, (paths[0].name, paths[1].name))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


# ------------------------------------------------------------------------------- the figures


def _path(job: Job, pairs: list[Pair], found: Array, settings: dict[str, Any]) -> Grid:
    """A row for each pair, found [P, L, H, W, C] between its sources."""
    rows = [
        np.concatenate([pair.pixels[:1], row, pair.pixels[1:]])
        for pair, row in zip(pairs, found, strict=True)
    ]
    lambdas = settings["lambdas"]
    labels = ["x₀", *(f"{x:g}" for x in lambdas), "x₀′"]
    named = "; ".join(" and ".join(pair.names) for pair in pairs)
    return Grid(
        np.concatenate(rows),
        columns=len(labels),
        labels=labels + [""] * len(labels) * (len(pairs) - 1),
        caption=(
            f"Interpolation between images {named}: the sources x₀ and x₀′ outside; between them "
            f"both mixed at t = {settings['t']:,} of {settings['T']:,} ({settings['mix']}), λ from "
            "0 to 1, and decoded from there. λ = 0 and 1 are the sources' reconstructions. Noise "
            f"of seed {job.config.seed}, fixed over λ."
        ),
    )


def _coarse(job: Job, pair: Pair, found: Array, times: list[int]) -> Grid:
    """A row for each t, found [K, L, H, W, C]."""
    columns = found.shape[1]
    return Grid(
        found.reshape(-1, *found.shape[2:]),
        columns=columns,
        labels=[text for t in times for text in [f"t={t}", *[""] * (columns - 1)]],
        caption=(
            f"From fine to coarse: images {' and '.join(pair.names)} mixed at t = 0, which mixes "
            f"their pixels, up to t = {times[-1]:,}, where noise decides; λ from 0 to 1 in each "
            f"row ({job.config.pictures.mix}). Noise of seed {job.config.seed}, fixed over λ and t."
        ),
    )
