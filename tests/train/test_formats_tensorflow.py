"""TensorFlow's container and the original's variables, without TensorFlow."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ddpm_eval import inspection
from ddpm_train import formats
from ddpm_train.errors import FixableError
from ddpm_train.formats.bundle import Bundle
from ddpm_train.formats.crc32c import crc32c
from tests.train import bundles, foreign_networks
from tests.train.peers import agreement, randomise

KWARGS = {"dataset": "cifar10", "model_mean_type": "eps", "model_var_type": "fixedlarge",
          "beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02,
          "num_diffusion_timesteps": 1000, "dropout": 0.1, "lr": 2e-4}  # fmt: skip
SIZE = foreign_networks.Size()


def make(seed: int) -> nn.Module:
    net = foreign_networks.Pesser(SIZE).eval()
    randomise(net, seed=seed)
    return net


def original(net: nn.Module, suffix: str) -> dict[str, np.ndarray]:
    """The network's weights as the original names and stores them: output channels last."""
    content = {}
    for name, tensor in net.state_dict().items():
        *path, kind = name.split(".")
        norm = tensor.ndim == 1 and path[-1].startswith("norm")
        kind = {"weight": "gamma" if norm else "W", "bias": "beta" if norm else "b"}[kind]
        text = "/".join(path)
        text = re.sub(r"temb/dense/", "temb/dense", text)
        text = re.sub(r"^(down|up)/(\d+)", r"\1_\2", text)
        text = re.sub(r"/(block|attn)/(\d+)", r"/\1_\2", text)
        value = tensor.numpy()
        if value.ndim == 4:
            value = value.transpose(2, 3, 1, 0)
            if path[-1] in ("q", "k", "v", "proj_out", "nin_shortcut"):
                value = value[0, 0]
        elif value.ndim == 2:
            value = value.T
        content[f"model/{text}/{kind}{suffix}"] = np.ascontiguousarray(value)
    return content


def variables(ema: nn.Module, raw: nn.Module) -> dict[str, np.ndarray]:
    content = original(ema, "/ExponentialMovingAverage") | original(raw, "")
    slots = {f"{name}/Adam": value for name, value in original(raw, "").items()}
    return (
        content | slots | {"global_step": np.array(790_000, np.int64), "beta1_power": np.ones(())}
    )


@pytest.fixture(scope="module")
def nets() -> tuple[nn.Module, nn.Module]:
    return make(0), make(1)


def write(folder: Path, nets: tuple[nn.Module, nn.Module], **options: Any) -> Path:
    folder.mkdir(exist_ok=True)
    prefix = folder / "model.ckpt-790000"
    bundles.write(prefix, variables(*nets), **options)
    (folder / "kwargs.json").write_text(json.dumps(KWARGS))
    return prefix


@pytest.fixture(scope="module")
def saved(nets: tuple[nn.Module, nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tf"), nets, shards=3)


@pytest.mark.parametrize("length", [0, 1, 3, 4, 5, 16383, 16384, 16385, 40_001])
def test_the_checksum_is_the_bitwise_one(length: int) -> None:
    data = np.random.default_rng(length).integers(0, 256, length, np.uint8).tobytes()
    assert crc32c(data) == bundles.crc(data)


def test_the_same_function(saved: Path, nets: tuple[nn.Module, nn.Module]) -> None:
    ema, raw = nets
    index = saved.with_name(saved.name + ".index")
    data = saved.with_name(saved.name + ".data-00001-of-00003")
    for path in (saved, index, data, saved.parent):
        content = formats.load_any(path)
        assert agreement(content, ema) < 5e-6
    assert agreement(content, raw, ema=False) < 5e-6
    assert agreement(content, raw) > 0.1
    assert content.step == 790_000 and not content.facts["warnings"]
    assert content.model.objective.variance == "fixedlarge"
    right = inspection.fingerprint(content)
    wrong = inspection.fingerprint(formats.load_any(saved, changes=["unet.pad_down=both"]))
    assert wrong != pytest.approx(right, rel=1e-8)


def test_settings_are_those_of_kwargs(saved: Path) -> None:
    kwargs = saved.parent / "kwargs.json"
    clean = kwargs.read_text()
    change = {"beta_schedule": "warmup10", "num_diffusion_timesteps": 50, "beta_end": 0.3,
              "model_var_type": "fixedsmall", "model_mean_type": "xprev"}  # fmt: skip
    try:
        kwargs.write_text(json.dumps({"nested": KWARGS | change}))
        model = formats.load_any(saved).model
        assert (model.schedule.kind, model.schedule.T, model.schedule.beta_end) == (
            "warmup10", 50, 0.3)  # fmt: skip
        assert (model.objective.prediction, model.objective.variance) == ("mu_tilde", "fixedsmall")
        for key, value in (("model_mean_type", "xnext"), ("beta_schedule", "sigmoid"),
                           ("model_var_type", "odd")):  # fmt: skip
            kwargs.write_text(json.dumps(KWARGS | {key: value}))
            with pytest.raises(FixableError, match=value):
                formats.load_any(saved)
        kwargs.write_text(json.dumps(KWARGS | {"block_size": 2}))
        with pytest.raises(FixableError, match="block_size=2"):
            formats.load_any(saved)
        kwargs.unlink()
        assert any("kwargs.json" in text for text in formats.load_any(saved).facts["warnings"])
    finally:
        kwargs.write_text(clean)


def test_a_compressed_index(
    tmp_path: Path, nets: tuple[nn.Module, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cramjam")
    prefix = write(tmp_path, nets, snappy=True)
    assert agreement(formats.load_any(prefix), nets[0]) < 5e-6
    monkeypatch.setitem(sys.modules, "cramjam", None)
    with pytest.raises(FixableError, match="snappy") as caught:
        formats.load_any(prefix)
    assert "ddpm-eval[tensorflow]" in caught.value.fix


def small(folder: Path, **options: Any) -> tuple[Path, dict[str, np.ndarray]]:
    values = {f"layer_{n:02d}/W": np.arange(n * 3, dtype=np.float32).reshape(n, 3)
              for n in range(40)} | {"step": np.array(7)}  # fmt: skip
    bundles.write(folder / "b", values, **options)
    return folder / "b", values


@pytest.mark.parametrize("shards", [1, 2])
def test_every_variable(tmp_path: Path, shards: int) -> None:
    prefix, values = small(tmp_path, shards=shards)
    content = Bundle(prefix)
    assert content.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(content[name], value)
        assert content[name].shape == value.shape


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    """In the index and in the data: refused by name, or it was padding and all is equal."""
    prefix, values = small(tmp_path)
    noticed = total = 0
    for path in sorted(tmp_path.iterdir()):
        clean = path.read_bytes()
        for position in range(0, len(clean), 13):
            broken = bytearray(clean)
            broken[position] ^= 1 << position % 8
            path.write_bytes(broken)
            total += 1
            try:
                content = Bundle(prefix)
                assert all(np.array_equal(content[name], value) for name, value in values.items())
            except FixableError as error:
                noticed += 1
                assert path.name in error.problem
        path.write_bytes(clean)
    assert noticed > 0.9 * total


@pytest.mark.parametrize("keep", [0, 30, 0.5, 0.99])
@pytest.mark.parametrize("which", ["index", "data-00000-of-00001"])
def test_a_truncated_file_is_named(tmp_path: Path, which: str, keep: float) -> None:
    prefix, _ = small(tmp_path)
    path = tmp_path / f"b.{which}"
    clean = path.read_bytes()
    path.write_bytes(clean[: int(keep * len(clean)) if isinstance(keep, float) else keep])
    with pytest.raises(FixableError, match=f"{which}: damaged"):
        list(Bundle(prefix).values())


def test_what_is_missing(saved: Path, tmp_path: Path) -> None:
    prefix, values = small(tmp_path, shards=2)
    with pytest.raises(FixableError, match="another model"):
        formats.load_any(prefix)
    (tmp_path / "b.data-00001-of-00002").unlink()
    with pytest.raises(FixableError, match="data-00001-of-00002: missing"):
        list(Bundle(prefix).values())
    bundles.write(tmp_path / "c", values)
    with pytest.raises(FixableError, match="name one of them"):
        formats.load_any(tmp_path)


def test_without_averages(tmp_path: Path, nets: tuple[nn.Module, nn.Module]) -> None:
    bundles.write(tmp_path / "m", original(nets[1], ""))
    content = formats.load_any(tmp_path / "m")
    assert not content.ema and agreement(content, nets[1], ema=False) < 5e-6
    assert any("weights=raw" in text for text in content.facts["warnings"])
    assert not torch.equal(*(net.state_dict()["conv_in.weight"] for net in nets))
