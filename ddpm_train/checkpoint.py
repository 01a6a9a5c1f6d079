"""Our one checkpoint file: plain tensors and JSON in a ``.pt``, checked at every load.

The file is a ``torch.save`` zip of ``{"meta": JSON text, "tensors": {name: tensor}}``. It is read
with ``weights_only=True`` and nothing else, after a CRC check of every member. Each tensor is
compared with its SHA-256 in the JSON, and the JSON with its own: flipped bits and edited settings
otherwise load silently. It is written beside, synced, read back piece by piece and compared with
what was meant, and only then takes its name.
"""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import ddpm_train
from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import require_space, write_atomically
from ddpm_train.networks import ImageNetwork
from ddpm_train.reading import damaged, parse_json, reading
from ddpm_train.settings import from_dict, to_dict
from ddpm_train.tensorfiles import compare
from ddpm_train.tensorfiles import load as load_plain
from ddpm_train.weights import Tensors, build_network, check_weights, tensor_digest

FORMAT, VERSION = "ddpm-eval checkpoint", 2
GROUPS = ("weights", "ema", "optimizer", "tables")

RUN = "classifier_run"
"""The fact that holds the settings of a classifier's training, which trains no diffusion model."""


class NewerVersionError(FixableError):
    """The file is whole, and a later version of this program wrote it."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model, and for a training checkpoint all that is needed to go on.

    Every random draw of training is named by the seed and the step, so there is no random state.
    """

    model: ModelConfig
    step: int
    weights: Tensors = field(default_factory=dict)  # as trained; empty in an export
    ema: Tensors = field(default_factory=dict)  # their moving average; empty if there is none
    optimizer: Tensors = field(default_factory=dict)  # moments, "exp_avg/NAME"
    tables: Tensors = field(default_factory=dict)  # over t; "errors" of x_0_hat: its variance
    run: RunConfig | None = None  # the settings of the run; None for foreign checkpoints
    facts: Mapping[str, Any] = field(default_factory=dict)  # JSON: data name and digest, ...


def save(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint atomically and read it back before it takes its name.

    Raises:
        FixableError: The disk is full or not writable (older files are untouched), or a tensor
            holds NaN or Inf.
    """
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().contiguous()
        for group in GROUPS
        for name, tensor in getattr(checkpoint, group).items()
    }
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise FixableError(
                f"{path}: not written, {name} holds NaN or Inf",
                "resume from the checkpoint before; lower optim.lr if it happens again",
            )
    meta = {
        "format": FORMAT,
        "version": VERSION,
        "step": checkpoint.step,
        "model": to_dict(checkpoint.model),
        "run": None if checkpoint.run is None else to_dict(checkpoint.run),
        "facts": dict(checkpoint.facts),
        "versions": {
            "ddpm-eval": ddpm_train.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "digests": {name: tensor_digest(tensor) for name, tensor in tensors.items()},
    }
    meta["digest"] = _digest_of(meta)
    content = {"meta": json.dumps(meta, indent=1), "tensors": tensors}
    size = sum(tensor.nbytes for tensor in tensors.values())
    require_space(path.parent, size + size // 100 + 1_000_000)
    write_atomically(
        path,
        lambda file: torch.save(content, file),
        verify=lambda written: compare(written, content, fix=_OLDER),
    )


def load(path: Path) -> Checkpoint:
    """Read a checkpoint after checking every byte of it.

    Raises:
        FixableError: The file is missing, damaged, of a newer version or of another kind.
    """
    meta, tensors = _read(path)
    groups: dict[str, Tensors] = {group: {} for group in GROUPS}
    for name, tensor in tensors.items():
        group, _, rest = name.partition("/")
        groups[group][rest] = tensor
    facts = dict(meta["facts"])
    if meta["version"] == 1:
        old = "written by an earlier version: its settings have no digest"
        facts["warnings"] = [*facts.get("warnings", []), old]
    return Checkpoint(
        model=from_dict(ModelConfig, meta["model"], f"{path}: "),
        step=meta["step"],
        run=None if meta["run"] is None else from_dict(RunConfig, meta["run"], f"{path}: "),
        facts=facts,
        **groups,
    )


def network(checkpoint: Checkpoint, *, ema: bool = True) -> ImageNetwork:
    """Build the network with the averaged (default) or the raw weights, ready for evaluation.

    Raises:
        FixableError: The checkpoint lacks these weights, or they are of another shape or no real
            numbers.
    """
    net = build_network(checkpoint.model, seed=None)
    weights = weights_of(checkpoint, ema=ema)
    check_weights(net, weights)
    # The tensors themselves, not copies: a large network fits into memory once.
    net.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    net.to(memory_format=torch.channels_last)
    return net.eval().requires_grad_(requires_grad=False)


def weights_of(checkpoint: Checkpoint, *, ema: bool) -> Tensors:
    """Give the averaged or the raw weights.

    Raises:
        FixableError: The checkpoint lacks these.
    """
    weights = checkpoint.ema if ema else checkpoint.weights
    if not weights:
        have, option = ("raw", "weights=raw") if ema else ("averaged (EMA)", "the default")
        raise FixableError(f"the checkpoint has only {have} weights", f"use {option}")
    return weights


def _read(path: Path) -> tuple[dict[str, Any], Tensors]:
    """Read and verify a file: CRC of every member, kind, version, digests of all that it holds."""
    content = load_plain(path, fix=_OLDER, objects=_OURS)
    if not isinstance(content, dict) or content.keys() != {"meta", "tensors"}:
        raise FixableError(
            f"{path}: not a checkpoint of ddpm-train", "use a file from a run's checkpoints folder"
        )
    if not isinstance(content["meta"], str):
        raise damaged(path, "its description is no text", fix=_OLDER)
    meta = parse_json(content["meta"], path, fix=_OLDER)
    _check_version(meta.get("version"), path)
    if meta["version"] > 1 and meta.pop("digest", None) != _digest_of(meta):
        raise damaged(path, "its description does not match its digest", fix=_OLDER)
    for key, kind in _KINDS.items():
        if not isinstance(meta.get(key), kind):
            raise damaged(path, f"its description has no {key}", fix=_OLDER)
    return meta, _checked(content["tensors"], meta["digests"], path)


_OLDER = "use an older checkpoint of the run, or copy the file again"
_OURS = "use a file that ddpm-train wrote, or export the plain tensors from it"
_KINDS: dict[str, Any] = {
    "step": int,
    "model": dict,
    "run": dict | None,
    "facts": dict,
    "digests": dict,
}


def _check_version(version: object, path: Path) -> None:
    if not isinstance(version, int) or version < 1:
        raise damaged(path, f"its version is {version}", fix=_OLDER)
    if version > VERSION:
        raise NewerVersionError(
            f"{path}: format {version} is newer than this program's {VERSION}",
            "pip install --upgrade ddpm-eval",
        )


def _checked(tensors: object, digests: Mapping[str, Any], path: Path) -> Tensors:
    """Compare every tensor with its digest."""
    if not isinstance(tensors, dict):
        raise damaged(path, "it holds no tensors", fix=_OLDER)
    with reading(path, fix=_OLDER):
        for name in digests.keys() | tensors.keys():
            value = tensors.get(name)
            if not isinstance(value, Tensor) or tensor_digest(value) != digests.get(name):
                raise damaged(path, f"{name} does not match its digest", fix=_OLDER)
            if str(name).partition("/")[0] not in GROUPS:
                raise damaged(path, f"{name} is of no group", fix=_OLDER)
    return tensors


def _digest_of(meta: Mapping[str, Any]) -> str:
    """SHA-256 of a description, however it is laid out as text."""
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()
