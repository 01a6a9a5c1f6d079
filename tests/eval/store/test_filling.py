"""A store has the same bytes whoever fills it, and whoever is killed on the way."""

import errno
import fcntl
import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval.record import arrays, filling, store
from ddpm_eval.record.shards import Shards
from ddpm_eval.record.store import SampleStore, open_store
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests.eval import forks
from tests.eval.store.stores import N, assert_same_files, fill, make


def test_the_first_of_many_are_those_of_few(whole: SampleStore, tmp_path: Path) -> None:
    few = make(tmp_path / "few", 6)
    np.testing.assert_array_equal(few.read(range(6)), whole.read(range(6)))
    assert len(few) == 6 and len({image.tobytes() for image in whole.read(range(N))}) == N
    more = make(tmp_path / "few")  # and few grow into many
    assert_same_files(more.folder, whole)


def test_any_number_of_processes_and_a_kill_give_the_same_files(
    whole: SampleStore, tmp_path: Path
) -> None:
    for size in (2, 3):
        folder = tmp_path / str(size)

        def work(world: World) -> None:
            assert make(folder, seconds=0.05, world=world).digest == whole.digest  # noqa: B023

        pids = forks.start_world(size, work)
        while len(list(folder.glob("images-*.npz"))) < 2:
            time.sleep(0.01)
        assert forks.kill(pids) == [-signal.SIGKILL] * size
        first = {path: path.stat().st_mtime_ns for path in folder.glob("images-*.npz")}
        assert 2 <= len(first) < 5
        assert [forks.wait(pid) for pid in forks.start_world(size, work)] == [0] * size
        assert_same_files(folder, whole)
        assert first == {path: path.stat().st_mtime_ns for path in first}  # none is made twice


def test_an_error_of_the_first_process_stops_all(tmp_path: Path) -> None:
    make(tmp_path / "store", 4)

    def work(world: World) -> None:
        with pytest.raises((FixableError, SystemExit)) as caught:
            make(tmp_path / "store", 4, seed=1, world=world)
        assert isinstance(caught.value, FixableError) == (world.rank == 0)

    assert [forks.wait(pid) for pid in forks.start_world(2, work)] == [0, 0]


def test_parts_that_machines_make_apart_merge_into_the_whole(
    whole: SampleStore, tmp_path: Path
) -> None:
    """A batch belongs to the part that holds its first image: none is made twice or by nobody."""
    cuts = [0, 3, 9, 10, N]
    names = []
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        folder = tmp_path / str(k)
        fill(folder, within=range(start, stop))
        names.append({path.name for path in folder.glob("*.npz")})
    assert sum(map(len, names)) == 5 == len(set.union(*names))
    folders = [tmp_path / str(k) for k in (2, 0, 3)]
    merged = filling.merge(folders, tmp_path / "merged")
    assert [tuple(part) for part in merged.shards.missing()] == [(4, 5, 6, 7), (8, 9, 10, 11)]
    with pytest.raises(FixableError, match=r"not made yet: 4\.\.11"):
        open_store(merged.folder)
    filling.merge([merged.folder, tmp_path / "1"], merged.folder)
    assert_same_files(merged.folder, whole)
    assert store.verify(merged.folder)[1] == []
    times = [path.stat().st_mtime_ns for path in sorted(merged.folder.iterdir())]
    filling.merge([tmp_path / "1", merged.folder], merged.folder)  # what is there is left alone
    assert times == [path.stat().st_mtime_ns for path in sorted(merged.folder.iterdir())]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    missing = fill(tmp_path / "a", within=range(4, 12))
    assert store.spans(missing, N) == "0..3, 12..17"
    assert fill(tmp_path / "a") == []


CALLS: list[tuple[Any, str]] = [
    *((os, "fsync"), (Path, "open"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")),
    (arrays.zipfile, "ZipFile"),
]


def test_killed_at_every_call_that_touches_the_disk(whole: SampleStore, tmp_path: Path) -> None:
    k, killed = 1, True
    while killed:
        folder = tmp_path / str(k)
        status = forks.dies_at_call(k, CALLS, lambda: make(folder))  # noqa: B023
        assert status in (0, 9)
        killed = status == 9
        make(folder)
        assert_same_files(folder, whole)
        k += 1
    assert k > 30


def test_killed_at_random_moments(whole: SampleStore, tmp_path: Path) -> None:
    folder, chance, kills = tmp_path / "store", random.Random(3), 0
    while True:
        pid = forks.child(lambda: make(folder, seconds=0.01))
        time.sleep(chance.uniform(0.02, 0.2))
        os.kill(pid, signal.SIGKILL)
        if forks.wait(pid) == 0:
            break
        kills += 1
        assert len(list(folder.glob("*.partial"))) <= 1
    assert kills >= 3
    assert_same_files(folder, whole)


def test_two_jobs_write_the_same_pieces_at_once(tmp_path: Path) -> None:
    """As when several fill one cache, which has no owner."""
    pieces = Shards(tmp_path, 30 * 8, 8, "key")
    arrays, start = {"pool": np.zeros((8, 50_000), np.float32)}, time.monotonic() + 0.5

    def work() -> None:
        time.sleep(start - time.monotonic())
        for part in pieces.parts():
            pieces.write(part, arrays)
            assert pieces.load(part) is not None

    assert [forks.wait(pid) for pid in [forks.child(work) for _ in range(3)]] == [0] * 3
    assert pieces.missing() == [] and not list(tmp_path.glob("*.partial"))


def test_without_locks_the_work_is_done_by_one_at_a_time(
    whole: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    make(tmp_path / "store")
    assert_same_files(tmp_path / "store", whole)
    store_opened = open_store(tmp_path / "store")
    with filling.reserve(store_opened, range(8)):
        status = forks.wait(
            forks.child(lambda: filling.reserve(store_opened, range(8)).__enter__())
        )
    assert status == 1 and not list((tmp_path / "store").glob("*.owner*"))


def test_a_second_writer_of_the_same_samples_is_refused(copy: Path) -> None:
    opened = open_store(copy)

    def second(part: range) -> Callable[[], None]:
        def act() -> None:
            with filling.reserve(opened, part):
                pass

        return act

    with filling.reserve(opened, range(4, 10)):
        assert forks.wait(forks.child(second(range(10, N)))) == 0
        assert forks.wait(forks.child(second(range(4)))) == 0
        assert forks.wait(forks.child(second(range(9, N)))) == 1
    assert forks.wait(forks.child(second(range(9, N)))) == 0


def test_what_is_there_is_read_while_others_write(copy: Path, whole: SampleStore) -> None:
    def write() -> None:
        with filling.reserve(open_store(copy), range(N)):
            (copy.parent / "begun").touch()
            time.sleep(60)

    pid = forks.child(write)
    while not (copy.parent / "begun").exists():
        time.sleep(0.01)
    np.testing.assert_array_equal(make(copy).read(range(N)), whole.read(range(N)))
    sorted(copy.glob("*.npz"))[0].unlink()
    with pytest.raises(FixableError, match="another process is making"):
        make(copy)
    forks.kill([pid])
    make(copy)
    assert_same_files(copy, whole)


def test_processes_share_the_look_at_what_is_there(whole: SampleStore, copy: Path) -> None:
    class Alone(World):
        """A process that hears nothing from the others."""

        def sum(self, values: Tensor) -> Tensor:
            return values

    for path in copy.glob("*.npz"):
        path.unlink()
    shards, cpu = replace(whole, folder=copy).shards, torch.device("cpu")
    seen = [shards.missing(Alone(cpu, rank, 2)) for rank in range(2)]
    assert seen[0] + seen[1] == shards.parts() and all(seen)
