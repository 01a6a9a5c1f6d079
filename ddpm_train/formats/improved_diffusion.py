"""openai/improved-diffusion: one state dict; the flags that it was trained with are not in it.

Another function than the paper's: cosines before sines, frequencies 10000^(-j/half), zeros padded
on both sides before a stride, and norms that add 1e-5. What shapes do not tell is taken from the
flags of the released checkpoints, aloud.
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
    Foreign,
    Rules,
    architecture,
    averaged_by_name,
    rename,
    step_in_name,
    walk,
)

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


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary has this system's names."""
    names = {str(name).removeprefix("module.") for name in content}
    return {"input_blocks.0.0.weight", "time_embed.0.weight", "out.2.weight"} <= names


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the state dict and guess the flags.

    Raises:
        FixableError: The network has parts that ours has not.
    """
    theirs = containers.tensors(content, str(path))
    _refuse(theirs, path)
    weights = _rename(theirs)
    unet, assumed = architecture(weights)
    unet = replace(unet, time_order="cos_sin", time_freq_shift=0, pad_down="both", norm_eps=1e-5)
    learned = len(weights["conv_out.bias"]) == 2 * unet.channels
    if unet.time_modulation == "scale_shift":
        unet = replace(unet, heads=4)
    schedule = ScheduleConfig()
    if learned and unet.time_modulation == "scale_shift":
        schedule = ScheduleConfig(kind="cosine", T=4000)
        unet = replace(unet, time_scale=1000 / schedule.T)
    objective = ObjectiveConfig(variance="learned_range" if learned else "fixedlarge")
    assumed.append(
        f"the file does not tell its flags: {unet.heads} head(s) of attention, the "
        f"{schedule.kind} schedule, T = {schedule.T} and time scaled by {unet.time_scale:g} are "
        "assumed (unet.heads, schedule.kind, schedule.T, unet.time_scale)"
    )
    averaged = averaged_by_name(path.stem)
    return Foreign(
        format=NAME,
        model=ModelConfig(unet=unet, schedule=schedule, objective=objective),
        ema=weights if averaged else {},
        given={} if averaged else weights,
        step=step_in_name(path),
        warnings=assumed,
    )


def _refuse(theirs: Tensors, path: Path) -> None:
    kind = "only unconditional networks with resampling convolutions can be imported"
    if any(name.startswith("label_emb.") for name in theirs):
        raise FixableError(f"{path}: class_cond=True (it has label_emb)", kind)
    if not any(re.match(r"input_blocks\.\d+\.0\.op\.", name) for name in theirs):
        raise FixableError(f"{path}: conv_resample=False or resblock_updown=True", kind)


def _rename(theirs: Tensors) -> Tensors:
    down = walk(theirs, r"^input_blocks\.([1-9]\d*)\.", ends=r"\.op\.")
    up = walk(theirs, r"^output_blocks\.(\d+)\.", ends=r"\.\d\.conv\.")
    top = max(level for level, _ in up.values())

    def below(found: re.Match[str]) -> str:
        level, i = down[int(found[1])]
        return {"0.op.": f"down.{level}.downsample.", "0.": f"down.{level}.blocks.{i}."}.get(
            found[2], f"down.{level}.attentions.{i}."
        )

    def above(found: re.Match[str]) -> str:
        level, i = top - up[int(found[1])][0], up[int(found[1])][1]
        if found[2].endswith("conv."):
            return f"up.{level}.upsample."
        return f"up.{level}.{'blocks' if found[2] == '0.' else 'attentions'}.{i}."

    flat: Rules = [
        (r"^input_blocks\.([1-9]\d*)\.(0\.op\.|\d\.)", below),
        (r"^output_blocks\.(\d+)\.(\d\.conv\.|\d\.)", above),
    ]
    return rename(theirs, [*flat, *RULES])
