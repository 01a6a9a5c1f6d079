"""How fast this machine evaluates, trains and samples: a measurement for users, without a peer.

Rates are images/s, and FLOP/s as a share of what a 3x3 convolution alone reaches here in the same
run (the roofline). Every pass counts the operations of its definition: convolutions that take fewer
multiplications (``ddpm_train.fast.winograd``) can pass 100%.
"""

import statistics
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from ddpm_train import schedule
from ddpm_train.architectures import UNetConfig
from ddpm_train.chain import chain, prior
from ddpm_train.config import RunConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.fast import prepare as inference
from ddpm_train.networks.unet import UNet
from ddpm_train.noise import Stream, keep_mask
from ddpm_train.samplers import Ancestral

DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}
REPEATS = 8  # of the convolution
STEPS = 3  # of a chain that is timed: the first ones, each as long as any


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What was timed, round after round."""

    job: str  # forward, training step, sampling
    precision: str
    images: int  # in one pass
    flop: float  # of one pass
    seconds: tuple[float, ...]  # of each round

    def per_second(self) -> tuple[float, float, float]:
        """Images/s: lower quartile, median, upper quartile of the rounds."""
        rates = sorted(self.images / seconds for seconds in self.seconds)
        if len(rates) == 1:
            return rates[0], rates[0], rates[0]
        low, middle, high = statistics.quantiles(rates, n=4, method="inclusive")
        return low, middle, high

    def flops(self) -> float:
        """FLOP/s, by the median."""
        return self.flop / statistics.median(self.seconds)


def flop(config: UNetConfig) -> float:
    """Operations of one image through the network, a multiplication and an addition being two.

    >>> from ddpm_train.presets import cifar10
    >>> f"{flop(cifar10().unet) / 1e9:.1f}"
    '12.4'
    """
    with torch.device("meta"):
        network = UNet(config, out_channels=config.channels).to("meta")
        x = torch.empty(1, config.channels, config.image_size, config.image_size)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(x, torch.ones(1))
    return float(counter.get_total_flops())


def convolution(precision: str, device: torch.device) -> tuple[Callable[[], object], float]:
    """A 3x3 convolution of 16 images, 16x16 with 256 channels, some times, and its operations."""
    placement: Any = {"device": device, "dtype": DTYPES[precision]}
    x = torch.ones(16, 256, 16, 16, **placement).to(memory_format=torch.channels_last)
    weight = torch.ones(256, 256, 3, 3, **placement).to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def run() -> Tensor:
        for _ in range(REPEATS - 1):  # so that cold caches do not count
            F.conv2d(x, weight, padding=1)
        return F.conv2d(x, weight, padding=1)

    return run, REPEATS * 2.0 * 16**3 * 256**2 * 9


Jobs = dict[str, Callable[[], object]]


def jobs(config: RunConfig, precision: str, batch: int, device: torch.device) -> Jobs:
    """A forward pass, the first steps of a chain and a training step, ready to be timed."""
    return evaluation(config, precision, batch, device) | training(config, precision, batch, device)


def evaluation(config: RunConfig, precision: str, batch: int, device: torch.device) -> Jobs:
    """The jobs of a trained network."""
    process, indices, stream = schedule.build(config.schedule), range(batch), Stream(0, "sample")
    network = UNet(config.unet, out_channels=config.unet.channels).to(device)
    prepared = inference.prepare(network, process.T, precision=precision, use_up=True)
    denoise = Denoiser(prepared, process, config.objective)
    x, t = inputs(config, batch, device)

    def sample() -> None:
        deque(islice(chain(Ancestral(denoise), x, indices, stream), STEPS), maxlen=0)

    return {"forward": lambda: prepared(x, t), "sampling": sample}


def training(config: RunConfig, precision: str, batch: int, device: torch.device) -> Jobs:
    """The step of a network that trains."""
    network = UNet(config.unet, out_channels=config.unet.channels).to(device)
    return {"training step": trainer(network, precision, *inputs(config, batch, device))}


def inputs(config: RunConfig, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Noise, and times evenly over 1..T."""
    shape = (config.unet.channels, config.unet.image_size, config.unet.image_size)
    x = prior(Stream(0, "sample"), range(batch), shape).to(device)
    return x, torch.arange(1, batch + 1) * config.schedule.T // batch


def trainer(network: UNet, precision: str, x: Tensor, t: Tensor) -> Callable[[], object]:
    """A training step on x: masks, forward, squared error, backward, clipping, Adam."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, fused=True)
    drop = network.dropout_elements

    def step() -> None:
        keep = None
        if drop:
            rows = range(len(x))
            keep = keep_mask(Stream(0, "dropout"), rows, drop, drop=0.1, device=x.device)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            output = network(x, t.to(x.device), keep=keep)
        (output.float() - x).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def measure(
    config: RunConfig, precisions: Sequence[str], batch: int, rounds: int, device: torch.device
) -> tuple[list[Rate], dict[str, float]]:
    """Time every job in turns, ``rounds`` times, and the roofline of each precision beside them."""
    operations, passes = flop(config.unet), {"forward": 1, "training step": 3, "sampling": STEPS}
    work: dict[tuple[str, str], Callable[[], object]] = {}
    for precision in precisions:
        steps = jobs(config, precision, batch, device)
        work |= {(job, precision): run for job, run in steps.items()}
        work[("roofline", precision)] = convolution(precision, device)[0]
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in work}
    for number in range(rounds + 1):
        for key, run in work.items():
            taken = timed(run, device)
            if number:  # the first round warms up
                seconds[key].append(taken)
    rates = [
        Rate(
            job=job,
            precision=precision,
            images=batch,
            flop=batch * operations * passes[job],
            seconds=tuple(taken),
        )
        for (job, precision), taken in seconds.items()
        if job != "roofline"
    ]
    operations = convolution("float32", device)[1]
    return rates, {p: operations / min(seconds["roofline", p]) for p in precisions}


def timed(run: Callable[[], object], device: torch.device) -> float:
    """Seconds that a job takes, to the end of what it asked of an accelerator."""
    began = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
