"""Splits in any spelling are understood or refused; what is left out is counted and named."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from ddpm_train.data import Images
from ddpm_train.data.layout import lay_out
from ddpm_train.data.stores import Folder
from ddpm_train.errors import FixableError
from tests.train.picture_files import encode, everything, fill, open_, pack, pixels

ROOT = Path("x")


def splits(files: Sequence[str]) -> tuple[list[str], list[str]]:
    train, test = (lay_out(files, split, ROOT).names for split in ("train", "test"))
    return train, test


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "TEST"),
        ("train", "val"),
        ("training", "validation"),
        ("cifar/train", "cifar/test"),
        ("a/b/Train", "a/b/Test"),
        ("train2017", "val2017"),
        ("bedroom_train", "bedroom_val"),
    ],
)
def test_spellings_of_splits(train: str, test: str) -> None:
    files = [f"{test}/c/3.png", f"{train}/2.png", f"{train}/1.png", "LICENSE"]
    assert splits(files) == ([f"{train}/1.png", f"{train}/2.png"], [f"{test}/c/3.png"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["Train/1.png", "train/2.png", "test/3.png"], "not clear"),
        (["train/1.png", "test/2.png", "extra/3.png"], "1 picture in extra/"),
        (["train/1.png", "test/2.png", "3.png"], "1 picture in no subfolder"),
        (["train/1.png", "bus/2.png"], "not clear"),
        (["bottle/train/1.png", "bottle/test/2.png", "cup/train/1.png"], "inside other folders"),
        (["test/1.png"], "holds only test/, no train split"),
    ],
)
def test_layouts_that_could_be_meant_in_two_ways_are_refused(files: list[str], words: str) -> None:
    with pytest.raises(FixableError, match=words):
        lay_out(files, "train", ROOT)


@pytest.mark.parametrize(
    "files",
    [
        ["cat/1.png", "train station/2.png"],
        ["test tube/1.png", "trains/2.png"],
        ["train/1.png", "train/2.png"],
        ["1.png", "2.png"],
        ["all/cat/1.png", "all/dog/1.png"],
    ],
)
def test_classes_are_no_splits(files: list[str]) -> None:
    assert lay_out(files, "train", ROOT).names == sorted(files)
    with pytest.raises(FixableError, match="no test split"):
        lay_out(files, "test", ROOT)


def test_what_is_left_out_is_counted_and_named() -> None:
    files = ["a.png", "b.txt", "c.TXT", "README", ".hidden.png", "__MACOSX/._a.png"]
    layout = lay_out(files, "train", ROOT)
    expected = "x: left out, no pictures by their names: 2 .txt, 1 without a suffix"
    hidden = "x: 1 hidden picture left out"
    assert (layout.names, layout.notes) == (["a.png"], (expected, hidden))
    files = ["a.png", "b.png", "c.bmp", "d.tif", "e.TIF"]
    with pytest.raises(FixableError, match=r"2 \.tif, 1 \.bmp would be left out beside 2 pictures"):
        lay_out(files, "train", ROOT)
    with pytest.raises(FixableError, match=r"no pictures ending in \.png.*\(1 \.bmp\)"):
        lay_out(["c.bmp"], "train", ROOT)
    splits = ["train/1.png", "test/2.png", "val/3.png", "val/4.png"]
    assert lay_out(splits, "test", ROOT).notes == ("x: 2 pictures in val/ left out",)
    assert lay_out(["Train/1.png", "Test/2.png"], "train", ROOT).notes == (
        "x: taken: Train/ as the training split, Test/ as the test split",
    )


def name_as(kind: str, name: str) -> str:
    return {"dot": f"./{name}", "windows": name.replace("/", "\\"), "plain": name}[kind]


@pytest.mark.parametrize("kind", ["dot", "windows", "plain"])
def test_zips_of_other_programs(tmp_path: Path, kind: str) -> None:
    content = {f"train/{i}.png": encode(pixels(i)) for i in range(4)}
    content |= {f"test/{i}.png": encode(pixels(9 + i)) for i in range(2)}
    path = pack(tmp_path / "x.zip", {name_as(kind, name): data for name, data in content.items()})
    train, test = open_(path), open_(path, "test")
    assert np.array_equal(everything(train), np.stack([pixels(i) for i in range(4)]))
    assert np.array_equal(everything(test), np.stack([pixels(9), pixels(10)]))
    folder = open_(fill(tmp_path / "x", content))
    assert train.digest == folder.digest


def test_linked_folders_are_read_and_circles_refused(tmp_path: Path) -> None:
    fill(tmp_path / "elsewhere", {f"{i}.png": encode(pixels(i)) for i in range(6)})
    fill(tmp_path / "data" / "dogs", {f"{i}.png": encode(pixels(9 + i)) for i in range(3)})
    (tmp_path / "data" / "cats").symlink_to(tmp_path / "elsewhere")
    images: Images = open_(tmp_path / "data")
    assert len(images) == 9
    (tmp_path / "data" / "dogs" / "again").symlink_to(tmp_path / "data")
    with pytest.raises(FixableError, match="again: a link to a folder that holds it"):
        open_(tmp_path / "data")
    (tmp_path / "data" / "dogs" / "again").unlink()
    (tmp_path / "data" / "x.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FixableError, match=r"x\.png: no such file"):
        open_(tmp_path / "data")


def test_hidden_pictures_of_a_folder_are_counted(tmp_path: Path) -> None:
    for name in ("a.png", ".b.png", "._a.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / ".pipe")
    assert Folder(tmp_path, "train").notes == (f"{tmp_path}: 1 hidden picture left out",)


def test_two_names_that_are_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encode(pixels(1)))
        archive.writestr("./a.png", encode(pixels(2)))
    with pytest.raises(FixableError, match=r"two members are a\.png"):
        open_(path)


def test_pictures_that_are_not_what_they_seem(tmp_path: Path) -> None:
    from PIL import Image

    frames = [Image.fromarray(pixels(i)) for i in range(3)]
    moving = encode(frames[0], "webp", save_all=True, append_images=frames[1:], lossless=True)
    inks = encode(Image.fromarray(pixels(1)).convert("CMYK"), "jpeg")
    for data, words in ((moving, "several frames"), (inks, "in CMYK colours")):
        with pytest.raises(FixableError, match=words):
            open_(fill(tmp_path, {"a.png": data}))


def test_lossy_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    kinds = {
        "a.png": encode(pixels(1), "jpeg"),
        "b.webp": encode(pixels(1), "webp", quality=50),
        "c.webp": encode(pixels(1), "webp", lossless=True),
        "d.jpg": encode(pixels(1)),
    }
    images = open_(fill(tmp_path, kinds))
    assert getattr(images, "lossy") == 2  # noqa: B009
