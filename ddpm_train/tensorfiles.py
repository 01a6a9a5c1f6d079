"""The door for files of torch.save and safetensors: plain data, checked, never executed."""

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ddpm_train import archives
from ddpm_train.errors import FixableError
from ddpm_train.reading import AGAIN, damaged, open_file, reading

_PIECE = 1 << 20  # bytes that are read at a time
_OBJECTS = "in the program that made it, save the plain state_dict() alone"


def load(path: Path, *, fix: str = AGAIN, objects: str = _OBJECTS) -> object:
    """Read what torch.save or safetensors wrote, after the sums that a zip has were compared.

    Args:
        path: The file, on the CPU.
        fix: What to do about damage.
        objects: What to do about Python objects, which are refused.

    Raises:
        FixableError: The file is missing or damaged, or holds objects that would have to be run.
    """
    with open_file(path, fix=fix) as file:
        if b"git-lfs" in file.read(1000):
            raise FixableError(
                f"{path}: a Git LFS pointer, not the weights", "git lfs pull, or download the file"
            )
        is_zip = zipfile.is_zipfile(file)
    if path.suffix == ".safetensors":
        with reading(path, fix=fix):
            return load_file(path)
    content = _plain(path, fix, objects, is_zip=is_zip)
    for name, tensor in _tensors(content):
        _require_whole(tensor, f"{path}: {name}", fix)
    return content


def _plain(path: Path, fix: str, objects: str, *, is_zip: bool) -> object:
    """Read what torch.save wrote."""
    if is_zip:
        archives.check(path, fix=fix)
    with reading(path, fix=fix), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of protocols that torch.save does not write
        try:
            content: object = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            if not _has_objects(path, str(error)):
                raise damaged(path, "not a file of tensors", fix=fix) from error
            raise FixableError(
                f"{path}: holds Python objects, which are never executed", objects
            ) from None
    return content


def _tensors(content: object, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor inside dictionaries and lists, with its name."""
    if isinstance(content, torch.Tensor):
        yield name, content
    elif isinstance(content, Mapping):
        for key, value in content.items():
            yield from _tensors(value, f"{name}.{key}" if name else str(key))
    elif isinstance(content, list | tuple):
        for key, value in enumerate(content):
            yield from _tensors(value, f"{name}.{key}" if name else str(key))


def _require_whole(tensor: torch.Tensor, label: str, fix: str) -> None:
    """Refuse a tensor of more numbers than were read: strides of 0 make one number a billion."""
    if tensor.layout != torch.strided or tensor.is_quantized:
        raise FixableError(f"{label}: sparse or quantised, not plain numbers", _OBJECTS)
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        raise damaged(label, f"it claims {tensor.numel():,} numbers and holds fewer", fix=fix)


def compare(path: Path, content: Mapping[str, Any], *, fix: str = AGAIN) -> None:
    """Read a file of torch.save back and compare it with what was to be written.

    The bytes are read in pieces, and the tensors without their values: a file of the size of the
    memory that is left can be compared.

    Args:
        path: The file.
        content: Texts by name, and tensors by name inside ``tensors``.
        fix: What to do about damage.

    Raises:
        FixableError: A name, a text, a shape or a byte differs.
    """
    with reading(path, fix=fix):
        written: Any = torch.load(path, map_location="meta", weights_only=True)
        if _outline(written) != _outline(content):
            raise damaged(
                path, "its names, texts or shapes are not those that were written", fix=fix
            )
        if _digests_in(path) != _digests_of(content["tensors"].values()):
            raise damaged(path, "its numbers are not those that were written", fix=fix)


def _outline(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a file says beside its numbers."""
    texts = {name: value for name, value in content.items() if name != "tensors"}
    tensors = {
        name: (value.dtype, value.shape, value.stride(), value.storage_offset())
        for name, value in content["tensors"].items()
    }
    return {"texts": texts, "tensors": tensors}


def _digests_in(path: Path) -> list[bytes]:
    """SHA-256 of every block of numbers in a file, sorted: tensors that share memory have one."""
    digests = []
    with archives.open_zip(path) as (archive, members):
        for member in members:
            if "/data/" in member.filename:
                sha = hashlib.sha256()
                with archive.open(member) as file:
                    while piece := file.read(_PIECE):
                        sha.update(piece)
                digests.append(sha.digest())
    return sorted(digests)


def _digests_of(tensors: Iterable[torch.Tensor]) -> list[bytes]:
    """SHA-256 of every block of memory that tensors lie in, sorted."""
    blocks = {tensor.untyped_storage().data_ptr(): tensor for tensor in tensors}
    digests = []
    for tensor in blocks.values():
        storage = tensor.untyped_storage()
        flat = torch.empty(0, dtype=torch.uint8).set_(storage)
        digests.append(hashlib.sha256(flat.numpy().data).digest())
    return sorted(digests)


def has_sums(path: Path) -> bool:
    """Whether the format lets damage be noticed: a zip of torch.save has a CRC of each member.

    Raises:
        FixableError: The file is missing.
    """
    with open_file(path) as file:
        return path.suffix != ".safetensors" and zipfile.is_zipfile(file)


def _has_objects(path: Path, refusal: str) -> bool:
    """Whether a file was refused because it is a pickle of more than tensors."""
    with open_file(path) as file:
        is_pickle = zipfile.is_zipfile(file) or (file.seek(0), file.read(1))[1] == b"\x80"
    return is_pickle and re.search("global|operand|class", refusal, re.IGNORECASE) is not None


def description(path: Path) -> bytes:
    """Read the pickle inside a zip of torch.save; empty if the file is none, or damaged."""
    try:
        with archives.open_zip(path) as (archive, members):
            names = [member.filename for member in members]
            name = next((name for name in names if name.endswith("/data.pkl")), "")
            return archive.read(name) if name else b""
    except FixableError:
        return b""
