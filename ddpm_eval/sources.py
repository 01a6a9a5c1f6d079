"""Images at a path that a user names: a sample store, pictures in a folder or zip, an .npz."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ddpm_eval.record import store
from ddpm_train.data import arrays
from ddpm_train.data.images import Form, Images
from ddpm_train.data.pictures import Pictures
from ddpm_train.data.stores import folder_or_zip
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing

FILTERS = ("none", "nearest", "box", "bilinear", "bicubic", "lanczos")


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
                "add --resize lanczos (centre crop, then resize), or take it out",
            )


def open_images(path: Path, *, channels: int, resize: str = "none") -> Images:
    """Open the images at a path.

    Args:
        path: A sample store, a folder or .zip of pictures, or an .npz of images.
        channels: 1 or 3, for pictures; arrays keep theirs.
        resize: The filter for pictures that are not as large as the first.

    Raises:
        FixableError: Nothing is there, it is damaged, or pictures differ in size.
    """
    if resize not in FILTERS:
        raise FixableError(f"--resize {resize}: not a filter", f"choose {', '.join(FILTERS)}")
    found = existing(str(path), "images or a sample store")
    if found.suffix == ".npz":
        return _npz(found)
    if (found / store.NAME).exists():
        return store.open_store(found)
    pictures = folder_or_zip(str(found), "train")
    data, label = pictures.fetch(0), pictures.label(0)
    try:
        with Image.open(io.BytesIO(data)) as first:
            side = min(first.size)
            square = len(set(first.size)) == 1
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError) as error:
        raise FixableError(f"{label}: a broken picture", "replace it or delete it") from error
    if not square and resize == "none":
        raise FixableError(f"{label}: not square", "add --resize lanczos (centre crop)")
    return Pictures(pictures, AsFirst(side, channels, resize))  # type: ignore[arg-type]


def has_images(path: Path) -> bool:
    """Whether an .npz holds images (``train``, ``images``, ``arr_0``) rather than statistics."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name in archive.namelist() for name in _MEMBERS)
    except (OSError, zipfile.BadZipFile):
        return False


_MEMBERS = ("train.npy", "images.npy", "arr_0.npy")
_NOT_IMAGES = (
    *(OSError, ValueError, LookupError, StopIteration),
    *(zipfile.BadZipFile, zlib.error),
)


def _npz(path: Path) -> Images:
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in _MEMBERS if name in archive.namelist())
            with archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                read = {
                    (1, 0): np.lib.format.read_array_header_1_0,
                    (2, 0): np.lib.format.read_array_header_2_0,
                }
                shape = read[version](member)[0]
        side, channels = (shape[1], shape[3]) if len(shape) == 4 else (shape[2], 1)
    except _NOT_IMAGES as error:
        raise FixableError(
            f"{path}: not a whole .npz with images (arr_0, images or train)",
            "write it with numpy.savez(path, images=levels), uint8 [n, H, W, C]",
        ) from error
    remedy = "write square images [n, H, W, C], the channels last"
    return arrays.npz(str(path), "train", Form(side, channels, remedy=remedy))
