"""Images at a path: known by their content, read whole, and what is not read is named."""

import io
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ddpm_eval.kinds import holds_images, kind_of
from ddpm_eval.record.shards import Shards
from ddpm_eval.record.store import SampleStore
from ddpm_eval.sources import as_stack, open_images
from ddpm_train.errors import FixableError

LEVELS = np.random.default_rng(0).integers(0, 256, (12, 8, 8, 3), np.uint8)


def png(image: np.ndarray, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, kind)
    return out.getvalue()


def folder(path: Path) -> None:
    path.mkdir()
    for i, image in enumerate(LEVELS):
        (path / f"{i:02}.png").write_bytes(png(image))


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for i, image in enumerate(LEVELS):
            archive.writestr(f"{i:02}.png", png(image))


def saved(path: Path, **arrays: np.ndarray) -> None:
    with path.open("wb") as file:
        np.savez(file, **(arrays or {"images": LEVELS}))


def array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, LEVELS)


def store(path: Path) -> None:
    from ddpm_eval.record import filling

    facts: dict[str, Any] = {"shape": [8, 8, 3], "batch": 4, "seed": 0, "sampler": "ancestral"}
    facts |= {"steps": 5, "T": 5, "eta": None, "weights": "ema", "clip": True}
    model = SampleStore(path, facts | {"precision": "float32"}, 12)
    filling.begin(model)
    shards: Shards = model.shards
    for part in shards.parts():
        shards.write(part, {"images": LEVELS[part.start : part.stop]})


@pytest.mark.parametrize(
    ("write", "kind", "names"),
    [
        (folder, "folder", ["photos", "x.npz"]),
        (zipped, "zip", ["x.zip", "X.ZIP", "x.npz", "archive"]),
        (saved, "npz", ["x.npz", "IMAGES.NPZ", "x.zip", "arrays"]),
        (array, "npy", ["x.npy", "x.npz", "levels"]),
        (store, "store", ["store", "x.npz"]),
    ],
)
def test_content_decides_and_not_the_name(
    tmp_path: Path, write: Any, kind: str, names: list[str]
) -> None:
    for name in names:
        write(tmp_path / name)
        assert kind_of(tmp_path / name) == kind
        images = open_images(tmp_path / name)
        np.testing.assert_array_equal(images.read(range(12)), LEVELS)
        assert len(images) == 12


def test_the_home_folder_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "x.npz")
    assert len(open_images("~/x.npz")) == 12


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (png(LEVELS[0]), "a single picture"),
        (png(LEVELS[0], "JPEG"), "a single picture"),
        (pickle.dumps([1, 2]), "a pickle"),
        (b"\x1f\x8b\x08\x00", "a gzip"),
        (b"\x89HDF\r\n", "HDF5"),
        (b"hello", "neither a folder"),
        (b"", "neither a folder"),
    ],
)
def test_what_is_no_images_is_called_what_it_is(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(FixableError, match=words):
        open_images(tmp_path / "x.npz")


def test_what_is_not_read_is_named(tmp_path: Path) -> None:
    notes: list[str] = []
    saved(tmp_path / "x.npz", arr_0=LEVELS, arr_1=np.arange(12), names=np.arange(12))
    open_images(tmp_path / "x.npz", notify=notes.append)
    assert notes == [f"{tmp_path / 'x.npz'}: arr_0 is read; not read: arr_1, names"]
    saved(tmp_path / "y.npz", train=LEVELS, test=LEVELS)
    open_images(tmp_path / "y.npz", notify=notes.append)
    assert "not read: test" in notes[1]
    saved(tmp_path / "adm.npz", arr_0=LEVELS, mu=np.zeros(3), sigma=np.eye(3))
    open_images(tmp_path / "adm.npz", notify=notes.append)
    assert notes.pop().endswith("arr_0 is read; read of a reference alone: mu, sigma")
    folder(tmp_path / "mixed")
    for i in range(5):
        (tmp_path / "mixed" / f"{i}.json").write_text("{}")
    assert len(open_images(tmp_path / "mixed", notify=notes.append)) == 12
    assert "5" in notes[2] and ".json" in notes[2]
    saved(tmp_path / "z.npz")
    open_images(tmp_path / "z.npz", notify=notes.append)
    assert len(notes) == 3
    (tmp_path / "mixed" / "x.tiff").write_bytes(png(LEVELS[0], "TIFF"))
    with pytest.raises(FixableError, match=r"1 \.tiff would be left out"):
        open_images(tmp_path / "mixed")


def test_images_are_told_from_models(tmp_path: Path) -> None:
    for write, name in ((zipped, "X.bin"), (saved, "IMAGES.NPZ"), (array, "levels")):
        write(tmp_path / name)
        assert holds_images(tmp_path / name)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "model.npz")  # a zip as well
    save_file({"weight": torch.zeros(2)}, tmp_path / "x.safetensors")
    for name in ("model.npz", "x.safetensors"):
        assert not holds_images(tmp_path / name)
    saved(tmp_path / "cut.npz")
    whole = (tmp_path / "cut.npz").read_bytes()
    for content in (whole[:-40], b""):
        (tmp_path / "cut.npz").write_bytes(content)
        assert holds_images(tmp_path / "cut.npz")


@pytest.mark.parametrize("write", [saved, array])
def test_no_damage_leaves_images_out(tmp_path: Path, write: Any) -> None:
    path = tmp_path / "x"
    write(path)
    whole = path.read_bytes()
    header = whole.index(b"NUMPY")
    for place in range(header, header + 128):
        for bit in (0, 1):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            path.write_bytes(content)
            try:
                assert len(open_images(path)) == 12
            except FixableError:
                continue
    path.write_bytes(whole[:-20])
    with pytest.raises(FixableError):
        open_images(path)


def test_twelve_do_not_become_two(tmp_path: Path) -> None:
    """A header that says less than is there: numpy would read it without a word."""
    array(tmp_path / "x.npy")
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole.replace(b"(12,", b"( 2,"))
    with pytest.raises(FixableError, match="goes on after the end"):
        open_images(tmp_path / "x.npy")
    saved(tmp_path / "x.npz")
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole.replace(b"(12,", b"( 2,"))
    with pytest.raises(FixableError, match=r"x\.npz.*(CRC|header)"):
        open_images(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (LEVELS.astype(np.float32), r"float32 \[12, 8, 8, 3\] are not uint8"),
        (LEVELS[0, 0], "are not uint8"),
        (LEVELS[:0], "are not uint8"),
        (LEVELS.transpose(0, 3, 1, 2), r"\[12, 3, 8, 8\] has the channels first"),
    ],
)
def test_arrays_that_are_no_images_are_refused(
    tmp_path: Path, pixels: np.ndarray, words: str
) -> None:
    with pytest.raises(FixableError, match=words):
        as_stack(pixels)
    np.save(tmp_path / "x.npy", pixels)
    with pytest.raises(FixableError, match=words):
        open_images(tmp_path / "x.npy")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    for save in (np.save, np.savez):
        with (tmp_path / "x").open("wb") as file:
            save(file, np.array([{}], object))
        with pytest.raises(FixableError):
            open_images(tmp_path / "x")


def test_pictures_of_other_sizes_are_refused_or_resized(tmp_path: Path) -> None:
    folder(tmp_path / "a")
    (tmp_path / "a" / "99.png").write_bytes(png(np.zeros((16, 16, 3), np.uint8)))
    with pytest.raises(FixableError, match="16x16 pixels; the first picture makes it 8x8"):
        open_images(tmp_path / "a")
    assert open_images(tmp_path / "a", resize="box").read([12]).shape == (1, 8, 8, 3)
    with pytest.raises(FixableError, match="resize=big: not a choice"):
        open_images(tmp_path / "a", resize="big")


def test_a_tar_is_refused_in_two_lines(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        folder(tmp_path / "a")
        archive.add(tmp_path / "a")
    with pytest.raises(FixableError, match="neither a folder"):
        open_images(tmp_path / "x.tar")
