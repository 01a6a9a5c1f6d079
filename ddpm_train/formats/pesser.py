"""pesser/pytorch_diffusion: one state dict, the original's weights as they were converted.

ermongroup/ddim trains the same network and saves a list: the state dict, the optimizer, epoch and
step, and the averaged weights.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ddpm_train.config import ModelConfig
from ddpm_train.formats import beside, containers
from ddpm_train.formats.canonical import (
    Rules,
    architecture,
    paper_process,
    rename,
    step_in_name,
)
from ddpm_train.formats.foreign import Foreign, unchanged
from ddpm_train.weights import Tensors

NAME = "pesser/pytorch_diffusion"
DDIM = "ermongroup/ddim"
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
_FIRST = "temb.dense.0.weight"


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary, or the list's first member, has this system's names."""
    names = content.get("0") if "0" in content else content
    return isinstance(names, Mapping) and any(str(name).endswith(_FIRST) for name in names)


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the state dict; without a config.yml the schedule and the variance are the paper's."""
    listed = "0" in content
    raw = _weights(content["0"], f"{path}: 0") if listed else {}
    ema = _weights(content["4"], f"{path}: 4") if "4" in content else {}
    plain = {} if listed else _weights(content, str(path))
    unet, origins = architecture(ema or raw or plain)
    values, file = beside.settings_beside(path, {r"config\.ya?ml": beside.read_yaml_lines})
    model, read_there = beside.process(values, file, paper_process(ModelConfig(unet=unet)))
    origins = beside.origins_of(origins, read_there, file, "config.yml")
    averaged = _is_averaged(path)
    step = containers.step(content.get("3", 0), path) if listed else step_in_name(path)
    variance_is_read = "objective.variance" in read_there
    return Foreign(
        format=DDIM if listed else NAME,
        model=model,
        weights=raw or (plain if averaged is False else {}),
        ema=ema or (plain if averaged else {}),
        unlabelled=plain if averaged is None else {},
        step=step,
        origins=origins,
        derive=unchanged if variance_is_read else paper_process,
    )


def _weights(content: object, what: str) -> Tensors:
    """The weights under our names; a log-variance of each t, which nothing uses, is dropped."""
    weights = containers.tensors(content, what)
    if weights.get("logvar", torch.zeros(1, 1)).ndim == 1:
        weights.pop("logvar")
    return rename(weights, RULES)


def _is_averaged(path: Path) -> bool | None:
    """Whether the names that this system's own download gives say so: ``ema_X/model-N.ckpt``.

    >>> _is_averaged(Path("ema_diffusion_cifar10_model/model-790000.ckpt"))
    True
    >>> _is_averaged(Path("diffusion_cifar10_model/model-790000.ckpt")), _is_averaged(Path("a.pt"))
    (False, None)
    """
    own = r"(ema_)?diffusion_\w+_model"
    names = re.fullmatch(own, path.parent.name) if path.stem.startswith("model-") else None
    names = names or re.fullmatch(own + r"-\d+", path.stem)
    return None if names is None else names[1] is not None
