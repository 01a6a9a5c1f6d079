"""pesser/pytorch_diffusion: one state dict, the original's weights as they were converted."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_train.config import ModelConfig
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import (
    Foreign,
    Rules,
    architecture,
    averaged_by_name,
    paper_variance,
    rename,
    step_in_name,
)

NAME = "pesser/pytorch_diffusion"
RULES: Rules = [
    (r"^temb\.dense\.", "time_dense_"),
    (r"\.block\.", ".blocks."),
    (r"\.attn\.", ".attentions."),
    (r"^mid\.block_1\.", "middle.block_0."),
    (r"^mid\.block_2\.", "middle.block_1."),
    (r"^mid\.attn_1\.", "middle.attention."),
    (r"\.nin_shortcut\.", ".shortcut."),
    (r"\.proj_out\.", ".proj."),
    (r"\.(down|up)sample\.conv\.", r".\1sample."),
]


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary has this system's names."""
    return any(name.endswith("temb.dense.0.weight") for name in map(str, content))


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the state dict; schedule and variance are the paper's."""
    weights = rename(containers.tensors(content, str(path)), RULES)
    unet, assumed = architecture(weights)
    model = paper_variance(ModelConfig(unet=unet))
    assumed.append(f"the paper's schedule and {model.objective.variance} are assumed")
    averaged = averaged_by_name(path.stem)
    return Foreign(
        format=NAME,
        model=model,
        ema=weights if averaged else {},
        given={} if averaged else weights,
        step=step_in_name(path),
        warnings=assumed,
    )
