"""A small archive in the layout of the official one, for the tests of its reader."""

import hashlib
import io
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ddpm_train.data.cifar import BATCHES, FOLDER, Release
from ddpm_train.data.download import Published

NAMES = BATCHES["train"] + BATCHES["test"]


def batch(pixels: NDArray[np.uint8]) -> bytes:
    """Pickle [n, 32, 32, 3] as Python 2 did: the bytes of the published batches look like this."""
    n = len(pixels)
    raw = pixels.transpose(0, 3, 1, 2).tobytes()
    return b"".join(
        [
            b"\x80\x02}(",  # protocol 2, a dict
            _text(b"data") + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n",
            b"K\x00\x85" + _text(b"b") + b"\x87R",  # _reconstruct(ndarray, (0,), "b")
            b"(K\x01" + _int(n) + _int(3072) + b"\x86",  # its state: version, shape,
            b"cnumpy\ndtype\n" + _text(b"u1") + b"K\x00K\x01\x87R",  # dtype("u1", 0, 1)
            b"(K\x03" + _text(b"|") + b"NNN" + _int(-1) + _int(-1) + b"K\x00tb",
            b"\x89T" + struct.pack("<i", len(raw)) + raw + b"tb",  # not Fortran, the levels
            _text(b"labels") + b"](" + b"".join(_int(i % 10) for i in range(n)) + b"e",
            b"u.",
        ]
    )


def _text(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def _int(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def images(seed: int, n: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), np.uint8)


def write(path: Path, members: Iterable[tuple[str, bytes]]) -> Release:
    """Write a .tar.gz and give the release that it would be the official archive of."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            item = tarfile.TarInfo(name)
            item.size = len(content)
            archive.addfile(item, io.BytesIO(content))
    return release_of(path, dict(members))


def release_of(path: Path, members: dict[str, bytes]) -> Release:
    whole = path.read_bytes()
    digests = {name.split("/")[-1]: _md5(content) for name, content in members.items()}
    return Release(Published(urls=(), size=len(whole), md5=_md5(whole)), digests)


def _md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def members() -> list[tuple[str, bytes]]:
    """Six batches of 20 images, out of order as in the official archive."""
    batches = [(f"{FOLDER}/{name}", batch(images(i))) for i, name in enumerate(NAMES)]
    return [*batches[3:], *batches[:3]]
