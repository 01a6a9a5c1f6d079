"""tqch/ddpm-torch: a training checkpoint with ``model`` and ``ema``."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_train.checkpoint import Tensors
from ddpm_train.config import ModelConfig
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import Foreign, Rules, architecture, paper_variance, rename

NAME = "tqch/ddpm-torch"
RULES: Rules = [
    (r"^embed\.0\.", "time_dense_0."),
    (r"^embed\.2\.", "time_dense_1."),
    (r"^in_conv\.", "conv_in."),
    (r"^out_conv\.0\.", "norm_out."),
    (r"^out_conv\.2\.", "conv_out."),
    (r"^middle\.0\.", "middle.block_0."),
    (r"^middle\.1\.", "middle.attention."),
    (r"^middle\.2\.", "middle.block_1."),
    (r"^(down|up)samples\.level_(\d+)\.(\d+)\.1\.(weight|bias)$", r"\1.\2.\1sample.\4"),
    (r"^(down|up)samples\.level_(\d+)\.(\d+)\.1\.", r"\1.\2.attentions.\3."),
    (r"^(down|up)samples\.level_(\d+)\.(\d+)\.(0\.)?", r"\1.\2.blocks.\3."),
    (r"\.fc\.", ".temb_proj."),
    (r"\.skip\.", ".shortcut."),
    (r"\.project_in\.", ".qkv."),
    (r"\.project_out\.", ".proj."),
]


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary, or its ``model``, has this system's names."""
    return any(re.match(r"(module\.)?downsamples\.level_0\.", str(name)) for name in _raw(content))


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the raw and the averaged weights; schedule and variance are the paper's."""
    shadow = content.get("ema")
    ema = _weights(shadow["shadow"], path) if isinstance(shadow, Mapping) else {}
    raw = _weights(_raw(content), path)
    unet, assumed = architecture(ema or raw)
    model = paper_variance(ModelConfig(unet=unet))
    assumed.append(f"the paper's schedule and {model.objective.variance} are assumed")
    return Foreign(format=NAME, model=model, weights=raw, ema=ema, warnings=assumed)


def _raw(content: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = content.get("model", content)
    return inner if isinstance(inner, Mapping) else {}


def _weights(content: Mapping[str, Any], path: Path) -> Tensors:
    return rename(containers.tensors(content, str(path)), RULES)
