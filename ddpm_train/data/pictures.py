"""PNG, JPEG and WebP pictures, decoded when they are asked for."""

import hashlib
import io
import struct
import zlib
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ddpm_train.data.images import Form, Pixels
from ddpm_train.errors import FixableError

SAMPLED = 256
"""So many pictures, evenly spaced, are opened when a source is: the others when they are read."""

_PNG = b"\x89PNG\r\n\x1a\n"
# What bytes that are no whole picture make Pillow raise (damaged orientation tags: the last three).
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    TypeError,
    LookupError,
    ArithmeticError,
)


class Store(Protocol):
    """Encoded pictures in a fixed order, wherever they lie."""

    @property
    def name(self) -> str:
        """What they are, for people."""

    def __len__(self) -> int: ...

    def label(self, i: int) -> str:
        """Name picture i in a message."""

    def stamps(self) -> Iterable[bytes]:
        """Give what is cheaply known of each picture: its name, and its size where that is free."""

    def fetch(self, i: int) -> bytes:
        """Read picture i."""


class Pictures:
    """Images (see ``images.Images``) that are decoded one by one from a store."""

    def __init__(self, store: Store, form: Form) -> None:
        """Open a sample of the pictures to check them.

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
            check(data, store.label(i), form)
            sha.update(data)
        self._digest = sha.hexdigest()

    @property
    def name(self) -> str:
        """What they are, for people."""
        return self._store.name

    @property
    def digest(self) -> str:
        """SHA-256 of the form, all names in order, and the bytes of ``SAMPLED`` pictures.

        Sizes in bytes are in it too, except in an lmdb, where asking for them reads every page.
        """
        return self._digest

    @cached_property
    def content(self) -> str:
        """SHA-256 of the form and of every picture's bytes in order: all of them are read."""
        sha = hashlib.sha256(str(self._form).encode())
        for i in range(len(self)):
            data = self._store.fetch(i)
            sha.update(b"%d\0" % len(data) + data)
        return sha.hexdigest()

    @property
    def lossy(self) -> int:
        """How many are JPEG files by their names."""
        labels = (self._store.label(i).lower() for i in range(len(self)))
        return sum(label.endswith((".jpg", ".jpeg")) for label in labels)

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


def check(data: bytes, label: str, form: Form) -> None:
    """Look at a picture's header alone.

    Raises:
        FixableError: It is no picture, has 16 bits per channel, or has another size.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            width, height = picture.size
    except _BROKEN as error:
        raise _broken(label, error) from error
    if data.startswith(_PNG) and data[24] == 16:  # Pillow would cut them to 8 without a word
        raise FixableError(f"{label}: 16 bits per channel", "save it with 8 bits per channel")
    form.check_size(width, height, label)


def decode(data: bytes, label: str, form: Form) -> Pixels:
    """Decode one picture as the network expects it, [image_size, image_size, channels].

    A camera's orientation tag is obeyed. Gray becomes RGB by repetition, RGB becomes gray with the
    luma weights of ITU-R 601. A channel of transparency is dropped if all of it is opaque and
    refused if not: what lies behind is not ours to choose.

    Raises:
        FixableError: As ``check``, or the picture is cut off, or has transparent pixels.
    """
    check(data, label, form)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as picture:
            upright = ImageOps.exif_transpose(picture)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                if upright.getchannel("A").getextrema() != (255, 255):
                    raise FixableError(
                        f"{label}: has transparent pixels", "flatten it onto a background"
                    )
            fitted = form.fit(upright.convert(_MODES[form.channels]))
    except _BROKEN as error:
        raise _broken(label, error) from error
    return np.asarray(fitted).reshape(form.image_size, form.image_size, form.channels)


_MODES = {1: "L", 3: "RGB"}


def _broken(label: str, error: BaseException) -> FixableError:
    why = "cannot be identified" if isinstance(error, UnidentifiedImageError) else error
    return FixableError(f"{label}: a broken picture ({why})", "replace it or delete it")
