"""The crossing between uint8 and [-1, 1], and images that come as arrays."""

import hashlib
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ddpm_train.config import DataConfig
from ddpm_train.data import Images, load, to_model, to_uint8
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError

LEVELS = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)


def pixels(n: int, height: int, width: int, channels: int) -> NDArray[np.uint8]:
    shape = (n, height, width, channels)
    return np.random.default_rng(n).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_level_survives_the_round_trip(dtype: torch.dtype) -> None:
    assert np.array_equal(to_uint8(to_model(LEVELS).to(dtype)), LEVELS)


def test_levels_are_rounded_not_truncated_and_clipped_not_wrapped() -> None:
    x = to_model(LEVELS)
    for shift in (-0.49, 0.49):  # of a level
        assert np.array_equal(to_uint8(x + shift / 127.5), LEVELS)
    truncated = ((x + 1) * 127.5).to(torch.uint8).numpy().reshape(-1)
    assert (truncated != LEVELS.ravel()).sum() == 63
    assert to_uint8(torch.tensor([-9.0, 1.004, 9.0]).view(1, 1, 1, 3)).ravel().tolist() == [
        0,
        255,
        255,
    ]


def test_axes_are_not_swapped() -> None:
    image = pixels(2, 3, 4, 5)
    x = to_model(image)
    assert x.shape == (2, 5, 3, 4)
    assert x.is_contiguous()
    for n, h, w, c in np.ndindex(image.shape):
        assert x[n, c, h, w] == np.float32(image[n, h, w, c]) / np.float32(127.5) - 1
    assert np.array_equal(to_uint8(x), image)


def test_nan_is_no_level() -> None:
    with pytest.raises(FixableError, match="NaN"):
        to_uint8(torch.tensor([0.0, float("nan")]).view(1, 1, 1, 2))


# ------------------------------------------------------------------------------------- digits


def digits(split: Literal["train", "test"], **changes: Any) -> Images:
    return load(
        DataConfig(source="digits", **changes),
        image_size=16 if changes else 8,
        channels=1,
        split=split,
    )


def test_digits_are_all_there_once_and_mixed() -> None:
    from sklearn.datasets import load_digits

    train, test = digits("train"), digits("test")
    assert (len(train), len(test)) == (1500, 297)
    result = np.concatenate([train.read(range(1500)), test.read(range(297))])[..., 0]
    original = load_digits().images
    assert np.array_equal(result // 15, original[_places(result)])
    # below each coarse level lies uniform noise: every remainder a fifteenth of the time
    counts, n = np.bincount((result % 15).ravel(), minlength=15), result.size
    assert np.abs(counts - n / 15).max() < 4 * (n / 15) ** 0.5
    # the test part comes from all over the original order, not from its last writers
    assert np.median(_places(test.read(range(297))[..., 0])) == pytest.approx(898, abs=120)


def _places(result: NDArray[np.uint8]) -> list[int]:
    """Where each digit stands in scikit-learn's order; each place is given once."""
    from sklearn.datasets import load_digits

    places: dict[bytes, list[int]] = {}
    for i, image in enumerate(load_digits().images):
        places.setdefault(image.astype(np.uint8).tobytes(), []).append(i)
    return [places[image.tobytes()].pop() for image in result // 15]


def test_the_order_of_the_digits_is_the_same_for_ever() -> None:
    """No library's random numbers decide what is tested on: SHA-256 of the index does."""
    result = [digits("train").read(range(1500)), digits("test").read(range(297))]
    hashes = [
        hashlib.sha256(str(i).encode()).digest() for i in _places(np.concatenate(result)[..., 0])
    ]
    assert hashes == sorted(hashes)


# --------------------------------------------------------------------------------------- .npz


def npz(path: Path, split: Literal["train", "test"] = "train", **changes: Any) -> Images:
    size = changes.pop("image_size", 4)
    channels = changes.pop("channels", 3)
    config = DataConfig(source="npz", path=str(path), **changes)
    return load(config, image_size=size, channels=channels, split=split)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_gives_back_what_was_saved(tmp_path: Path, save: Any) -> None:
    train, test = pixels(5, 4, 4, 3), pixels(3, 4, 4, 3)
    save(tmp_path / "x.npz", train=train, test=test)
    images = npz(tmp_path / "x.npz")
    assert np.array_equal(images.read([4, 0, 4]), train[[4, 0, 4]])
    assert np.array_equal(npz(tmp_path / "x.npz", "test").read(range(3)), test)
    assert images.name == "x train"
    assert images.read([]).shape == (0, 4, 4, 3)
    images.read([0])[:] = 0  # a copy: the images stay
    assert np.array_equal(images.read([0])[0], train[0])


@pytest.mark.parametrize("key", ["images", "arr_0", "train"])
def test_gray_npz_without_splits(tmp_path: Path, key: str) -> None:
    gray = pixels(5, 4, 4, 1)
    np.savez(tmp_path / "x.npz", **{key: gray[..., 0]})
    assert np.array_equal(npz(tmp_path / "x.npz", channels=1).read(range(5)), gray)
    with pytest.raises(FixableError, match="no array test"):
        npz(tmp_path / "x.npz", "test", channels=1)


def test_the_digest_knows_content_order_and_shape(tmp_path: Path) -> None:
    original = pixels(4, 4, 4, 3)
    variants = [original, original[::-1], original.copy(), original[:3]]
    variants[2][3, 3, 3, 2] ^= 1
    digests = []
    for i, variant in enumerate([original, *variants]):
        np.savez(tmp_path / f"{i}.npz", variant)
        digests.append(npz(tmp_path / f"{i}.npz").digest)
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4
    assert Stack("a", original).digest != Stack("a", original.reshape(2, 8, 4, 3)).digest


def test_arrays_are_resized_only_when_asked(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pixels(2, 6, 8, 3))
    with pytest.raises(FixableError, match="8x6 pixels; 4x4 expected"):
        npz(tmp_path / "x.npz")
    result = npz(tmp_path / "x.npz", resize="box", image_size=3)
    square = pixels(2, 6, 8, 3)[:, :, 1:7].reshape(2, 3, 2, 3, 2, 3)  # the centre, in 2x2 boxes
    assert np.abs(result.read([0, 1]) - square.mean((2, 4))).max() <= 1
    again = digits("train", resize="nearest").read([3])
    assert np.array_equal(again[:, ::2, ::2], digits("train").read([3]))


def test_resizing_agrees_with_pillow_on_colours(tmp_path: Path) -> None:
    image = pixels(1, 8, 8, 3)
    np.savez(tmp_path / "x.npz", image)
    oracle = Image.fromarray(image[0]).resize((5, 5), Image.Resampling.LANCZOS)
    result = npz(tmp_path / "x.npz", resize="lanczos", image_size=5).read([0])[0]
    assert np.array_equal(result, np.asarray(oracle))


def test_bad_npz_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    good = pixels(50, 4, 4, 3)
    for array, words in [
        (good.astype(np.float32), "float32"),
        (good[0, 0], r"\[4, 3\] are not"),
        (good[:0], "are not uint8"),
        (np.array([{}], object), "Python objects"),
    ]:
        np.savez(path, array)
        with pytest.raises(FixableError, match=words):
            npz(path)
    np.savez(path, good)
    with pytest.raises(FixableError, match=r"3 channel\(s\); 1 expected[^$]*unet.channels=3"):
        npz(path, channels=1)
    np.savez(path, other=good)
    with pytest.raises(FixableError, match="only other"):
        npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("train", "not an array")
    with pytest.raises(FixableError, match="not a whole array"):
        npz(path)


def test_damaged_npz_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, pixels(50, 4, 4, 3))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content in [whole[:-30], whole[: len(whole) // 2], b"", b"\x93NUMPY", bytes(flipped)]:
        path.write_bytes(content)
        with pytest.raises(
            FixableError, match=rf"{path.name}: (not a whole|damaged|arr_0: not a whole)"
        ):
            npz(path)


def test_wrong_paths_suggest_the_near_one(tmp_path: Path) -> None:
    np.savez(tmp_path / "flowers.npz", pixels(1, 4, 4, 3))
    with pytest.raises(FixableError, match=r"did you mean .*flowers\.npz"):
        npz(tmp_path / "flower.npz")
    with pytest.raises(FixableError, match="a folder, where a file is meant"):
        npz(tmp_path)
    with pytest.raises(FixableError, match="no path is given"):
        load(DataConfig(source="npz"), image_size=4, channels=3)
    with pytest.raises(FixableError, match="cannot be read"):
        npz(tmp_path / ("long" * 100))
