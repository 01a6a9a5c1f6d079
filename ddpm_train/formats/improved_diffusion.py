"""openai's improved-diffusion and guided-diffusion: one state dict, without its flags.

Another function than the paper's: cosines before sines, frequencies 10000^(-j/half), zeros padded
on both sides before a stride, and norms that add 1e-5; guided-diffusion (ADM) joins its levels by
residual blocks. Flags that neither the shapes nor the name of a released file tell are asked for: a
wrong one changes every number, and nothing shows it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers, released
from ddpm_train.formats.canonical import architecture, require_pixels
from ddpm_train.formats.foreign import Foreign, Origins
from ddpm_train.formats.openai_names import canonical
from ddpm_train.formats.released import RELEASED, UNTOLD
from ddpm_train.settings import entry
from ddpm_train.weights import Tensors

NAME = "openai/improved-diffusion"
GUIDED = "openai/guided-diffusion"
SIZES = {
    (1, 2, 2, 2): 32,
    (1, 2, 3, 4): 64,
    (1, 1, 2, 3, 4): 128,
    (1, 1, 2, 2, 4, 4): 256,
    (0.5, 1, 1, 2, 2, 4, 4): 512,
}
"""Their scripts choose the widths, over the number of sines and cosines, by the image size."""
ORDER = "use_new_attention_order"
REFUSED = {
    "num_heads_upsample": "other numbers of heads going up than going down",
    "predict_xstart": "set objective.prediction instead",
}
ASKED = "look at the flags that it was trained with"


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary has this system's names."""
    names = {containers.unwrapped(str(name)) for name in content}
    unet = {"input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"} <= names
    return unet and any(name.startswith("output_blocks.") for name in names)


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the state dict; ask for the flags that it was trained with, which it does not hold.

    Raises:
        FixableError: The network has parts that ours has not.
    """
    theirs = containers.tensors(content, str(path))
    require_pixels(theirs["input_blocks.0.0.weight"].shape[1], f"{path}: its network")
    weights = canonical(theirs)
    unet, origins = shapes(weights)
    guided = unet.resample != "conv"
    learned = len(weights["conv_out.bias"]) == 2 * unet.channels
    _state(origins, learned=learned, guided=guided)
    averaged = _is_averaged(path)
    foreign = Foreign(
        format=GUIDED if guided else NAME,
        model=ModelConfig(
            unet=unet,
            schedule=ScheduleConfig(),
            objective=ObjectiveConfig(variance="learned_range" if learned else "fixedlarge"),
        ),
        weights=weights if averaged is False else {},
        ema=weights if averaged else {},
        unlabelled=weights if averaged is None else {},
        step=0 if averaged is None else int(re.findall(r"\d+", path.stem)[-1]),
        origins=origins,
        asked=_asked(unet, guided=guided),
        asked_because=_asked_because(unet),
        derive=partial(_derived, rescales=not guided),
        flags={ORDER: _order, "released": _released},
        refused=REFUSED,
    )
    if path.stem in released.names_of(unet):
        return _take(foreign, path.stem, "the name of the file, a released one")
    return foreign


def shapes(weights: Tensors, *, image_size: int = 0) -> tuple[UNetConfig, Origins]:
    """Read the settings of the network that shapes tell, under our names.

    Without its image size, the widths tell it if they are those of the scripts.
    """
    unet, origins = architecture(weights, image_size=image_size)
    sines = unet.time_channels or unet.base_channels
    widths = tuple(unet.base_channels * mult / sines for mult in unet.channel_mult)
    if not image_size and widths in SIZES:
        size = SIZES[widths]
        levels = [unet.image_size // at for at in unet.attn_resolutions]
        unet = replace(
            unet, image_size=size, attn_resolutions=tuple(size // level for level in levels)
        )
        origins.read("the widths, which go with the image size", "unet.image_size")
    unet = replace(unet, time_order="cos_sin", time_freq_shift=0, pad_down="both", norm_eps=1e-5)
    return unet, origins


def _state(origins: Origins, *, learned: bool, guided: bool) -> None:
    """Say what the shapes of the output tell, and what the defaults of the flags are."""
    if learned:
        origins.read("the channels of the output", "objective.variance")
    else:
        origins.assumed("sigma_small False, the default", "objective.variance")
    origins.derived("T and the schedule", "schedule.beta_start", "schedule.beta_end")
    origins.assumed("predict_xstart False, the default", "objective.prediction")
    if guided:
        origins.assumed("rescale_timesteps False, the default", "unet.time_scale")
    else:
        origins.assumed("rescale_timesteps True, the default: 1000 / T", "unet.time_scale")
        origins.assumed("improved-diffusion has no other", f"{ORDER}=False")


def _asked(unet: UNetConfig, *, guided: bool) -> dict[str, object]:
    """The settings that must be given, with those of most networks of this kind."""
    scaled = unet.time_modulation == "scale_shift"
    if guided:
        heads: dict[str, object] = {"unet.head_channels": 64, ORDER: False}
        return {"schedule.kind": "linear", "schedule.T": 1000, **heads}
    return {
        "schedule.kind": "cosine" if scaled else "linear",
        "schedule.T": 4000 if scaled else 1000,
        "unet.heads": 4 if scaled else 1,
    }


def _asked_because(unet: UNetConfig) -> str:
    names = released.names_of(unet)
    if names:
        return f"add --set released={names[0]} if it is that file, or {ASKED}"
    return f"{ASKED}; many files have"


def _order(foreign: Foreign, value: str) -> Foreign:
    """Take the order of attention's rows from the flag."""
    if value.lower() not in ("true", "false"):
        raise FixableError(f"{ORDER}={value}: not a choice", "choose True or False")
    origins = Origins({name: kind for name, kind in foreign.origins.items() if ORDER not in name})
    origins[f"{ORDER}={value.capitalize()}"] = "set", "--set"
    rows = "new" if value.lower() == "true" else "legacy"
    return foreign.with_answers(ORDER, rows=rows, origins=origins)


def _released(foreign: Foreign, name: str) -> Foreign:
    """Take the flags of a released network.

    Raises:
        FixableError: There is none of this name, or it has another shape.
    """
    entry(RELEASED, name, "released")
    if name not in released.names_of(foreign.model.unet):
        raise FixableError(
            f"released={name}: the network of this file has another shape",
            "give its own flags with --set, or download the file again",
        )
    return _take(foreign, name, f"released={name}")


def _take(foreign: Foreign, name: str, source: str) -> Foreign:
    network = RELEASED[name]
    model, unet = foreign.model, network.model.unet
    heads = replace(
        model.unet, heads=unet.heads, head_channels=unet.head_channels, time_scale=unet.time_scale
    )
    origins = Origins({name: kind for name, kind in foreign.origins.items() if ORDER not in name})
    origins.read(source, *UNTOLD, f"{ORDER}={network.rows == 'new'}")
    return foreign.with_answers(
        *(*UNTOLD, ORDER),
        model=replace(model, unet=heads, schedule=network.model.schedule),
        rows=network.rows,
        origins=origins,
        derive=partial(_derived, rescales=unet.time_scale != 1 or network.model.schedule.T == 1000),
    )


def _derived(model: ModelConfig, fixed: frozenset[str], *, rescales: bool = True) -> ModelConfig:
    """Scale the betas by T, as these systems do, and the time with rescale_timesteps.

    >>> model = _derived(ModelConfig(schedule=ScheduleConfig(T=4000)), frozenset())
    >>> model.schedule.beta_start, model.schedule.beta_end, model.unet.time_scale
    (2.5e-05, 0.005, 0.25)
    """
    scale = 1000 / max(model.schedule.T, 1)
    schedule, unet = model.schedule, model.unet
    if "schedule.beta_start" not in fixed:
        schedule = replace(schedule, beta_start=scale * 1e-4)
    if "schedule.beta_end" not in fixed:
        schedule = replace(schedule, beta_end=scale * 0.02)
    if rescales and "unet.time_scale" not in fixed:
        unet = replace(unet, time_scale=scale)
    return replace(model, schedule=schedule, unet=unet)


def _is_averaged(path: Path) -> bool | None:
    """Whether the name that this system gives a file says so.

    >>> [_is_averaged(Path(name)) for name in ("ema_0.9999_500000.pt", "model500000.pt", "ema.pt")]
    [True, False, None]
    """
    if re.fullmatch(r"ema_0?\.\d+_\d{3,}", path.stem):
        return True
    return False if re.fullmatch(r"model\d{3,}", path.stem) else None
