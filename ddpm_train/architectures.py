"""The settings of every network, one class each: groups of a model's tree (``config``).

The classifier's are a group of ``classifier_run``'s tree.
"""

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from ddpm_train.leaves import Count, Length, Number, Range, Size

Pixels = Annotated[int, Range(1, 4096)]
Channels = Annotated[int, Range(1, 8192)]
Sigma = Annotated[float, Range(1e-9, 1e9)]


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """The network (appendix B): level l has image_size / 2^l pixels and channel_mult[l].

    The settings from ``time_order`` on are the paper's; other values are for networks that other
    systems trained.
    """

    image_size: Pixels = 32
    channels: Annotated[int, Range(1, 64)] = 3
    base_channels: Channels = 128
    channel_mult: Annotated[tuple[Annotated[int, Range(1, 64)], ...], Length(1, 12)] = (1, 2, 2, 2)
    num_res_blocks: Annotated[int, Range(1, 64)] = 2
    attn_resolutions: Annotated[tuple[Pixels, ...], Length(0, 12)] = (16,)
    dropout: Annotated[float, Range(0, below=1)] = 0.1
    time_order: Literal["sin_cos", "cos_sin", "interleaved"] = "sin_cos"
    time_freq_shift: Count = 1  # frequencies exp(-j ln(10000) / (base_channels / 2 - this))
    time_scale: Size = 1.0  # the network takes time_first + (t - 1) times this
    time_first: Annotated[float, Range(-1e6, 1e6)] = 0.0
    time_modulation: Literal["shift", "scale_shift"] = "shift"  # of a block by the time
    pad_down: Literal["bottom_right", "both"] = "bottom_right"  # before a stride of 2
    norm_eps: Annotated[float, Range(above=0, high=1)] = 1e-6
    heads: Channels = 1  # of attention
    head_channels: Annotated[int, Range(0, 8192)] = 0  # of a head, in place of ``heads``; 0: unused
    classes: Annotated[int, Range(0, 1_000_000)] = 0  # labels that the network takes; 0: none
    # n: add sin and cos of 2^n pi x to the input (VDM, appendix C)
    fourier: Annotated[tuple[Annotated[int, Range(0, 16)], ...], Length(0, 16)] = ()
    # between levels: convolutions, residual blocks, or neither (means of 2x2, nearest neighbours)
    resample: Literal["conv", "block", "none"] = "conv"
    time_channels: Annotated[int, Range(0, 8192)] = 0  # sines and cosines; 0: base_channels
    attn_up: Literal["every", "last"] = "every"  # behind which blocks of a level on the way up
    group_channels: Number = 1  # of a norm, at least; it has at most 32 groups

    def heads_of(self, channels: int) -> int:
        """The heads of an attention layer with so many channels."""
        return channels // self.head_channels if self.head_channels else self.heads

    @property
    def embedding_channels(self) -> int:
        """The length of the time embedding that every block reads."""
        return 4 * (self.time_channels or self.base_channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class NcsnppConfig:
    """DDPM++ and NCSN++ (Song et al. 2021, appendix H), EDM's SongUNet too.

    Sums are divided by sqrt(2), levels are joined by residual blocks, and a level has attention
    once on the way up.
    """

    image_size: Pixels = 32
    channels: Annotated[int, Range(1, 64)] = 3
    base_channels: Channels = 128
    channel_mult: Annotated[tuple[Annotated[int, Range(1, 64)], ...], Length(2, 12)] = (1, 2, 2, 2)
    num_res_blocks: Annotated[int, Range(1, 64)] = 4
    attn_resolutions: Annotated[tuple[Pixels, ...], Length(0, 12)] = (16,)
    dropout: Annotated[float, Range(0, below=1)] = 0.1
    time_scale: Size = 1.0  # the network takes time_first + (t - 1) times this
    time_first: Annotated[float, Range(-1e6, 1e6)] = 0.0
    embedding: Literal["sines", "fourier"] = "sines"  # of times; fourier: of random frequencies
    filter: Literal["box", "fir"] = "box"  # of resampling: 2x2 pixels, or (1, 3, 3, 1)
    residual_input: bool = False  # the shrunken image is added to every level on the way down
    classes: Annotated[int, Range(0, 1_000_000)] = 0  # labels that the network takes; 0: none
    norm_eps: Annotated[float, Range(above=0, high=1)] = 1e-6

    @property
    def group_channels(self) -> int:
        """The least channels of a norm's group."""
        return 4

    @property
    def embedding_channels(self) -> int:
        """The length of the embedding that every block reads."""
        return 4 * self.base_channels

    def heads_of(self, channels: int) -> int:
        """The heads of an attention layer with so many channels: one."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineNetConfig:
    """The score networks of NCSN and NCSNv2 (Song and Ermon 2019, 2020).

    The noise has L levels, a geometric sequence on images in [0, 1], and the schedule is that of
    these levels (``config.schedule_of_levels``).
    """

    image_size: Pixels = 32
    channels: Annotated[int, Range(1, 64)] = 3
    base_channels: Channels = 128
    depth: Literal["standard", "deeper", "deepest"] = "standard"
    conditional: bool = False  # NCSN: its norms know the level; NCSNv2's do not
    levels: Annotated[int, Range(2, 1_000_000)] = 232  # L
    sigma_begin: Sigma = 50.0
    sigma_end: Sigma = 0.01

    @property
    def dropout(self) -> float:
        """None."""
        return 0.0

    @property
    def classes(self) -> int:
        """None."""
        return 0

    def heads_of(self, channels: int) -> int:
        """One: there is no attention."""
        return 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierConfig:
    """A classifier of noisy images: the U-Net's way down, and a pool (Dhariwal and Nichol 2021).

    ``attention``: a token that attends to all pixels of the lowest level. ``adaptive``: their mean.
    ``spatial`` and ``spatial_v2``: the means of every output on the way down, and a hidden layer.
    """

    encoder: UNetConfig = UNetConfig()
    classes: Annotated[int, Range(2, 1_000_000)] = 1000
    pool: Literal["attention", "adaptive", "spatial", "spatial_v2"] = "attention"


NetworkConfig = UNetConfig | NcsnppConfig | RefineNetConfig
NetworkName = Literal["unet", "ncsnpp", "refinenet"]
NETWORK_GROUPS: tuple[str, ...] = get_args(NetworkName)
"""The groups of settings of which ``network`` names the one in use: entries of NETWORKS."""
