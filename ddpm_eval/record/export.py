"""Images in the forms that other programs read: a folder of PNGs, or an .npz."""

import shutil
import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from ddpm_eval.progress import Track, quiet
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.files import PARTIAL, explain, require_space, sync_folder, write_atomically

CHUNK = 256  # images in memory at once


def write(images: Images, target: Path, *, track: Track = quiet) -> None:
    """Write images as ``target``, an .npz if it is named so, otherwise a new folder of PNGs.

    The .npz holds uint8 [n, H, W, C] as ``arr_0``, as guided-diffusion's evaluator reads it; the
    PNGs are named by their index, with zeros, so that they sort by it.

    Raises:
        FixableError: ``target`` exists, or the disk is full; then nothing is left of it.
    """
    if target.exists():
        raise FixableError(f"{target}: exists", "name a new file or folder, or delete this one")
    shape = (len(images), *images.read([0]).shape[1:])
    require_space(target.parent, int(np.prod(shape)) + 1_000_000)
    (_write_npz if target.suffix == ".npz" else _write_folder)(images, target, shape, track)


def _write_npz(images: Images, target: Path, shape: tuple[int, ...], track: Track) -> None:
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


def _write_folder(images: Images, target: Path, shape: tuple[int, ...], track: Track) -> None:
    """Write the pictures into a folder beside, which then takes the name."""
    partial = target.with_name(target.name + PARTIAL)
    parts, digits = _parts(shape[0]), len(str(shape[0] - 1))
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for part in track(parts, "export", len(parts)):
            for i, pixels in zip(part, images.read(part), strict=True):
                plain = pixels[..., 0] if shape[3] == 1 else pixels
                Image.fromarray(plain).save(partial / f"{i:0{digits}d}.png")
        sync_folder(partial)
        partial.replace(target)
        sync_folder(target.parent)
    except BaseException as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, OSError):
            raise explain(error, target) from error
        raise


def _parts(n: int) -> list[range]:
    return [range(i, min(i + CHUNK, n)) for i in range(0, n, CHUNK)]
