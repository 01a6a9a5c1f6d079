"""Checkpoints are deleted only when newer whole ones are there, whatever their names say."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddpm_train import checkpoint, data, runs
from ddpm_train.checkpoint import Checkpoint, NewerVersionError
from ddpm_train.config import LogConfig, RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.events import Saved, Warned
from ddpm_train.keeping import Keeper
from ddpm_train.weights import tensor_digest
from tests.train.test_checkpoint import rewritten
from tests.train.test_session import go_on, images  # noqa: F401


def save(folder: Path, step: int) -> Path:
    path = folder / "checkpoints" / f"step-{step:08d}.pt"
    from tests.train.conftest import make_tiny

    content = Checkpoint(model=make_tiny().model, step=step, weights={"x": torch.ones(2)})
    checkpoint.save(path, content)
    return path


def steps(folder: Path) -> list[int]:
    return sorted(runs.step_in(path) for path in runs.checkpoints(folder))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def make_folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir()


def rename(path: Path) -> None:
    """Another step's file under this name."""
    shutil.copy(path.with_name("step-00000010.pt"), path)


DAMAGE = {
    "empty": empty,
    "folder": make_folder,
    "of another step": rename,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:900]),
    "pickle": lambda path: path.write_bytes(b"\x80\x02c__builtin__\nprint\n."),
    "link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}


@pytest.mark.parametrize("keep", [1, 2])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_files_of_higher_steps_are_not_counted(
    tmp_path: Path, damage: str, keep: int
) -> None:
    for step in (10, 20, 30, 40):
        save(tmp_path, step)
    for step in (30, 40):
        DAMAGE[damage](tmp_path / "checkpoints" / f"step-000000{step}.pt")
    keeper = Keeper(tmp_path, LogConfig(keep=keep))
    keeper.trust(tmp_path / "checkpoints/step-00000020.pt")  # resumed from
    saved = save(tmp_path, 25)
    keeper.trust(saved)
    warnings = list(keeper.forget(saved))
    assert steps(tmp_path) == ([25, 30, 40] if keep == 1 else [20, 25, 30, 40])
    assert len(warnings) == 2 and all("neither counted nor deleted" in text for text in warnings)
    assert not list(keeper.forget(saved))  # said once


def test_a_file_that_is_damaged_later_is_no_longer_counted(tmp_path: Path) -> None:
    keeper = Keeper(tmp_path, LogConfig(keep=2))
    for step in (10, 20):
        keeper.trust(save(tmp_path, step))
    empty(tmp_path / "checkpoints/step-00000020.pt")
    saved = save(tmp_path, 30)
    keeper.trust(saved)
    list(keeper.forget(saved))
    assert steps(tmp_path) == [10, 20, 30]


@pytest.mark.parametrize("keep", [0, -1])
def test_zero_keeps_all(tmp_path: Path, keep: int) -> None:
    saved = [save(tmp_path, step) for step in (1, 2, 3)]
    assert not list(Keeper(tmp_path, LogConfig(keep=keep)).forget(saved[-1]))
    assert steps(tmp_path) == [1, 2, 3]


def test_the_one_just_saved_stays_below_newer_ones(tmp_path: Path) -> None:
    save(tmp_path, 90)
    saved = save(tmp_path, 10)
    list(Keeper(tmp_path, LogConfig(keep=1)).forget(saved))
    assert steps(tmp_path) == [10, 90]


def test_names_that_are_none(tmp_path: Path) -> None:
    save(tmp_path, 10)
    place = tmp_path / "checkpoints"
    for name in ("step-11.pt", "step-+0000012.pt", "step-0000001_3.pt", "step-٠٠٠٠٠٠١٤.pt", "x.pt"):
        (place / name).write_bytes(b"")
    assert steps(tmp_path) == [10]


def test_a_run_beside_damage_goes_on_and_keeps_what_it_saved(
    tiny: RunConfig,
    images: data.Images,  # noqa: F811
    tmp_path: Path,
) -> None:
    config = replace(tiny, log=replace(tiny.log, keep=1))
    short = replace(config, optim=replace(config.optim, steps=2))
    go_on(short, images, tmp_path)
    (tmp_path / "checkpoints/step-9999999999.pt").write_bytes(b"")
    (tmp_path / "pngs.partial").mkdir()
    (tmp_path / "notes.partial").write_text("thesis")
    events = go_on(config, images, tmp_path)
    assert any(isinstance(event, Warned) and "9999999999" in event.text for event in events)
    assert steps(tmp_path) == [6, 9999999999]
    assert (tmp_path / "notes.partial").read_text() == "thesis"


def test_what_was_trained_is_saved_when_a_step_fails(
    tiny: RunConfig,
    images: data.Images,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, calls = type(images).read, iter(range(100))

    def broken(self: data.Images, indices: object) -> object:
        if next(calls) == 3:
            raise FixableError("003.png: a broken picture", "replace it or delete it")
        return read(self, indices)  # type: ignore[arg-type]

    monkeypatch.setattr(type(images), "read", broken)
    config = replace(tiny, log=replace(tiny.log, checkpoint_every=100))
    with pytest.raises(FixableError, match="003"):
        go_on(config, images, tmp_path)
    assert steps(tmp_path) == [3]
    monkeypatch.undo()
    events = go_on(config, images, tmp_path)
    assert [event.step for event in events if isinstance(event, Saved)] == [6]


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta["model"]["schedule"].update(beta_end=0.9),
        lambda meta: meta.update(step=7),
        lambda meta: meta["facts"].update(data="another"),
        lambda meta: meta.pop("digest"),
        lambda meta: meta.update(version="2"),
        lambda meta: meta["digests"].update(
            {"weights/a": meta["digests"]["weights/b"], "weights/b": meta["digests"]["weights/a"]}
        ),
    ],
)
def test_an_edited_description_is_refused(tmp_path: Path, change: Callable[[dict], None]) -> None:
    path = tmp_path / "a.pt"
    from tests.train.conftest import make_tiny

    tensors = {"a": torch.ones(2), "b": torch.zeros(2)}
    checkpoint.save(path, Checkpoint(model=make_tiny().model, step=3, weights=tensors))

    def edit(meta: dict, tensors: dict) -> None:
        change(meta)
        if meta["digests"]["weights/a"] == tensor_digest(torch.zeros(2)):
            tensors["weights/a"], tensors["weights/b"] = tensors["weights/b"], tensors["weights/a"]

    rewritten(path, edit)
    with pytest.raises(FixableError, match=r"a\.pt: damaged \(its (description|version)"):
        checkpoint.load(path)


def test_a_newer_version_is_not_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 10)
    rewritten(save(tmp_path, 20), lambda meta, tensors: meta.update(version=99))
    with pytest.raises(NewerVersionError, match="newer"):
        runs.newest(tmp_path)


def test_the_settings_of_an_earlier_version_are_said_to_have_no_digest(tmp_path: Path) -> None:
    path = save(tmp_path, 10)
    rewritten(path, lambda meta, tensors: (meta.pop("digest"), meta.update(version=1)))
    assert "no digest" in checkpoint.load(path).facts["warnings"][0]
