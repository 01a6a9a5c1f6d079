"""A checkpoint is whole or refused; nothing in a file is ever executed."""

import errno
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_train import checkpoint, presets, tensorfiles
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.weights import build_network, load_weights, weights_digest


@pytest.fixture
def saved(tiny: RunConfig, tmp_path: Path) -> tuple[Path, Checkpoint]:
    net = build_network(tiny.model, seed=3)
    weights = dict(net.state_dict())
    whole = Checkpoint(
        model=tiny.model,
        step=7,
        weights=weights,
        ema={name: value + 1 for name, value in weights.items()},
        optimizer={"exp_avg/conv_in.bias": torch.arange(5.0)},
        run=tiny,
        facts={"data": "digits train"},
    )
    path = tmp_path / "run" / "step-7.pt"
    checkpoint.save(path, whole)
    return path, whole


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_what_is_saved_is_loaded(saved: tuple[Path, Checkpoint]) -> None:
    path, whole = saved
    content = checkpoint.load(path)
    for group in checkpoint.GROUPS:
        assert equal(getattr(content, group), getattr(whole, group)), group
    assert (content.model, content.run, content.step) == (whole.model, whole.run, 7)
    assert content.facts == {"data": "digits train"}
    assert [p.name for p in path.parent.iterdir()] == ["step-7.pt"]


def test_evaluation_takes_the_average_unless_told_otherwise(
    saved: tuple[Path, Checkpoint],
) -> None:
    content = checkpoint.load(saved[0])
    averaged, raw = checkpoint.network(content), checkpoint.network(content, ema=False)
    assert equal(dict(averaged.state_dict()), content.ema)
    assert equal(dict(raw.state_dict()), content.weights)
    assert not averaged.training
    with pytest.raises(FixableError, match="only raw weights"):
        checkpoint.network(replace(content, ema={}))


def test_every_flipped_byte_is_noticed(saved: tuple[Path, Checkpoint]) -> None:
    """Flip single bits over the whole file: refused, or it was padding and all is equal."""
    path, whole = saved
    clean = path.read_bytes()
    noticed = 0
    positions = range(11, len(clean), len(clean) // 150)
    for position in positions:
        broken = bytearray(clean)
        broken[position] ^= 1 << position % 8
        path.write_bytes(broken)
        try:
            content = checkpoint.load(path)
        except FixableError as error:
            noticed += 1
            assert str(path) in error.problem and error.fix
        else:
            for group in checkpoint.GROUPS:
                assert equal(getattr(content, group), getattr(whole, group))
    assert noticed > 0.8 * len(positions)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.999])
def test_a_truncated_file_is_named(saved: tuple[Path, Checkpoint], keep: float) -> None:
    path, _ = saved
    clean = path.read_bytes()
    path.write_bytes(clean[: int(keep * len(clean)) if isinstance(keep, float) else keep])
    with pytest.raises(FixableError, match=r"step-7\.pt: damaged"):
        checkpoint.load(path)


def rewritten(path: Path, change: Any) -> None:
    content = torch.load(path, weights_only=True)
    meta = json.loads(content["meta"])
    change(meta, content["tensors"])
    content["meta"] = json.dumps(meta)
    torch.save(content, path)


def test_tensors_that_were_swapped_are_noticed(saved: tuple[Path, Checkpoint]) -> None:
    def swap(meta: Any, tensors: Any) -> None:
        a, b = "weights/middle.block_0.conv1.weight", "weights/middle.block_1.conv1.weight"
        tensors[a], tensors[b] = tensors[b], tensors[a]

    rewritten(saved[0], swap)
    with pytest.raises(FixableError, match="does not match its digest"):
        checkpoint.load(saved[0])


def test_a_newer_version_is_refused(saved: tuple[Path, Checkpoint]) -> None:
    rewritten(saved[0], lambda meta, tensors: meta.update(version=99))
    with pytest.raises(FixableError, match="fix: pip install --upgrade"):
        checkpoint.load(saved[0])


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("container", ["zip", "bare"])
def test_a_pickle_is_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, container: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pt"
    if container == "zip":
        torch.save({"meta": "{}", "tensors": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FixableError):
        checkpoint.load(path)
    assert not (tmp_path / "exploded").exists()


def test_other_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match="no such file"):
        checkpoint.load(tmp_path / "none.pt")
    with pytest.raises(FixableError, match="a folder"):
        checkpoint.load(tmp_path)
    foreign = tmp_path / "foreign.pt"
    torch.save({"model": torch.zeros(3)}, foreign)
    with pytest.raises(FixableError, match="not a checkpoint of ddpm-train"):
        checkpoint.load(foreign)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", "y")
    with pytest.raises(FixableError, match=r"a\.zip: damaged"):
        checkpoint.load(tmp_path / "a.zip")


def test_weights_that_do_not_fit_are_listed(saved: tuple[Path, Checkpoint]) -> None:
    content = checkpoint.load(saved[0])
    weights = dict(content.weights)
    weights["extra"] = weights.pop("conv_in.bias")
    weights["conv_in.weight"] = weights["conv_in.weight"][:, :, :1]
    with pytest.raises(FixableError) as caught:
        load_weights(build_network(content.model), weights)
    text = str(caught.value)
    assert "3 weights do not fit" in text and "conv_in.bias is missing" in text
    assert "extra is not part" in text and "(32, 1, 1, 3) instead of (32, 1, 3, 3)" in text


def test_nan_is_never_written(saved: tuple[Path, Checkpoint]) -> None:
    path, whole = saved
    clean = path.read_bytes()
    name = next(iter(whole.ema))
    with pytest.raises(FixableError, match="NaN or Inf"):
        checkpoint.save(path, replace(whole, ema={name: whole.ema[name] * float("nan")}))
    assert path.read_bytes() == clean


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_at_any_point_leaves_the_old_file(
    saved: tuple[Path, Checkpoint], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path, whole = saved
    clean = path.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr(torch, "save", lambda content, file: (file.write(b"half"), full()))
        elif call == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(FixableError, match="disk is full"):
            checkpoint.save(path, replace(whole, step=8))
    assert path.read_bytes() == clean
    assert [p.name for p in path.parent.iterdir()] == ["step-7.pt"]


def test_a_stop_in_the_middle_of_a_save_stays_a_stop(
    saved: tuple[Path, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch raises "unexpected pos" in place of what stopped it."""
    path, whole = saved
    clean, save = path.read_bytes(), torch.save

    class Stopped(io.BytesIO):
        def write(self, data: object) -> int:
            raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", lambda content, _file: save(content, Stopped()))
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(path, replace(whole, step=8))
    assert path.read_bytes() == clean
    assert [p.name for p in path.parent.iterdir()] == ["step-7.pt"]


def test_a_save_that_reads_back_wrong_never_takes_the_name(
    saved: tuple[Path, Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = saved
    clean, save = path.read_bytes(), torch.save

    def faulty(content: object, file: io.BytesIO) -> None:
        buffer = io.BytesIO()
        save(content, buffer)
        data = bytearray(buffer.getvalue())
        data[len(data) // 2] ^= 4
        file.write(data)

    monkeypatch.setattr(torch, "save", faulty)
    with pytest.raises(FixableError, match="damaged"):
        checkpoint.save(path, replace(whole, step=8))
    assert path.read_bytes() == clean


@pytest.mark.parametrize(
    "change",
    [
        lambda texts, tensors: tensors.update(a=tensors["a"].view(3, 2)),
        lambda texts, tensors: tensors.update(a=tensors["a"].nextafter(torch.tensor(9.0))),
        lambda texts, tensors: tensors.update(b=tensors["a"]),
        lambda texts, tensors: tensors.pop("half"),
        lambda texts, tensors: tensors.update(half=tensors["half"].clone()),
        lambda texts, tensors: texts.update(meta="{ }"),
    ],
)
def test_another_content_than_was_meant_is_noticed(
    tmp_path: Path, change: Callable[[dict[str, str], dict[str, torch.Tensor]], object]
) -> None:
    """Tensors that share memory are written once, and compared once."""
    pair = torch.arange(12.0)
    tensors = {"a": torch.rand(2, 3), "half": pair[6:], "whole": pair}
    texts = {"meta": "{}"}
    path = tmp_path / "some.pt"
    torch.save({**texts, "tensors": tensors}, path)
    tensorfiles.compare(path, {**texts, "tensors": dict(tensors)})
    change(texts, tensors)
    with pytest.raises(FixableError, match=r"some\.pt: damaged \(its"):
        tensorfiles.compare(path, {**texts, "tensors": tensors})


def test_the_digest_names_the_weights_and_not_the_file(saved: tuple[Path, Checkpoint]) -> None:
    content = checkpoint.load(saved[0])
    names = {
        weights_digest(content.ema, content.model),
        weights_digest(saved[1].ema, saved[1].model),
    }
    assert len(names) == 1
    changed = {**content.ema, "conv_in.bias": content.ema["conv_in.bias"] + 1}
    assert weights_digest(changed, content.model) not in names


def test_a_new_setting_renames_no_model() -> None:
    """The digests of records and stores: as they were before any of the later settings."""
    first = "31b666d50a00fd3a5ac2fce2cce833b8f1af16c53d4d27af763371659c5a402d"
    assert weights_digest({}, ModelConfig()) == first
    second = "321568beffde333ea49a74b75d92a0fb61002162a965f4626aa039e1dab8e419"
    digits, weights = presets.digits().model, {"a": torch.arange(3.0)}
    assert weights_digest(weights, digits) == second
    for key, value in (("classes", 3), ("fourier", (7,)), ("heads", 2)):
        other = replace(digits, unet=replace(digits.unet, **{key: value}))
        assert weights_digest(weights, other) != second
