"""Images in the forms that other programs read: a folder of PNGs, or an .npz."""

import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image

from ddpm_eval.progress import Track, quiet
from ddpm_train.errors import FixableError
from ddpm_train.files import require_space, write_atomically, writing
from ddpm_train.folders import folder_atomically

if TYPE_CHECKING:
    from ddpm_train.data import Images

CHUNK = 256  # images in memory at once
CHANNELS = (1, 3)  # of images that can be shown: gray and RGB


def write(images: "Images", target: Path, *, track: Track = quiet) -> None:
    """Write images as ``target``, an .npz if it is named so, otherwise a new folder of PNGs.

    The .npz holds uint8 [n, H, W, C] as ``arr_0``, as guided-diffusion's evaluator reads it; the
    PNGs are named by their index, with zeros, so that they sort by it.

    Raises:
        FixableError: Something has that name, the images have channels that no PNG holds, or the
            disk is full; then nothing is left of it.
    """
    shape = (len(images), *images.read([0]).shape[1:])
    is_npz = target.suffix.lower() == ".npz"
    if not is_npz:
        require_pictures(shape[3], fix="name an .npz, which takes any number of channels")
    with writing(target):
        if os.path.lexists(target):  # a device and a link that leads nowhere exist too
            raise FixableError(f"{target}: exists", "name a new file or folder, or delete this one")
        require_space(target.parent, int(np.prod(shape)) + 1_000_000)
    (_write_npz if is_npz else _write_folder)(images, target, shape, track)


def require_pictures(channels: int, *, fix: str) -> None:
    """Refuse images that are neither gray nor RGB before they are made or written.

    Raises:
        FixableError: They have another number of channels than 1 or 3.

    >>> require_pictures(4, fix="name an .npz")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: images of 4 channels cannot be shown: a picture has 1 or 3
      fix: name an .npz
    """
    if channels not in CHANNELS:
        raise FixableError(
            f"images of {channels} channels cannot be shown: a picture has 1 or 3", fix
        )


def _write_npz(images: "Images", target: Path, shape: tuple[int, ...], track: Track) -> None:
    parts = _parts(shape[0])

    def put(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            member = zipfile.ZipInfo("arr_0.npy", (1980, 1, 1, 0, 0, 0))
            with archive.open(member, "w", force_zip64=True) as out:
                header = {"descr": "|u1", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(out, header)
                for part in track(parts, "export", len(parts)):
                    out.write(np.ascontiguousarray(images.read(part)).data)

    write_atomically(target, put)


def _write_folder(images: "Images", target: Path, shape: tuple[int, ...], track: Track) -> None:
    """Write the pictures into a folder beside, which then takes the name."""
    parts, digits = _parts(shape[0]), len(str(shape[0] - 1))
    with folder_atomically(target) as folder:
        for part in track(parts, "export", len(parts)):
            for i, pixels in zip(part, images.read(part), strict=True):
                plain = pixels[..., 0] if shape[3] == 1 else pixels
                Image.fromarray(plain).save(folder / f"{i:0{digits}d}.png")


def _parts(n: int) -> list[range]:
    return [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
