"""What layers of files cost beside the KL, by the effort of the encoder: a quick look.

    python -m tests.benchmarks.layers CHECKPOINT --profile P --images 16 --effort 13 --effort 14

writes files of test images and takes, at each rate of their layers (without the head), the KL with
sigma^2 = beta-tilde to the same t, and the RMSE of x_0_hat over that of x_t ~ q. Both come from
errors of the same images at some 60 times, integrated over SNR, in place of all T steps: minutes
for ``tests.benchmarks.codec``, seconds here. It prints a table.
"""

import argparse
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import ddpm_eval as de
from ddpm_eval.choice import choose
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec import writing
from ddpm_eval.codec.network import Estimate, estimator
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_eval.codec.strides import snr
from ddpm_eval.codec.words import Array
from ddpm_eval.codec.writing import Prefix, Writer
from ddpm_eval.model import Model

RATES = (0.03, 0.06, 0.1, 0.17, 0.55, 1.6)  # bits/dim of layers
TIMES, DRAWS, FEW_DRAWS_BELOW = 56, 4, 20  # at small t one draw of the noise is enough
BATCH = 16


class Ideal:
    """The KL in bits/dim and the mean square error of x_t ~ q at every t, [T + 1]."""

    def __init__(self, estimate: Estimate, alphas_bar: Array, x_0: Array) -> None:
        T, rng = len(alphas_bar) - 1, np.random.default_rng(0)
        rows = sorted({round(row) for row in np.geomspace(1, T, TIMES)})
        errors = []
        for row in rows:
            bar, squares = alphas_bar[row], list[float]()
            for _ in range(DRAWS if row > FEW_DRAWS_BELOW else 1):
                noise = rng.standard_normal(x_0.shape)
                x_t = (bar**0.5 * x_0 + (1 - bar) ** 0.5 * noise).astype(np.float32)
                squares.append(float(np.square(x_0 - estimate(x_t, row)).mean()))
            errors.append(np.mean(squares))
        times = np.arange(1, T + 1)
        self.mse = np.exp(np.interp(np.log(times), np.log(rows), np.log(errors)))
        gains = -np.diff(snr(alphas_bar)[1:])  # of the step from t to t - 1, t = 2 .. T
        steps = gains * self.mse[1:] / (2 * np.log(2))
        self.kl = np.append(np.cumsum(steps[::-1])[::-1], 0)

    def at(self, rows: list[int]) -> tuple[Array, Array]:
        """KL and RMSE in levels at rows of the schedule."""
        places = np.array(rows) - 1
        return self.kl[places], 127.5 * np.sqrt(self.mse[places])


def encode(
    profile: Profile, estimate: Estimate, pixels: Array, effort: int
) -> tuple[Array, Array, dict[str, float]]:
    """Bits/dim of layers and RMSE behind each of them, [K], and what whole files need."""
    evaluations, prefixes, end = 0, list[Prefix](), Writer._end

    def count(x_t: Array, row: int) -> Array:
        nonlocal evaluations
        evaluations += len(x_t)
        return estimate(x_t, row)

    def note(writer: Writer, prefix: Prefix, x_0_hat: Array) -> bytes:
        prefixes.append(prefix)
        return end(writer, prefix, x_0_hat)

    began, settings = time.process_time(), CompressionSettings(effort=effort)
    with mock.patch.object(Writer, "_end", note):
        writers = finish(writing.compress(profile, count, list(pixels), settings))
    seconds = time.process_time() - began
    bits = np.cumsum([[len(layer) for layer in prefix.layers] for prefix in prefixes], 1).mean(0)
    errors = np.sqrt(np.square([writer.errors for writer in writers]).mean(0))
    n, dims = len(pixels), pixels[0].size
    about = {
        "files, bits/dim": 8 * sum(len(writer.file) for writer in writers) / (n * dims),
        "evaluations": evaluations / n,
        "s an image": seconds / n,
    }
    return bits / dims, errors[1:], about


def finish(work: Generator[None, None, list[Writer]]) -> list[Writer]:
    """Drive the work to its end."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return list(end.value)


def measure(model: Model, profile: Profile, pixels: Array, efforts: list[int]) -> list[str]:
    """The lines of the table, one for each effort."""
    estimate = estimator(model, batch=BATCH)
    bars = model.denoise.schedule.alphas_bar.cpu().numpy()
    ideal = Ideal(estimate, bars, pixels.transpose(0, 3, 1, 2) / 127.5 - 1)
    kl, rmse = ideal.at(list(profile.rows[1:]))
    lines = []
    for effort in efforts:
        rates, errors, about = encode(profile, estimate, pixels, effort)

        def at(values: Array, rates: Array = rates) -> Array:
            return np.asarray(np.interp(np.log(RATES), np.log(rates), values))

        pairs = zip(at(rates / kl), at(errors / rmse), strict=True)
        cells: list[Any] = [effort, *(f"{a:.2f} ({b:.3f})" for a, b in pairs)]
        lines.append(" | ".join(map(str, [*cells, *(f"{x:.3f}" for x in about.values())])))
    head = ["effort", *(f"{rate:g}" for rate in RATES), *about]
    return [" | ".join(head), "|".join(["---"] * len(head)), *lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--profile", type=Path, required=True)
    parser.add_argument("--images", type=int, default=16, help="test images, drawn by the seed")
    parser.add_argument("--dataset")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", default="")
    parser.add_argument("--effort", type=int, action="append", help="repeat it for several")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = de.load(options.checkpoint, weights=options.weights or None)
    images = de.images(options.dataset or model, split="test", path=options.data, like=model)
    pixels = choose(images, options.images).read(range(options.images))
    profile = profiles.load(options.profile)
    print("\n".join(measure(model, profile, pixels, options.effort or [13, 14])))


if __name__ == "__main__":
    main()
