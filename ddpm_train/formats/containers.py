"""Files of tensors, read as plain data and never executed: .pt, .pth, .ckpt, .bin, .safetensors."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ddpm_train.checkpoint import Tensors
from ddpm_train.errors import FixableError


def read(path: Path) -> Mapping[str, Any]:
    """Read a file's dictionary of tensors and plain values.

    Raises:
        FixableError: The file is missing or damaged, holds something else than a dictionary, or
            Python objects that would have to be executed.
    """
    _check_pointer(path)
    try:
        content = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except FileNotFoundError:
        raise FixableError(f"{path}: no such file", "check the path") from None
    except pickle.UnpicklingError as error:
        if not _has_objects(path, str(error)):
            raise damaged(path, "not a file of tensors") from error
        raise FixableError(
            f"{path}: holds Python objects, which are never executed",
            "in the program that made it, save the plain state_dict() alone",
        ) from None
    except (
        *(SafetensorError, zipfile.BadZipFile, RuntimeError, ValueError),
        *(KeyError, EOFError, OSError, AttributeError, IndexError),
    ) as error:
        raise damaged(path, str(error).split("\n")[0]) from error
    if not isinstance(content, Mapping):
        raise FixableError(
            f"{path}: holds a {type(content).__name__}, not a dictionary of tensors",
            "in the program that made it, save the plain state_dict()",
        )
    return content


def damaged(path: Path, how: str) -> FixableError:
    """A file that was cut off or changed on its way."""
    return FixableError(f"{path}: damaged ({how})", "download or copy the file again")


def tensors(content: object, what: str) -> Tensors:
    """Check that a dictionary holds tensors alone; drop the prefix that DataParallel adds.

    Raises:
        FixableError: Something else is there.
    """
    if not isinstance(content, Mapping) or not content:
        raise FixableError(f"{what}: no weights in it", "use a file that holds a state_dict()")
    odd = [name for name, value in content.items() if not isinstance(value, torch.Tensor)]
    if odd:
        raise FixableError(
            f"{what}: {odd[0]} is a {type(content[odd[0]]).__name__}, not a tensor",
            "use a file that holds a state_dict()",
        )
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def _check_pointer(path: Path) -> None:
    """Refuse the small text that stands for a large file in a Git repository without LFS."""
    if path.is_file() and path.stat().st_size < 1000 and b"git-lfs" in path.read_bytes():
        raise FixableError(
            f"{path}: a Git LFS pointer, not the weights", "git lfs pull, or download the file"
        )


def _unpickle(path: Path) -> object:
    """Load with ``weights_only``, which runs no code; check the sums that a zip has."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
        if broken is not None:
            raise damaged(path, f"member {broken} fails its CRC check")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols that torch.save does not write
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    return content


def _has_objects(path: Path, refusal: str) -> bool:
    """Whether a file was refused because it is a pickle of more than tensors."""
    with path.open("rb") as file:
        is_pickle = zipfile.is_zipfile(path) or file.read(1) == b"\x80"
    return is_pickle and re.search("global|operand|class", refusal, re.IGNORECASE) is not None
