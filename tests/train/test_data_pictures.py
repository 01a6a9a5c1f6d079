"""Pictures in folders, zips and lmdbs: one order, one content, no surprise."""

import io
import os
import random
import struct
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ddpm_train.data import pictures
from ddpm_train.errors import FixableError
from tests.train.picture_files import (
    IN_ORDER,
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

# ------------------------------------------------------------------------- order and content


def test_a_zip_is_its_folder(tmp_path: Path) -> None:
    expected = np.stack([pixels(i) for i in IN_ORDER])
    folder = open_(fill(tmp_path / "mixed", MIXED))
    assert np.array_equal(everything(folder), expected)
    assert folder.name == "mixed train"
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        zipped = open_(pack(tmp_path / "mixed.zip", MIXED, method))
        assert np.array_equal(everything(zipped), expected)
        assert (zipped.digest, zipped.name) == (folder.digest, folder.name)


def test_an_lmdb_is_in_the_order_of_its_keys(tmp_path: Path) -> None:
    shuffled = dict(random.Random(0).sample(sorted(MANY.items()), len(MANY)))
    images = lsun(export(tmp_path / "lmdb", shuffled))
    assert np.array_equal(everything(images), np.stack([pixels(i) for i in range(30)]))
    folder = fill(tmp_path / "folder", MANY)
    assert np.array_equal(everything(lsun(folder)), everything(images))


def test_the_order_of_the_file_system_does_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_(fill(tmp_path / "x", MIXED))
    walk = os.walk

    def backwards(*args: Any, **options: Any) -> Any:
        for folder, below, files in walk(*args, **options):
            yield folder, below, sorted(files, reverse=True)
            below.sort(reverse=True)

    monkeypatch.setattr(os, "walk", backwards)
    after = open_(tmp_path / "x")
    assert np.array_equal(everything(before), everything(after))
    assert before.digest == after.digest


def test_the_digest_knows_names_content_and_form(tmp_path: Path) -> None:
    def digest(content: dict[str, bytes], name: str, **changes: Any) -> str:
        return open_(fill(tmp_path / name, content), **changes).digest

    original = digest(MANY, "a")
    assert digest(MANY, "b") == original  # wherever it lies
    changed = bytearray(MANY["07.png"])
    changed[-5] ^= 1  # as many bytes
    others = [
        digest(MANY | {"07.png": bytes(changed)}, "c"),
        digest(MANY | {"99.png": MANY["07.png"]}, "d"),
        digest({("x" + k if k == "07.png" else k): v for k, v in MANY.items()}, "e"),
        digest(MANY, "a", resize="box"),
        digest(MANY, "a", channels=1),
    ]
    assert len({original, *others}) == 6


def test_the_digest_knows_what_is_not_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SAMPLED", 3)  # every tenth of 30
    contents = [
        MANY,
        MANY | {"07.png": MANY["07.png"] + b"more"},
        {k.replace("07", "07a"): v for k, v in MANY.items()},
    ]
    for write in (fill, pack):
        paths = [write(tmp_path / f"{i}.{write.__name__}", c) for i, c in enumerate(contents)]
        assert len({open_(path).digest for path in paths}) == 3
    assert len({lsun(export(tmp_path / f"{i}", contents[i])).digest for i in (0, 2)}) == 2


def test_splits_are_the_subfolders(tmp_path: Path) -> None:
    content = {f"{part}/{name}": data for part in ("train", "test") for name, data in MIXED.items()}
    content["val/x.png"] = encode(pixels(77))
    content["test/b.png"] = encode(pixels(50))
    for path in (fill(tmp_path / "x", content), pack(tmp_path / "x.zip", content)):
        train, test = open_(path), open_(path, "test")
        assert np.array_equal(everything(train), np.stack([pixels(i) for i in IN_ORDER]))
        assert np.array_equal(test.read([4])[0], pixels(50))
        assert len(test) == 5
        assert test.name == "x test"
    for path in (fill(tmp_path / "y", MANY), pack(tmp_path / "y.zip", MANY)):
        with pytest.raises(FixableError, match=r"no test split[^$]*subfolders train/ and test/"):
            open_(path, "test")


def test_lsun_keeps_its_splits_apart(tmp_path: Path) -> None:
    train = export(tmp_path / "church_outdoor_train_lmdb", MANY)
    with pytest.raises(FixableError, match="no test split"):
        lsun(train, "test")
    export(tmp_path / "church_outdoor_val_lmdb", {"a": MANY["03.png"]})
    assert np.array_equal(everything(lsun(train, "test")), pixels(3)[None])


# ------------------------------------------------------------------------- many readers


@pytest.mark.parametrize("kind", ["folder", "zip", "lmdb"])
def test_forks_and_threads_read_the_same(tmp_path: Path, kind: str) -> None:
    if kind == "lmdb":
        images = lsun(export(tmp_path / "x", MANY))
    else:
        images = open_(
            fill(tmp_path / "x", MANY) if kind == "folder" else pack(tmp_path / "x.zip", MANY)
        )
    expected = everything(images)

    def same(seed: int) -> bool:
        chosen = np.random.default_rng(seed).integers(0, 30, 40)
        return np.array_equal(images.read(chosen), expected[chosen])

    def in_threads() -> bool:
        with ThreadPoolExecutor(8) as threads:
            return all(threads.map(same, range(24)))

    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            try:
                os._exit(not in_threads())
            finally:
                os._exit(1)
        children.append(child)
    assert in_threads()
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
    assert in_threads()


def test_an_lmdb_is_opened_once_in_each_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lmdb = pytest.importorskip("lmdb")
    images = lsun(export(tmp_path / "x", MANY))
    open_one, opened = lmdb.open, []

    def slowly(*args: Any, **options: Any) -> Any:
        opened.append(args)
        time.sleep(0.05)  # time for the other threads to ask for it too
        return open_one(*args, **options)

    monkeypatch.setattr(lmdb, "open", slowly)
    child = os.fork()
    if not child:
        try:
            with ThreadPoolExecutor(8) as threads:
                list(threads.map(images.read, [[i] for i in range(30)]))
            os._exit(len(opened))
        finally:
            os._exit(100)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    images.read([0])
    assert not opened


# ------------------------------------------------------------------------- sizes


def test_wrong_sizes_are_refused_by_name(tmp_path: Path) -> None:
    content = MANY | {"03.png": encode(pixels(0, (9, 8))), "07.png": encode(pixels(0, (5, 5)))}
    for path in (fill(tmp_path / "x", content), pack(tmp_path / "x.zip", content)):
        with pytest.raises(FixableError, match=r"03\.png: 9x8 pixels; 8x8 expected[^$]*resize"):
            open_(path)
    with pytest.raises(FixableError, match=r"00\.png: 8x8.*; 16x16 expected[^$]*image_size=8"):
        open_(tmp_path / "x", size=16)


def test_what_is_not_looked_at_first_is_refused_when_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SAMPLED", 10)  # every third of 30
    images = open_(fill(tmp_path / "x", MANY | {"04.png": encode(pixels(0, (9, 9)))}))
    images.read([3, 5])
    with pytest.raises(FixableError, match=r"04\.png: 9x9"):
        images.read([3, 4])
    fill(tmp_path / "y", MANY | {"06.png": encode(pixels(0, (9, 9)))})
    with pytest.raises(FixableError, match=r"06\.png: 9x9"):
        open_(tmp_path / "y")


@pytest.mark.parametrize("size", [(6, 12), (12, 6), (7, 12), (3, 3), (4, 4)])
@pytest.mark.parametrize("name", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_resizing_crops_the_centre_first(tmp_path: Path, size: tuple[int, int], name: str) -> None:
    picture = pixels(1, size)
    fill(tmp_path / "x", {"a.png": encode(picture)})
    side, (width, height) = min(size), size
    left, top = (width - side) // 2, (height - side) // 2
    square = Image.fromarray(np.ascontiguousarray(picture[top:, left:][:side, :side]))
    oracle = np.asarray(square.resize((4, 4), Image.Resampling[name.upper()]))
    result = everything(open_(tmp_path / "x", size=4, resize=name))[0]
    assert np.array_equal(result, oracle)
    if size == (4, 4):
        assert np.array_equal(result, picture)


# ------------------------------------------------------------------------- kinds of pixels


def one(tmp_path: Path, data: bytes, **changes: Any) -> NDArray[np.uint8]:
    return everything(open_(fill(tmp_path / "one", {"a.png": data}), **changes))[0]


def test_gray_and_colour(tmp_path: Path) -> None:
    colour = pixels(1)
    gray = Image.fromarray(colour).convert("L")
    assert np.array_equal(one(tmp_path, encode(gray), channels=1)[..., 0], np.asarray(gray))
    assert np.array_equal(
        one(tmp_path, encode(gray)), np.repeat(np.asarray(gray)[..., None], 3, axis=2)
    )
    luma = colour @ [0.299, 0.587, 0.114]
    assert np.abs(one(tmp_path, encode(colour), channels=1)[..., 0] - luma).max() <= 1
    palette = Image.fromarray(colour).quantize(16)
    assert np.array_equal(one(tmp_path, encode(palette)), np.asarray(palette.convert("RGB")))
    bits = gray.convert("1")
    assert np.array_equal(one(tmp_path, encode(bits), channels=1)[..., 0], np.asarray(bits) * 255)


def test_jpeg_and_orientation(tmp_path: Path) -> None:
    smooth = np.zeros((8, 8, 3), np.uint8) + np.arange(0, 240, 30, dtype=np.uint8)[:, None]
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held upright: turn by 90 degrees to show it
    for options, expected in (({}, smooth), ({"exif": turned}, np.rot90(smooth, -1))):
        result = one(tmp_path, encode(smooth, "jpeg", quality=100, **options))
        assert np.abs(result.astype(int) - expected).max() <= 3


def test_transparency_is_never_guessed(tmp_path: Path) -> None:
    colour = Image.fromarray(pixels(1))
    colour.putalpha(255)
    assert np.array_equal(one(tmp_path, encode(colour)), pixels(1))
    colour.putpixel((3, 3), (1, 2, 3, 254))
    palette = encode(Image.fromarray(pixels(1)).quantize(4), transparency=0)
    for data in (encode(colour), encode(colour, "webp", lossless=True), palette):
        for channels in (1, 3):
            with pytest.raises(FixableError, match=r"a\.png: has transparent pixels"):
                one(tmp_path, data, channels=channels)


def test_sixteen_bits_are_never_cut(tmp_path: Path) -> None:
    gray = Image.fromarray(np.full((8, 8), 40_000, np.uint16))
    for data in (encode(gray), _png16(8, 8)):
        with pytest.raises(FixableError, match=r"a\.png: 16 bits per channel"):
            one(tmp_path, data)


def _png16(width: int, height: int) -> bytes:
    """Write a 16-bit RGB PNG, which Pillow reads as 8 bits without a word."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x12\x34" * 3 * width) * height)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    picture = b"\x89PNG\r\n\x1a\n" + body
    assert Image.open(io.BytesIO(picture)).convert("RGB").size == (width, height)  # it is valid
    return picture


def test_two_channels_are_no_picture(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match="2 expected"):
        one(tmp_path, MANY["00.png"], channels=2)


def test_nothing_to_see(tmp_path: Path) -> None:
    for path in (
        fill(tmp_path / "x", {"a.txt": b"", ".b.png": b""}),
        pack(tmp_path / "x.zip", {"a.txt": b""}),
    ):
        with pytest.raises(FixableError, match=rf"{path}: no pictures ending in \.png"):
            open_(path)
    with pytest.raises(FixableError, match="no path is given"):
        open_("")
    with pytest.raises(FixableError, match=r"did you mean .*x\.zip"):
        open_(tmp_path / "x.zap")
    with pytest.raises(FixableError, match="neither a folder nor a whole"):
        open_(tmp_path / "x" / "a.txt")


def test_a_zip_is_only_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    content = {"../up.png": MANY["00.png"], "/root.png": MANY["01.png"]}
    images = open_(pack(tmp_path / "in" / "x.zip", content))
    assert np.array_equal(everything(images), np.stack([pixels(0), pixels(1)]))
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "x.zip"]
