"""Our network against diffusers' UNet2DModel of the same architecture, on this machine's CPU.

    python -m tests.benchmarks.network [--out tests/benchmarks/record.json]
    python -m tests.benchmarks.table tests/benchmarks/record.json

Processes, diffusers' and ours in float32 and bf16, take turns, round after round: a forward pass
for evaluation, a training step (forward, mean squared error, backward, clipping, Adam), some steps
of sampling, and the roofline, a 3x3 convolution alone. A ratio is the median over rounds of
(diffusers' float32 seconds / seconds). diffusers works as it comes: UNet2DModel, torch.optim.Adam,
DDPMPipeline; and, with --compiled, at its best for evaluation: channels-last, through inductor with
its weights frozen. bf16 is left out on processors that emulate it. --busy adds a row with one core
kept busy by another program, once with spinning OpenMP threads and once with passive ones, which
``ddpm-eval`` asks for. Ours evaluates with ``ddpm_train.fast.prepare``, trains as
``ddpm_train.loop`` does, drawing its dropout masks within the time, and samples with
``ddpm_train.chain``, its noise named image by image. The memory is the peak of a process that loads
what it needs and does one of these alone. What else runs on the machine shows in the spread and in
the load that is written down. denoising-diffusion-pytorch's network is another one, with linear
attention at most resolutions: its seconds would not compare.
"""

import argparse
import importlib.metadata
import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_eval import bench
from ddpm_train.architectures import UNetConfig
from ddpm_train.config import RunConfig
from ddpm_train.fast import capability, memory
from ddpm_train.presets import PRESETS
from tests.benchmarks import table

Contestant = tuple[str, str]
"""A network and its precision."""
COMPILED = "diffusers compiled"
JOBS = ("forward", "training step", "sampling")
Jobs = dict[str, Callable[[], object]]


def contestants(*, compiled: bool) -> list[Contestant]:
    """Who takes part, the one that the others are compared with first."""
    precisions = ["float32", "bf16"] if capability.multiplies_bf16() else ["float32"]
    best = [(COMPILED, precision) for precision in precisions] if compiled else []
    return [("diffusers", "float32"), *best, *(("ours", precision) for precision in precisions)]


def theirs_compiled(config: RunConfig, dtype: str, batch: int) -> Jobs:
    """diffusers at its best: channels-last, through inductor, which freezes the weights."""
    from tests.benchmarks import peer

    torch._inductor.config.freezing = True  # type: ignore[attr-defined]
    net = peer.build(config.unet, out_channels=config.unet.channels).eval()
    net = net.to(memory_format=torch.channels_last, dtype=bench.DTYPES[dtype])
    x, _, t = inputs(config.unet, batch)
    x = x.to(memory_format=torch.channels_last, dtype=bench.DTYPES[dtype])
    compiled = torch.compile(net)

    @torch.no_grad()
    def sample() -> None:
        for _ in range(bench.STEPS):
            peer.predict(compiled, x, t)

    return {"forward": torch.no_grad()(lambda: peer.predict(compiled, x, t)), "sampling": sample}


def theirs(config: RunConfig, batch: int) -> Jobs:
    """diffusers, as it comes; only its own processes load it."""
    from diffusers import DDPMPipeline, DDPMScheduler

    from tests.benchmarks import peer

    unet = config.unet
    net = peer.build(unet, out_channels=unet.channels)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-4)
    x, eps, t = inputs(unet, batch)
    pipeline = DDPMPipeline(net, DDPMScheduler(num_train_timesteps=1000))
    pipeline.set_progress_bar_config(disable=True)

    def train() -> None:
        (peer.predict(net.train(), x, t) - eps).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return {
        "forward": torch.no_grad()(lambda: peer.predict(net.eval(), x, t)),
        "training step": train,
        "sampling": lambda: pipeline(
            batch_size=batch, num_inference_steps=bench.STEPS, output_type="np"
        ),
    }


def inputs(unet: UNetConfig, batch: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, eps = torch.randn(
        2, batch, unet.channels, unet.image_size, unet.image_size, generator=generator
    )
    return x, eps, torch.arange(1, batch + 1) * 1000 // batch


def work(pipe: Connection, name: str, dtype: str, options: argparse.Namespace) -> None:
    """One contestant: does what it is told and answers with the seconds."""
    torch.set_num_threads(options.threads)
    config, cpu = PRESETS[options.preset](), torch.device("cpu")
    if name == "ours":
        memory.keep_freed()
        jobs = bench.jobs(config, dtype, options.batch, cpu)
    elif name == COMPILED:
        jobs = theirs_compiled(config, dtype, options.batch)
    else:
        jobs = theirs(config, options.batch)
    jobs["roofline"] = bench.convolution(dtype, cpu)[0]
    clock = time.process_time if options.cpu_time else time.perf_counter
    pipe.send("ready")
    while (job := pipe.recv()) != "stop":
        began = clock()
        jobs[job]()
        pipe.send(clock() - began)


def race(options: argparse.Namespace, names: Sequence[Contestant]) -> list[dict[str, Any]]:
    """Let the contestants take turns; give each one's seconds per round."""
    context = multiprocessing.get_context("spawn")
    pipes = []
    for name, dtype in names:
        pipe, end = context.Pipe()
        context.Process(target=work, args=(end, name, dtype, options), daemon=True).start()
        pipe.recv()
        pipes.append(pipe)
    records: list[dict[str, Any]] = [
        {"network": name, "precision": dtype} | {job: [] for job in (*jobs_of(name), "roofline")}
        for name, dtype in names
    ]
    for number in range(options.rounds + 1):
        for job in (*JOBS, "roofline"):
            for record, pipe in zip(records, pipes, strict=True):
                if job not in record:
                    continue
                pipe.send(job)
                seconds = pipe.recv()
                if number:  # the first round warms up
                    record[job].append(seconds)
    for pipe in pipes:
        pipe.send("stop")
    return records


def jobs_of(name: str) -> tuple[str, ...]:
    """What a contestant does: a frozen network cannot be trained."""
    return tuple(job for job in JOBS if name != COMPILED or job != "training step")


def busy(options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds of a forward pass beside a program that keeps one core busy, by OpenMP's policy."""
    context = multiprocessing.get_context("spawn")
    names = [("diffusers", "float32"), ("ours", "float32")]
    seconds: dict[str, dict[str, list[float]]] = {}
    for policy in ("active", "passive"):
        os.environ["OMP_WAIT_POLICY"] = policy  # read by the processes that are started below
        load = context.Process(target=spin, daemon=True)
        load.start()
        try:
            records = race(options, names)
        finally:
            load.kill()
            del os.environ["OMP_WAIT_POLICY"]
        seconds[policy] = {record["network"]: record["forward"] for record in records}
    return seconds


def spin() -> None:
    """Keep one core busy until killed."""
    while True:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="cifar10", choices=PRESETS)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="count the processor's time, not the clock's: on a machine that is not idle, with one "
        "thread (others wait by spinning)",
    )
    parser.add_argument("--compiled", action="store_true", help="diffusers through inductor too")
    parser.add_argument("--busy", action="store_true", help="beside a program on one core too")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("record.json"))
    options = parser.parse_args()
    names = contestants(compiled=options.compiled)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    before = os.getloadavg()
    about = {
        "preset": options.preset,
        "batch": options.batch,
        "threads": options.threads,
        "rounds": options.rounds,
        "clock": "processor time" if options.cpu_time else "wall",
        "steps of sampling": bench.STEPS,
        "flop per image": bench.flop(PRESETS[options.preset]().unet),
        "flop of the roofline": bench.convolution("float32", torch.device("cpu"))[1],
        "torch": torch.__version__,
        "diffusers": importlib.metadata.version("diffusers"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {processor()}",
        "records": race(options, names),
        "peaks": peaks(options, names),
        "load before and after": [before, os.getloadavg()],
    }
    if options.busy:
        about["busy"] = busy(options)
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    options.out.write_text(json.dumps(record | {"race": about}, indent=1) + "\n", encoding="utf-8")
    print(table.race(about))


def peaks(options: argparse.Namespace, names: Sequence[Contestant]) -> list[dict[str, Any]]:
    """The peak memory of processes that each do one job twice, MiB."""
    context = multiprocessing.get_context("spawn")
    rows: list[dict[str, Any]] = []
    for name, dtype in names:
        for job in jobs_of(name):
            pipe, end = context.Pipe()
            context.Process(target=once, args=(end, name, dtype, job, options)).start()
            rows.append({"network": name, "precision": dtype, "job": job, "mib": pipe.recv()})
    return rows


def once(pipe: Connection, name: str, dtype: str, job: str, options: argparse.Namespace) -> None:
    """Do one job twice and tell the peak."""
    torch.set_num_threads(options.threads)
    config, cpu = PRESETS[options.preset](), torch.device("cpu")
    if name == "ours":
        memory.keep_freed()
        make = bench.training if job == "training step" else bench.evaluation
        run = make(config, dtype, options.batch, cpu)[job]
    elif name == COMPILED:
        run = theirs_compiled(config, dtype, options.batch)[job]
    else:
        run = theirs(config, options.batch)[job]
    run()
    run()
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def processor() -> str:
    """The name of the processor, where the system tells it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


if __name__ == "__main__":
    main()
