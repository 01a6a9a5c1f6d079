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
from ddpm_train.errors import FixableError
from ddpm_train.formats import (
    diffusers,
    diffusers_folder,
    edm,
    improved_diffusion,
    ncsn,
    pesser,
    score_sde,
    tensorflow,
    tqch,
    unknown,
    w86763777,
)
from ddpm_train.formats.finishing import finish
from ddpm_train.formats.foreign import Foreign
from ddpm_train.reading import reading
from ddpm_train.settings import differences, override, to_dict
from ddpm_train.weights import build_network, check_weights

__all__ = ["label", "lies_in_folder", "load_any"]


class Format(NamedTuple):
    """A kind of file: how its dictionary is told from others, and how it is read."""

    recognises: Callable[[Mapping[str, Any]], bool]
    read: Callable[[Mapping[str, Any], Path], Foreign]


FILES: tuple[Format, ...] = (
    Format(pesser.recognises, pesser.read),
    Format(tqch.recognises, tqch.read),
    Format(w86763777.recognises, w86763777.read),
    Format(improved_diffusion.recognises, improved_diffusion.read),
    Format(ncsn.recognises, ncsn.read),
    Format(score_sde.recognises, score_sde.read),
    Format(edm.recognises, edm.read),
)
"""One dictionary of tensors in one file. The first that recognises the file reads it."""


def lies_in_folder(path: Path) -> bool:
    """Whether a path names a foreign checkpoint that is more than one file."""
    return diffusers_folder.find(path) is not None or tensorflow.find(path) is not None


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
    changes = list(changes)
    if _is_ours(path):
        content = checkpoint.load(path)
        if checkpoint.RUN in content.facts:
            raise unknown.classifier(path)
        return _changed(content, changes)
    source = diffusers_folder.find(path)
    if source is not None:
        with reading(path, what=_ODD):
            ours = finish(diffusers.read(source), changes=changes)
        if diffusers.is_exported(source):
            return ours
        return _guarded(ours, diffusers_folder.weights_in(source.folder, source.weights))
    prefix = tensorflow.find(path)
    if prefix is not None:
        with reading(path, what=_ODD):
            return finish(tensorflow.read(prefix), changes=changes)
    theirs = unknown.read(path)
    for kind in FILES:
        if kind.recognises(theirs):
            with reading(path, what=_ODD):
                ours = finish(kind.read(theirs, path), changes=changes)
            return _guarded(ours, path)
    raise unknown.explain(theirs, path)


def _guarded(content: Checkpoint, weights: Path) -> Checkpoint:
    """Say whether the format has a checksum."""
    if tensorfiles.has_sums(weights):
        return content
    return replace(content, facts={**content.facts, "checksum": "none"})


_ODD = "not what its names say"


def label(content: Checkpoint, weights: str, path: Path) -> Checkpoint:
    """Say which weights a file's only set is, where its format does not.

    Args:
        content: What ``load_any`` gave.
        weights: ``ema``, ``raw``, or nothing.
        path: The file, for messages.

    Raises:
        FixableError: The file does not say and ``weights`` neither.
    """
    if content.facts.get("weights") != "as given":
        return content
    if weights not in ("ema", "raw"):
        raise FixableError(
            f"{path}: holds one set of weights, and does not say whether they are averaged (EMA)",
            "add weights=ema or weights=raw, as its authors say",
        )
    notes = [*content.facts.get("warnings", []), f"{weights}: as the user says, not the file"]
    facts = {**content.facts, "weights": weights, "warnings": notes}
    if weights == "raw":
        return replace(content, facts=facts, weights=content.ema, ema={})
    return replace(content, facts=facts)


def _changed(content: Checkpoint, changes: list[str]) -> Checkpoint:
    """Apply ``--set`` to a checkpoint of ours, and say so.

    Raises:
        FixableError: There is no such setting, or the weights do not fit it.
    """
    if not changes:
        return content
    model = override(content.model, changes)
    differing = differences(to_dict(content.model), to_dict(model))
    if not differing:
        return content
    network = build_network(model, seed=None)
    for weights in (content.weights, content.ema):
        if weights:
            check_weights(network, weights)
    note = f"changed by --set, in place of what it was trained with: {'; '.join(differing)}"
    facts = {**content.facts, "warnings": [*content.facts.get("warnings", []), note]}
    return replace(content, model=model, facts=facts)


def _is_ours(path: Path) -> bool:
    """Look for our mark in the description of a zip; a damaged one is left to its reader."""
    return f'"format": "{checkpoint.FORMAT}"'.encode() in tensorfiles.description(path)
