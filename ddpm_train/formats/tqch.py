"""tqch/ddpm-torch: a training checkpoint with ``model`` and ``ema``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_train.config import ModelConfig
from ddpm_train.formats import beside, containers
from ddpm_train.formats.canonical import (
    Rules,
    architecture,
    paper_process,
    rename,
)
from ddpm_train.formats.foreign import Foreign, unchanged
from ddpm_train.weights import Tensors

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
    names = (containers.unwrapped(str(name)) for name in _raw(content))
    return any(name.startswith("downsamples.level_0.") for name in names)


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the raw and the averaged weights, and the settings in exp_*.info if it is there."""
    shadow = content.get("ema")
    ema = _weights(shadow.get("shadow"), path) if isinstance(shadow, Mapping) else {}
    raw = _weights(_raw(content), path)
    unet, origins = architecture(ema or raw)
    values, file = beside.settings_beside(path, {r"exp_.*\.info": beside.read_nested_json})
    model, read_there = beside.process(values, file, paper_process(ModelConfig(unet=unet)))
    origins = beside.origins_of(origins, read_there, file, "exp_*.info")
    bare = "model" not in content  # a state dict alone, and nobody says which
    return Foreign(
        format=NAME,
        model=model,
        weights={} if bare else raw,
        ema=ema,
        unlabelled=raw if bare else {},
        origins=origins,
        derive=unchanged if "objective.variance" in read_there else paper_process,
    )


def _raw(content: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = content.get("model", content)
    return inner if isinstance(inner, Mapping) else {}


def _weights(content: object, path: Path) -> Tensors:
    return rename(containers.tensors(content, str(path)), RULES)
