"""The class of every image, where a model takes them: joined by the caller, or refused."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.model import Model
from ddpm_train.data.labels import numbered, without_labels
from ddpm_train.errors import FixableError


def joined(images: ImageSet, labels: Sequence[int]) -> ImageSet:
    """Join all images of a set with the classes that the caller has.

    Raises:
        FixableError: They are not one whole number for each image.
    """
    plain = without_labels(images.source)
    return replace(images, source=numbered(plain, np.asarray(labels), "labels"))


def require_labels(models: Sequence[Model], images: ImageSet) -> ImageSet:
    """Refuse images whose classes are not those that the models take.

    Args:
        models: What is measured; some may take classes where others do not.
        images: What it is measured on.

    Raises:
        FixableError: Classes are needed and there are none, or too many, or none is taken.
    """
    labels, classes = images.labels, [model.classes for model in models if model.classes]
    if labels is None and classes:
        raise FixableError(
            f"images: {images.name} has no labels; the model takes {classes[0]:,} classes",
            "open them with labels=True (CIFAR-10, digits, a folder with subfolders, an .npz with "
            "an array labels), or with labels=[3, 0, ...]",
        )
    if labels is not None and not classes:
        raise FixableError(
            f"images: {images.name} has labels; the model takes no classes",
            "open them without labels",
        )
    if labels is not None and labels.max() >= min(classes):
        raise FixableError(
            f"images: {images.name} has labels up to {labels.max()}; the model takes "
            f"{min(classes):,} classes",
            "choose the images that it was trained on",
        )
    return images
