"""Which images of a set are used: all, some drawn by the seed, or the first ones.

The first n of an ordered set (folders of classes, say) are no sample of it. So n images are drawn:
the first n of a permutation that the seed names, of which a larger n takes more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.record.protocol import Choice, ImagesFacts
from ddpm_train.data.images import Images, Pixels
from ddpm_train.data.labels import Labels, labels_of, without_labels
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream

Indices: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Images in a fixed order, some or all of a source.

    Attributes:
        source: Where they are read.
        dataset: What people call the whole set.
        split: ``train``, ``test``, or empty where it is neither.
        indices: Which of the source's, [n]; they name the noise.
        choice: How these were chosen.
        seed: The seed of a drawn choice.
    """

    source: Images
    dataset: str
    split: str
    indices: Indices
    choice: Choice = "all"
    seed: int | None = None

    @classmethod
    def of(cls, source: Images, *, split: str = "") -> "ImageSet":
        """Take all images of a source; its name without the split is the data set's."""
        dataset = source.name.removesuffix(f" {split}") if split else source.name
        return cls(source, dataset, split, np.arange(len(source)))

    @property
    def name(self) -> str:
        """What they are, for people: ``CIFAR-10 test``."""
        return f"{self.dataset} {self.split}".strip()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole source; of the caller's own selection, with the indices."""
        if self.choice != "chosen":
            return self.source.digest
        return sha256(self.source.digest.encode() + self.indices.tobytes()).hexdigest()

    @property
    def facts(self) -> ImagesFacts:
        """Which images these are."""
        return ImagesFacts(
            digest=self.digest,
            n=len(self),
            choice=self.choice,
            dataset=self.dataset,
            split=self.split,
            seed=self.seed,
            labels=labels_of(self.source) is not None,
        )

    @property
    def labels(self) -> Labels | None:
        """The class of each image, [n]; None for images without classes."""
        labels = labels_of(self.source)
        return None if labels is None else labels[self.indices]

    def plain(self) -> "ImageSet":
        """Give the images without their classes."""
        return replace(self, source=without_labels(self.source))

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, places: Sequence[int] | Indices) -> Pixels:
        """Read the images at these places of this set, uint8 [len(places), H, W, C]."""
        return self.source.read(self.indices[np.asarray(places, np.int64)])

    def __getitem__(self, places: Any) -> "ImageSet":
        """Take some: ``images[:1000]`` are the first 1,000, as ``first=True`` takes them.

        Raises:
            FixableError: No image is left, or the places are not a slice or indices.
        """
        from_start = isinstance(places, slice) and places.start in (None, 0) and places.step is None
        try:
            indices = np.atleast_1d(self.indices[places])
        except (IndexError, TypeError, ValueError) as error:
            raise FixableError(
                f"{places}: not a slice or indices of {len(self):,} images", "write images[:100]"
            ) from error
        if not len(indices) or indices.ndim != 1:
            raise FixableError(f"{places}: no image of {len(self):,}", "write images[:100]")
        if len(indices) == len(self) and (indices == self.indices).all():
            return self
        is_first = from_start and self.choice in ("all", "first")
        choice: Choice = "first" if is_first else "chosen"
        return replace(self, indices=indices, choice=choice, seed=None)


def permutation(total: int, seed: int) -> Indices:
    """Order the indices 0..total-1 at random, by the seed; n of them are its first n.

    >>> permutation(1000, seed=0)[:4]
    array([109, 345, 635, 588])
    """
    return Stream(seed, "choice").generator(0).permutation(total)


def choose(
    images: ImageSet, n: int = 0, *, seed: int = 0, first: bool = False, drop_remainder: int = 0
) -> ImageSet:
    """Choose n of the images; what a smaller n chooses is part of it.

    Args:
        images: The set.
        n: How many; 0 for all of them, in their order.
        seed: Names the permutation that they are drawn by.
        first: Take the first n, as the original's protocol does.
        drop_remainder: Keep whole batches of so many only; 0 keeps all.

    Raises:
        FixableError: There are fewer, or not one whole batch.
    """
    total = len(images)
    if not 0 <= n <= total:
        raise FixableError(
            f"n={n:,}: {images.name} has {total:,} images", "choose fewer, or 0 for all"
        )
    if n in (0, total):
        return _whole_batches(images, drop_remainder)
    if first:
        return _whole_batches(images[:n], drop_remainder)
    some = images[permutation(total, seed)[:n]]
    if images.choice == "all":
        some = replace(some, choice="drawn", seed=seed)
    return _whole_batches(some, drop_remainder)


def _whole_batches(images: ImageSet, size: int) -> ImageSet:
    n = len(images)
    if not size or n % size == 0:
        return images
    if n < size:
        raise FixableError(
            f"drop_remainder={size:,}: {n:,} images are not one whole batch",
            "leave it out, or take more images",
        )
    whole = replace(images, indices=images.indices[: n // size * size])
    return replace(whole, choice="first") if images.choice == "all" else whole
