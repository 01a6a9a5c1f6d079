"""PNG, JPEG and WebP pictures, decoded when they are asked for."""

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ddpm_train.data.images import Form, Pixels
from ddpm_train.errors import FixableError
from ddpm_train.reading import reading

SAMPLED = 256
"""So many pictures, evenly spaced, are opened when a source is: the others when they are read."""

_PNG = b"\x89PNG\r\n\x1a\n"
_MODES = {1: "L", 3: "RGB"}
_READ = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # modes that become gray or RGB without a choice
_BROKEN = "replace it or delete it"


class Store(Protocol):
    """Encoded pictures in a fixed order, wherever they lie."""

    @property
    def name(self) -> str:
        """What they are, for people."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or taken for something, for people."""

    @property
    def groups(self) -> Sequence[str]:
        """The folder of each picture below that of the split; empty where nobody knows."""

    def __len__(self) -> int: ...

    def label(self, i: int) -> str:
        """Name picture i in a message."""

    def stamps(self) -> Iterable[bytes]:
        """Give what is cheaply known of each picture: its name, and its size where that is free."""

    def fetch(self, i: int) -> bytes:
        """Read picture i."""


class Contents(NamedTuple):
    """What reading every picture tells."""

    digest: str
    lossy: int


class Pictures:
    """Images (see ``images.Images``) that are decoded one by one from a store."""

    def __init__(self, store: Store, form: Form) -> None:
        """Decode a sample of the pictures to check them.

        Raises:
            FixableError: A picture is broken, has another size and no resize is set, or the network
                expects neither gray nor RGB.
        """
        if form.channels not in _MODES:
            raise FixableError(
                f"pictures have 1 or 3 channels; {form.channels} expected", "set unet.channels=3"
            )
        self._store, self._form = store, form
        sha = hashlib.sha256(str(form).encode())
        for stamp in store.stamps():
            sha.update(stamp)
        for i in range(0, len(store), -(-len(store) // SAMPLED)):
            data = store.fetch(i)
            decode(data, store.label(i), form)
            sha.update(data)
        self._digest = sha.hexdigest()

    @property
    def name(self) -> str:
        """What they are, for people."""
        return self._store.name

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or taken for something, for people."""
        return self._store.notes

    @property
    def groups(self) -> Sequence[str]:
        """The folder of each picture below that of the split."""
        return self._store.groups

    @property
    def digest(self) -> str:
        """SHA-256 of the form, all names in order, and the bytes of ``SAMPLED`` pictures.

        Sizes in bytes are in it too, except in an lmdb, where asking for them reads every page.
        """
        return self._digest

    @property
    def content(self) -> str:
        """SHA-256 of the form and of every picture's bytes in order: all of them are read."""
        return self._contents.digest

    @property
    def lossy(self) -> int:
        """How many were compressed with losses, by their bytes: all of them are read."""
        return self._contents.lossy

    @cached_property
    def _contents(self) -> Contents:
        sha, lossy = hashlib.sha256(str(self._form).encode()), 0
        for i in range(len(self)):
            data = self._store.fetch(i)
            sha.update(b"%d\0" % len(data) + data)
            lossy += is_lossy(data)
        return Contents(sha.hexdigest(), lossy)

    def __len__(self) -> int:
        return len(self._store)

    def read(self, indices: Sequence[int] | NDArray[np.int64]) -> Pixels:
        """Decode the pictures at these indices.

        Raises:
            FixableError: A picture is broken or has another size; it is named.
        """
        size = self._form.image_size
        out = np.empty((len(indices), size, size, self._form.channels), np.uint8)
        for row, i in zip(out, indices, strict=True):
            row[:] = decode(self._store.fetch(int(i)), self._store.label(int(i)), self._form)
        return out

    def check(self, most: int) -> Iterator[int]:
        """Decode up to ``most`` pictures, evenly spaced, and yield how many are done.

        Raises:
            FixableError: A picture is broken or has another size; it is named.
        """
        indices = range(0, len(self), max(1, -(-len(self) // most)))
        with ThreadPoolExecutor() as threads:
            yield from (done for done, _ in enumerate(threads.map(self._look, indices), 1))

    def _look(self, i: int) -> None:
        decode(self._store.fetch(i), self._store.label(i), self._form)


@contextmanager
def opened(data: bytes, label: str) -> Iterator[Image.Image]:
    """Open the bytes of a PNG, JPEG or WebP picture; damage in the block becomes one sentence.

    Raises:
        FixableError: It is no picture, has 16 bits per channel, several frames or odd colours.
    """
    with reading(label, fix=_BROKEN, what="a broken picture"):
        try:
            picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP"))
        except UnidentifiedImageError as error:
            raise ValueError("cannot be identified") from error
        with picture:
            if data.startswith(_PNG) and data[24] == 16:  # Pillow cuts them to 8 without a word
                raise FixableError(
                    f"{label}: 16 bits per channel", "save it with 8 bits per channel"
                )
            if picture.mode not in _READ:
                raise FixableError(f"{label}: in {picture.mode} colours", "save it as gray or RGB")
            if getattr(picture, "n_frames", 1) > 1:
                raise FixableError(f"{label}: has several frames", "save the one that is meant")
            yield picture


def size_of(data: bytes, label: str) -> tuple[int, int]:
    """Read a picture's width and height from its header.

    Raises:
        FixableError: As ``opened``.
    """
    with opened(data, label) as picture:
        width, height = picture.size
    return width, height


def decode(data: bytes, label: str, form: Form) -> Pixels:
    """Decode one picture as the network expects it, [image_size, image_size, channels].

    A camera's orientation tag is obeyed. Gray becomes RGB by repetition, RGB becomes gray with the
    luma weights of ITU-R 601. A channel of transparency is dropped if all of it is opaque and
    refused if not: what lies behind is not ours to choose.

    Raises:
        FixableError: As ``opened``, or the picture is cut off, has another size or transparent
            pixels.
    """
    with opened(data, label) as picture:
        form.check_size(*picture.size, label)
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            upright = upright.convert("RGBA")
            if upright.getchannel("A").getextrema() != (255, 255):
                raise FixableError(
                    f"{label}: has transparent pixels", "flatten it onto a background"
                )
        fitted = form.fit(upright.convert(_MODES[form.channels]))
        return np.asarray(fitted).reshape(form.image_size, form.image_size, form.channels)


def is_lossy(data: bytes) -> bool:
    r"""Whether the bytes are a JPEG, or a WebP that was compressed with losses.

    >>> is_lossy(_PNG), is_lossy(b"\xff\xd8\xff"), is_lossy(b"RIFF\0\0\0\0WEBPVP8L")
    (False, True, False)
    """
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    return data[:2] == b"\xff\xd8" or (webp and b"VP8L" not in data[12:200])
