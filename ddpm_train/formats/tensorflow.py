"""The original TensorFlow checkpoints: a tensor bundle, with kwargs.json beside it."""

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from ddpm_train.config import ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import beside, containers, pesser
from ddpm_train.formats.bundle import Bundle
from ddpm_train.formats.canonical import (
    Rules,
    architecture,
    paper_process,
    rename,
)
from ddpm_train.formats.foreign import Foreign, unchanged
from ddpm_train.reading import list_folder
from ddpm_train.weights import Tensors

NAME = "the original's TensorFlow checkpoint"
AVERAGED = "/ExponentialMovingAverage"
RULES: Rules = [  # to pesser's names, which are the original's but for these
    (r"^model/", ""),
    (r"/", "."),
    (r"^temb\.dense(\d)\.", r"temb.dense.\1."),
    (r"\b(down|up)_(\d+)\.", r"\1.\2."),
    (r"\.(block|attn)_(\d+)\.", r".\1.\2."),
    (r"^mid\.(block|attn)\.", r"mid.\1_"),
    (r"\.(W|gamma)$", ".weight"),
    (r"\.(b|beta)$", ".bias"),
]
PARAMETER = re.compile(r"^model/.*/(W|b|gamma|beta)$")


def find(path: Path) -> Path | None:
    """The prefix of a bundle's files, given the prefix, one of the files or their folder.

    Raises:
        FixableError: The folder holds several.
    """
    if path.is_dir():
        files = [file for file in list_folder(path) if file.suffix == ".index"]
        if len(files) > 1:
            raise FixableError(
                f"{path}: holds {', '.join(file.name for file in files[:3])} ...",
                "name one of them",
            )
        return files[0].with_suffix("") if files else None
    name = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path.name)
    prefix = path.with_name(name)
    return prefix if prefix.with_name(name + ".index").is_file() else None


def read(prefix: Path) -> Foreign:
    """Read the bundle that ``find`` gave, and the settings in kwargs.json if it is there.

    Raises:
        FixableError: A file is damaged, or a setting is one that ours have not.
    """
    bundle = Bundle(prefix)
    raw = _weights(bundle, [name for name in bundle if PARAMETER.match(name)])
    averaged = [n for n in bundle if n.endswith(AVERAGED) and PARAMETER.match(n[: -len(AVERAGED)])]
    ema = _weights(bundle, averaged)
    if not raw and not ema:
        raise FixableError(
            f"{bundle.index}: no variable model/.../W in it",
            "this is a checkpoint of another model",
        )
    values, file = beside.settings_beside(prefix, {r"kwargs\.json": beside.read_nested_json})
    dataset = str(values.get("dataset", ""))
    size = SIZES.get(dataset, 256 if dataset.startswith("lsun") else 0)
    unet, origins = architecture(ema or raw, image_size=size)
    if size:
        origins.read(file, "unet.image_size")
    blocks = values.get("block_size", 1)
    if blocks != 1:
        raise FixableError(
            f"{prefix.parent / file}: block_size={blocks}: the network works on blocks of pixels",
            "only networks of single pixels (block_size 1) can be imported",
        )
    model, read_there = beside.process(values, file, paper_process(ModelConfig(unet=unet)))
    origins = beside.origins_of(origins, read_there, file, "kwargs.json")
    return Foreign(
        format=NAME,
        model=model,
        weights=raw,
        ema=ema,
        step=_step(bundle, bundle.index),
        origins=origins,
        derive=unchanged if "objective.variance" in read_there else paper_process,
    )


SIZES = {"cifar10": 32, "celebahq256": 256}


def _step(bundle: Bundle, path: Path) -> int:
    """The step of training; 0 if it is not stored."""
    if "global_step" not in bundle:
        return 0
    return containers.step(torch.from_numpy(np.array(bundle["global_step"])), path)


def _weights(bundle: Bundle, names: Iterable[str]) -> Tensors:
    """Variables under our names; theirs hold the channels of the output last."""
    theirs: Tensors = {}
    for name in names:
        # A copy: the bytes of a file are read-only, and PyTorch has no such tensors.
        value = torch.from_numpy(bundle[name].copy())
        if value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.T
        theirs[name.removesuffix(AVERAGED)] = value.contiguous()
    return rename(rename(theirs, RULES), pesser.RULES)
