"""``images``: the images to measure on, from wherever they are kept."""

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddpm_eval import sources
from ddpm_eval.choice import ImageSet
from ddpm_eval.door.labels import joined
from ddpm_eval.kinds import kind_of
from ddpm_eval.model import Model
from ddpm_eval.paths import expanded
from ddpm_train import data
from ddpm_train.config import DataConfig
from ddpm_train.errors import FixableError
from ddpm_train.settings import from_dict

AnyImages: TypeAlias = ImageSet | Model | NDArray[np.uint8] | str | Path
"""What ``images`` takes, and with it every function that wants images."""

NAMED = {"cifar10": (3, 32, 32), "digits": (1, 8, 8)}
"""Data sets that have a name, and [C, H, W] of their images."""
KINDS = ("folder", "npz", "lmdb")
"""Names of what may lie at a path."""


def images(
    what: AnyImages,
    *,
    split: str = "",
    path: str | Path | None = None,
    like: Model | None = None,
    channels: int = 3,
    resize: str = "none",
    labels: bool | Sequence[int] | None = None,
) -> ImageSet:
    """Open images: a data set, a folder, a file, an array, or those that a model was trained on.

    Args:
        what: ``cifar10`` or ``digits``; the path of a folder or zip of pictures, of an ``.npz``, of
            an lmdb or of a sample store; an array, uint8 [n, H, W, C]; or a model, for the images
            of its run.
        split: ``train`` or ``test``; empty: ``test`` of a named data set or a model's run, and all
            images of a path.
        path: Where a named data set or a run's images lie, if they were moved.
        like: A model whose size and channels the images are to have.
        channels: 1 or 3, for pictures without ``like``.
        resize: The filter for pictures of other sizes: ``lanczos``, ``box``, ``bicubic``, ...
        labels: Open their classes too: those of CIFAR-10 or the digits, the subfolders of a folder,
            an array ``labels`` of an ``.npz``; or the classes themselves, one for each image. None:
            where a model's run had them.

    Returns:
        The images in a fixed order; ``images[:100]`` are the first 100.

    Raises:
        FixableError: They are missing or damaged, or of another kind, size or type.

    >>> import ddpm_eval as de
    >>> digits = de.images("digits", split="test")
    >>> len(digits), digits[:5].read([0]).shape
    (297, (1, 8, 8, 1))
    """
    if split not in ("", "train", "test"):
        raise FixableError(f"split={split}: not a split", "choose test or train")
    if labels is not None and not isinstance(labels, bool):
        plain = images(
            what, split=split, path=path, like=like, channels=channels, resize=resize, labels=False
        )
        return joined(plain, labels)
    if isinstance(what, ImageSet):
        return checked(what.plain() if labels is False else what, like)
    if isinstance(what, Model):
        return _of_run(what, split or "test", path, labels=labels)
    if isinstance(what, np.ndarray):
        return checked(ImageSet.of(sources.as_stack(what, "array")), like)
    kind, where = _place(what, path)
    if split or kind:
        tree = {"source": kind or _kind(where), "path": str(where or ""), "resize": resize}
        config = from_dict(DataConfig, {**tree, "labels": bool(labels)})
        return _part(config, split or "test", like, channels)
    taken = like.shape[0] if like else channels
    source = sources.open_images(
        expanded(what), channels=taken, resize=resize, labels=bool(labels), notify=_warn
    )
    return checked(ImageSet.of(source), like)


def _place(what: str | Path, path: str | Path | None) -> tuple[str, Path | None]:
    """The kind of source that is named, if one is, and where it lies.

    Raises:
        FixableError: Nothing is there.
    """
    if not isinstance(what, str | Path):
        raise FixableError(
            f"images={type(what).__name__}: not images",
            "give a path, the name of a data set, a model, or an array uint8 [n, H, W, C]",
        )
    kind = what if what in (*NAMED, *KINDS) else ""
    if path is not None and not kind:
        raise FixableError(
            f"path={path}: belongs to a named data set, not to {what}",
            f"leave it out, or name one of {', '.join((*NAMED, *KINDS))}",
        )
    if kind in NAMED:
        return kind, None if path is None else expanded(path)
    where = expanded(path if kind and path is not None else what)
    if not where.exists():
        raise FixableError(
            f"images={where}: no such file or folder, and no data set",
            f"name a path, or one of {', '.join(NAMED)}",
        )
    return kind, where


def checked(images: ImageSet, like: Model | None) -> ImageSet:
    """Refuse images of another shape than the model's.

    Raises:
        FixableError: Names both.
    """
    if like is not None:
        _, H, W, C = images.read([0]).shape
        if like.shape != (C, H, W):
            theirs = "x".join(map(str, (*like.shape[1:], like.shape[0])))
            raise FixableError(
                f"images: {images.name} is {H}x{W}x{C} (height, width, channels); the model takes "
                f"{theirs}",
                "choose the images that it was trained on, or resize them",
            )
    return images


def _of_run(model: Model, split: str, path: str | Path | None, *, labels: bool | None) -> ImageSet:
    run = model.facts.run
    if run is None:
        raise FixableError(
            "images: the model does not say what it was trained on",
            'open them: images("cifar10", split="test"), or the path of a folder or an .npz',
        )
    config = run.data if path is None else replace(run.data, path=str(expanded(path)))
    C, H, _ = model.shape
    taken: Any = split
    images = data.load_of_run(config, model.facts.file, image_size=H, channels=C, split=taken)
    for note in data.notes(images):
        _warn(note)
    if labels and not config.labels:
        config = replace(config, labels=True)
        images = data.load(config, image_size=H, channels=C, split=taken)
    opened = ImageSet.of(images, split=split)
    return opened.plain() if labels is False else opened


def _part(config: DataConfig, split: str, like: Model | None, channels: int) -> ImageSet:
    """Open a part of a data set, in the shape of the model, of the data set, or of its first."""
    shape = like.shape if like else NAMED.get(config.source)
    if shape is None:
        where = Path(config.path)
        first = sources.open_images(where, channels=channels, resize=config.resize).read([0])
        shape = first.shape[3], *first.shape[1:3]
    return _open(config, shape, split)


def _open(config: DataConfig, shape: Sequence[int], split: Any) -> ImageSet:
    C, H, _ = shape
    images = data.load(config, image_size=H, channels=C, split=split)
    for note in data.notes(images):
        _warn(note)
    return ImageSet.of(images, split=split)


def _kind(path: Path | None) -> str:
    """The kind of source that lies at a path, by its content."""
    if path is None:
        return "npz"
    kinds = {"npz": "npz", "lmdb": "lmdb", "folder": "folder", "zip": "folder"}
    kind = kind_of(path)
    if kind not in kinds:
        raise FixableError(f"split: {path} has none", "leave split out")
    return kinds[kind]


def _warn(text: str) -> None:
    """Say what is not read, where Python's user sees it."""
    warnings.warn(text, stacklevel=4)
