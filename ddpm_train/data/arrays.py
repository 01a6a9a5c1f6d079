"""Images that come as arrays: scikit-learn's digits and .npz files."""

import gzip
import hashlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddpm_train.archives import members_of, read_arrays
from ddpm_train.data.images import Form, Pixels, Split, Stack, own_name, stack
from ddpm_train.data.labels import Labelled, Labels, numbered
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, read_bytes, reading

_DIGITS_TRAIN = 1500


def digits(split: Split, form: Form) -> Labelled:
    """Scikit-learn's 1,797 digits, 8x8 gray, their levels v = 0..16 dequantised to 15 v + 0..14.

    Seventeen isolated levels would make bits/dim a test of rounding instead of images, so the gap
    above each is filled with uniform noise, fixed once and for all; v is the level over 15, whole.

    The data set is in the order of its writers, so a plain cut would test on strangers' hands only.
    The images are shuffled once and for all (by the SHA-256 of their index, which no version of
    any library changes); the first 1,500 are for training, the last 297 for testing.
    """
    coarse, labels = _coarse_digits()
    noise = np.random.Philox(key=0).random_raw(coarse.size).reshape(coarse.shape) % 15
    levels = 15 * coarse + noise.astype(np.uint8)
    order = sorted(range(len(levels)), key=lambda i: hashlib.sha256(b"%d" % i).digest())
    chosen = order[:_DIGITS_TRAIN] if split == "train" else order[_DIGITS_TRAIN:]
    images = stack(f"digits {split}", levels[chosen][..., None], form)
    return numbered(images, labels[chosen], "digits")


def _coarse_digits() -> tuple[Pixels, Labels]:
    """Read scikit-learn's digits from its file, [1797, 8, 8]; importing it takes a second.

    The last column says which digit each is, [1797].
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        file = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if file.is_file():
            with reading(file, fix="pip install --force-reinstall scikit-learn"):
                text = gzip.decompress(read_bytes(file)).decode("ascii")
                table = np.loadtxt(text.splitlines(), delimiter=",", dtype=np.uint8)
                return table[:, :64].reshape(-1, 8, 8), table[:, 64].astype(np.int64)
    from sklearn.datasets import load_digits

    content = load_digits()
    levels: Pixels = content.images.astype(np.uint8)
    return levels, content.target.astype(np.int64)


def npz(path: str, split: Split, form: Form, *, labels: bool = False) -> Stack | Labelled:
    """Read uint8 images [n, H, W, C] or [n, H, W] from an .npz file, and their classes.

    The key is the split (``train``, ``test``); the images of a file without splits (``images`` or
    ``arr_0``) are all for training. The classes of an array lie beside it (``LABELS``). Objects are
    never unpickled.

    Raises:
        FixableError: The file is missing or damaged, or holds no such images or classes.
    """
    file = existing(path, "an .npz file")
    keys = [
        member.filename.removesuffix(".npy")
        for member in members_of(file, fix=_AGAIN, what=_NO_NPZ)
    ]
    key = _key(file, keys, split)
    pixels = read_arrays(file, [key])[key]
    images = stack(f"{own_name(file.stem)} {split}", _images(pixels, file), form)
    return npz_labels(images, file, keys, key) if labels else images


LABELS = {
    "train": ("train_labels", "labels"),
    "test": ("test_labels",),
    "images": ("labels",),
    "arr_0": ("arr_1", "labels"),  # as guided-diffusion writes samples
}
"""The arrays of an .npz that may hold the classes of another one, the first that is there."""


def npz_labels(images: Stack, file: Path, keys: Sequence[str], key: str) -> Labelled:
    """Read the classes of an .npz's images.

    Args:
        images: The images.
        file: Where they were read.
        keys: All arrays of the file.
        key: The array of the images.

    Raises:
        FixableError: There are none, or they do not fit the images.
    """
    name = next((name for name in LABELS[key] if name in keys), None)
    if name is None:
        raise FixableError(
            f"{file}: has no array {' or '.join(LABELS[key])}, so its images have no classes",
            f"write it again with numpy.savez(path, {key}=images, {LABELS[key][0]}=labels)",
        )
    return numbered(images, read_arrays(file, [name])[name], f"{file}: {name}")


_NO_NPZ = "not a whole .npz of plain arrays"
_AGAIN = "write it again with numpy.savez(path, train=images, test=images)"


def _key(file: Path, keys: list[str], split: Split) -> str:
    """Choose the array that holds the split."""
    wanted = [split] if split == "test" else [split, "images", "arr_0"]
    for key in wanted:
        if key in keys:
            return key
    raise FixableError(
        f"{file}: has no array {' or '.join(wanted)}, only {', '.join(keys) or 'nothing'}",
        f"write it again with numpy.savez(path, {split}=images)",
    )


def _images(pixels: np.ndarray, file: Path) -> Pixels:
    """Refuse what is not uint8 [n, H, W, C] or [n, H, W]."""
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or not pixels.size:
        raise FixableError(
            f"{file}: {pixels.dtype} {list(pixels.shape)} are not uint8 images [n, H, W, C]",
            "write levels 0..255 with the channels last",
        )
    return pixels
