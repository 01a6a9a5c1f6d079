"""Prepared networks of other systems against torch eager: pairs of evaluations in turns.

    python -m tests.benchmarks.systems [--batch 4] [--rounds 9] [--threads 1] [--cpu-time]

Of each network, float32 and, where the processor has it, bf16: seconds of an evaluation at t > T /
100, by the network itself in its own precision and by the prepared one, and the median ratio of the
pairs.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from ddpm_train import networks
from ddpm_train.architectures import NcsnppConfig, NetworkConfig, RefineNetConfig, UNetConfig
from ddpm_train.denoiser import Network
from ddpm_train.fast import capability, memory
from ddpm_train.fast.prepare import prepare

ADM = UNetConfig(
    image_size=64,
    base_channels=64,
    channel_mult=(1, 2, 3, 4),
    num_res_blocks=2,
    attn_resolutions=(32, 16, 8),
    dropout=0.0,
    time_order="cos_sin",
    time_freq_shift=0,
    time_modulation="scale_shift",
    norm_eps=1e-5,
    head_channels=64,
    resample="block",
)
NETWORKS: dict[str, NetworkConfig] = {
    "ADM 64": ADM,
    "NCSN++ 32": NcsnppConfig(base_channels=64, filter="fir", residual_input=True, dropout=0.0),
    "NCSNv2 32": RefineNetConfig(base_channels=64),
}
"""Of a third or a half of the released widths."""


def main(batch: int, rounds: int, threads: int, clock: Callable[[], float]) -> None:
    """Time the pairs and print."""
    torch.set_num_threads(threads)
    memory.keep_freed()
    precisions = ["float32", *(["bf16"] if capability.multiplies_bf16() else [])]
    for name, config in NETWORKS.items():
        for precision in precisions:
            pairs = race(config, precision, batch, rounds, clock)
            eager, prepared = (statistics.median(column) for column in zip(*pairs, strict=True))
            ratio = statistics.median(a / b for a, b in pairs)
            print(
                f"{name:10} {precision:8} eager {eager:.3f} s, prepared {prepared:.3f} s, "
                f"{ratio:.2f} times as fast",
                flush=True,
            )


@torch.inference_mode()
def race(
    config: NetworkConfig, precision: str, batch: int, rounds: int, clock: Callable[[], float]
) -> list[tuple[float, float]]:
    """Seconds of the network and of the prepared one, in turns; the first pair warms up."""
    network = networks.build(config, out_channels=config.channels).eval()
    fast = prepare(network, 1000, precision=precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    eager = network.to(dtype)
    x = torch.randn(batch, config.channels, config.image_size, config.image_size)
    t = torch.full((batch,), 200)

    def seconds(function: Network, image: torch.Tensor) -> float:
        began = clock()
        function(image, t)
        return clock() - began

    pairs = [(seconds(eager, x.to(dtype)), seconds(fast, x)) for _ in range(rounds + 1)]
    return pairs[1:]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--cpu-time", action="store_true", help="the processor's time: a busy machine"
    )
    options = parser.parse_args()
    main(
        options.batch,
        options.rounds,
        options.threads,
        time.process_time if options.cpu_time else time.perf_counter,
    )
