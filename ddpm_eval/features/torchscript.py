"""Tensors of a TorchScript archive, which OpenAI's CLIP comes in, read without running any of it.

The archive is a zip: ``data.pkl`` describes modules and tensors, ``data/0``, ``data/1``, ... hold
the numbers. An unpickler that knows tensors and bags of attributes and nothing else reads it; the
program that the archive holds as well is never looked at.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_train.archives import open_zip
from ddpm_train.reading import damaged, reading

_DTYPES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}
_LISTS = ("build_intlist", "build_boollist", "build_doublelist", "build_tensorlist")


class _Module:
    """A module of the archive: attributes and nothing else."""


class _Reader(pickle.Unpickler):
    """Knows tensors, lists and modules."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}/data.pkl")))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        globals_: dict[tuple[str, str], Any] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _tag: value,
            ("collections", "OrderedDict"): OrderedDict,
            **{("torch.jit._pickle", builder): list for builder in _LISTS},
        }
        if (module, name) not in globals_:
            raise pickle.UnpicklingError(f"{module}.{name} is no tensor")
        return globals_[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, _ = pid
        content = bytearray(self._archive.read(f"{self._folder}/data/{key}"))
        return torch.frombuffer(content, dtype=dtype)


def _tensor(
    storage: Tensor, offset: int, size: Sequence[int], stride: Sequence[int], *_: Any
) -> Tensor:
    return torch.as_strided(storage, size, stride, offset)


def read(path: Path) -> dict[str, Tensor]:
    """Read every tensor of an archive by its dotted name; the CRCs are checked.

    Raises:
        FixableError: The file is damaged or no TorchScript archive.
    """
    with open_zip(path) as (archive, members), reading(path):
        names = [member.filename for member in members if member.filename.endswith("/data.pkl")]
        if not names:
            raise damaged(path, "no TorchScript archive")
        root = _Reader(archive, names[0].rpartition("/")[0]).load()
    return dict(_tensors(root, ""))


def _tensors(item: Any, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(item, Tensor):
        return [(name, item)]
    tensors: list[tuple[str, Tensor]] = []
    if isinstance(item, _Module):
        for key, value in vars(item).items():
            tensors += _tensors(value, f"{name}.{key}" if name else key)
    return tensors
