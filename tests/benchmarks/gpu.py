"""What a CUDA machine computes and how fast: one JSON record, in at most eight minutes.

    make gpu                     # python -m tests.benchmarks.gpu --out tests/benchmarks/gpu.json
    python -m tests.benchmarks.table tests/benchmarks/gpu.json

CPU against GPU on the same noise in every precision, compiled and not; training in two parts
against one; NCCL with one process; speed and peak memory of forward, training step and sampling
beside diffusers, as it comes and compiled; the extraction of features beside torch-fidelity. Checks
come first, speed after them as far as the time goes: what was left out is said in the record. Any
device can be named; on a CPU it tests this file.
"""

import argparse
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from typer.testing import CliRunner

from ddpm_eval import bench
from ddpm_train import checkpoint, schedule
from ddpm_train.cli import app
from ddpm_train.config import RunConfig
from ddpm_train.fast import capability, prepare
from ddpm_train.networks.unet import UNet
from ddpm_train.presets import PRESETS
from tests.benchmarks import peer

SECONDS = 450.0  # after which nothing new begins
ROUNDS = 5
TOLERANCE = 1e-4  # of float32 on a GPU against a CPU, relative


class Clock:
    """How much of the time is left."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def is_over(self) -> bool:
        return time.monotonic() > self.end


def agreement(config: RunConfig, device: torch.device, *, compiled: bool) -> dict[str, float]:
    """The largest error of the network's output on a device over the CPU's largest value."""
    T, unet = schedule.build(config.schedule).T, config.unet
    network = lively(UNet(unet, out_channels=unet.channels))
    x, t = bench.inputs(config, 4, torch.device("cpu"))
    exact = prepare.prepare(network, T)(x, t)
    errors = {}
    for precision in precisions(device):
        for inductor in (False, True) if compiled else (False,):
            other = UNet(unet, out_channels=unet.channels)
            other.load_state_dict(network.state_dict())
            fast = prepare.prepare(other.to(device), T, precision=precision, compiled=inductor)
            output = fast(x.to(device), t).cpu()
            name = f"{precision}, compiled" if inductor else precision
            errors[name] = float((output - exact).abs().max() / exact.abs().max())
    return errors


def lively(network: UNet) -> UNet:
    """The network with weights that are nowhere nearly zero, as after training."""
    with torch.no_grad():
        for index, weight in enumerate(network.parameters()):
            generator = torch.Generator().manual_seed(index)
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator))
    return network


def precisions(device: torch.device) -> list[str]:
    """What a device computes in."""
    if device.type == "cuda":
        return ["float32", "tf32", "bf16"]
    return ["float32", "bf16"] if capability.multiplies_bf16() else ["float32"]


def resumed(device: torch.device, steps: int = 8) -> float:
    """The largest difference of weights between training in two parts and the same in one.

    Digits, since they ship with a package.
    """
    with tempfile.TemporaryDirectory() as folder:
        weights = []
        for name, stops in (("whole", (steps,)), ("parts", (steps // 2, steps))):
            out = Path(folder, name)
            for stop in stops:
                words = ["digits", "--out", str(out), "--device", str(device), "--quiet"]
                words += ["--accept-changes", "--set", f"optim.steps={stop}"]
                outcome = CliRunner().invoke(app, words)
                if outcome.exit_code:
                    raise SystemExit(outcome.output)
            path = out / "checkpoints" / f"step-{steps:08d}.pt"
            weights.append(checkpoint.load(path).weights)
        one, other = weights
        return max(float((one[key] - other[key]).abs().max()) for key in one)


def collective(device: torch.device) -> float:
    """The sum over one process: NCCL on a GPU, gloo on a CPU."""
    store = dist.HashStore()
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=0, world_size=1)
    try:
        value = torch.full((4,), 2.0, device=device)
        dist.all_reduce(value)
        return float(value.sum())
    finally:
        dist.destroy_process_group()


def speed(
    config: RunConfig, device: torch.device, batch: int, clock: Clock, *, compiled: bool
) -> list[dict[str, Any]]:
    """Seconds and peak memory of each job of each contestant, in turns."""
    rows = []
    for name, jobs in contestants(config, device, batch, compiled=compiled).items():
        for job, run in jobs().items():
            if clock.is_over():
                return rows
            run()  # warms up, and compiles
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            seconds = [bench.timed(run, device) for _ in range(ROUNDS)]
            peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else 0.0
            passes = bench.STEPS if job == "sampling" else 1
            rows.append(
                {
                    "contestant": name,
                    "job": job,
                    "batch": batch,
                    "seconds": statistics.median(seconds),
                    "passes per second": passes * batch / statistics.median(seconds),
                    "peak MiB": peak,
                }
            )
    return rows


def contestants(
    config: RunConfig, device: torch.device, batch: int, *, compiled: bool
) -> dict[str, Callable[[], bench.Jobs]]:
    """Each makes its jobs when its turn comes, so that one network is in memory at a time."""
    entries: dict[str, Callable[[], bench.Jobs]] = {}
    for precision in precisions(device):
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        if precision != "tf32":
            entries[f"diffusers {precision}"] = lambda dtype=dtype: theirs(
                config, device, dtype, batch, compiled=False
            )
            if compiled:
                entries[f"diffusers {precision}, compiled"] = lambda dtype=dtype: theirs(
                    config, device, dtype, batch, compiled=True
                )
            entries[f"ours {precision}"] = lambda precision=precision: bench.jobs(
                config, precision, batch, device
            )
    return entries


def theirs(
    config: RunConfig, device: torch.device, dtype: torch.dtype, batch: int, *, compiled: bool
) -> bench.Jobs:
    """diffusers' network with Adam; sampling counts its evaluations alone."""
    net = peer.build(config.unet, out_channels=config.unet.channels).to(device)
    net = net.to(memory_format=torch.channels_last) if compiled else net
    run = torch.compile(net) if compiled else net
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-5)
    x, t = bench.inputs(config, batch, device)
    t = t.to(device)

    def evaluate() -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            return peer.predict(run, x, t)

    def train() -> None:
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            output = peer.predict(run, x, t)
        (output.float() - x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    def sample() -> None:
        for _ in range(bench.STEPS):
            evaluate()

    return {"forward": evaluate, "training step": train, "sampling": sample}


def extraction(device: torch.device, n: int) -> dict[str, float]:
    """Images/s through Inception with random weights: ours, and torch-fidelity's own network."""
    from ddpm_eval.features import open_extractor
    from ddpm_train.reading import sha256_of
    from tests.eval import inception_weights

    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (n, 32, 32, 3), generator=generator, dtype=torch.uint8)
    chw = pixels.permute(0, 3, 1, 2).contiguous()
    with tempfile.TemporaryDirectory() as folder:
        path = inception_weights.write(Path(folder, "inception.pth"), chw[:16])
        ours = open_extractor("inception", path=path, device=device, accept=sha256_of(path))
    twin = inception_weights.random_network(chw[:16]).to(device)
    with torch.no_grad():
        rates = {
            "ours": lambda: ours(pixels.numpy()),
            "torch-fidelity": lambda: [part.cpu() for part in twin(chw.to(device))],
        }
        for run in rates.values():
            run()
        return {name: n / bench.timed(run, device) for name, run in rates.items()}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The whole record."""
    device, config = torch.device(options.device), PRESETS[options.preset]()
    clock = Clock(options.seconds)
    record: dict[str, Any] = {
        "machine": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "torch": torch.__version__,
        "python": platform.python_version(),
        "preset": options.preset,
        "agreement": agreement(config, device, compiled=options.compiled),
        "resumed": resumed(device),
        "sum over one process": collective(device),
        "speed": [],
        "left out": [],
    }
    for batch in options.batches:
        record["speed"] += speed(config, device, batch, clock, compiled=options.compiled)
        if clock.is_over():
            record["left out"].append(f"some of batch {batch}")
    if clock.is_over():
        record["left out"].append("extraction")
    else:
        record["extraction"] = extraction(device, options.extract)
    return record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--preset", default="cifar10", choices=PRESETS)
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--extract", type=int, default=1024, help="images for extraction")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--no-compile", dest="compiled", action="store_false")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("gpu.json"))
    options = parser.parse_args()
    record = measure(options)
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(record, indent=1))
    worst = record["agreement"]["float32"]
    if worst > TOLERANCE or record["resumed"] > TOLERANCE:
        raise SystemExit(f"float32 differs by {worst:.2g}, resuming by {record['resumed']:.2g}")


if __name__ == "__main__":
    main()
