"""Pictures for tests, and the folders, zips and lmdbs that they lie in."""

import io
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpm_train.config import DataConfig
from ddpm_train.data import Images, load


def pixels(seed: int, size: tuple[int, int] = (8, 8)) -> NDArray[np.uint8]:
    """Random levels, [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)


def encode(picture: NDArray[np.uint8] | Image.Image, kind: str = "png", **options: Any) -> bytes:
    out = io.BytesIO()
    if not isinstance(picture, Image.Image):
        picture = Image.fromarray(picture)
    picture.save(out, kind, **options)
    return out.getvalue()


def fill(root: Path, content: dict[str, bytes]) -> Path:
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def pack(path: Path, content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def export(root: Path, content: dict[str, bytes]) -> Path:
    lmdb = pytest.importorskip("lmdb")
    with lmdb.open(str(root), map_size=1 << 24) as environment, environment.begin(write=True) as to:
        for name, data in content.items():
            to.put(name.encode(), data)
    return root


def open_(
    path: Path | str, split: Literal["train", "test"] = "train", size: int = 8, **changes: Any
) -> Images:
    channels = changes.pop("channels", 3)
    config = DataConfig(**{"source": "folder", "path": str(path), **changes})
    return load(config, image_size=size, channels=channels, split=split)


def lsun(path: Path, split: Literal["train", "test"] = "train", **changes: Any) -> Images:
    return open_(path, split, source="lmdb", **changes)


def everything(images: Images) -> NDArray[np.uint8]:
    return images.read(range(len(images)))


MANY = {f"{i:02}.png": encode(pixels(i)) for i in range(30)}
MIXED = {
    "b.png": encode(pixels(0)),
    "a/z.PNG": encode(pixels(1)),
    "a.b/c.webp": encode(pixels(2), "webp", lossless=True),
    "a/é.png": encode(pixels(3)),
    "B.png": encode(pixels(4)),
    "notes.txt": b"not a picture",
    ".hidden.png": b"broken",
    ".git/x.png": b"broken",
    "__MACOSX/._b.png": b"broken",
}
IN_ORDER = [4, 2, 1, 3, 0]  # B.png, a.b/c.webp, a/z.PNG, a/é.png, b.png
