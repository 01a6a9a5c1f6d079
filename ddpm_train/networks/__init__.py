"""The networks: one file each, and one entry in ``NETWORKS``.

An entry is the class of a network's settings and what builds the network from them. Settings of
every kind have ``image_size`` and ``channels``.
"""

from collections.abc import Callable
from typing import NamedTuple

from ddpm_train.architectures import NcsnppConfig, NetworkConfig, RefineNetConfig, UNetConfig
from ddpm_train.networks.base import ImageNetwork
from ddpm_train.networks.ncsnpp import NCSNpp
from ddpm_train.networks.refinenet import RefineNet
from ddpm_train.networks.unet import UNet

__all__ = ["NETWORKS", "ImageNetwork", "build"]


class Kind(NamedTuple):
    """A kind of network."""

    config: type[NetworkConfig]
    build: Callable[..., ImageNetwork]


NETWORKS: dict[str, Kind] = {
    "unet": Kind(UNetConfig, UNet),
    "ncsnpp": Kind(NcsnppConfig, NCSNpp),
    "refinenet": Kind(RefineNetConfig, RefineNet),
}
"""By the name of their group of settings; ``network`` names one."""


def build(config: NetworkConfig, *, out_channels: int, seed: int | None = 0) -> ImageNetwork:
    """Build the network that its settings describe, initialised from ``seed``.

    Without a seed it has shapes only, on the device ``meta``.

    Raises:
        FixableError: The settings describe no network.
    """
    (kind,) = (kind for kind in NETWORKS.values() if type(config) is kind.config)
    return kind.build(config, out_channels=out_channels, seed=seed)
