"""Damaged pictures, zips and lmdbs are named; none is passed over, and no bomb goes off."""

import io
import os
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from tests.train.picture_files import (
    MANY,
    MIXED,
    encode,
    everything,
    export,
    fill,
    lsun,
    open_,
    pack,
    pixels,
)


def containers(tmp_path: Path, content: dict[str, bytes]) -> list[Callable[[], Images]]:
    folder, zipped = fill(tmp_path / "x", content), pack(tmp_path / "x.zip", content)
    exported = export(tmp_path / "x_lmdb", content)
    return [lambda: open_(folder), lambda: open_(zipped), lambda: lsun(exported)]


@pytest.mark.parametrize("kind", ["png", "jpeg", "webp"])
def test_one_broken_picture_is_named(tmp_path: Path, kind: str) -> None:
    whole = encode(pixels(1), kind)
    for i, broken in enumerate([b"", b"junk", whole[:12], whole[: len(whole) * 2 // 3]]):
        for opened in containers(tmp_path / str(i), MANY | {"11.png": broken}):
            with pytest.raises(FixableError, match=r"11\.png: a broken picture"):
                everything(opened())


def test_other_formats_are_not_even_tried(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match=r"11\.png: a broken picture \(cannot be identified\)"):
        open_(fill(tmp_path, MANY | {"11.png": encode(pixels(1), "bmp")}))


def test_a_picture_that_goes_away_is_named(tmp_path: Path) -> None:
    images = open_(fill(tmp_path, MANY))
    (tmp_path / "11.png").unlink()
    with pytest.raises(FixableError, match=r"11\.png: no such file"):
        everything(images)


def test_an_unreadable_subfolder_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "x", MIXED)
    scandir = os.scandir

    def guarded(path: str) -> Any:
        if str(path).endswith("a.b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(FixableError, match=r"x/a\.b: cannot be read \(Permission denied\)"):
        open_(tmp_path / "x")


def test_a_damaged_zip_is_noticed(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.zip", MANY)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FixableError, match="neither a folder nor a whole"):
        open_(path)
    middle = whole.index(b"07.png") + 60
    for at in (middle, whole.index(b"07.png") - 3):  # its bytes, the lengths before its name
        flipped = bytearray(whole)
        flipped[at] ^= 8
        path.write_bytes(flipped)
        with pytest.raises(FixableError, match=r"07\.png: (damaged in the zip|a broken)"):
            everything(open_(path))


def test_a_flipped_bit_that_pillow_does_not_see(tmp_path: Path) -> None:
    jpeg = encode(pixels(1), "jpeg", quality=100)
    flipped = bytearray(jpeg)
    flipped[-20] ^= 1
    Image.open(io.BytesIO(flipped)).load()
    path = pack(tmp_path / "x.zip", {"a.jpg": jpeg}, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(jpeg, flipped))
    with pytest.raises(FixableError, match=r"a\.jpg: damaged in the zip"):
        open_(path)


def test_unusual_zips_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match="unusual method"):
        open_(pack(tmp_path / "x.zip", MANY, zipfile.ZIP_BZIP2))


def test_a_zip_bomb_stays_small(tmp_path: Path) -> None:
    """A member that says 100 bytes and unpacks to 50 MB stops at 101."""
    path = pack(tmp_path / "x.zip", {"a.png": b"\0" * 50_000_000})
    data = bytearray(path.read_bytes())
    listed = data.index(b"PK\x01\x02")
    data[listed + 24 : listed + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(FixableError, match=r"a\.png: damaged in the zip"):
            open_(path)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_a_damaged_lmdb_is_noticed(tmp_path: Path) -> None:
    root = export(tmp_path / "x", MANY)
    whole = (root / "data.mdb").read_bytes()
    (root / "data.mdb").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FixableError, match=r"cut off at \d+(,\d+)* of"):  # and not killed by SIGBUS
        lsun(root)
    (root / "data.mdb").write_bytes(b"\0" * 9000)
    with pytest.raises(FixableError, match="not a whole lmdb"):
        lsun(root)
    with pytest.raises(FixableError, match="without entries"):
        lsun(export(tmp_path / "empty", {}))


def test_without_the_package_lmdb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = export(tmp_path / "x", MANY)
    monkeypatch.setitem(sys.modules, "lmdb", None)
    with pytest.raises(FixableError, match=r"pip install 'ddpm-eval\[lmdb\]'"):
        lsun(root)
