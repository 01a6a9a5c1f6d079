"""The condition of a conditional model that is evaluated on images: their classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet
from ddpm_eval.model import Model


def classes_of_images(model: Model, images: ImageSet, places: Sequence[int]) -> Tensor | None:
    """Give the classes of the images at these places, [B]; None for a model without classes."""
    if not model.classes or images.labels is None:
        return None
    return torch.from_numpy(images.labels[list(places)])
