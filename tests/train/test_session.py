"""A run folder survives kills, signals, damage, a second writer and changed settings."""

import contextlib
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
from PIL import Image

from ddpm_train import checkpoint, data, loop, runs, session
from ddpm_train.config import DataConfig, RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.events import Ended, Event, Sampled, Saved
from ddpm_train.log import read_log
from ddpm_train.loop import Trainer
from ddpm_train.session import Begun, Session
from ddpm_train.settings import override
from ddpm_train.world import World
from tests.eval import forks

WORLD = World(torch.device("cpu"))


@pytest.fixture(scope="module")
def images() -> data.Images:
    return data.load(DataConfig(source="digits"), image_size=8, channels=1)


def go_on(
    config: RunConfig,
    images: data.Images,
    folder: Path,
    stopping: Callable[[], bool] = lambda: False,
) -> list[Event]:
    """What the command line does: lock, find the newest checkpoint, train."""
    with session.lock(folder, WORLD):
        old, source, _ = runs.newest(folder)
        if old is not None:
            session.check_same(config, loop.facts(images), old, accept_changes=False)
        begun = None if old is None else Begun(source, old.step, old.facts)
        with contextlib.closing(Trainer(config, images, WORLD, resume=old)) as trainer:
            return list(Session(trainer, folder, stopping, begun).run())


def assert_equals_whole(folder: Path, whole: Path, steps: int = 6) -> None:
    """The last checkpoint and the log are the uninterrupted run's, and no litter is left."""
    a, b = (checkpoint.load(runs.checkpoints(run)[0]) for run in (folder, whole))
    assert a.step == b.step == steps
    for group in checkpoint.GROUPS:
        one, two = getattr(a, group), getattr(b, group)
        assert one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one), group
    one, two = (
        [(x["step"], x["loss"], x["lr"], x["grad_norm"]) for x in read_log(run / "log.jsonl")]
        for run in (folder, whole)
    )
    assert one == two and [x[0] for x in one] == list(range(1, steps + 1))
    assert not list(folder.rglob("*.partial"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images: data.Images) -> Path:
    from tests.train.conftest import make_tiny

    folder = tmp_path_factory.mktemp("whole") / "run"
    events = go_on(make_tiny(), images, folder)
    assert events[-1] == Ended(6, complete=True)
    return folder


def test_who_loses_the_other_process_saves_a_whole_step(
    images: data.Images, tiny: RunConfig, tmp_path: Path
) -> None:
    config = override(tiny, ["log.checkpoint_every=100", "log.sample_every=0"])

    def work(world: World) -> None:
        trainer = Trainer(config, images, world)

        def stopping() -> bool:
            if world.rank == 1 and trainer.step == 3:
                os._exit(9)
            return False

        try:
            list(Session(trainer, tmp_path, stopping).run())
        except FixableError as error:
            os._exit(2 if "another one has ended" in error.problem else 3)

    assert [forks.wait(pid) for pid in forks.start_world(2, work)] == [2, 9]
    assert [path.name for path in runs.checkpoints(tmp_path)] == ["step-00000003.pt"]
    assert go_on(config, images, tmp_path)[-1] == Ended(6, complete=True)


def child(work: Callable[[], Any]) -> int:
    """Do the work in a forked process."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            os._exit(1)
    return pid


def test_killed_at_random_moments(
    tiny: RunConfig, images: data.Images, tmp_path: Path, whole: Path
) -> None:
    folder, chance = tmp_path / "run", random.Random(4)
    kills = 0
    for attempt in range(60):
        pid = child(lambda: go_on(tiny, images, folder))
        time.sleep(chance.uniform(0.0, 0.03 * (attempt + 1)))
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            break
        kills += 1
    else:
        go_on(tiny, images, folder)
    assert kills >= 5
    assert_equals_whole(folder, whole)


def test_killed_at_every_call_that_touches_the_disk(
    tiny: RunConfig, images: data.Images, tmp_path: Path, whole: Path
) -> None:
    """Die at the k-th open, write, fsync, rename or unlink, then go on; for every third k."""

    def doomed(folder: Path, k: int) -> None:
        calls = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == k:
                    os._exit(9)
                return function(*args, **kwargs)

            return call

        for owner, name in (
            (os, "fsync"),
            (Path, "open"),
            (Path, "replace"),
            (Path, "unlink"),
            (torch, "save"),
        ):
            setattr(owner, name, counted(getattr(owner, name)))
        go_on(tiny, images, folder)

    k, killed = 1, True
    while killed:
        folder = tmp_path / str(k)
        _, status = os.waitpid(child(lambda: doomed(folder, k)), 0)  # noqa: B023
        killed = os.WEXITSTATUS(status) == 9
        assert killed or status == 0
        go_on(tiny, images, folder)
        assert_equals_whole(folder, whole)
        k += 3
    assert k > 20


def test_a_signal_saves_and_the_rest_is_the_same(
    tiny: RunConfig, images: data.Images, tmp_path: Path, whole: Path
) -> None:
    for stop_after in (1, 3):
        folder, asked = tmp_path / str(stop_after), iter(range(100))
        events = go_on(tiny, images, folder, lambda: next(asked) >= stop_after)  # noqa: B023
        assert isinstance(events[-2], Saved) and events[-1] == Ended(stop_after, complete=False)
        go_on(tiny, images, folder)
        assert_equals_whole(folder, whole)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "zeroed"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tiny: RunConfig, images: data.Images, tmp_path: Path, whole: Path, damage: str
) -> None:
    folder = tmp_path / "run"
    go_on(override(tiny, ["optim.steps=4"]), images, folder)
    path = runs.checkpoints(folder)[0]
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content = {
        "truncated": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "empty": bytearray(),
        "zeroed": content[: middle - 512] + bytes(1024) + content[middle + 512 :],
    }[damage]
    path.write_bytes(content)
    old, source, warnings = runs.newest(folder)
    assert old is not None and old.step == 2 and source.name == "step-00000002.pt"
    assert "step-00000004.pt: damaged" in warnings[0] and "the one before" in warnings[0]
    go_on(tiny, images, folder)
    assert_equals_whole(folder, whole)


def test_nothing_left_to_trust_is_an_error(
    tiny: RunConfig, images: data.Images, tmp_path: Path
) -> None:
    go_on(override(tiny, ["optim.steps=2"]), images, tmp_path)
    for path in runs.checkpoints(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(FixableError, match="no checkpoint can be read"):
        runs.newest(tmp_path)


def test_a_second_writer_is_refused_by_name(tmp_path: Path) -> None:
    with session.lock(tmp_path, WORLD):
        began = time.monotonic()
        with (
            pytest.raises(FixableError, match=f"process {os.getpid()}, since .* is writing"),
            session.lock(tmp_path, WORLD),
        ):
            pass
        assert time.monotonic() - began < 1
    pid = child(lambda: session.lock(tmp_path, WORLD).__enter__())
    os.waitpid(pid, 0)
    with session.lock(tmp_path, WORLD):  # death released it
        pass


def test_changes_are_refused_field_by_field(
    tiny: RunConfig, images: data.Images, tmp_path: Path
) -> None:
    go_on(override(tiny, ["optim.steps=2"]), images, tmp_path)
    old = runs.newest(tmp_path)[0]
    assert old is not None
    facts = loop.facts(images)
    free = override(tiny, ["optim.steps=9", "log.every=3", "compute.microbatch=2"])
    assert session.check_same(free, facts, old, accept_changes=False) == []
    changed = override(tiny, ["optim.lr=0.5", "unet.dropout=0"])
    with pytest.raises(FixableError) as caught:
        session.check_same(changed, facts, old, accept_changes=False)
    assert "optim.lr: 0.002 -> 0.5; unet.dropout: 0.2 -> 0.0" in str(caught.value)
    other = {**facts, "data_digest": "other", "program": "9.9"}
    with pytest.raises(FixableError, match=r"run\.data_digest.*run\.program"):
        session.check_same(tiny, other, old, accept_changes=False)
    assert "optim.lr" in session.check_same(changed, facts, old, accept_changes=True)[0]


def test_old_checkpoints_go_and_milestones_stay(
    tiny: RunConfig, images: data.Images, tmp_path: Path
) -> None:
    log = replace(tiny.log, checkpoint_every=1, keep=2, keep_every=3)
    go_on(replace(tiny, log=log), images, tmp_path)
    steps = [int(path.stem[5:]) for path in runs.checkpoints(tmp_path)]
    assert steps == [6, 5, 3]


def test_sampling_writes_a_grid_and_changes_nothing(
    tiny: RunConfig, images: data.Images, tmp_path: Path, whole: Path
) -> None:
    log = replace(tiny.log, sample_every=3, samples=5)
    events = go_on(replace(tiny, log=log), images, tmp_path / "run")
    grids = [event.path for event in events if isinstance(event, Sampled)]
    assert [path.name for path in grids] == ["step-00000003.png", "step-00000006.png"]
    assert Image.open(grids[0]).size == (24, 16)
    for path in grids:
        path.unlink()
    assert_equals_whole(tmp_path / "run", whole)


def test_a_grid_is_laid_out_row_by_row(tmp_path: Path) -> None:
    tiles = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * np.ones((1, 2, 3, 1), np.uint8)
    session.save_grid(tmp_path / "grid.png", tiles, columns=3)
    pixels = np.asarray(Image.open(tmp_path / "grid.png"))
    assert pixels.shape == (4, 9)
    assert pixels[::2, ::3].tolist() == [[0, 1, 2], [3, 4, 255]]


def test_the_checkpoint_that_is_meant(tmp_path: Path, whole: Path) -> None:
    assert runs.find(whole) == whole / "checkpoints" / "step-00000006.pt"
    assert runs.find(None, root=whole.parent) == runs.find(whole)
    with pytest.raises(FixableError, match="ddpm-train digits"):
        runs.find(None, root=tmp_path)
    with pytest.raises(FixableError, match="holds no checkpoint"):
        runs.find(tmp_path)
    with pytest.raises(FixableError, match="no such checkpoint"):
        runs.find(tmp_path / "x.pt")
