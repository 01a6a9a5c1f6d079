"""How a forward pass in float32 grows with batch, resolution and threads, ours and diffusers'.

    python -m tests.benchmarks.scaling [--out tests/benchmarks/record.json]

Both networks take turns in one process; resolutions have the same number of pixels in a batch.
Threads are compared only by the clock on the wall: on a machine that is idle.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_eval import bench
from ddpm_train.architectures import UNetConfig
from ddpm_train.fast import memory
from ddpm_train.fast import prepare as inference
from ddpm_train.networks.unet import UNet
from ddpm_train.presets import cifar10
from tests.benchmarks import peer

BATCHES = (1, 4, 16, 64)
RESOLUTIONS = (32, 64, 128, 256)
NARROW = replace(cifar10().unet, base_channels=64)


def cases(*, threads: bool) -> Iterator[tuple[str, UNetConfig, int, dict[str, int]]]:
    """What grows, the network, the batch, and where the point lies."""
    for batch in BATCHES:
        yield "batch", cifar10().unet, batch, {"batch": batch}
    for size in RESOLUTIONS:
        batch = (RESOLUTIONS[-1] // size) ** 2 // 4 or 1
        config = replace(NARROW, image_size=size, attn_resolutions=(size // 8,))
        yield "resolution", config, batch, {"resolution": size}
    for count in (1, 2) if threads else ():
        yield "threads", cifar10().unet, 16, {"threads": count}


def contest(config: UNetConfig) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """The two networks."""
    theirs = peer.build(config, out_channels=config.channels).eval()
    ours = inference.prepare(UNet(config, out_channels=config.channels), 1000)
    return {"diffusers": torch.no_grad()(lambda x, t: peer.predict(theirs, x, t)), "ours": ours}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cpu-time", action="store_true", help="as in the network's benchmark")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("record.json"))
    options = parser.parse_args()
    memory.keep_freed()
    clock = time.process_time if options.cpu_time else time.perf_counter
    before, points = os.getloadavg(), []
    for over, config, batch, place in cases(threads=not options.cpu_time):
        torch.set_num_threads(place.get("threads", options.threads))
        networks = contest(config)
        x = torch.zeros(batch, config.channels, config.image_size, config.image_size)
        t = torch.arange(1, batch + 1) * 1000 // batch
        seconds: dict[str, list[float]] = {name: [] for name in networks}
        for number in range(options.rounds + 1):
            for name, network in networks.items():
                began = clock()
                network(x, t)
                if number:  # the first round warms up
                    seconds[name].append(clock() - began)
        operations = bench.flop(config)
        points += [
            {"over": over, "network": name, "flop": operations * batch, "seconds": taken} | place
            for name, taken in seconds.items()
        ]
    about: dict[str, Any] = {
        "rounds": options.rounds,
        "threads": options.threads,
        "clock": "processor time" if options.cpu_time else "wall",
        "load before and after": [before, os.getloadavg()],
        "points": points,
    }
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps(record | {"scaling": about}, indent=1) + "\n")


if __name__ == "__main__":
    main()
