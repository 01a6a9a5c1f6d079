"""What the sweep adds to its network's time.

    python -m tests.benchmarks.sweep

On the CIFAR-10 network: scoring pairs of images and times, noise and images made beside it, over
the bare network on the same pairs; it counts the processor's time of all threads.
"""

import argparse
import json
import statistics
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_eval.measure.bound.sweep import Chosen, Sweep, variance_tables
from ddpm_eval.model import Model, ModelFacts
from ddpm_train import schedule
from ddpm_train.config import ModelConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.fast import memory
from ddpm_train.fast import prepare as inference
from ddpm_train.networks.unet import UNet
from ddpm_train.noise import Stream


def untrained() -> Model:
    """The CIFAR-10 network with its initial weights."""
    model = ModelConfig()
    process = schedule.build(model.schedule)
    network = inference.prepare(UNet(model.unet, out_channels=3), process.T)
    return Model(
        denoise=Denoiser(network, process, model.objective),
        shape=(model.unet.channels, model.unet.image_size, model.unet.image_size),
        config=model,
        facts=ModelFacts(digest="", weights="untrained"),
        device=torch.device("cpu"),
    )


def overhead(rounds: int, batch: int) -> dict[str, Any]:
    """Processor time of three batches of the sweep over that of the bare network, in turns."""
    subject = untrained()
    images, times = np.arange(3 * batch), np.arange(3 * batch) * 17 % 1000 + 1
    x = torch.zeros(3 * batch, 3, 32, 32)
    scorer = Sweep(
        model=subject,
        read=lambda places: x[torch.as_tensor(places)].double(),
        indices=images,
        stream=Stream(0, "nll"),
        variances=variance_tables(subject),
        batch=batch,
    )

    def bare() -> None:
        for some, t in zip(x.split(batch), torch.as_tensor(times).split(batch), strict=True):
            subject.denoise.network(some, t)

    def sweep() -> None:
        deque(scorer.over(Chosen(images, times), range(3 * batch)), maxlen=0)

    seconds: dict[str, list[float]] = {"bare": [], "sweep": []}
    for number in range(rounds + 1):
        for name, run in (("bare", bare), ("sweep", sweep)):
            began = time.process_time()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.process_time() - began)
    pairs = zip(seconds["sweep"], seconds["bare"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    rate = 3 * batch / statistics.median(seconds["sweep"])
    return {"over the bare network": ratio, "terms/s": rate, "batch": batch} | seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("record.json"))
    options = parser.parse_args()
    memory.keep_freed()
    torch.set_num_threads(1)
    result = {"sweep": overhead(options.rounds, options.batch)}
    print(json.dumps(result, indent=1))
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps(record | result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
