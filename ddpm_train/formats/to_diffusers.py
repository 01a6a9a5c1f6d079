"""Write a checkpoint as a folder that ``diffusers.DDPMPipeline.from_pretrained`` reads."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from ddpm_train.architectures import UNetConfig
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import write_atomically, write_text
from ddpm_train.folders import folder_atomically
from ddpm_train.formats.canonical import Rules, rename
from ddpm_train.formats.diffusers import export_digest
from ddpm_train.formats.diffusers_folder import WEIGHTS
from ddpm_train.formats.diffusers_settings import PREDICTIONS, SCHEDULES
from ddpm_train.weights import Tensors, weights_digest

VERSION = "0.30.0"  # of diffusers, whose names these are
_ALONE = {
    "time_scale": 1,
    "time_first": 0,
    "resample": "conv",
    "time_channels": 0,
    "attn_up": "every",
    "group_channels": 1,
}
"""Settings of which diffusers has one value."""
VARIANCES = {
    "fixedsmall": "fixed_small",
    "fixedlarge": "fixed_large",
    "learned_range": "learned_range",
}


def write(source: Checkpoint, folder: Path, *, ema: bool = True) -> None:
    """Write model_index.json, unet/ and scheduler/; the folder appears whole or not at all.

    Args:
        source: The checkpoint.
        folder: Must not exist.
        ema: The averaged weights (default) or those as trained.

    Raises:
        FixableError: The folder exists, the checkpoint lacks these weights, or diffusers has no
            name for something in the model.
    """
    weights = source.ema if ema else source.weights
    if not weights:
        raise FixableError(
            f"the checkpoint has only {'raw' if ema else 'averaged (EMA)'} weights",
            f"use weights={'raw' if ema else 'ema'}",
        )
    model = source.model
    network, process = _network(model), _process(model)
    if "weights" not in source.facts or source.facts["weights"] in ("ema", "raw"):
        network["_weights"] = "ema" if ema else "raw"  # else nobody knows which they are
    if source.step:
        network["_step"] = source.step
    network["_of"] = weights_digest(weights, model)
    theirs = _weights(weights, len(model.unet.channel_mult))
    network["_digest"] = export_digest(network, process, theirs)
    content = save(theirs, {"format": "pt"})
    with folder_atomically(folder, size=len(content)) as partial:
        for name, plain in (
            ("model_index.json", _index()),
            ("unet/config.json", network),
            ("scheduler/scheduler_config.json", process),
        ):
            write_text(partial / name, json.dumps(plain, indent=2) + "\n")
        write_atomically(
            partial / "unet" / f"{WEIGHTS}.safetensors", lambda file: file.write(content)
        )


def _index() -> dict[str, Any]:
    return {
        "_class_name": "DDPMPipeline",
        "_diffusers_version": VERSION,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    }


def _network(model: ModelConfig) -> dict[str, Any]:
    unet = model.unet
    if model.network != "unet":
        raise _unknown("network", model.network)
    for name, value in _ALONE.items():
        if getattr(unet, name) != value:
            raise _unknown(f"unet.{name}", getattr(unet, name))
    if unet.fourier:
        raise _unknown("unet.fourier", ",".join(map(str, unet.fourier)))
    if unet.time_order == "interleaved":
        raise _unknown("unet.time_order", unet.time_order)
    attention = [
        unet.image_size >> level in unet.attn_resolutions for level in range(len(unet.channel_mult))
    ]
    return {
        "_class_name": "UNet2DModel",
        "_diffusers_version": VERSION,
        "act_fn": "silu",
        "add_attention": True,
        "attn_norm_num_groups": None if unet.time_modulation == "shift" else 32,
        "attention_head_dim": _head_channels(unet, attention),
        "block_out_channels": [unet.base_channels * mult for mult in unet.channel_mult],
        "center_input_sample": False,
        "down_block_types": [f"{'Attn' if has else ''}DownBlock2D" for has in attention],
        "downsample_padding": 0 if unet.pad_down == "bottom_right" else 1,
        "dropout": unet.dropout,
        "flip_sin_to_cos": unet.time_order == "cos_sin",
        "freq_shift": unet.time_freq_shift,
        "in_channels": unet.channels,
        "layers_per_block": unet.num_res_blocks,
        "mid_block_scale_factor": 1,
        "norm_eps": unet.norm_eps,
        "norm_num_groups": 32,
        **({"num_class_embeds": unet.classes} if unet.classes else {}),
        "out_channels": unet.channels * (2 if model.objective.learns_variance else 1),
        "resnet_time_scale_shift": "default" if unet.time_modulation == "shift" else "scale_shift",
        "sample_size": unet.image_size,
        "time_embedding_type": "positional",
        "up_block_types": [f"{'Attn' if has else ''}UpBlock2D" for has in attention[::-1]],
    }


def _head_channels(unet: UNetConfig, attention: list[bool]) -> int | None:
    """Channels of a head, which must be the same in every layer: diffusers counts heads so."""
    if unet.head_channels or unet.heads == 1:
        return unet.head_channels or None
    widths = {mult for mult, has in zip(unet.channel_mult, attention, strict=True) if has}
    if widths | {unet.channel_mult[-1]} != {unet.channel_mult[-1]}:
        raise _unknown("unet.heads", unet.heads)
    return unet.base_channels * unet.channel_mult[-1] // unet.heads


def _process(model: ModelConfig) -> dict[str, Any]:
    schedule, objective = model.schedule, model.objective
    names = {ours: theirs for theirs, ours in SCHEDULES.items()}
    predictions = {ours: theirs for theirs, ours in PREDICTIONS.items()}
    if schedule.kind not in names:
        raise _unknown("schedule.kind", schedule.kind)
    if objective.prediction not in predictions:
        raise _unknown("objective.prediction", objective.prediction)
    if objective.variance not in VARIANCES:
        raise _unknown("objective.variance", objective.variance)
    return {
        "_class_name": "DDPMScheduler",
        "_diffusers_version": VERSION,
        "beta_end": schedule.beta_end,
        "beta_schedule": names[schedule.kind],
        "beta_start": schedule.beta_start,
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "num_train_timesteps": schedule.T,
        "prediction_type": predictions[objective.prediction],
        "variance_type": VARIANCES[objective.variance],
    }


def _weights(weights: Tensors, levels: int) -> Tensors:
    """Our names and shapes to theirs."""
    rules: Rules = [
        (r"^time_dense_0\.", "time_embedding.linear_1."),
        (r"^time_dense_1\.", "time_embedding.linear_2."),
        (r"^labels\.", "class_embedding."),
        (r"^(down|up)\.(\d+)\.(down|up)sample\.", r"\1.\2.\3samplers.0.conv."),
        (r"^down\.", "down_blocks."),
        (r"^up\.(\d+)", lambda match: f"up_blocks.{levels - 1 - int(match[1])}"),
        (r"^middle\.attention\.", "mid_block.attentions.0."),
        (r"^middle\.block_", "mid_block.resnets."),
        (r"\.blocks\.", ".resnets."),
        (r"^norm_out\.", "conv_norm_out."),
        (r"\.temb_proj\.", ".time_emb_proj."),
        (r"\.shortcut\.", ".conv_shortcut."),
        (r"(attentions\.\d+)\.norm\.", r"\1.group_norm."),
        (r"(attentions\.\d+)\.([qkv])\.", r"\1.to_\2."),
        (r"(attentions\.\d+)\.proj\.", r"\1.to_out.0."),
    ]
    theirs = rename(weights, rules)
    for name, tensor in theirs.items():
        if ".to_" in name and name.endswith("weight"):
            theirs[name] = tensor.reshape(tensor.shape[:2])
        elif name.endswith("conv_shortcut.weight"):
            theirs[name] = tensor.reshape(*tensor.shape[:2], 1, 1)
        theirs[name] = theirs[name].contiguous()
    return theirs


def _unknown(key: str, value: object) -> FixableError:
    return FixableError(f"diffusers has no name for {key}={value}", "keep it in our own format")
