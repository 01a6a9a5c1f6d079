"""Damage is seen, named and repaired; nothing half-written stays."""

import json
import os
import resource
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.record import filling, store
from ddpm_eval.record.shards import key_of
from ddpm_eval.record.store import SampleStore, open_store
from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from tests.eval import forks
from tests.eval.store.stores import assert_same_files, make, model


def swap(a: Path, b: Path) -> None:
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)


def damage(kind: str, paths: list[Path], strange: Path) -> list[int]:
    """Damage the second shard; gives the places of what is not whole then."""
    path, clean = paths[1], paths[1].read_bytes()
    middle = len(clean) // 2
    if kind == "swapped":
        swap(path, paths[2])
        return [1, 2]
    content = {
        "truncated": clean[:middle],
        "flipped": clean[:middle] + bytes([clean[middle] ^ 1]) + clean[middle + 1 :],
        "empty": b"",
        "zeroed": clean[:100] + bytes(100) + clean[200:],
        "of another seed": (strange / path.name).read_bytes(),
    }[kind]
    path.write_bytes(content)
    return [1]


@pytest.mark.parametrize(
    "kind", ["truncated", "flipped", "empty", "zeroed", "swapped", "of another seed"]
)
def test_a_damaged_shard_is_named_and_made_again(
    whole: SampleStore, copy: Path, tmp_path: Path, kind: str
) -> None:
    strange = make(tmp_path / "strange", seed=1)
    paths = sorted(copy.glob("images-*.npz"))
    bad = damage(kind, paths, strange.folder)
    result, gone = store.verify(copy)
    parts = result.shards.parts()
    assert gone == [parts[k] for k in bad]
    opened = open_store(copy)
    np.testing.assert_array_equal(opened.read([0, 17]), whole.read([0, 17]))
    with pytest.raises(FixableError, match=paths[1].name):
        opened.read([0, 5])
    left_out = filling.merge([copy], tmp_path / "merged")
    assert left_out.shards.missing() == gone
    output: list[str] = []
    make(copy, notify=output.append)
    assert [paths[k].name in text for k, text in zip(bad, output, strict=True)] == [True] * len(bad)
    assert_same_files(copy, whole)


def test_no_flipped_byte_is_read(whole: SampleStore, copy: Path) -> None:
    """Wherever it is: in a header, a name, the pixels, the digest or the zip's directory."""
    path = sorted(copy.glob("images-*.npz"))[1]
    clean, part = path.read_bytes(), whole.shards.parts()[1]
    images, refused = whole.read(part), 0
    for at in range(0, len(clean), 7):
        content = bytearray(clean)
        content[at] ^= 0xFF
        path.write_bytes(content)
        result = replace(whole, folder=copy).shards.load(part)
        refused += result is None
        assert result is None or np.array_equal(result["images"], images)
    assert refused > 0.8 * len(clean) / 7


def test_a_damaged_store_json_is_refused_and_made_again(whole: SampleStore, copy: Path) -> None:
    path = copy / store.NAME
    for content in (
        b"",
        path.read_bytes()[:-50],
        path.read_bytes().replace(b'"n": 18', b'"n": 17'),
    ):
        path.write_bytes(content)
        for read in (open_store, store.verify):
            with pytest.raises(FixableError, match=r"store\.json: damaged"):
                read(copy)
        make(copy)
        assert_same_files(copy, whole)


def test_a_newer_store_is_refused(copy: Path) -> None:
    path = copy / store.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    before = forks.contents(copy)
    for act in (open_store, make):
        with pytest.raises(FixableError, match="newer ddpm-eval"):
            act(copy)
    assert forks.contents(copy) == before


@pytest.mark.parametrize(
    "change",
    [
        {"n": "18"},
        {"n": 10**12},
        {"n": -1},
        {"facts": []},
        {"about": 3},
        {"batch": 0},
        {"shape": 8},
    ],
)
def test_a_description_of_the_wrong_kind_is_damaged(copy: Path, change: dict[str, Any]) -> None:
    """Though its digest is right: a stranger can compute one."""
    path = copy / store.NAME
    plain = json.loads(path.read_text())
    del plain["digest"]
    (plain if change.keys() <= {"n", "facts", "about"} else plain["facts"]).update(change)
    path.write_text(json.dumps({**plain, "digest": key_of(plain)}))
    with pytest.raises(FixableError, match=r"store\.json: damaged"):
        open_store(copy)


def test_a_pickle_is_never_executed(whole: SampleStore, copy: Path, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = sorted(copy.glob("images-*.npz"))[0]
    np.savez(path, images=np.array([Malicious()], object), digest=np.array(""))
    with pytest.raises(FixableError, match="missing or damaged"):
        open_store(copy).read([0])
    assert not (tmp_path / "executed").exists()


def test_a_nan_is_not_kept(tmp_path: Path) -> None:
    denoise = Denoiser(lambda x, t: x / 0 * 0, model().denoise.schedule, ObjectiveConfig())
    with pytest.raises(FixableError, match="NaN"):
        make(tmp_path / "store", 4, subject=replace(model(), denoise=denoise))
    assert set(forks.contents(tmp_path / "store")) == {store.NAME, ".lock"}


def test_a_full_disk_leaves_nothing_half_written(whole: SampleStore, tmp_path: Path) -> None:
    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
        with pytest.raises(FixableError, match="the disk is full"):
            make(tmp_path / "store")

    assert forks.wait(forks.child(full)) == 0
    assert set(forks.contents(tmp_path / "store")) == {store.NAME, ".lock"}
    make(tmp_path / "store")
    assert_same_files(tmp_path / "store", whole)


def test_space_is_looked_for_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(FixableError, match="MB are free"):
        make(tmp_path / "store")
    assert not list(tmp_path.rglob("*.npz"))
