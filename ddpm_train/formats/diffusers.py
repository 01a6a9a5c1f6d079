"""Folders of Hugging Face diffusers: a UNet2DModel and its scheduler, read and written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from ddpm_train.config import (
    ModelConfig,
    ObjectiveConfig,
    ScheduleConfig,
    UNetConfig,
)
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import Foreign, Rules, averaged_by_name, rename
from ddpm_train.reading import read_json

NAME = "diffusers UNet2DModel"
WEIGHTS = "diffusion_pytorch_model"
SCHEDULES: dict[str, str] = {
    "linear": "linear",
    "scaled_linear": "quad",
    "squaredcos_cap_v2": "cosine",
}
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
    "num_class_embeds": (None,),
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
FREE: dict[str, object] = {  # what is read as it is, and diffusers' default
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "down_block_types": ("DownBlock2D", *["AttnDownBlock2D"] * 3),
    "up_block_types": (*["AttnUpBlock2D"] * 3, "UpBlock2D"),
    "attention_head_dim": None,  # diffusers itself takes 8; older files mean one head
    "freq_shift": 0,
    "norm_eps": 1e-5,
    "dropout": 0.0,
    "num_train_timesteps": None,  # used by learned time embeddings alone
}
SCHEDULER: dict[str, tuple[object, ...]] = {
    "_class_name": ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler"),
    "beta_schedule": tuple(SCHEDULES),
    "trained_betas": (None,),
    "prediction_type": ("epsilon",),
    "variance_type": tuple(VARIANCES),
    "thresholding": (False,),
    "rescale_betas_zero_snr": (False,),
    "clip_sample_range": (1,),
}
INSIDE: Rules = [
    (r"\.time_emb_proj\.", ".temb_proj."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.(to_q|query)\.", ".q."),
    (r"\.(to_k|key)\.", ".k."),
    (r"\.(to_v|value)\.", ".v."),
    (r"\.(to_out\.0|proj_attn)\.", ".proj."),
]


def find(path: Path) -> Path | None:
    """The folder with the network's config.json, if this is a checkpoint of diffusers."""
    folder = path if path.is_dir() else path.parent
    if not path.is_dir() and not path.name.startswith(WEIGHTS):
        return None
    for place in (folder / "unet", folder):
        config = place / "config.json"
        if config.is_file() and "_class_name" in _json(config):
            return place
    return None


def read(path: Path) -> Foreign:
    """Read the folder that ``find`` gave.

    Raises:
        FixableError: A setting is one that our network does not have, or there are no weights.
    """
    config = _json(path / "config.json")
    warnings: list[str] = []
    unet = _network(config, path, warnings)
    schedule, objective = _process(path, warnings)
    if objective.learns_variance != (config.get("out_channels", 3) == 2 * unet.channels):
        raise FixableError(
            f"{path}: out_channels={config.get('out_channels')} and {unet.channels} input channels "
            f"do not go with a variance that is {objective.variance}",
            "correct variance_type in scheduler_config.json",
        )
    levels = len(unet.channel_mult)
    given = rename(containers.tensors(containers.read(_weights(path)), str(path)), _rules(levels))
    folder = path.parent if path.name == "unet" else path
    averaged = averaged_by_name(folder.resolve().name) or config.get("_weights") == "ema"
    return Foreign(
        format=NAME,
        model=ModelConfig(schedule=schedule, unet=unet, objective=objective),
        ema=given if averaged else {},
        given={} if averaged else given,
        step=int(config.get("_step", 0)),
        warnings=warnings,
    )


def _rules(levels: int) -> Rules:
    return [
        (r"^time_embedding\.linear_1\.", "time_dense_0."),
        (r"^time_embedding\.linear_2\.", "time_dense_1."),
        (r"^down_blocks\.", "down."),
        (r"^up_blocks\.(\d+)", lambda found: f"up.{levels - 1 - int(found[1])}"),
        (r"\.(down|up)samplers\.0\.conv\.", r".\1sample."),
        (r"^mid_block\.attentions\.0\.", "middle.attention."),
        (r"^mid_block\.resnets\.", "middle.block_"),
        (r"\.resnets\.", ".blocks."),
        (r"^conv_norm_out\.", "norm_out."),
        *INSIDE,
    ]


def _network(config: Mapping[str, Any], path: Path, warnings: list[str]) -> UNetConfig:
    """Read config.json key by key; refuse what our network is not."""
    _refuse(config, NETWORK, path / "config.json")
    for key, value in config.items():
        if key not in NETWORK and key not in FREE and not key.startswith("_"):
            raise FixableError(
                f"{path / 'config.json'}: {key}={value} is not known",
                "remove the key if it does not change the network's function",
            )
    defaults = {key: values[0] for key, values in NETWORK.items()} | FREE
    for key in ("freq_shift", "flip_sin_to_cos", "downsample_padding", "norm_eps"):
        if key not in config:
            warnings.append(
                f"config.json has no {key}: {defaults[key]} is assumed, as in diffusers"
            )
    if "attention_head_dim" not in config:
        warnings.append("config.json has no attention_head_dim: one head is assumed")
    full: dict[str, Any] = {**defaults, **config}
    if full["resnet_time_scale_shift"] != "default" and full["attn_norm_num_groups"] is None:
        raise FixableError(
            f"{path / 'config.json'}: resnet_time_scale_shift={full['resnet_time_scale_shift']} "
            "without attn_norm_num_groups leaves out a norm",
            "only networks with a norm before every attention can be imported",
        )
    widths, size = list(full["block_out_channels"]), _square(full["sample_size"], path)
    if any(width % widths[0] for width in widths):
        raise FixableError(
            f"{path / 'config.json'}: block_out_channels={widths} are not multiples of the first",
            "there is no setting for this network",
        )
    return UNetConfig(
        image_size=size,
        channels=full["in_channels"],
        base_channels=widths[0],
        channel_mult=tuple(width // widths[0] for width in widths),
        num_res_blocks=full["layers_per_block"],
        attn_resolutions=tuple(size >> level for level in _attention(full, path)),
        dropout=full["dropout"],
        time_order="cos_sin" if full["flip_sin_to_cos"] else "sin_cos",
        time_freq_shift=full["freq_shift"],
        time_modulation="shift" if full["resnet_time_scale_shift"] == "default" else "scale_shift",
        pad_down="both" if full["downsample_padding"] else "bottom_right",
        norm_eps=full["norm_eps"],
        head_channels=full["attention_head_dim"] or 0,
    )


def _attention(config: Mapping[str, Any], path: Path) -> list[int]:
    """The levels with attention, the same going down and up."""
    down, up = list(config["down_block_types"]), list(config["up_block_types"])
    kinds = {"DownBlock2D": "UpBlock2D", "AttnDownBlock2D": "AttnUpBlock2D"}
    for key, types, known in (("down", down, kinds.keys()), ("up", up, kinds.values())):
        for kind in types:
            if kind not in known:
                raise FixableError(
                    f"{path / 'config.json'}: {key}_block_types has {kind}",
                    f"only {' and '.join(known)} can be imported",
                )
    if [kinds[kind] for kind in down] != up[::-1]:
        raise FixableError(
            f"{path / 'config.json'}: up_block_types={up} does not mirror down_block_types",
            "there is no setting for this network",
        )
    return [level for level, kind in enumerate(down) if kind.startswith("Attn")]


def _square(size: object, path: Path) -> int:
    if isinstance(size, list) and len(set(size)) == 1:
        size = size[0]
    if not isinstance(size, int):
        raise FixableError(
            f"{path / 'config.json'}: sample_size={size}", "set it to the images' height"
        )
    return size


def _process(path: Path, warnings: list[str]) -> tuple[ScheduleConfig, ObjectiveConfig]:
    """Read scheduler_config.json, which lies beside config.json or in scheduler/."""
    places = (path, path / "scheduler", path.parent / "scheduler")
    found = [place for place in places if (place / "scheduler_config.json").is_file()]
    if not found:
        warnings.append("there is no scheduler_config.json: the paper's schedule is assumed")
        return ScheduleConfig(), ObjectiveConfig()
    file = found[0] / "scheduler_config.json"
    config = _json(file)
    _refuse(config, SCHEDULER, file)
    if not config.get("clip_sample", True):
        warnings.append("clip_sample is off in scheduler_config.json: measure with --no-clip")
    if "variance_type" not in config:
        warnings.append("scheduler_config.json has no variance_type: fixed_small is assumed")
    schedule = ScheduleConfig(
        kind=SCHEDULES[config.get("beta_schedule", "linear")],
        T=config.get("num_train_timesteps", 1000),
        beta_start=config.get("beta_start", 1e-4),
        beta_end=config.get("beta_end", 0.02),
    )
    return schedule, ObjectiveConfig(variance=VARIANCES[config.get("variance_type", "fixed_small")])


def _refuse(config: Mapping[str, Any], known: Mapping[str, tuple[object, ...]], file: Path) -> None:
    for key, values in known.items():
        if key in config and config[key] not in values:
            raise FixableError(
                f"{file}: {key}={config[key]} cannot be represented",
                f"only {' or '.join(map(str, values))} can be imported",
            )


def _weights(path: Path) -> Path:
    for suffix in (".safetensors", ".fp16.safetensors", ".bin", ".fp16.bin"):
        if (path / (WEIGHTS + suffix)).is_file():
            return path / (WEIGHTS + suffix)
    raise FixableError(
        f"{path}: config.json is there but no weights",
        f"download {WEIGHTS}.safetensors or {WEIGHTS}.bin beside it",
    )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file)
