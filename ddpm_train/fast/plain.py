"""A network in its own layout: on an accelerator, or compiled."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from ddpm_train.denoiser import Network
from ddpm_train.networks import ImageNetwork


class Plain:
    """A network that is evaluated as it is, in one precision; it belongs to this object alone."""

    def __init__(
        self, network: ImageNetwork, dtype: torch.dtype, *, compiled: bool, tf32: bool = False
    ) -> None:
        self.dtype, self.tf32 = dtype, tf32
        network = network.eval().requires_grad_(requires_grad=False)
        network = network.to(dtype).to(memory_format=torch.channels_last)
        device = next(network.parameters()).device
        mode = "default" if device.type == "cpu" else "reduce-overhead"
        self.network: Network = torch.compile(network, mode=mode) if compiled else network

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate; the output has the precision of ``x``."""
        t = t.to(x.device, non_blocking=x.is_cuda)
        # A copy: graphs on a GPU write every output to the same place.
        with _tf32(x.device, enabled=self.tf32):
            return self.network(x.to(self.dtype), t, condition).to(x.dtype, copy=True)


@contextlib.contextmanager
def _tf32(device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Let GPUs multiply in TF32, or not, inside the block only."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = enabled
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before
