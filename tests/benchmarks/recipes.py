"""Which settings of training for bits/dim gain most at equal compute, on 32x32 images.

    python -m tests.benchmarks.recipes IMAGES.npz [--only NAME ...] [--minutes 4]

changes one thing at a time of the preset ``likelihood32`` with one block, trains for so much
processor time of one core, and prints bits/dim of images that were kept back from the archive's
training images; its test images are not looked at. Every run gets as many steps as fit, so that its
learning rate falls to 0.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import ddpm_eval as de
from ddpm_train import checkpoint, data
from ddpm_train.config import RunConfig
from ddpm_train.loop import Trainer
from ddpm_train.presets import PRESETS
from ddpm_train.settings import override
from ddpm_train.world import World

RECIPES = {
    "one block, SNR at t = 1 of 2e4": [],
    "two blocks, as the preset": ["unet.num_res_blocks=2"],
    "SNR at t = 1 of 4e4": ["schedule.snr_start=4e4"],
    "SNR at t = 1 of 2e5, Fourier features": ["schedule.snr_start=2e5", "unet.fourier=7,8"],
    "variance per pixel": ["objective.variance=learned_range"],
    "v predicted": ["objective.prediction=v"],
    "uniform times": ["objective.times=uniform"],
    "L_simple": ["objective.loss=L_simple", "objective.times=uniform"],
}
KEPT_BACK = 250  # training images that judge
EVALUATIONS = 2000  # of the estimate of their bits/dim
EMA_SHARE = 0.05  # of a run, over which weights are averaged
TRIED = 12  # steps that are timed
WARM = 3  # steps before them


def main(archive: Path, minutes: float, names: list[str]) -> None:
    """Train with each recipe and print a row."""
    torch.set_num_threads(1)
    images = np.load(archive)["train"]
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "split.npz"
        np.savez(split, train=images[:-KEPT_BACK], test=images[-KEPT_BACK:])
        print(
            "| what | parameters | images seen | bits/dim | these images |\n|---|---|---|---|---|"
        )
        for name in names or RECIPES:
            print(row(name, split, minutes, Path(folder) / "run.pt"), flush=True)


def row(name: str, archive: Path, minutes: float, path: Path) -> str:
    """Train with one recipe, and write its row of the table."""
    config = configure(archive, RECIPES[name], 10**6)
    images = data.load(config.data, image_size=32, channels=3)
    seconds = timed(config, images)
    steps = int(60 * minutes / seconds)
    trainer = Trainer(configure(archive, RECIPES[name], steps), images, World(torch.device("cpu")))
    while trainer.step < steps:
        trainer.advance(stopping=lambda: False, measure_loss=False)
    trainer.close()
    checkpoint.save(path, trainer.checkpoint())
    model = de.load(path, device="cpu")
    measured = de.bits_per_dim(model, budget=EVALUATIONS)
    total, these = measured.scores[:2]
    assert total.error is not None and these.error is not None
    size = sum(weight.numel() for weight in trainer.network.parameters())
    seen = steps * config.optim.batch_size
    return (
        f"| {name} | {size / 1e6:.2f}M | {seen:,} | {total.value:.3f} ± {total.error.size:.3f} | "
        f"± {these.error.size:.3f} |"
    )


def configure(archive: Path, changes: list[str], steps: int) -> RunConfig:
    """Change the preset, for so many steps."""
    place = ["data.source=npz", f"data.path={archive}"]
    decay = 1 - 1 / (EMA_SHARE * steps)
    course = [f"optim.steps={steps}", f"optim.ema_decay={decay}", "compute.precision=bf16"]
    short = [*place, *course, "unet.num_res_blocks=1"]
    return override(PRESETS["likelihood32"](), [*short, *changes])


def timed(config: RunConfig, images: data.Images) -> float:
    """Measure the processor seconds of a step."""
    trainer = Trainer(config, images, World(torch.device("cpu")))
    for step in range(WARM + TRIED):
        if step == WARM:
            began = time.process_time()
        trainer.advance(stopping=lambda: False, measure_loss=False)
    seconds = (time.process_time() - began) / TRIED
    trainer.close()
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--minutes", type=float, default=4.0)
    options = parser.parse_args()
    main(options.archive, options.minutes, options.only)
