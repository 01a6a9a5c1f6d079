"""config.json and scheduler_config.json of diffusers: every key is read, or refused by name."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from ddpm_train.architectures import Channels, Pixels, UNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats.beside import PAPER_PROCESS
from ddpm_train.formats.canonical import paper_process, require_pixels
from ddpm_train.formats.diffusers_folder import Source
from ddpm_train.formats.foreign import Origins
from ddpm_train.leaves import Count, Length, Number, Range
from ddpm_train.reading import read_json
from ddpm_train.settings import flatten, from_dict, to_dict

SCHEDULES: dict[str, str] = {
    "linear": "linear",
    "scaled_linear": "quad",
    "squaredcos_cap_v2": "cosine",
}
PREDICTIONS = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
VARIANCES: dict[str, Literal["fixedsmall", "fixedlarge", "learned_range"]] = {
    "fixed_small": "fixedsmall",
    "fixed_small_log": "fixedsmall",
    "fixed_large": "fixedlarge",
    "fixed_large_log": "fixedlarge",
    "learned_range": "learned_range",
}
NETWORK: dict[str, tuple[object, ...]] = {  # what the network can be; first, diffusers' default
    "_class_name": ("UNet2DModel",),
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "attn_norm_num_groups": (None, 32),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "norm_num_groups": (32,),
    "time_embedding_type": ("positional",),
    "time_embedding_dim": (None,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "downsample_padding": (1, 0),
    "flip_sin_to_cos": (True, False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkFile:
    """The keys of config.json that are read as they are, with diffusers' defaults."""

    sample_size: Pixels
    in_channels: Number = 3
    out_channels: Number = 3
    block_out_channels: Annotated[tuple[Channels, ...], Length(1, 12)] = (224, 448, 672, 896)
    layers_per_block: Annotated[int, Range(1, 64)] = 2
    down_block_types: tuple[str, ...] = ("DownBlock2D", *["AttnDownBlock2D"] * 3)
    up_block_types: tuple[str, ...] = (*["AttnUpBlock2D"] * 3, "UpBlock2D")
    attention_head_dim: Annotated[int, Range(1, 8192)] | None = None  # channels; null: one head
    freq_shift: int = 0
    norm_eps: Annotated[float, Range(above=0, high=1)] = 1e-5
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    num_class_embeds: Annotated[int, Range(1, 1_000_000)] | None = None  # labels; null: none
    num_train_timesteps: int | None = None  # used by learned time embeddings alone


@dataclass(frozen=True, slots=True, kw_only=True)
class AverageFile:
    """The keys that diffusers' EMAModel adds to config.json: its weights are averaged."""

    decay: float = 0.9999
    min_decay: float = 0.0
    optimization_step: Count = 0
    update_after_step: int = 0
    use_ema_warmup: bool = False
    inv_gamma: float = 1.0
    power: float = 2 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFile:
    """The keys of scheduler_config.json that are read as they are, with diffusers' defaults."""

    num_train_timesteps: Annotated[int, Range(2, 1_000_000)] = 1000
    beta_start: Annotated[float, Range(above=0, high=1)] = 1e-4
    beta_end: Annotated[float, Range(above=0, high=1)] = 0.02
    clip_sample: bool = True


SCHEDULER: dict[str, tuple[object, ...]] = {
    "_class_name": ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"),
    "beta_schedule": tuple(SCHEDULES),
    "trained_betas": (None,),
    "prediction_type": tuple(PREDICTIONS),
    "variance_type": tuple(VARIANCES),
    "thresholding": (False,),
    "rescale_betas_zero_snr": (False,),
    "clip_sample_range": (1,),
}


def network(
    config: Mapping[str, Any], file: Path
) -> tuple[UNetConfig, Origins, AverageFile | None]:
    """Read config.json key by key; refuse what our network is not."""
    _refuse(config, NETWORK, file)
    own, averaged = set(_names(NetworkFile)), set(_names(AverageFile))
    for key, value in config.items():
        if key not in (*NETWORK, *own, *averaged) and not key.startswith("_"):
            raise FixableError(
                f"{file}: {key}={value} is not known",
                "remove the key if it does not change the network's function",
            )
    plain = {key: value for key, value in config.items() if key in own and value is not None}
    plain["sample_size"] = _square(config.get("sample_size"), file)
    full = from_dict(NetworkFile, plain, f"{file}: ")
    shared = {key: config[key] for key in averaged & config.keys() if config[key] is not None}
    average = from_dict(AverageFile, shared, f"{file}: ") if "decay" in config else None
    switches = {key: config.get(key, values[0]) for key, values in NETWORK.items()}
    shift = switches["resnet_time_scale_shift"]
    if shift != "default" and switches["attn_norm_num_groups"] is None:
        raise FixableError(
            f"{file}: resnet_time_scale_shift={shift} without attn_norm_num_groups lacks a norm",
            "only networks with a norm before every attention can be imported",
        )
    widths, size = full.block_out_channels, full.sample_size
    if any(width % widths[0] for width in widths):
        raise FixableError(
            f"{file}: block_out_channels={list(widths)} are not multiples of the first",
            "there is no setting for this network",
        )
    require_pixels(full.in_channels, f"{file}: its network")
    origins = Origins().read(
        file.name, *(f"unet.{name}" for name in flatten(to_dict(UNetConfig())))
    )
    for key, name in _ASSUMED.items():
        if key not in config:
            origins.assumed(f"{key} is missing; diffusers' default", name)
    return (
        UNetConfig(
            image_size=size,
            channels=full.in_channels,
            base_channels=widths[0],
            channel_mult=tuple(width // widths[0] for width in widths),
            num_res_blocks=full.layers_per_block,
            attn_resolutions=tuple(size >> level for level in _attention(full, file)),
            dropout=full.dropout,
            time_order="cos_sin" if switches["flip_sin_to_cos"] else "sin_cos",
            time_freq_shift=full.freq_shift,
            time_modulation="shift" if shift == "default" else "scale_shift",
            pad_down="both" if switches["downsample_padding"] else "bottom_right",
            norm_eps=full.norm_eps,
            head_channels=full.attention_head_dim or 0,
            classes=full.num_class_embeds or 0,
        ),
        origins,
        average,
    )


_ASSUMED = {
    "freq_shift": "unet.time_freq_shift",
    "flip_sin_to_cos": "unet.time_order",
    "downsample_padding": "unet.pad_down",
    "norm_eps": "unet.norm_eps",
}


def _attention(full: NetworkFile, file: Path) -> list[int]:
    """The levels with attention, the same going down and up."""
    down, up = list(full.down_block_types), list(full.up_block_types)
    pairs = {"DownBlock2D": "UpBlock2D", "AttnDownBlock2D": "AttnUpBlock2D"}
    for key, types, names in (("down", down, pairs.keys()), ("up", up, pairs.values())):
        for kind in types:
            if kind not in names:
                raise FixableError(
                    f"{file}: {key}_block_types has {kind}",
                    f"only {' and '.join(names)} can be imported",
                )
    if [pairs[kind] for kind in down] != up[::-1]:
        raise FixableError(
            f"{file}: up_block_types={up} does not mirror down_block_types",
            "there is no setting for this network",
        )
    if len(down) != len(full.block_out_channels):
        raise FixableError(
            f"{file}: {len(down)} down_block_types and {len(full.block_out_channels)} widths",
            "correct block_out_channels or the block types",
        )
    return [level for level, kind in enumerate(down) if kind.startswith("Attn")]


def _square(size: object, file: Path) -> int:
    if isinstance(size, list) and size and all(side == size[0] for side in size):
        size = size[0]
    if not isinstance(size, int) or isinstance(size, bool):
        raise FixableError(f"{file}: sample_size={size}", "set it to the images' height")
    return size


def process(
    source: Source, origins: Origins, unet: UNetConfig
) -> tuple[ScheduleConfig, ObjectiveConfig, list[str]]:
    """Read scheduler_config.json, if the checkpoint has one."""
    if source.process is None:
        origins.assumed("there is no scheduler_config.json; as in the paper", *PAPER_PROCESS)
        origins.assumed(
            "there is no scheduler_config.json; as in the paper at this image size",
            "objective.variance",
        )
        assumed = paper_process(ModelConfig(unet=unet))
        return assumed.schedule, assumed.objective, []
    file = source.process
    config = read_json(file)
    _refuse(config, SCHEDULER, file)
    own = _names(ProcessFile)
    plain = {key: config[key] for key in own if config.get(key) is not None}
    full = from_dict(ProcessFile, plain, f"{file}: ")
    notes = (
        [] if full.clip_sample else [f"clip_sample is off in {file.name}: measure with clip=false"]
    )
    origins.read(file.name, *PAPER_PROCESS, "objective.variance", "objective.prediction")
    if "variance_type" not in config:
        origins.assumed("variance_type is missing; diffusers' default", "objective.variance")
    schedule = ScheduleConfig(
        kind=SCHEDULES[config.get("beta_schedule", "linear")],
        T=full.num_train_timesteps,
        beta_start=full.beta_start,
        beta_end=full.beta_end,
    )
    prediction = PREDICTIONS[config.get("prediction_type", "epsilon")]
    objective = ObjectiveConfig(
        prediction=prediction,
        loss="L_simple" if prediction == "eps" else "mse",
        variance=VARIANCES[config.get("variance_type", "fixed_small")],
    )
    return schedule, objective, notes


def _refuse(
    config: Mapping[str, Any], allowed: Mapping[str, tuple[object, ...]], file: Path
) -> None:
    for key, values in allowed.items():
        if key in config and not any(_is_same(config[key], value) for value in values):
            raise FixableError(
                f"{file}: {key}={config[key]} cannot be represented",
                f"only {' or '.join(map(str, values))} can be imported",
            )


def _names(kind: type) -> list[str]:
    return [field.name for field in fields(kind)]


def _is_same(value: object, allowed: object) -> bool:
    """Whether they are equal and not a number beside a flag."""
    return value == allowed and isinstance(value, bool) == isinstance(allowed, bool)
