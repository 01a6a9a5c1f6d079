"""What a training step costs beside the network: reading, flips, times, noise and dropout masks.

    python -m tests.benchmarks.training [--data IMAGES.npz]            (five minutes)

Steps of ``ddpm_train.loop`` that draw their batches, and steps of the same run that are handed one
batch again and again, take turns, some at a time; the ratio is the median over rounds, of wall time
and of the processors' time in this process. Reading and drawing go on in a thread beside the
network; what of it is left after the last step is waited for within the time.
"""

import argparse
import contextlib
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from ddpm_train import data, world
from ddpm_train.config import DataConfig, RunConfig
from ddpm_train.fast import memory
from ddpm_train.loop import Trainer
from ddpm_train.presets import PRESETS
from ddpm_train.world import World
from tests.benchmarks.sampling import compare, seconds

STEPS = 4


class Fed(Trainer):
    """A run whose every batch is the first one."""

    def __init__(self, config: RunConfig, images: data.Images, world: World) -> None:
        super().__init__(config, images, world)
        first = self._next.result()
        self.batches.draw = lambda step: first  # type: ignore[method-assign]


def steps(trainer: Trainer) -> None:
    for _ in range(STEPS):
        trainer.advance(stopping=bool, measure_loss=False)
    trainer._next.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cifar10", choices=PRESETS)
    parser.add_argument("--data", type=Path, help="an .npz with images: train; else noise")
    parser.add_argument("--precision", default="float32", choices=("float32", "bf16"))
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    memory.keep_freed()
    processes, config = world.join(threads=options.threads), PRESETS[options.preset]()
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        path = options.data or Path(work, "noise.npz")
        if options.data is None:
            side = config.unet.image_size
            pixels = np.random.default_rng(0).integers(0, 256, (512, side, side, 3), np.uint8)
            np.savez(path, train=pixels)
        config = replace(
            config,
            data=DataConfig(source="npz", path=str(path)),
            optim=replace(config.optim, batch_size=options.batch),
            compute=replace(config.compute, precision=options.precision),
        )
        unet = config.unet
        images = data.load(config.data, image_size=unet.image_size, channels=unet.channels)
        trainers = [
            stack.enter_context(contextlib.closing(kind(config, images, processes)))
            for kind in (Fed, Trainer)
        ]
        rounds = [
            [seconds(partial(steps, trainer), processes.device) for trainer in trainers]
            for _ in range(options.rounds + 1)
        ]
    print(f"{options.preset}, {options.precision}, batch {options.batch}, {processes.device}")
    compare(rounds, ("a step that is handed a batch", "that draws it"), STEPS)


if __name__ == "__main__":
    main()
