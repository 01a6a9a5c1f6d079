"""Long work in pieces: resumed, shared, never damaged in silence, never mixed."""

from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.record.fill import clear, owned
from ddpm_eval.record.shards import Shards, open_shards
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError


def fill(shards: Shards, parts: list[range]) -> None:
    for part in parts:
        shards.write(part, {"square": np.array([i * i for i in part]), "i": np.array(part)})


def test_pieces_join_in_order(tmp_path: Path) -> None:
    shards = open_shards(tmp_path, {"seed": 0}, n=10, size=4)
    assert [len(part) for part in shards.parts()] == [4, 4, 2]
    fill(shards, shards.parts()[::-1])
    result = shards.read()
    assert result["i"].tolist() == list(range(10))
    assert result["square"].tolist() == [i * i for i in range(10)]


def test_what_is_missing_or_damaged_is_done_again(tmp_path: Path) -> None:
    shards = open_shards(tmp_path, {"seed": 0}, n=12, size=3)
    fill(shards, shards.parts()[:3])
    paths = sorted(tmp_path.glob("images-*.npz"))
    clean = paths[0].read_bytes()
    paths[0].write_bytes(clean[: len(clean) // 2])
    flipped = bytearray(paths[1].read_bytes())
    flipped[len(flipped) // 2] ^= 1
    paths[1].write_bytes(flipped)
    again = open_shards(tmp_path, {"seed": 0}, n=12, size=3)
    assert again.missing() == [range(0, 3), range(3, 6), range(9, 12)]
    with pytest.raises(FixableError, match="rerun the command"):
        again.read()
    fill(again, again.missing())
    assert again.missing() == [] and again.read()["i"].tolist() == list(range(12))


def test_a_shard_under_anothers_name_is_still_its_own(tmp_path: Path) -> None:
    """Swapping two files of equal length must not swap their images."""
    shards = open_shards(tmp_path, {}, n=4, size=2)
    fill(shards, shards.parts())
    a, b = sorted(tmp_path.glob("images-*.npz"))
    swap = tmp_path / "swap"
    a.rename(swap)
    b.rename(a)
    swap.rename(b)
    assert shards.missing() == shards.parts()


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    open_shards(tmp_path, {"seed": 0, "clip": True}, n=10, size=4)
    with pytest.raises(FixableError, match="seed: 0 -> 1") as caught:
        open_shards(tmp_path, {"seed": 1, "clip": True}, n=10, size=4)
    assert "delete the folder" in caught.value.fix


def test_finished_work_is_left_to_another_process_that_is_at_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "unfinished" / "bound-1"
    with owned(folder, Runtime()):
        clear(folder)
        assert folder.exists()
    clear(folder)
    assert not folder.exists() and not folder.parent.exists()
    clear(folder)
    assert not folder.exists()
