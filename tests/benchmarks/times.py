"""What times that are drawn by their cost gain over uniform ones, at equal steps on the digits.

    python -m tests.benchmarks.times [--steps 600] [--seeds 3] [--images 100]

trains the digits network for bits/dim with each kind of times, and with L_simple, and prints
bits/dim on the test images with the best variance of every step, FD(digits-cnn) of samples (what
likelihood costs in pictures), and the variance of the gradient at one and the same network.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import ddpm_eval as de
from ddpm_eval.model import Model
from ddpm_train import checkpoint, data, times
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import RunConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.loop import Trainer
from ddpm_train.noise import Stream
from ddpm_train.objective import Objective
from ddpm_train.presets import PRESETS
from ddpm_train.schedule import build
from ddpm_train.settings import override
from ddpm_train.weights import build_network, load_weights
from ddpm_train.world import World

CPU = World(torch.device("cpu"))
BOUND = ["objective.loss=L", "objective.variance=optimal"]
KINDS = {
    "L_simple": ["objective.variance=optimal"],
    **{f"L, {kind}": [*BOUND, f"objective.times={kind}"]
       for kind in ("uniform", "low_discrepancy", "importance")},
}  # fmt: skip
BATCHES = 64  # for the variance of the gradient
SAMPLES = 256  # for the distance


def main(steps: int, seeds: int, n: int) -> None:
    """Train and print."""
    torch.set_num_threads(1)
    images = data.load(PRESETS["digits"]().data, image_size=8, channels=1)
    last: Checkpoint | None = None
    for name, changes in KINDS.items():
        bits, distances = [], []
        for seed in range(seeds):
            last = train(settings(changes, steps, seed), images)
            with saved(last) as model:
                bits.append(de.bits_per_dim(model, n=n).scores[0].value)
                distances.append(distance(model))
        print(f"{name:20} bits/dim {spread(bits)}; FD {spread(distances)}", flush=True)
    if last is not None:
        for kind in ("uniform", "low_discrepancy", "importance"):
            print(f"{kind:20} variance of the gradient {gradient_variance(last, images, kind):.3g}")


def settings(changes: list[str], steps: int, seed: int) -> RunConfig:
    """The digits run on a log-SNR line, with a learning rate that falls."""
    line = ["schedule.kind=log_snr", "schedule.snr_start=2e3", "schedule.snr_end=1e-3"]
    course = [f"optim.steps={steps}", "optim.decay=cosine", "optim.grad_clip=0"]
    return override(PRESETS["digits"](), [f"seed={seed}", *line, *course, *changes])


def train(config: RunConfig, images: data.Images) -> Checkpoint:
    """Train to the end."""
    trainer = Trainer(config, images, CPU)
    while trainer.step < config.optim.steps:
        trainer.advance(stopping=lambda: False, measure_loss=False)
    trainer.close()
    return trainer.checkpoint()


@contextmanager
def saved(content: Checkpoint) -> Iterator[Model]:
    """Load what was trained as a stranger would; its variances are those that it carries."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        checkpoint.save(path, content)
        yield de.load(path, device="cpu")


def distance(model: Model) -> float:
    """FD(digits-cnn) of samples and all training images."""
    measured = de.quality(model, n=SAMPLES, extractor="digits-cnn", metrics=["FID"])
    return measured.score("fid", whose="samples").value


def spread(values: list[float]) -> str:
    """Mean, standard error over seeds, and each value."""
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{np.mean(values):.3f} ± {error:.3f} {np.round(values, 3)}"


def gradient_variance(content: Checkpoint, images: data.Images, kind: str) -> float:
    """E |g - mean g|^2 / |mean g|^2 over batches, for one kind of times."""
    process, size = build(content.model.schedule), 64
    network = build_network(content.model)
    load_weights(network, content.ema)
    errors = content.tables["errors"]
    denoise = Denoiser(network, process, content.model.objective, errors)
    objective = Objective(content.model.objective, denoise)
    gradients: list[Tensor] = []
    for step in range(BATCHES):
        rng = np.random.default_rng(step)
        x_0 = data.to_model(images.read(rng.integers(len(images), size=size)))
        eps = torch.from_numpy(rng.standard_normal(x_0.shape, np.float32))
        if kind == "uniform":
            places = torch.from_numpy(rng.random(size))
        else:
            places = times.points(Stream(0, "train"), step, range(size), size)
        is_uniform = kind != "importance"
        p = times.uniform(process.T) if is_uniform else times.importance(process, errors)
        t, weights = times.draw(p, places)
        x_t = objective.noisy(x_0, t, eps)
        loss = (weights.float() * objective.loss(network(x_t, t), x_0, x_t, t, eps)).mean()
        network.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append(
            torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])
        )
    mean = torch.stack(gradients).mean(0)
    variance = torch.stack([(gradient - mean).square().sum() for gradient in gradients]).mean()
    return float(variance / mean.square().sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    main(options.steps, options.seeds, options.images)
