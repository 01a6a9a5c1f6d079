"""Checkpoints of other systems, read as ours: one file for each format.

containers.py reads files of tensors without executing anything; canonical.py brings names and
shapes into our form and checks every one; each format says what its names, settings and hidden
switches mean. What a file does not tell is assumed aloud, in ``Checkpoint.facts["warnings"]``.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_train import checkpoint, tensorfiles
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.formats import (
    diffusers,
    improved_diffusion,
    pesser,
    tensorflow,
    tqch,
    unknown,
    w86763777,
)
from ddpm_train.formats.canonical import Foreign, finish
from ddpm_train.settings import override

__all__ = ["lies_in_folder", "load_any"]


class Format(NamedTuple):
    """A kind of file: how its dictionary is told from others, and how it is read."""

    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], Path], Foreign]


FILES: tuple[Format, ...] = (
    Format(pesser.recognises, pesser.read),
    Format(tqch.recognises, tqch.read),
    Format(w86763777.recognises, w86763777.read),
    Format(improved_diffusion.recognises, improved_diffusion.read),
)
"""One dictionary of tensors in one file. The first that recognises the file reads it."""


def lies_in_folder(path: Path) -> bool:
    """Whether a path names a foreign checkpoint that is more than one file."""
    return any(each.find(path) is not None for each in (diffusers, tensorflow))


def load_any(path: Path, *, changes: Iterable[str] = ()) -> Checkpoint:
    """Load a checkpoint of ours or of any system that is known here.

    Args:
        path: A file, a folder of diffusers, or the prefix or folder of a TensorFlow checkpoint.
        changes: Settings of the model that the file does not store, or others than it stores:
            ``unet.heads=4``.

    Returns:
        The checkpoint, every name and shape checked against the network. ``facts["format"]`` says
        what a foreign file was taken for and ``facts["warnings"]`` what was assumed.

    Raises:
        FixableError: The file is missing, damaged, unknown, or of a network that ours is not.
    """
    if _is_ours(path):
        ours = checkpoint.load(path)
        return replace(ours, model=override(ours.model, changes))
    folder = diffusers.find(path)
    if folder is not None:
        return finish(diffusers.read(folder), changes=changes)
    prefix = tensorflow.find(path)
    if prefix is not None:
        return finish(tensorflow.read(prefix), changes=changes)
    content = unknown.read(path)
    for known in FILES:
        if known.recognises(content):
            return finish(known.read(content, path), changes=changes)
    raise unknown.explain(content, path)


def _is_ours(path: Path) -> bool:
    """Look for our mark in the description of a zip; a damaged one is left to its reader."""
    return f'"format": "{checkpoint.FORMAT}"'.encode() in tensorfiles.description(path)
