"""The class of every image, from every source that knows it."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_eval.features import open_extractor
from ddpm_train.config import DataConfig
from ddpm_train.data import Images, Labelled, cifar, labels_of, load, without_labels
from ddpm_train.data.images import Form
from ddpm_train.errors import FixableError
from tests.train import cifar_archive


def opened(source: str, path: Path | str = "", split: str = "train", **form: int) -> Labelled:
    config = DataConfig(source=source, path=str(path), labels=True)  # type: ignore[arg-type]
    size, channels = form.get("size", 8), form.get("channels", 1)
    images = load(config, image_size=size, channels=channels, split=split)  # type: ignore[arg-type]
    assert isinstance(images, Labelled)
    return images


def plain(source: str, path: Path | str = "") -> Images:
    return load(DataConfig(source=source, path=str(path)), image_size=8, channels=1)  # type: ignore[arg-type]


def test_digits_are_what_the_packaged_classifier_sees() -> None:
    """A network that was trained apart names 98% of them alike: the labels lie in their order."""
    images = opened("digits", split="test")
    extractor = open_extractor("digits-cnn", path=None, device=torch.device("cpu"))
    logits = extractor(images.read(range(len(images)))).logits
    assert logits is not None
    assert (logits.argmax(1) == images.labels).mean() > 0.97
    assert images.classes == tuple("0123456789")


def test_labels_are_in_the_digest_where_they_are_used_and_nowhere_else() -> None:
    one, other = plain("digits"), opened("digits")
    assert labels_of(one) is None
    assert without_labels(other).digest == one.digest != other.digest
    moved = Labelled(other.images, np.roll(other.labels, 1), other.classes)
    assert moved.digest != other.digest


def test_cifar_labels_are_those_of_the_archive(tmp_path: Path) -> None:
    path = tmp_path / cifar.ARCHIVE
    release = cifar_archive.write(path, cifar_archive.members())
    images = cifar.load(str(path), "train", Form(32, 3), release=release)
    assert images.labels.tolist() == [i % 10 for i in range(20)] * 5
    assert images.classes[3] == "cat"


def pictures(root: Path, names: list[str]) -> Path:
    for i, name in enumerate(names):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(file)
    return root


NAMES = ["train/dog/1.png", "train/cat/1.png", "train/cat/2.png", "test/dog/9.png"]


@pytest.mark.parametrize("wrap", ["", "pets/"])
@pytest.mark.parametrize("zipped", [False, True])
def test_subfolders_are_classes_and_the_training_ones_decide_the_order(
    tmp_path: Path, wrap: str, *, zipped: bool
) -> None:
    root = pictures(tmp_path / "x", [wrap + name for name in NAMES])
    if zipped:
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for file in root.rglob("*.png"):
                archive.write(file, file.relative_to(root))
        root = tmp_path / "x.zip"
    train, test = (opened("folder", root, split) for split in ("train", "test"))
    assert train.classes == test.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 0, 1]
    assert test.labels.tolist() == [1]
    assert without_labels(train).digest == plain("folder", root).digest


def test_a_folder_without_splits_has_its_classes_on_top(tmp_path: Path) -> None:
    root = pictures(tmp_path / "x", ["b/1.png", "a/deep/1.png", "a/2.png"])
    assert opened("folder", root).labels.tolist() == [0, 0, 1]


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)  # type: ignore[arg-type]
    return path


IMAGES = np.zeros((3, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels"), [("train", "train_labels"), ("images", "labels"), ("arr_0", "arr_1")]
)
def test_an_npz_has_them_beside_the_images(tmp_path: Path, images: str, labels: str) -> None:
    path = npz(tmp_path / "x.npz", **{images: IMAGES, labels: np.array([2, 0, 1])})
    assert opened("npz", path).labels.tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1]), r"int64 \[2\] are not the classes of 3 images"),
        (np.array([0.0, 1.0, 2.0]), "float64"),
        (np.array([0, 1, -1]), r"labels -1\.\.1"),
        (np.array([0, 1, 10**9]), "below 1000000"),
        (None, "has no array train_labels or labels"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, labels: np.ndarray | None, message: str
) -> None:
    arrays = {"train": IMAGES} | ({} if labels is None else {"labels": labels})
    with pytest.raises(FixableError, match=message):
        opened("npz", npz(tmp_path / "x.npz", **arrays))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/1.png", "2.png"], "no subfolder have no class"),
        (["1.png"], "no subfolder have no class"),
        (["train/a/1.png", "test/b/1.png"], "b is no class of the training pictures"),
    ],
)
def test_pictures_without_a_class_are_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    root = pictures(tmp_path / "x", names)
    with pytest.raises(FixableError, match=message):
        opened("folder", root, "test" if "test/b/1.png" in names else "train")
