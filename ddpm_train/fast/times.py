"""The time embedding of every t, projected for every block: a row of a table."""

import copy
from collections.abc import Iterable, Iterator
from itertools import accumulate, pairwise
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.networks.base import check_condition
from ddpm_train.networks.blocks import ResidualBlock
from ddpm_train.networks.levels import Down, Up
from ddpm_train.networks.unet import UNet

Layer = TypeVar("Layer", bound=nn.Module)


class Times:
    """The projections of the time embedding, of which each block reads its part.

    Of a network with classes the table ends where the label is added.
    """

    def __init__(self, network: UNet, T: int) -> None:
        self.sines, self.classes = network.sines, network.classes
        self.projections = [copied(block.temb_proj) for block in residual_blocks(network)]
        self.dense = copied(network.time_dense_0), copied(network.time_dense_1)
        self.labels = None if network.labels is None else copied(network.labels)
        table = self._tabulated(torch.arange(T) + 1)
        self.table = torch.cat([torch.full_like(table[:1], torch.nan), table])

    def parts(self) -> Iterator[slice]:
        """The part of each block."""
        ends = list(accumulate((dense.out_features for dense in self.projections), initial=0))
        return (slice(*ends) for ends in pairwise(ends))

    def __call__(self, t: Tensor, condition: Tensor | None) -> Tensor:
        """Embed times and labels, [B] -> [B, sum of the blocks' channels]; look integers up.

        Other times may lie between those of the table.
        """
        check_condition(condition, self.classes)
        rows = self._tabulated(t) if t.is_floating_point() else self.table[t]
        if self.labels is None or condition is None:
            return rows
        return self._project(rows + self.labels(condition))

    def _tabulated(self, t: Tensor) -> Tensor:
        """What depends on the time alone."""
        first, second = self.dense
        temb = second(F.silu(first(self.sines(t).to(first.weight.dtype))))
        return temb if self.labels is not None else self._project(temb)

    def _project(self, temb: Tensor) -> Tensor:
        temb = F.silu(temb)
        return torch.cat([dense(temb) for dense in self.projections], 1)


def residual_blocks(network: UNet) -> list[ResidualBlock]:
    """The residual blocks in the order of their work."""
    blocks: list[nn.Module | None] = []
    for down in cast(Iterable[Down], network.down):
        blocks += [*down.blocks, down.downsample]
    blocks += [network.middle.block_0, network.middle.block_1]
    for up in cast(Iterable[Up], reversed(network.up)):
        blocks += [*up.blocks, up.upsample]
    return [block for block in blocks if isinstance(block, ResidualBlock)]


def copied(layer: Layer) -> Layer:
    """A copy that training does not move."""
    return copy.deepcopy(layer).requires_grad_(requires_grad=False)
