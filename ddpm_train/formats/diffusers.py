"""Hugging Face diffusers: a UNet2DModel and its scheduler."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddpm_train.config import ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import Rules, paper_process, rename
from ddpm_train.formats.diffusers_folder import Source, weights_in
from ddpm_train.formats.diffusers_settings import AverageFile, network, process
from ddpm_train.formats.foreign import Foreign, unchanged
from ddpm_train.reading import read_json
from ddpm_train.weights import Tensors, tensor_digest

NAME = "diffusers UNet2DModel"
INSIDE: Rules = [
    (r"\.time_emb_proj\.", ".temb_proj."),
    (r"\.conv_shortcut\.", ".shortcut."),
    (r"\.group_norm\.", ".norm."),
    (r"\.(to_q|query)\.", ".q."),
    (r"\.(to_k|key)\.", ".k."),
    (r"\.(to_v|value)\.", ".v."),
    (r"\.(to_out\.0|proj_attn)\.", ".proj."),
]


def read(source: Source) -> Foreign:
    """Read what ``diffusers_folder.find`` gave.

    Raises:
        FixableError: A setting is one that our network does not have, or there are no weights.
    """
    file = source.folder / "config.json"
    config = read_json(file)
    unet, origins, average = network(config, file)
    schedule, objective, notes = process(source, origins, unet)
    if objective.learns_variance != (config.get("out_channels", 3) == 2 * unet.channels):
        raise FixableError(
            f"{file}: out_channels={config.get('out_channels')} and {unet.channels} input channels "
            f"do not go with a variance that is {objective.variance}",
            "correct variance_type in scheduler_config.json",
        )
    theirs = _theirs(weights_in(source.folder, source.weights))
    average_of = {} if source.average is None else _theirs(weights_in(source.average, None))
    levels = len(unet.channel_mult)
    weights, ema = rename(theirs, _rules(levels)), rename(average_of, _rules(levels))
    label = "ema" if average else source.label or _label(config, theirs, source)
    return Foreign(
        format=NAME,
        model=ModelConfig(schedule=schedule, unet=unet, objective=objective),
        weights=weights if label == "raw" or ema else {},
        ema=ema or (weights if label == "ema" else {}),
        unlabelled=weights if not ema and label not in ("ema", "raw") else {},
        step=_step(config, average, file),
        origins=origins,
        asked={} if "attention_head_dim" in config else {"unet.head_channels": 8},
        asked_because="diffusers itself takes 8, and files of early 2022 meant one head, which is "
        "unet.head_channels=0",
        derive=unchanged if source.process else paper_process,
        notes=notes,
    )


def is_exported(source: Source) -> bool:
    """Whether this is an export of ours, whose digest has been checked."""
    return "_digest" in read_json(source.folder / "config.json")


def _step(config: Mapping[str, Any], average: AverageFile | None, file: Path) -> int:
    return containers.step(config.get("_step", average.optimization_step if average else 0), file)


def _label(config: Mapping[str, Any], theirs: Tensors, source: Source) -> str:
    """What our own export says of its weights, if they are still the ones that it wrote.

    Raises:
        FixableError: They, or the settings, were changed since.
    """
    stated = config.get("_digest")
    if stated is None:
        return ""
    process = {} if source.process is None else read_json(source.process)
    if stated != export_digest(config, process, theirs):
        raise FixableError(
            f"{source.folder}: the weights or settings are not those that were exported there",
            "export the checkpoint again; or, if the change is meant, take _digest and _weights "
            "out of config.json",
        )
    return str(config.get("_weights", ""))


def export_digest(network: Mapping[str, Any], process: Mapping[str, Any], weights: Tensors) -> str:
    """SHA-256 of what an export consists of: both files of settings, and every tensor."""
    settings = [
        {key: value for key, value in plain.items() if key != "_digest"}
        for plain in (network, process)
    ]
    sha = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for name in sorted(weights):
        sha.update(f"{name} {tensor_digest(weights[name])} ".encode())
    return sha.hexdigest()


def _theirs(file: Path) -> Tensors:
    return containers.tensors(containers.read(file), str(file))


def _rules(levels: int) -> Rules:
    return [
        (r"^time_embedding\.linear_1\.", "time_dense_0."),
        (r"^time_embedding\.linear_2\.", "time_dense_1."),
        (r"^class_embedding\.", "labels."),
        (r"^down_blocks\.", "down."),
        (r"^up_blocks\.(\d+)", lambda match: f"up.{levels - 1 - int(match[1])}"),
        (r"\.(down|up)samplers\.0\.conv\.", r".\1sample."),
        (r"^mid_block\.attentions\.0\.", "middle.attention."),
        (r"^mid_block\.resnets\.", "middle.block_"),
        (r"\.resnets\.", ".blocks."),
        (r"^conv_norm_out\.", "norm_out."),
        *INSIDE,
    ]
