"""Files of tensors of other systems: .pt, .pth, .ckpt, .bin, .safetensors; also in shards."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch

from ddpm_train import leaves, tensorfiles
from ddpm_train.errors import FixableError
from ddpm_train.leaves import Range
from ddpm_train.reading import read_json
from ddpm_train.weights import Tensors

Step = Annotated[int, Range(0, 10**15)]
"""Of training, as files state it."""

INDEX = ".index.json"
_INDEX = re.compile(r"\.index(\.[\w-]+)?\.json$")
_WRAPPED = re.compile(r"^(module\.|_orig_mod\.)+")
"""Prefixes that DataParallel and torch.compile add, in any order."""


def read(path: Path) -> Mapping[str, Any]:
    """Read a file's dictionary of tensors and plain values.

    Raises:
        FixableError: The file is missing or damaged, holds something else than a dictionary, or
            Python objects that would have to be executed.
    """
    if _INDEX.search(path.name):
        return _read_shards(path)
    content = tensorfiles.load(path)
    if isinstance(content, list) and content and isinstance(content[0], Mapping):
        return {str(i): member for i, member in enumerate(content)}  # a training state's members
    if not isinstance(content, Mapping):
        raise FixableError(
            f"{path}: holds a {type(content).__name__}, not a dictionary of tensors",
            "in the program that made it, save the plain state_dict()",
        )
    return content


def tensors(content: object, what: str) -> Tensors:
    """Check that a dictionary holds tensors alone; drop the prefixes that wrappers add.

    Raises:
        FixableError: Something else is there, or two names differ by such a prefix alone.
    """
    if not isinstance(content, Mapping) or not content:
        raise FixableError(f"{what}: no weights in it", "use a file that holds a state_dict()")
    odd = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise FixableError(
            f"{what}: {odd[0]} is a {type(content[odd[0]]).__name__}, not a tensor",
            "use a file that holds a state_dict()",
        )
    bare = {unwrapped(str(name)): value for name, value in content.items()}
    if len(bare) < len(content):
        raise FixableError(
            f"{what}: {len(content) - len(bare)} weights stand there twice, as they are and under "
            "module. or _orig_mod. (torch.compile)",
            "save the state_dict() of the network inside",
        )
    return bare


def step(value: object, path: Path | str) -> int:
    """Check the step of training that a file states.

    Raises:
        FixableError: It is no number of steps.

    >>> step(torch.tensor(17), "a.pt")
    17
    """
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    try:
        number: int = leaves.read(Step, value, f"{path}: step")
    except FixableError as error:
        raise FixableError(error.problem, "use the file as its program wrote it") from error
    return number


def unwrapped(name: str) -> str:
    """Drop what DataParallel and torch.compile put before a weight's name.

    >>> unwrapped("module._orig_mod.conv_in.weight")
    'conv_in.weight'
    """
    return _WRAPPED.sub("", name)


def _read_shards(index: Path) -> Tensors:
    """Read the files that an index names; each weight must be in its file, and no other."""
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not all(map(_is_plain_name, places.values())):
        raise FixableError(
            f"{index}: its weight_map does not name files beside it", "download the folder again"
        )
    weights: Tensors = {}
    for file in sorted(set(places.values())):
        content = tensors(read(index.with_name(file)), str(index.with_name(file)))
        expected = {unwrapped(name) for name in places if places[name] == file}
        if content.keys() != expected:
            odd = sorted(content.keys() ^ expected)
            raise FixableError(
                f"{index.with_name(file)}: {len(odd)} weights are not as {index.name} says: "
                f"{', '.join(odd[:3])}",
                "download the folder again, all of its files",
            )
        weights |= content
    return weights


def _is_plain_name(name: object) -> bool:
    """Whether this is a file's name without a folder, and no index."""
    return isinstance(name, str) and Path(name).name == name and not _INDEX.search(name)
