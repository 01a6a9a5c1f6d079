"""How fast this machine is: ``bench``."""

from typing import Annotated

import typer

from ddpm_eval.commands.options import common
from ddpm_train.errors import FixableError
from ddpm_train.terminal import output, say


def bench(
    preset: Annotated[str, typer.Option("--preset", help="The network: cifar10, ...")] = "cifar10",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Images at once.")] = 16,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Repeats; medians count.")] = 5,
) -> None:
    """Images/s of the network, a training step and sampling on this machine."""
    from ddpm_train.presets import PRESETS

    if preset not in PRESETS:
        raise FixableError(f"--preset {preset}: unknown", f"choose {', '.join(PRESETS)}")
    from ddpm_eval import bench as timing
    from ddpm_train import world
    from ddpm_train.fast import capability

    config, device = PRESETS[preset](), world.join(common().device, threads=common().threads).device
    fast = device.type != "cpu" or capability.multiplies_bf16()
    precisions = ["float32", "bf16"] if fast else ["float32"]
    rates, roofline = timing.measure(config, precisions, batch, rounds, device)
    T = config.schedule.T
    say(f"{preset}, batch {batch}, {device}; medians of {rounds} rounds (quartiles)", to=output)
    for rate in rates:
        low, middle, high = rate.per_second()
        if rate.job == "sampling":
            low, middle, high = (rate * timing.STEPS / T for rate in (low, middle, high))
        share = rate.flops() / roofline[rate.precision]
        say(
            f"{rate.job:14}{rate.precision:9}{middle:9.3g} images/s ({low:.3g} .. {high:.3g})"
            f"{rate.flops() / 1e9:9.0f} GFLOP/s{share:7.0%} of a convolution",
            to=output,
        )
    for precision, speed in roofline.items():
        say(f"{'convolution':14}{precision:9}{'':33}{speed / 1e9:9.0f} GFLOP/s", to=output)
    if not fast:
        say("bf16 left out: this processor emulates it; use float32", to=output)
