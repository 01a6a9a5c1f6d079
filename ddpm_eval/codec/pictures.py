"""Pictures to compress, from files, folders and arrays, and pictures written back."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ddpm_train.archives import read_arrays
from ddpm_train.data.images import Pixels
from ddpm_train.data.layout import UNREAD
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, list_folder, read_bytes, reading

SUFFIXES = (".png", ".webp", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".ppm", ".pgm")
_FORMATS = ("PNG", "WEBP", "TIFF", "BMP", "JPEG", "PPM")
_PNG = b"\x89PNG\r\n\x1a\n"
_GREY, _COLOURS = ("1", "L", "LA"), ("P", "PA", "RGB", "RGBA")
_FIX = "replace it, or leave it out"


@dataclass(frozen=True, slots=True)
class Source:
    """One picture that is to be compressed.

    Attributes:
        label: Where it is, for people.
        name: What its file is called, without a suffix; folders are those below a named one.
        folder: Where that file goes if no other folder is named.
        read: Gives its levels, uint8 [H, W, 1 or 3].
    """

    label: str
    name: str
    folder: Path
    read: Callable[[], Pixels]


def find(paths: Sequence[Path]) -> list[Source]:
    """Find the pictures in files, folders (and those below) and .npz files.

    Raises:
        FixableError: There is nothing, two pictures would have one name, a folder holds pictures
            of kinds that are not read, or a link leads to a folder that holds it.
    """
    sources = [source for path in paths for source in _sources(path)]
    names: dict[str, str] = {}
    for source in sources:
        if source.name in names:
            raise FixableError(
                f"{source.label}: its file would be called as that of {names[source.name]}",
                "compress them one after the other, into two folders",
            )
        names[source.name] = source.label
    return sources


def _sources(path: Path) -> Iterator[Source]:
    if path.is_dir():
        inside = list(_below(path, path, PurePosixPath(), ()))
        if not inside:
            raise FixableError(f"{path}: holds no picture", f"name pictures: {', '.join(SUFFIXES)}")
        yield from inside
    elif path.suffix.lower() == ".npz":
        yield from _arrays(path)
    else:
        existing(str(path), "a picture, a folder of pictures or an .npz of levels")
        yield Source(str(path), path.stem, path.parent, partial(read, path))


def _below(
    root: Path, folder: Path, inside: PurePosixPath, above: tuple[Path, ...]
) -> Iterator[Source]:
    """Yield the pictures of a folder; ``above`` are the folders on the way to it."""
    place = folder.resolve()
    if place in above:
        raise FixableError(f"{folder}: a link to a folder that holds it", "remove the link")
    for path in list_folder(folder):
        suffix = path.suffix.lower()
        if path.is_dir():
            yield from _below(root, path, inside / path.name, (*above, place))
        elif suffix in UNREAD and suffix not in SUFFIXES:
            raise FixableError(
                f"{path}: of a kind that is not read", "convert it to PNG, or put it elsewhere"
            )
        elif suffix in SUFFIXES:
            yield Source(str(path), str(inside / path.stem), root, partial(read, path))


def _arrays(path: Path) -> Iterator[Source]:
    arrays = read_arrays(path)
    if not any(pixels.size for pixels in arrays.values()):
        raise FixableError(f"{path}: holds no picture", "name an .npz of uint8 images [n, H, W, C]")
    for key, pixels in arrays.items():
        if pixels.ndim == 3:
            pixels = pixels[..., None]
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise FixableError(
                f"{path}: {key} is {pixels.dtype} {list(pixels.shape)}, not uint8 images "
                "[n, H, W, C]",
                "write levels 0..255 with the channels last",
            )
        for i, picture in enumerate(pixels):
            name = f"{path.stem}-{key}-{i:05}" if len(arrays) > 1 else f"{path.stem}-{i:05}"
            label, keep = f"{path}, {key}[{i}]", partial(np.ascontiguousarray, picture)
            yield Source(label, name, path.parent, keep)


def read(path: Path) -> Pixels:
    """Read a picture, uint8 [H, W, 1 or 3]; a camera's orientation tag is obeyed.

    Raises:
        FixableError: It is missing or damaged, or has transparent pixels, several frames, more
            than 8 bits per channel or other colours than gray and RGB.
    """
    data = read_bytes(path, fix=_FIX)
    with reading(path, fix=_FIX, what="a broken picture"):
        try:
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
        except UnidentifiedImageError as error:
            raise ValueError("cannot be identified") from error
        with picture:
            _check(picture, path, data)
            upright = ImageOps.exif_transpose(picture)
            if upright.has_transparency_data:
                upright = _opaque(upright, path)
            grey = picture.mode in _GREY
            levels = np.asarray(upright.convert("L" if grey else "RGB"))
    return np.ascontiguousarray(levels[..., None] if grey else levels)


def _check(picture: Image.Image, path: Path, data: bytes) -> None:
    deep = data.startswith(_PNG) and data[24] == 16  # Pillow cuts them to 8 without a word
    if deep or picture.mode.startswith("I"):
        raise FixableError(f"{path}: 16 bits per channel", "save it with 8 bits per channel")
    if picture.mode not in (*_GREY, *_COLOURS):
        raise FixableError(f"{path}: in {picture.mode} colours", "save it as gray or RGB")
    if getattr(picture, "n_frames", 1) > 1:
        raise FixableError(f"{path}: has several frames", "save the one that is meant")


def _opaque(picture: Image.Image, path: Path) -> Image.Image:
    whole = picture.convert("RGBA")
    if whole.getchannel("A").getextrema() != (255, 255):
        raise FixableError(
            f"{path}: has transparent pixels, which a file of colours cannot hold",
            "flatten it onto a background",
        )
    return whole.convert("RGB")


def encode_png(picture: Pixels) -> bytes:
    """A picture [H, W, 1 or 3] as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(out, "PNG")
    return out.getvalue()
