"""Images at a path that a user names, known by its content: a sample store, pictures, arrays."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ddpm_eval.choice import ImageSet
from ddpm_eval.kinds import MEMBERS, Kind, kind_of
from ddpm_eval.progress import silent
from ddpm_eval.record import store
from ddpm_eval.record.store import SampleStore
from ddpm_train import archives, data, leaves
from ddpm_train.config import DataConfig, Filter
from ddpm_train.data.arrays import LABELS, npz_labels
from ddpm_train.data.images import Form, Images, Pixels, Split, Stack
from ddpm_train.data.labels import Labelled, grouped
from ddpm_train.data.pictures import Pictures, decode
from ddpm_train.data.stores import folder_or_zip
from ddpm_train.errors import FixableError
from ddpm_train.reading import damaged, existing, open_file, read_bytes, reading
from ddpm_train.settings import from_dict

STATISTICS = ("mu", "sigma", "mu_s", "sigma_s")
"""Arrays that lie beside ADM's images: FID's and sFID's, where the file is the reference."""


@dataclass(frozen=True, slots=True)
class AsFirst(Form):
    """All pictures are as large as the first, or are resized to it by a filter that is named."""

    def check_size(self, width: int, height: int, what: str) -> None:
        """Refuse a picture of another size where no filter is named.

        Raises:
            FixableError: Names both sizes.
        """
        side = self.image_size
        if self.resize == "none" and (width, height) != (side, side):
            raise FixableError(
                f"{what}: {width}x{height} pixels; the first picture makes it {side}x{side}",
                "add resize=lanczos (centre crop, then resize), or take it out",
            )


def open_images(
    path: str | Path,
    *,
    channels: int = 3,
    resize: str = "none",
    labels: bool = False,
    notify: Callable[[str], None] = silent,
) -> Images:
    """Open all images at a path.

    Args:
        path: A sample store, a folder or .zip of pictures, an .npz or .npy of images.
        channels: 1 or 3, for pictures; arrays have their own.
        resize: The filter for pictures that are not as large as the first.
        labels: Open their classes too.
        notify: Is told what of it is not read.

    Raises:
        FixableError: Nothing is there, it is damaged, or pictures differ in size; or classes are
            wanted and there are none.
    """
    chosen: Filter = leaves.read(Filter, resize, "resize")
    place = existing(str(path), "images or a sample store")
    readers: dict[Kind, Callable[[], Images]] = {
        "store": lambda: store.open_store(place),
        "npz": lambda: _npz(place, notify, labels=labels),
        "npy": lambda: _npy(place),
    }
    opened = readers.get(kind_of(place), lambda: _pictures(place, channels, chosen, notify))()
    if not labels or isinstance(opened, Labelled):
        return opened
    if isinstance(opened, SampleStore) and opened.labels is not None:
        return Labelled(opened, opened.labels, opened.class_names)
    if isinstance(opened, Pictures) and opened.groups:
        return grouped(opened, opened.groups, opened.groups, str(place))
    raise FixableError(
        f"{place}: says nothing of classes", "give them: images(path, labels=[3, 0, ...])"
    )


def trained_on(samples: SampleStore, split: Split, *, path: str | Path | None = None) -> ImageSet:
    """Open the images that the model of a sample store was trained on, or their test split.

    Args:
        samples: The store.
        split: ``train`` or ``test``.
        path: Where they lie, if they were moved.

    Raises:
        FixableError: The store does not say, they are not there, or others are.
    """
    about = samples.about
    if "data" not in about:
        raise FixableError(
            f"{samples.folder}: does not say what its model was trained on",
            "name the images: dataset=cifar10, or dataset=npz data=FILE",
        )
    config = from_dict(DataConfig, about["data"], "data.")
    if path is not None:
        config = replace(config, path=str(path))
    H, _, C = samples.shape
    source = data.load_of_run(config, about, image_size=H, channels=C, split=split)
    return ImageSet.of(source, split=split)


def open_files(paths: Sequence[Path], shape: tuple[int, int, int], resize: str) -> ImageSet:
    """Decode picture files as a model of images [C, H, W] takes them.

    Args:
        paths: The files.
        shape: The model's [C, H, W].
        resize: The filter for pictures of another size.

    Raises:
        FixableError: One is missing or broken, or of another size and no filter is named.
    """
    chosen: Filter = leaves.read(Filter, resize, "resize")
    C, H, _ = shape
    form = Form(H, C, chosen, remedy="add resize=lanczos (centre crop, then resize)")
    places = [existing(str(path), "a PNG, JPEG or WebP picture") for path in paths]
    pixels = np.stack([decode(read_bytes(place), str(place), form) for place in places])
    return ImageSet.of(Stack("files", pixels))


def as_stack(
    pixels: NDArray[np.generic], name: str = "images", *, place: Path | None = None
) -> Stack:
    """Hold an array of images in memory, uint8 [n, H, W, C]; [n, H, W] is gray.

    Args:
        pixels: The images.
        name: What to call them.
        place: The file that they come from, for messages.

    Raises:
        FixableError: It is of another type or shape, or its channels come first.

    >>> as_stack(np.zeros((2, 8, 8), np.uint8)).read([0]).shape
    (1, 8, 8, 1)
    >>> as_stack(np.zeros((2, 3, 32, 32), np.uint8))
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: images: [2, 3, 32, 32] has the channels first
      fix: put them last: images.transpose(0, 2, 3, 1)
    """
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    shape, label = list(pixels.shape), place or name
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or not pixels.size:
        raise FixableError(
            f"{label}: {pixels.dtype} {shape} are not uint8 images [n, H, W, C]",
            "give levels 0..255 with the channels last",
        )
    if shape[1] in (1, 3) and min(shape[2:]) > 4:
        raise FixableError(
            f"{label}: {shape} has the channels first",
            "put them last: images.transpose(0, 2, 3, 1)",
        )
    levels: Pixels = np.ascontiguousarray(pixels, np.uint8)
    return Stack(name, levels)


def _npz(path: Path, notify: Callable[[str], None], *, labels: bool) -> Stack | Labelled:
    names = [member.filename.removesuffix(".npy") for member in archives.members_of(path)]
    name = next((name for name in MEMBERS if name in names), None)
    if name is None:
        raise FixableError(
            f"{path}: has no array {' or '.join(MEMBERS)}, only {', '.join(names[:6])}",
            "write it with numpy.savez(path, images=levels), uint8 [n, H, W, C]",
        )
    beside = LABELS[name] if labels else ()
    others = [other for other in names if other != name and other not in beside]
    unread = [other for other in others if other not in STATISTICS]
    more = "" if len(unread) <= 6 else f" and {len(unread) - 6:,} more"
    parts = {
        "not read": ", ".join(unread[:6]) + more,
        "read of a reference alone": ", ".join(other for other in others if other in STATISTICS),
    }
    texts = [f"{kind}: {text}" for kind, text in parts.items() if text]
    if texts:
        notify(f"{path}: {name} is read; {'; '.join(texts)}")
    images = as_stack(archives.read_arrays(path, [name])[name], path.stem, place=path)
    return npz_labels(images, path, names, name) if labels else images


def _npy(path: Path) -> Stack:
    with open_file(path) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise damaged(path, "it goes on after the end that its header states")
    return as_stack(array, path.stem, place=path)


def _pictures(path: Path, channels: int, resize: Filter, notify: Callable[[str], None]) -> Pictures:
    pictures = folder_or_zip(str(path), "train")
    for note in pictures.notes:
        notify(note)
    label = pictures.label(0)
    content = io.BytesIO(pictures.fetch(0))
    with (
        reading(label, what="a broken picture", fix="replace it or delete it"),
        Image.open(content) as first,
    ):
        width, height = first.size
    if width != height and resize == "none":
        raise FixableError(f"{label}: not square", "add resize=lanczos (centre crop)")
    return Pictures(pictures, AsFirst(min(width, height), channels, resize))
