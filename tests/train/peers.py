"""Comparing our network with those of other systems on random weights."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ddpm_train import checkpoint
from ddpm_train.checkpoint import Checkpoint

Function = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def randomise(net: nn.Module, *, seed: int = 0) -> None:
    """Give every parameter a value that matters, those too that begin at zero or one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in net.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            parameter.copy_(noise / parameter[0].numel() ** 0.5)
        else:
            parameter.add_(0.2 * noise)


@torch.no_grad()
def agreement(
    content: Checkpoint, peer: Function, *, ema: bool = True, labels: Tensor | None = None
) -> float:
    """The relative L2 distance of our output and a peer's, which takes x and the index t - 1."""
    unet, T = content.model.unet, content.model.schedule.T
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, unet.channels, unet.image_size, unet.image_size, generator=generator)
    t = torch.tensor([1, 2, T // 2, T])
    theirs = peer(x, t - 1)
    ours = checkpoint.network(content, ema=ema)(x, t, labels)
    assert theirs.shape == ours.shape and theirs.std() > 0.1
    return ((ours - theirs).norm() / theirs.norm()).item()
