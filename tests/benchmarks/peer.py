"""diffusers' UNet2DModel with the settings that make it the paper's network."""

import re

import torch
from diffusers import UNet2DModel
from torch import Tensor

from ddpm_train.architectures import UNetConfig


def build(config: UNetConfig, *, out_channels: int) -> UNet2DModel:
    """The same architecture, with diffusers' own initial weights."""
    levels = len(config.channel_mult)
    attends = [config.image_size >> level in config.attn_resolutions for level in range(levels)]
    return UNet2DModel(
        sample_size=config.image_size,
        in_channels=config.channels,
        out_channels=out_channels,
        freq_shift=1,
        flip_sin_to_cos=False,
        down_block_types=["AttnDownBlock2D" if attend else "DownBlock2D" for attend in attends],
        up_block_types=["AttnUpBlock2D" if attend else "UpBlock2D" for attend in reversed(attends)],
        block_out_channels=[config.base_channels * mult for mult in config.channel_mult],
        layers_per_block=config.num_res_blocks,
        downsample_padding=0,
        norm_eps=1e-6,
        attention_head_dim=None,
        act_fn="silu",
        dropout=config.dropout,
    )


def predict(peer: UNet2DModel, x: Tensor, t: Tensor) -> Tensor:
    """The output at the paper's t; diffusers counts time from 0."""
    output: Tensor = peer(x, t - 1).sample
    return output


@torch.no_grad()
def copy_weights(ours: torch.nn.Module, peer: UNet2DModel, config: UNetConfig) -> None:
    """Give the peer our weights; every name and shape must have its like."""
    levels = len(config.channel_mult)
    peer.load_state_dict({name(key, levels): value for key, value in ours.state_dict().items()})


def name(ours: str, levels: int) -> str:
    """Our name of a parameter as diffusers has it.

    >>> name("up.0.attentions.1.proj.bias", 4)
    'up_blocks.3.attentions.1.to_out.0.bias'
    """
    ours = re.sub(r"^up\.(\d+)", lambda match: f"up_blocks.{levels - 1 - int(match[1])}", ours)
    ours = re.sub(
        r"^time_dense_(\d)", lambda match: f"time_embedding.linear_{int(match[1]) + 1}", ours
    )
    for pattern, theirs in (
        (r"^down\.", "down_blocks."),
        (r"^middle\.block_", "mid_block.resnets."),
        (r"^middle\.attention\.", "mid_block.attentions.0."),
        (r"\.blocks\.", ".resnets."),
        (r"\.(down|up)sample\.", r".\1samplers.0.conv."),
        (r"\.temb_proj\.", ".time_emb_proj."),
        (r"\.shortcut\.", ".conv_shortcut."),
        (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
        (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
        (r"(attentions\.\d+)\.proj\.", r"\1.to_out.0."),
        (r"^norm_out\.", "conv_norm_out."),
    ):
        ours = re.sub(pattern, theirs, ours)
    return ours
