"""Networks prepared for evaluation: the same functions of x_t and t, faster.

On CPUs a U-Net is laid out anew (``cpu``); on accelerators, compiled, and for other networks its
copy is evaluated as it is (``plain``). The network itself stays the reference: float32 agrees with
it to 5e-6.
"""

import copy
import os
import shutil

import torch
from torch import Tensor

from ddpm_train.denoiser import Network
from ddpm_train.errors import FixableError
from ddpm_train.fast import capability
from ddpm_train.fast.cpu import OnCPU
from ddpm_train.fast.plain import Plain
from ddpm_train.fast.times import Times
from ddpm_train.networks import ImageNetwork
from ddpm_train.networks.unet import UNet

PRECISIONS = ("float32", "tf32", "bf16", "float64")


def prepare(
    network: ImageNetwork,
    T: int,
    *,
    precision: str = "float32",
    compiled: bool = False,
    use_up: bool = False,
) -> Network:
    """Prepare a network for evaluation on the device where it lies; its weights are copied.

    bf16 keeps t <= T / 100 in float32: there, where little noise hides it, lies most of what bf16
    adds to the bound. What is left is some 0.0004 bits/dim.

    Args:
        network: The network; training it further changes nothing here.
        T: Times are 1..T. Integers in between are looked up, others cost two small products.
        precision: float32; tf32 on GPUs; bf16, in which all but sums and norms has 8 bits; float64,
            in which machines agree to some 1e-14.
        compiled: Let inductor write the kernels; the first evaluation then takes minutes.
        use_up: Release the source weights while copying; the source network is unusable afterwards.

    Raises:
        FixableError: The device has no such precision, or there is no compiler.
    """
    device = next(network.parameters()).device
    check(device, precision, compiled=compiled)
    tf32 = precision == "tf32"
    with torch.inference_mode():
        if device.type == "cpu" and not compiled and OnCPU.suits(network):
            return _on_cpu(network, T, bf16=precision == "bf16", use_up=use_up)
        last = network if use_up else copy.deepcopy(network)
        if precision != "bf16":
            dtype = torch.float64 if precision == "float64" else torch.float32
            return Plain(last, dtype, compiled=compiled, tf32=tf32)
        exact = Plain(copy.deepcopy(network), torch.float32, compiled=compiled)
        return Mixed(exact, Plain(last, torch.bfloat16, compiled=compiled), T // 100)


def _on_cpu(network: UNet, T: int, *, bf16: bool, use_up: bool) -> Network:
    times = Times(network, T)
    if not bf16:
        return OnCPU(network, times, torch.float32, use_up=use_up)
    fast = OnCPU(network, times, torch.bfloat16)
    return Mixed(OnCPU(network, times, torch.float32, use_up=use_up, small=True), fast, T // 100)


def check(device: torch.device, precision: str, *, compiled: bool) -> None:
    """Refuse a precision that the device lacks, and compiling without a compiler.

    Raises:
        FixableError: Names the setting.
    """
    if precision not in PRECISIONS:
        raise FixableError(f"precision={precision}: unknown", f"choose {', '.join(PRECISIONS)}")
    if precision == "float64" and device.type == "mps":
        raise FixableError("precision=float64: Apple's GPUs have none", "use device=cpu")
    if precision == "tf32" and device.type != "cuda":
        raise FixableError(f"precision=tf32: not on {device.type}", "use float32 or bf16")
    if precision == "bf16" and device.type == "cpu" and not capability.multiplies_bf16():
        raise FixableError(
            "precision=bf16: this processor emulates it, more slowly than float32",
            "use float32, or a processor with AVX-512 BF16 or AMX",
        )
    if compiled and not _compiler():
        raise FixableError(
            "compile=true: there is no C++ compiler here", "install g++ or set CXX, or leave it out"
        )


def _compiler() -> str | None:
    names = [os.environ.get("CXX"), "g++", "clang++"]
    return next((path for name in names if name and (path := shutil.which(name))), None)


class Mixed:
    """A fast network, and an exact one for small t."""

    def __init__(self, exact: Network, fast: Network, until: int) -> None:
        self.exact, self.fast, self.until = exact, fast, until

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate each row by the network of its time; a t on the CPU costs no synchronisation."""
        small = t <= self.until
        if not small.any():
            return self.fast(x, t, condition)
        if small.all():
            return self.exact(x, t, condition)
        first, rest = small.nonzero()[:, 0], (~small).nonzero()[:, 0]
        parts = [
            network(x[rows], t[rows], None if condition is None else condition[rows])
            for network, rows in ((self.exact, first), (self.fast, rest))
        ]
        return torch.cat(parts)[torch.cat([first, rest]).argsort()]
