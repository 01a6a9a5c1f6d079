"""The class of every image: what a source says of it, and images that carry it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddpm_train.data.images import Images, Pixels
from ddpm_train.errors import FixableError

Labels: TypeAlias = NDArray[np.int64]
"""The class of each image, [n], counted from 0."""


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images (see ``images.Images``) with a class each.

    Attributes:
        images: The images.
        labels: Their classes, [n].
        classes: The name of every class.
    """

    images: Images
    labels: Labels
    classes: tuple[str, ...]

    @property
    def name(self) -> str:
        """What they are, for people."""
        return self.images.name

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the images' own digest and of all labels."""
        sha = hashlib.sha256(f"{self.images.digest} labels ".encode())
        sha.update(self.labels.tobytes())
        return sha.hexdigest()

    def __len__(self) -> int:
        return len(self.images)

    def read(self, indices: Sequence[int] | Labels) -> Pixels:
        """Give the images at these indices."""
        return self.images.read(indices)


def labels_of(images: Images) -> Labels | None:
    """Give the class of each image, [n]; None for images without classes."""
    return images.labels if isinstance(images, Labelled) else None


def classes_of(images: Images) -> tuple[str, ...]:
    """Give the name of every class; none for images without classes."""
    return images.classes if isinstance(images, Labelled) else ()


def without_labels(images: Images) -> Images:
    """Give the images alone."""
    return images.images if isinstance(images, Labelled) else images


def numbered(images: Images, labels: NDArray[np.generic], place: str) -> Labelled:
    """Join images with labels that are numbers, [n] from 0; their names are the numbers.

    Args:
        images: The images.
        labels: Any integers.
        place: Where the labels lie, for messages.

    Raises:
        FixableError: They are no integers from 0 upwards, or not one for each image.

    >>> import numpy as np
    >>> from ddpm_train.data.images import Stack
    >>> digits = Stack("two", np.zeros((2, 8, 8, 1), np.uint8))
    >>> numbered(digits, np.array([2, 0]), "labels").classes
    ('0', '1', '2')
    """
    if labels.shape != (len(images),) or not np.issubdtype(labels.dtype, np.integer):
        raise FixableError(
            f"{place}: {labels.dtype} {list(labels.shape)} are not the classes of "
            f"{len(images):,} images",
            "write one whole number for each image, counted from 0",
        )
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) >= MOST):
        raise FixableError(
            f"{place}: labels {labels.min()}..{labels.max()}", f"count classes from 0, below {MOST}"
        )
    numbers = labels.astype(np.int64)
    return Labelled(images, numbers, tuple(str(i) for i in range(int(numbers.max()) + 1)))


MOST = 1_000_000
"""Classes of a network, at most (``unet.classes``)."""


def grouped(images: Images, groups: Sequence[str], training: Sequence[str], place: str) -> Labelled:
    """Join pictures with the folders that they lie in: classes in the order of their names.

    Args:
        images: The pictures.
        groups: The folder of each of them, directly below that of the split; empty: in none.
        training: The folders of the training pictures, which decide what classes there are.
        place: Where the pictures lie, for messages.

    Raises:
        FixableError: A picture lies in no folder, or in one that no training picture lies in.

    >>> import numpy as np
    >>> from ddpm_train.data.images import Stack
    >>> pictures = Stack("two", np.zeros((2, 8, 8, 1), np.uint8))
    >>> grouped(pictures, ["dog", "cat"], ["bird", "cat", "dog"], "pets").labels
    array([2, 1])
    """
    if "" in (*groups, *training):
        raise FixableError(
            f"{place}: pictures that lie in no subfolder have no class",
            "put each class into a folder of its own, or set data.labels=false",
        )
    classes = tuple(sorted(set(training)))
    strange = sorted(set(groups) - set(classes))
    if strange:
        raise FixableError(
            f"{place}: {', '.join(strange[:3])} is no class of the training pictures",
            "name the folders of both splits alike",
        )
    order = {name: i for i, name in enumerate(classes)}
    return Labelled(images, np.array([order[name] for name in groups], np.int64), classes)
