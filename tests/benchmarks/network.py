"""Our network against diffusers' UNet2DModel of the same architecture, on this machine's CPU.

    python -m tests.benchmarks.network

Four processes, ours and diffusers' in float32 and under bf16 autocast, take turns: a forward pass
without gradients, then a training step (forward, mean squared error, backward, clipping, Adam),
round after round. A ratio is the median over rounds of (diffusers' float32 seconds / seconds).
Ours trains as ``ddpm_train.loop`` does, drawing its dropout masks within the time and with
``fused`` Adam; diffusers drops out by itself, with ``torch.optim.Adam`` as it comes. The memory is
the peak of the whole process. Run it on an idle machine: what else runs shows in the spread.
"""

import argparse
import json
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_train.config import PRESETS, UNetConfig
from ddpm_train.noise import Stream, keep_mask
from ddpm_train.unet import UNet
from tests.benchmarks import peer

CONTESTANTS = [(name, dtype) for dtype in ("float32", "bf16") for name in ("diffusers", "ours")]
Predict = Callable[[Tensor, Tensor], Tensor]


def ours(config: UNetConfig, batch: int) -> tuple[torch.nn.Module, Predict, torch.optim.Optimizer]:
    net = UNet(config, out_channels=config.channels)
    rows = 0

    def predict(x: Tensor, t: Tensor) -> Tensor:
        nonlocal rows
        if not (torch.is_grad_enabled() and net.dropout_elements):
            return net(x, t)
        rows += batch
        keep = keep_mask(
            Stream(0, "dropout"),
            range(rows - batch, rows),
            net.dropout_elements,
            drop=config.dropout,
            device=x.device,
        )
        return net(x, t, keep)

    return net, predict, torch.optim.Adam(net.parameters(), lr=2e-4, fused=True)


def theirs(
    config: UNetConfig, batch: int
) -> tuple[torch.nn.Module, Predict, torch.optim.Optimizer]:
    net = peer.build(config, out_channels=config.channels)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        return peer.predict(net.train(torch.is_grad_enabled()), x, t)

    return net, predict, torch.optim.Adam(net.parameters(), lr=2e-4)


def work(pipe: Connection, name: str, dtype: str, options: argparse.Namespace) -> None:
    """One contestant: does what it is told and answers with the seconds."""
    torch.set_num_threads(options.threads)
    config, B = PRESETS[options.preset]().unet, options.batch
    net, predict, optimizer = {"ours": ours, "diffusers": theirs}[name](config, B)
    generator = torch.Generator().manual_seed(0)
    shape = (B, config.channels, config.image_size, config.image_size)
    x, eps = torch.randn(2, *shape, generator=generator)
    t = torch.randint(1, 1001, (B,), generator=generator)

    def forward() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
            return predict(x, t)

    def train() -> None:
        (forward().float() - eps).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    jobs: dict[str, Callable[[], object]] = {"forward": torch.no_grad()(forward), "train": train}
    pipe.send("ready")
    while (job := pipe.recv()) != "stop":
        start = time.perf_counter()
        jobs[job]()
        pipe.send(time.perf_counter() - start)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MiB on Linux


def race(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Let the contestants take turns; give each one's seconds per round and its peak memory."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for name, dtype in CONTESTANTS:
        pipe, end = context.Pipe()
        context.Process(target=work, args=(end, name, dtype, options), daemon=True).start()
        pipe.recv()
        pipes.append(pipe)
    records: list[dict[str, Any]] = [
        {"network": name, "precision": dtype, "forward": [], "train": []}
        for name, dtype in CONTESTANTS
    ]
    for number in range(options.rounds + 1):
        for job in ("forward", "train"):
            for record, pipe in zip(records, pipes, strict=True):
                pipe.send(job)
                seconds = pipe.recv()
                if number:  # the first round warms up
                    record[job].append(seconds)
    for record, pipe in zip(records, pipes, strict=True):
        pipe.send("stop")
        record["peak_mib"] = pipe.recv()
    return records


def report(records: list[dict[str, Any]], batch: int) -> str:
    """A table: images/s (median, and quartiles of the rounds), ratio, memory."""
    lines = [f"{'':20}{'forward images/s':>26}{'ratio':>7}{'train images/s':>26}{'ratio':>7}  peak"]
    for record in records:
        line = f"{record['network']:11}{record['precision']:9}"
        for job in ("forward", "train"):
            low, middle, high = statistics.quantiles([batch / s for s in record[job]], n=4)
            quotients = [a / b for a, b in zip(records[0][job], record[job], strict=True)]
            record[f"{job}_ratio"] = statistics.median(quotients)
            spread = f"({low:.2f} .. {high:.2f})"
            line += f"{middle:>8.2f} {spread:>17}{record[f'{job}_ratio']:>7.2f}"
        lines.append(f"{line}{record['peak_mib']:>6.0f} MiB")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cifar10", choices=PRESETS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write every figure there as JSON")
    options = parser.parse_args()
    records = race(options)
    print(report(records, options.batch))
    if options.out:
        about = {
            "preset": options.preset,
            "batch": options.batch,
            "threads": options.threads,
            "torch": torch.__version__,
            "machine": platform.machine(),
            "bf16_kernels": torch.ops.mkldnn._is_mkldnn_bf16_supported(),
            "records": records,
        }
        options.out.write_text(json.dumps(about, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
