"""CIFAR-10's archive: read like torchvision reads it, and never believed."""

import builtins
import os
import pickle
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from ddpm_train.config import DataConfig
from ddpm_train.data import Images, cifar
from ddpm_train.data import load as load_any
from ddpm_train.data.cifar import ARCHIVE, FOLDER, Release
from ddpm_train.data.images import Form
from ddpm_train.errors import FixableError
from tests.train.cifar_archive import NAMES, batch, images, members, release_of, write


def load(path: Path, split: Literal["train", "test"], release: Release) -> Images:
    return cifar.load(str(path), split, Form(32, 3), release=release)


def everything(split_of: Images) -> NDArray[np.uint8]:
    return split_of.read(range(len(split_of)))


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return write(tmp_path / ARCHIVE, members())


def test_images_come_in_the_order_of_the_batches(tmp_path: Path, release: Release) -> None:
    train = load(tmp_path / ARCHIVE, "train", release)
    assert np.array_equal(everything(train), np.concatenate([images(i) for i in range(5)]))
    test = load(tmp_path / ARCHIVE, "test", release)
    assert np.array_equal(everything(test), images(5))
    assert (train.name, test.name) == ("CIFAR-10 train", "CIFAR-10 test")
    assert train.digest != test.digest


def test_archive_and_folders_are_one(
    tmp_path: Path, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_out = tmp_path / "taken_out"
    shutil.unpack_archive(tmp_path / ARCHIVE, taken_out)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cifar10").symlink_to(taken_out)
    monkeypatch.setenv("DDPM_DATA", str(tmp_path / "data"))
    digests = {
        load(place, "train", release).digest
        for place in (tmp_path, tmp_path / ARCHIVE, taken_out, taken_out / FOLDER)
    }
    assert digests == {cifar.load("", "train", Form(32, 3), release=release).digest}


def test_torchvision_reads_the_same(tmp_path: Path, release: Release) -> None:
    datasets = pytest.importorskip("torchvision.datasets")
    meta = pickle.dumps({"label_names": [str(i) for i in range(10)]}, protocol=2)
    release = write(tmp_path / ARCHIVE, [*members(), (f"{FOLDER}/batches.meta", meta)])
    digests = release.batches

    class Small(datasets.CIFAR10):  # type: ignore[misc, name-defined]
        tgz_md5 = release.archive.md5
        train_list = [[name, digests[name]] for name in NAMES[:5]]  # noqa: RUF012
        test_list = [[NAMES[5], digests[NAMES[5]]]]  # noqa: RUF012
        meta = datasets.CIFAR10.meta | {"md5": digests["batches.meta"]}

    for split in ("train", "test"):
        oracle = Small(tmp_path, train=split == "train", download=True)  # download: unpack
        assert np.array_equal(everything(load(tmp_path / ARCHIVE, split, release)), oracle.data)


def test_batches_pickled_by_python_3_are_read(tmp_path: Path) -> None:
    content = []
    for i, name in enumerate(NAMES):
        planes = images(i).transpose(0, 3, 1, 2).reshape(20, 3072)
        plain = {b"data": planes, b"labels": [3] * 20}
        content.append((f"{FOLDER}/{name}", pickle.dumps(plain, protocol=2)))
    release = write(tmp_path / ARCHIVE, content)
    assert np.array_equal(everything(load(tmp_path, "test", release)), images(5))


# ------------------------------------------------------------------------- pickles that attack


class Payload:
    def __init__(self, function: Any, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("function", [os.system, builtins.eval])
def test_a_pickle_is_never_run(tmp_path: Path, protocol: int, function: Any) -> None:
    marker = tmp_path / "ran"
    words = f"touch {marker}" if function is os.system else f"open({str(marker)!r}, 'w')"
    planes = images(5).reshape(20, 3072)
    attack = pickle.dumps({b"data": planes, b"labels": Payload(function, words)}, protocol)
    pickle.loads(attack)
    assert marker.exists()  # the payload works
    marker.unlink()
    release = write(tmp_path / ARCHIVE, [(f"{FOLDER}/test_batch", attack)])
    with pytest.raises(FixableError, match=r"test_batch: not a batch.*it asks for"):
        load(tmp_path / ARCHIVE, "test", release)
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a pickle",
        batch(images(0))[:1000],
        pickle.dumps([1, 2]),
        pickle.dumps({b"labels": []}),
        pickle.dumps({b"data": [1, 2]}),
        pickle.dumps({b"data": np.zeros((2, 3072), np.float32)}, 2),
        pickle.dumps({b"data": np.zeros((2, 3071), np.uint8)}, 2),
        pickle.dumps({b"data": np.array([Payload, {}], object)}, 2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, 2),
        pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, 2),
        batch(images(0)).replace(b"u1", b"u2"),
        batch(images(0)).replace(b"J\x14\x00\x00\x00", b"J\x15\x00\x00\x00"),  # 21 images, said
    ],
)
def test_what_is_no_batch_is_named(tmp_path: Path, content: bytes) -> None:
    release = write(tmp_path / ARCHIVE, [(f"{FOLDER}/test_batch", content)])
    with pytest.raises(FixableError, match="test_batch: not a batch of CIFAR-10"):
        load(tmp_path / ARCHIVE, "test", release)


# ------------------------------------------------------------------------- damaged archives


def test_damage_is_named_with_both_digests(tmp_path: Path, release: Release) -> None:
    path = tmp_path / ARCHIVE
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for content, words in [
        (bytes(flipped), "not the CIFAR-10 archive: MD5"),
        (whole[:-1], f"cut off at {len(whole) - 1:,} of {len(whole):,} bytes"),
        (b"", "cut off at 0 of"),
        (whole + b"\0", f"of {len(whole) + 1:,} bytes"),
        (b"\n<!DOCTYPE html><p>Please log in", "a web page"),
    ]:
        path.write_bytes(content)
        with pytest.raises(FixableError, match=words) as error:
            load(path, "train", release)
        result = release_of(path, {}).archive.md5
        if "cut off" in words or "not the" in words:
            assert f"MD5 {result}, expected {release.archive.md5}" in str(error.value)


def test_a_flipped_bit_in_a_batch_that_was_taken_out(tmp_path: Path, release: Release) -> None:
    (tmp_path / FOLDER).mkdir()
    damaged = bytearray(dict(members())[f"{FOLDER}/test_batch"])
    damaged[-2000] ^= 4
    (tmp_path / FOLDER / "test_batch").write_bytes(damaged)
    with pytest.raises(FixableError, match=rf"test_batch: damaged: MD5 \w+, expected {_md5_of(5)}"):
        load(tmp_path / FOLDER, "test", release)


def _md5_of(i: int) -> str:
    name = f"{FOLDER}/{NAMES[i]}"
    return _release_batches()[name.split("/")[-1]]


def _release_batches() -> dict[str, str]:
    import hashlib

    return {k.split("/")[-1]: hashlib.md5(v).hexdigest() for k, v in members()}


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_a_missing_batch_is_named(tmp_path: Path, name: str) -> None:
    rest = [(n, content) for n, content in members() if not n.endswith(name)]
    release = write(tmp_path / ARCHIVE, rest)
    split: Literal["train", "test"] = "test" if name == "test_batch" else "train"
    with pytest.raises(FixableError, match=f"{name} is missing"):
        load(tmp_path / ARCHIVE, split, release)
    shutil.unpack_archive(tmp_path / ARCHIVE, tmp_path / "out")
    with pytest.raises(FixableError, match=f"{name} is missing"):
        load(tmp_path / "out", split, release)


def test_nothing_is_written_outside_or_at_all(tmp_path: Path) -> None:
    """Members with ``../`` and links are passed over; a link does not stand in for a batch."""
    secret = tmp_path / "secret"
    secret.write_bytes(batch(images(9)))
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    path = folder / ARCHIVE
    with tarfile.open(path, "w:gz") as archive:
        for name in ("../escaped", "/escaped", f"{FOLDER}/../../escaped"):
            item = tarfile.TarInfo(name)
            archive.addfile(item)
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"{FOLDER}/test_batch")
            link.type, link.linkname = kind, str(secret)
            archive.addfile(link)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FixableError, match="test_batch is missing"):
        load(path, "test", release_of(path, {}))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_digest_that_is_right_for_damaged_gzip(tmp_path: Path, release: Release) -> None:
    path = tmp_path / ARCHIVE
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(FixableError, match="a damaged archive"):
        load(path, "train", release_of(path, {}))


# ------------------------------------------------------------------------- settings and paths


def test_the_official_release_is_asked_for(tmp_path: Path, release: Release) -> None:
    """Facts of the archive as its author publishes them."""
    assert cifar.OFFICIAL.archive.md5 == "c58f30108f718f92721af3b95e74349a"
    assert cifar.OFFICIAL.archive.size == 170_498_071
    assert cifar.OFFICIAL.batches.keys() == set(NAMES)
    config = DataConfig(source="cifar10", path=str(tmp_path))
    start = time.monotonic()
    with pytest.raises(FixableError, match="of 170,498,071 bytes"):
        load_any(config, image_size=32, channels=3)
    assert time.monotonic() - start < 2


def test_wrong_paths_and_sizes(tmp_path: Path, release: Release) -> None:
    with pytest.raises(FixableError, match=f"did you mean .*{ARCHIVE}"):
        load(tmp_path / "cifar-10-python.tgz", "train", release)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FixableError, match=f"empty/{ARCHIVE}: there is no such"):
        load(tmp_path / "empty", "train", release)
    with pytest.raises(FixableError, match="32x32 pixels; 64x64 expected"):
        cifar.load(str(tmp_path), "test", Form(64, 3), release=release)
