"""Training and test images, from wherever they are kept, as uint8 [n, H, W, C].

images.py holds what every source gives and the one crossing between uint8 and [-1, 1]; labels.py
adds the class of each image; cifar.py, download.py and arrays.py read images that fit in memory;
pictures.py decodes PNG, JPEG and WebP when they are asked for, and stores.py says where those lie:
a folder, a zip or an lmdb.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ddpm_train.config import DataConfig
from ddpm_train.data import arrays, cifar, stores
from ddpm_train.data.download import Track
from ddpm_train.data.images import Form, Images, Split, to_model, to_uint8
from ddpm_train.data.labels import Labelled, classes_of, grouped, labels_of, without_labels
from ddpm_train.data.pictures import Pictures
from ddpm_train.errors import FixableError

__all__ = [
    "Images",
    "Labelled",
    "Pictures",
    "Split",
    "Track",
    "classes_of",
    "labels_of",
    "load",
    "load_of_run",
    "notes",
    "to_model",
    "to_uint8",
    "without_labels",
]


def load(
    config: DataConfig,
    *,
    image_size: int,
    channels: int,
    split: Split = "train",
    track: Track | None = None,
) -> Images:
    """Open the images that a run is trained or measured on.

    Args:
        config: Where they are kept, how they are resized, and whether their classes are wanted.
        image_size: The height and width that the network expects, in pixels.
        channels: The channels that the network expects.
        split: Which part; sources without parts hold training images only.
        track: Is told (bytes done, bytes in all) while CIFAR-10 is downloaded.

    Raises:
        FixableError: The images are missing, damaged, or of another size or number of channels, or
            classes are wanted and there are none.

    >>> digits = load(DataConfig(source="digits"), image_size=8, channels=1, split="test")
    >>> digits.name, len(digits), digits.read([0, 5]).shape
    ('digits test', 297, (2, 8, 8, 1))
    """
    form = Form(image_size, channels, config.resize)
    sources: dict[str, Callable[[], Images]] = {
        "cifar10": partial(cifar.load, config.path, split, form, track=track),
        "digits": partial(arrays.digits, split, form),
        "npz": partial(arrays.npz, config.path, split, form, labels=config.labels),
        "folder": lambda: Pictures(stores.folder_or_zip(config.path, split), form),
        "lmdb": lambda: Pictures(stores.lmdb_or_folder(config.path, split), form),
    }
    images = sources[config.source]()
    if isinstance(images, Pictures) and config.labels:
        return _by_folder(images, config, split)
    return images if config.labels else without_labels(images)


def _by_folder(images: Pictures, config: DataConfig, split: Split) -> Labelled:
    """Join pictures with their folders; the training pictures decide what classes there are."""
    groups = images.groups
    if not groups:
        raise FixableError(
            f"{config.path}: an lmdb does not say of which class a picture is",
            "set data.labels=false and unet.classes=0, or give a folder with a subfolder for each "
            "class",
        )
    training = groups
    if split != "train":
        training = stores.folder_or_zip(config.path, "train").groups
    return grouped(images, groups, training, config.path)


def load_of_run(
    config: DataConfig,
    facts: Mapping[str, Any],
    *,
    image_size: int,
    channels: int,
    split: Split = "train",
) -> Images:
    """Open the images that a run was trained on, or their test split, and check that they are.

    Args:
        config: What the run was told; a relative path may lead elsewhere today.
        facts: The checkpoint's, with the digest of the training images.
        image_size: As for ``load``.
        channels: As for ``load``.
        split: Which part.

    Raises:
        FixableError: As ``load``, or the training images beside are others.
    """
    images = load(config, image_size=image_size, channels=channels, split=split)
    digest = facts.get("data_digest")
    if digest and config.source not in PUBLISHED:
        train = images
        if split != "train":
            train = load(config, image_size=image_size, channels=channels)
        if train.digest != digest:
            raise FixableError(
                f"path={config.path}: other images than the model was trained on "
                f"({facts.get('data', 'train')}, digest {str(digest)[:8]})",
                "give the path of the same images; to measure on others, name them with dataset="
                f"{config.source} and their path",
            )
    return images


PUBLISHED = ("cifar10", "digits")
"""Sources whose content is fixed, and checked whenever they are opened."""


def notes(images: Images) -> tuple[str, ...]:
    """What was left out of images, or taken for something, for people."""
    pictures = without_labels(images)
    return pictures.notes if isinstance(pictures, Pictures) else ()
