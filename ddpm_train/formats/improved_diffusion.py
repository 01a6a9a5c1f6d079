"""openai/improved-diffusion: one state dict; the flags that it was trained with are not in it.

Another function than the paper's: cosines before sines, frequencies 10000^(-j/half), zeros padded
on both sides before a stride, and norms that add 1e-5. Flags that neither the shapes nor the file's
name tell are asked for: a wrong one changes every number, and nothing shows it.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddpm_train.checkpoint import Tensors
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import (
    Rules,
    architecture,
    rename,
    require_pixels,
    walk,
)
from ddpm_train.formats.foreign import Foreign

NAME = "openai/improved-diffusion"
RULES: Rules = [
    (r"^time_embed\.0\.", "time_dense_0."),
    (r"^time_embed\.2\.", "time_dense_1."),
    (r"^input_blocks\.0\.0\.", "conv_in."),
    (r"^out\.0\.", "norm_out."),
    (r"^out\.2\.", "conv_out."),
    (r"^middle_block\.0\.", "middle.block_0."),
    (r"^middle_block\.1\.", "middle.attention."),
    (r"^middle_block\.2\.", "middle.block_1."),
    (r"\.in_layers\.0\.", ".norm1."),
    (r"\.in_layers\.2\.", ".conv1."),
    (r"\.emb_layers\.1\.", ".temb_proj."),
    (r"\.out_layers\.0\.", ".norm2."),
    (r"\.out_layers\.3\.", ".conv2."),
    (r"\.skip_connection\.", ".shortcut."),
    (r"\.proj_out\.", ".proj."),
]


SIZES = {(1, 2, 2, 2): 32, (1, 2, 3, 4): 64, (1, 1, 2, 2, 4, 4): 256}
"""Its script chooses the widths by the image size."""

REFUSED = {
    "use_new_attention_order": "attention whose rows lie in guided-diffusion's other order",
    "num_heads_upsample": "other numbers of heads going up than going down",
    "predict_xstart": "set objective.prediction instead",
}
ASKED = "look at the flags that it was trained with"


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary has this system's names."""
    names = {containers.unwrapped(str(name)) for name in content}
    return {"input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"} <= names


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the state dict; ask for the flags that it was trained with, which it does not hold.

    Raises:
        FixableError: The network has parts that ours has not.
    """
    theirs = containers.tensors(content, str(path))
    _refuse(theirs, path)
    weights = _rename(theirs)
    unet, origins = architecture(weights)
    if unet.channel_mult in SIZES:
        size = SIZES[unet.channel_mult]
        levels = [unet.image_size // at for at in unet.attn_resolutions]
        unet = replace(
            unet, image_size=size, attn_resolutions=tuple(size // level for level in levels)
        )
        origins.read("the widths, which go with the image size", "unet.image_size")
    unet = replace(unet, time_order="cos_sin", time_freq_shift=0, pad_down="both", norm_eps=1e-5)
    learned = len(weights["conv_out.bias"]) == 2 * unet.channels
    if learned:
        origins.read("the channels of the output", "objective.variance")
    else:
        origins.assumed("sigma_small False, the default", "objective.variance")
    origins.derived("T and the schedule", "schedule.beta_start", "schedule.beta_end")
    origins.assumed("rescale_timesteps True, the default: 1000 / T", "unet.time_scale")
    origins.assumed("predict_xstart False, the default", "objective.prediction")
    scaled = unet.time_modulation == "scale_shift"
    averaged = _is_averaged(path)
    return Foreign(
        format=NAME,
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
        asked={
            "schedule.kind": "cosine" if scaled else "linear",
            "schedule.T": 4000 if scaled else 1000,
            "unet.heads": 4 if scaled else 1,
        },
        asked_because=f"{ASKED}; the released files of this shape",
        derive=_derived,
        refused=REFUSED,
    )


def _derived(model: ModelConfig, fixed: frozenset[str]) -> ModelConfig:
    """Scale the betas and the time by T, as this system does.

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
    if "unet.time_scale" not in fixed:
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


def _refuse(theirs: Tensors, path: Path) -> None:
    kind = "only unconditional networks with resampling convolutions can be imported"
    require_pixels(theirs["input_blocks.0.0.weight"].shape[1], f"{path}: its network")
    if any(name.startswith("label_emb.") for name in theirs):
        raise FixableError(f"{path}: class_cond=True (it has label_emb)", kind)
    if not any(re.match(r"input_blocks\.\d+\.0\.op\.", name) for name in theirs):
        raise FixableError(f"{path}: conv_resample=False or resblock_updown=True", kind)


def _rename(theirs: Tensors) -> Tensors:
    down = walk(theirs, r"^input_blocks\.([1-9]\d*)\.", ends=r"\.op\.")
    up = walk(theirs, r"^output_blocks\.(\d+)\.", ends=r"\.\d\.conv\.")
    top = max((level for level, _ in up.values()), default=0)

    def below(match: re.Match[str]) -> str:
        level, i = down[int(match[1])]
        return {"0.op.": f"down.{level}.downsample.", "0.": f"down.{level}.blocks.{i}."}.get(
            match[2], f"down.{level}.attentions.{i}."
        )

    def above(match: re.Match[str]) -> str:
        level, i = top - up[int(match[1])][0], up[int(match[1])][1]
        if match[2].endswith("conv."):
            return f"up.{level}.upsample."
        return f"up.{level}.{'blocks' if match[2] == '0.' else 'attentions'}.{i}."

    flat: Rules = [
        (r"^input_blocks\.([1-9]\d*)\.(0\.op\.|\d\.)", below),
        (r"^output_blocks\.(\d+)\.(\d\.conv\.|\d\.)", above),
    ]
    return rename(theirs, [*flat, *RULES])
