"""What sampling costs beside the network: ``ddpm-eval sample`` over bare evaluations.

    python -m tests.benchmarks.sampling CHECKPOINT                     (a minute)
    python -m tests.benchmarks.sampling CHECKPOINT -n 512 --steps 1000

The sampling loop (noise, the chain's arithmetic, rounding, files) and the bare network's
evaluations of batches of the same shape take turns; the ratio is the median over rounds, of wall
time and of the processors' time in this process, which other work on the machine disturbs less.
Fewer steps make each file weigh more, so they flatter nobody.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ddpm_eval.loading import load
from ddpm_eval.measure.pictures import samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.runtime import Runtime
from ddpm_train import samplers, world
from ddpm_train.chain import prior
from ddpm_train.fast import memory
from ddpm_train.noise import Stream


def seconds(work: Callable[[], object], device: torch.device) -> np.ndarray:
    """How long work takes, to the end of what an accelerator was asked: wall and CPU seconds."""
    began = np.array([time.perf_counter(), time.process_time()])
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return np.array([time.perf_counter(), time.process_time()]) - began


def compare(rounds: list[list[np.ndarray]], names: tuple[str, str], passes: int = 1) -> None:
    """Print the medians of two kinds of ``seconds`` for a pass, and the second over the first."""
    first, second = np.array(rounds[1:]).transpose(1, 2, 0) / passes  # the first round warms up
    for clock, a, b in zip(("wall", "CPU"), first, second, strict=True):
        low, middle, high = np.quantile(b / a, (0.25, 0.5, 0.75))
        print(
            f"{clock:5} {names[0]} {np.median(a):.4f} s, {names[1]} {np.median(b):.4f} s, "
            f"ratio {middle:.3f} ({low:.3f} .. {high:.3f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-n", type=int, default=64)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args()
    memory.keep_freed()
    processes = world.join(threads=options.threads)
    folder = Path(tempfile.mkdtemp())
    subject = load(options.checkpoint, device=str(processes.device))
    settings = SamplingSettings(n=options.n, steps=options.steps)
    runtime = Runtime(world=processes, batch=options.batch)
    short = samplers.build(subject.denoise, settings)
    times = short.schedule.times.tolist()[:0:-1]
    indices = range(options.batch)
    x = prior(Stream(0, "sample"), indices, subject.shape).to(processes.device, subject.dtype)

    @torch.inference_mode()
    def bare() -> None:
        for _ in range(-(-options.n // options.batch)):
            for step in times:
                subject.denoise.network(x, torch.full((options.batch,), step, device=x.device))

    def whole() -> None:
        samples.fill_store(subject, settings, runtime, folder / "store")

    rounds = []
    for _ in range(options.rounds + 1):
        rounds.append([seconds(bare, processes.device), seconds(whole, processes.device)])
        shutil.rmtree(folder / "store")
    evaluations = -(-options.n // options.batch) * options.steps
    print(f"{options.n} images x {options.steps} steps, batch {options.batch}, {processes.device}")
    compare(rounds, ("an evaluation of the network", "of sampling"), evaluations)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
