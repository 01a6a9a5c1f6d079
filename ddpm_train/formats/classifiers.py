"""Classifiers of noisy images: guided-diffusion's files, one state dict each.

The pool, the sizes and the classes are told by names and shapes; heads are asked for, unless the
file has the name and the shape of a released one.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from ddpm_train import settings
from ddpm_train.architectures import ClassifierConfig
from ddpm_train.config import ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import write_atomically
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import Rules, require_pixels
from ddpm_train.formats.finishing import fit, split_heads
from ddpm_train.formats.improved_diffusion import shapes
from ddpm_train.formats.openai_names import canonical
from ddpm_train.networks.classifier import Classifier
from ddpm_train.reading import damaged, parse_json, reading
from ddpm_train.weights import Tensors, check_weights, load_weights, tensor_digest

NAME = "openai/guided-diffusion classifier"
RELEASED = ("64x64_classifier", "128x128_classifier", "256x256_classifier", "512x512_classifier")
Pool = Literal["attention", "adaptive", "spatial", "spatial_v2"]
OUT: dict[Pool, Rules] = {
    "attention": [
        (r"^out\.0\.", "pool.norm."),
        (r"^out\.2\.positional_embedding$", "pool.position"),
        (r"^out\.2\.qkv_proj\.", "pool.qkv."),
        (r"^out\.2\.c_proj\.", "pool.proj."),
    ],
    "adaptive": [(r"^out\.0\.", "pool.norm."), (r"^out\.3\.", "pool.proj.")],
    "spatial": [(r"^out\.0\.", "pool.hidden."), (r"^out\.2\.", "pool.proj.")],
    "spatial_v2": [
        (r"^out\.0\.", "pool.hidden."),
        (r"^out\.1\.", "pool.norm."),
        (r"^out\.3\.", "pool.proj."),
    ],
}
_HEADS = ("encoder.heads", "encoder.head_channels")


@dataclass(frozen=True, kw_only=True)
class ClassifierFile:
    """A classifier that was read.

    Attributes:
        config: Its settings.
        weights: Under our names.
        warnings: What the file does not tell and was assumed.
        schedule: The process whose x_t it was trained on, where the file says it.
    """

    config: ClassifierConfig
    weights: Tensors
    warnings: Sequence[str] = ()
    schedule: ScheduleConfig | None = None

    @property
    def digest(self) -> str:
        """SHA-256 of its weights and of the settings that are not as by default.

        So a setting that is added later renames no classifier that does not use it.
        """
        plain, own = (settings.to_dict(item) for item in (ClassifierConfig(), self.config))
        changes = settings.differences(plain, own)
        sha = hashlib.sha256("\n".join(changes).encode())
        for name in sorted(self.weights):
            sha.update(f"{name} {tensor_digest(self.weights[name])} ".encode())
        return sha.hexdigest()

    def network(self) -> Classifier:
        """Build it, ready for evaluation; its weights take no gradient, its input may."""
        net = Classifier(self.config)
        load_weights(net, self.weights)
        return net.eval().requires_grad_(requires_grad=False)


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether a dictionary has such a classifier's names: a way down, and none up."""
    names = {containers.unwrapped(str(name)) for name in content}
    encoder = {"input_blocks.0.0.weight", "time_embed.0.weight"} <= names
    return encoder and not any(name.startswith("output_blocks.") for name in names)


def load(path: Path, *, changes: Iterable[str] = ()) -> ClassifierFile:
    """Read a classifier: one of ``ddpm-train classifier``, or of guided-diffusion.

    Args:
        path: The file.
        changes: Settings that it does not store: ``encoder.head_channels=64``.

    Raises:
        FixableError: The file is missing, damaged or no such classifier, or a setting that
            matters is neither in it nor given.
    """
    content = containers.read(path)
    if OURS in content:
        return _changed(_read_ours(content, path), changes)
    if not recognises(content):
        raise FixableError(
            f"{path}: not a classifier of noisy images",
            "use one of ddpm-train classifier, or of guided-diffusion: 256x256_classifier.pt",
        )
    with reading(path, what="not what its names say"):
        return _read(containers.tensors(content, str(path)), path, list(changes))


OURS = "ddpm-eval noisy classifier"
_AGAIN = "train it again, or copy the file again"


def save(path: Path, file: ClassifierFile) -> None:
    """Write a classifier atomically: its settings as JSON, their digest, and plain tensors.

    Raises:
        FixableError: The disk is full or not writable.
    """
    plain = {
        "config": settings.to_dict(file.config),
        "schedule": None if file.schedule is None else settings.to_dict(file.schedule),
        "digest": file.digest,
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in file.weights.items()}
    content = {OURS: json.dumps(plain), "tensors": tensors}
    write_atomically(path, lambda stream: torch.save(content, stream))


def _read_ours(content: Mapping[str, Any], path: Path) -> ClassifierFile:
    with reading(path, fix=_AGAIN):
        plain = parse_json(content[OURS], path, fix=_AGAIN)
        schedule = plain["schedule"]
        file = ClassifierFile(
            config=settings.from_dict(ClassifierConfig, plain["config"], f"{path}: "),
            weights=containers.tensors(content["tensors"], str(path)),
            schedule=schedule and settings.from_dict(ScheduleConfig, schedule, f"{path}: "),
        )
        if file.digest != plain["digest"]:
            raise damaged(path, "its weights do not match their digest", fix=_AGAIN)
        return file


def _changed(file: ClassifierFile, changes: Iterable[str]) -> ClassifierFile:
    """Apply changes to a classifier of ours; weights that do not fit them are refused."""
    file = replace(file, config=settings.override(file.config, changes))
    check_weights(Classifier(file.config, seed=None), file.weights)
    return file


def _read(theirs: Tensors, path: Path, changes: list[str]) -> ClassifierFile:
    require_pixels(theirs["input_blocks.0.0.weight"].shape[1], f"{path}: its network")
    pool = _pool(theirs, path)
    weights = canonical(theirs, OUT[pool])
    size = _image_size(weights, path) if pool == "attention" else _size_of(changes)
    encoder, _ = shapes(weights, image_size=size)
    config = ClassifierConfig(encoder=encoder, classes=len(weights["pool.proj.bias"]), pool=pool)
    warnings = []
    if path.stem in RELEASED:
        config = replace(config, encoder=replace(encoder, head_channels=64))
        warnings.append("encoder.head_channels=64, as the released file of this name has it")
    elif not any(change.startswith(_HEADS) for change in changes):
        raise FixableError(
            f"{path}: the file does not say {_HEADS[0]} or {_HEADS[1]}, and a wrong value gives a "
            "wrong result without an error",
            "look at the flags that it was trained with; the released files have "
            "--set encoder.head_channels=64",
        )
    if not size:
        warnings.append(f"encoder.image_size={config.encoder.image_size}, as the widths suggest")
    config = settings.override(config, changes)
    net = Classifier(config, seed=None)
    if pool == "attention":
        weights = _split_pool(weights)
    weights = fit(weights, config.encoder, net.state_dict(), "legacy")
    check_weights(net, weights)
    return ClassifierFile(config=config, weights=weights, warnings=warnings)


def _pool(theirs: Tensors, path: Path) -> Pool:
    """Which pool the names are of."""
    if "out.2.positional_embedding" in theirs:
        return "attention"
    if "out.1.weight" in theirs:
        return "spatial_v2"
    if "out.3.weight" in theirs:
        return "adaptive"
    if "out.2.weight" in theirs:
        return "spatial"
    raise FixableError(f"{path}: it has no pool (out.*)", "download or copy the file again")


def _image_size(weights: Tensors, path: Path) -> int:
    """The image size that the pool's positions tell: one for each pixel, and one more."""
    positions = weights["pool.position"].shape[-1] - 1
    side = math.isqrt(positions)
    if side < 1 or side**2 != positions:
        raise FixableError(
            f"{path}: out.2.positional_embedding has {positions + 1} positions, which is no square "
            "and one more",
            "download or copy the file again",
        )
    levels = {name.split(".")[1] for name in weights if name.startswith("down.")}
    return side << (len(levels) - 1)


def _size_of(changes: Iterable[str]) -> int:
    """The image size that changes give; 0 without one."""
    sizes = [change for change in changes if change.startswith("encoder.image_size=")]
    return settings.override(ClassifierConfig(), sizes).encoder.image_size if sizes else 0


def _split_pool(weights: Tensors) -> Tensors:
    """Split the pool's queries, keys and values, whose rows have the new order."""
    parts: Tensors = {}
    for kind in ("weight", "bias"):
        fused = weights.pop(f"pool.qkv.{kind}")
        split = split_heads(fused, 1, "new")
        parts |= {f"pool.{name}.{kind}": split[i] for i, name in enumerate("qkv")}
    return weights | parts
