"""What lies at a path: a sample store, pictures, arrays, a model; told by its content."""

from pathlib import Path
from typing import Literal

from ddpm_eval.record import store
from ddpm_train import archives
from ddpm_train.data.layout import SUFFIXES
from ddpm_train.errors import FixableError
from ddpm_train.reading import open_file, reading

Kind = Literal["store", "lmdb", "folder", "zip", "npz", "npy"]

MEMBERS = ("train", "images", "arr_0")
"""The arrays of an .npz that hold images, the first that is there; ``test`` has its own split."""

_ARRAYS = (".npz", ".npy")

_OTHERS = {  # how files that are no images begin
    b"\x89PNG": "a single picture: name the folder that holds them",
    b"\xff\xd8\xff": "a single picture: name the folder that holds them",
    b"RIFF": "a single picture: name the folder that holds them",
    b"\x1f\x8b": "a gzip: unpack it and name the folder",
    b"\x89HDF": "HDF5: write the images with numpy.savez(path, images=levels)",
    b"\x80": "a pickle, which could run anything: write numpy.savez(path, images=levels)",
}


def kind_of(path: Path) -> Kind:
    """Tell what holds images at a path by its content.

    Raises:
        FixableError: Nothing does: says what it is instead.
    """
    with reading(path):
        if path.is_dir():
            if (path / store.NAME).exists():
                return "store"
            return "lmdb" if (path / "data.mdb").is_file() else "folder"
    with open_file(path) as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(b"PK"):
        names = [member.filename for member in archives.members_of(path)]
        return "npz" if any(name.endswith(".npy") for name in names) else "zip"
    for head, text in _OTHERS.items():
        if start.startswith(head):
            raise FixableError(
                f"{path}: not images but {text.partition(': ')[0]}", text.partition(": ")[2]
            )
    raise FixableError(
        f"{path}: neither a folder, a .zip, an .npz nor a sample store",
        "write the images with numpy.savez(path, images=levels), uint8 [n, H, W, C]",
    )


def holds_images(path: Path) -> bool:
    """Whether a file holds images, whole or damaged, rather than a model: by its content.

    Raises:
        FixableError: It cannot be read.
    """
    with open_file(path) as file:
        start = file.read(8)
    if start.startswith(b"\x93NUMPY"):
        return True
    if not start.startswith(b"PK"):
        return path.suffix.lower() in _ARRAYS
    try:
        names = [member.filename.lower() for member in archives.members_of(path)]
    except FixableError:  # damaged: what it was meant to be is left to its name
        return path.suffix.lower() in (*_ARRAYS, ".zip")
    return any(name.endswith((".npy", *SUFFIXES)) for name in names)


def has_images(path: Path) -> bool:
    """Whether an .npz holds images rather than statistics alone."""
    names = {member.filename.removesuffix(".npy") for member in archives.members_of(path)}
    return not names.isdisjoint(MEMBERS)
