"""w86763777/pytorch-ddpm: a training checkpoint with ``net_model`` and ``ema_model``.

Another function than the paper's: sines and cosines alternate, with frequencies 10000^(-2j/d),
zeros are padded on both sides before a stride, and norms add 1e-5.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ddpm_train.config import ModelConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import beside, containers
from ddpm_train.formats.canonical import (
    Rules,
    architecture,
    paper_process,
    rename,
    walk,
)
from ddpm_train.formats.foreign import Foreign, unchanged
from ddpm_train.networks.embeddings import time_embedding
from ddpm_train.weights import Tensors

NAME = "w86763777/pytorch-ddpm"
TABLE = "time_embedding.timembedding.0.weight"
RULES: Rules = [
    (r"^time_embedding\.timembedding\.1\.", "time_dense_0."),
    (r"^time_embedding\.timembedding\.3\.", "time_dense_1."),
    (r"^head\.", "conv_in."),
    (r"^tail\.0\.", "norm_out."),
    (r"^tail\.2\.", "conv_out."),
    (r"^middleblocks\.0\.attn\.", "middle.attention."),
    (r"^middleblocks\.", "middle.block_"),
    (r"\.blocks\.(\d+)\.attn\.", r".attentions.\1."),
    (r"\.block1\.0\.", ".norm1."),
    (r"\.block1\.2\.", ".conv1."),
    (r"\.block2\.0\.", ".norm2."),
    (r"\.block2\.3\.", ".conv2."),
    (r"\.temb_proj\.1\.", ".temb_proj."),
    (r"\.group_norm\.", ".norm."),
    (r"\.proj_([qkv])\.", r".\1."),
    (r"\.main\.", "."),
]


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary, or its ``net_model``, has this system's frozen table of time."""
    return any(str(name).endswith(TABLE) for name in _raw(content))


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the raw and the averaged weights, and the settings in flagfile.txt if it is there.

    T is the length of the frozen table.
    """
    raw, table = _weights(_raw(content), path)
    averaged = content.get("ema_model")
    ema = _weights(averaged, path)[0] if isinstance(averaged, Mapping) else {}
    sample = content.get("x_T")
    size = sample.shape[-1] if isinstance(sample, torch.Tensor) and sample.ndim == 4 else 0
    unet, origins = architecture(ema or raw, image_size=size)
    unet = replace(
        unet, time_order="interleaved", time_freq_shift=0, pad_down="both", norm_eps=1e-5
    )
    T = len(table)
    _check_table(table, unet.base_channels, path)
    assumed = paper_process(ModelConfig(unet=unet, schedule=ScheduleConfig(T=T)))
    values, file = beside.settings_beside(path, {r"flagfile\.txt": beside.read_flags})
    model, read_there = beside.process({"T": T, **values}, file or path.name, assumed)
    if model.schedule.T != T:
        raise FixableError(
            f"{path.parent / file}: T={model.schedule.T}, and these weights have {T} times",
            "put the flagfile.txt there that was written with these weights",
        )
    origins = beside.origins_of(origins, read_there, file, "flagfile.txt")
    origins.read("the frozen table of times", "schedule.T")
    if size:
        origins.read("x_T", "unet.image_size")
    bare = "net_model" not in content
    return Foreign(
        format=NAME,
        model=model,
        weights={} if bare else raw,
        ema=ema,
        unlabelled=raw if bare else {},
        step=containers.step(content.get("step", 0), path),
        origins=origins,
        derive=unchanged if "objective.variance" in read_there else paper_process,
    )


def _check_table(table: torch.Tensor, width: int, path: Path) -> None:
    """Refuse another table of times than the one that our network computes."""
    T = len(table)
    times = torch.arange(1, T + 1)
    if table.shape != (T, width) or not torch.allclose(
        table.double(),
        time_embedding(times, width, order="interleaved", freq_shift=0),
        atol=2e-3,
    ):
        raise FixableError(
            f"{path}: its table of times ({TABLE}) is not this system's",
            "there is no setting for it",
        )


def _raw(content: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = content.get("net_model", content)
    return inner if isinstance(inner, Mapping) else {}


def _weights(content: Mapping[str, Any], path: Path) -> tuple[Tensors, torch.Tensor]:
    """The weights under our names, and the frozen table."""
    theirs = containers.tensors(content, str(path))
    if TABLE not in theirs:
        raise FixableError(f"{path}: {TABLE} is missing", "download or copy the file again")
    table = theirs.pop(TABLE)
    down = walk(theirs, r"^downblocks\.(\d+)\.", ends=r"\.main\.")
    up = walk(theirs, r"^upblocks\.(\d+)\.", ends=r"\.main\.")
    top = max((level for level, _ in up.values()), default=0)

    def place(match: re.Match[str]) -> str:
        way, n = match[1], int(match[2])
        level, i = down[n] if way == "down" else (top - up[n][0], up[n][1])
        resamples = match[3] == "main."
        return (
            f"{way}.{level}.{way}sample." if resamples else f"{way}.{level}.blocks.{i}.{match[3]}"
        )

    flat: Rules = [(r"^(down|up)blocks\.(\d+)\.(main\.|)", place)]
    return rename(theirs, [*flat, *RULES]), table
