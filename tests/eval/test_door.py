"""The door: what is imported, what its functions take, and that nothing else changes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpm_eval as de
from ddpm_eval.model import Model
from ddpm_train import checkpoint, presets
from ddpm_train.architectures import UNetConfig
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.weights import build_network

ROOT = Path(__file__).parents[2]
TINY = ModelConfig(
    schedule=ScheduleConfig(T=20, beta_start=5e-3, beta_end=0.5),
    unet=UNetConfig(
        image_size=8,
        channels=1,
        base_channels=32,
        channel_mult=(1,),
        num_res_blocks=1,
        attn_resolutions=(),
        dropout=0.5,
    ),
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint with weights that are not as they were initialised."""
    ema, raw = (
        {
            name: value + 0.02 * torch.sin(torch.arange(value.numel()) + k).view(value.shape)
            for name, value in build_network(TINY).state_dict().items()
        }
        for k in (0, 1)
    )
    path = tmp_path / "tiny.pt"
    run = presets.digits()
    checkpoint.save(path, Checkpoint(model=TINY, step=7, ema=ema, weights=raw, run=run))
    return path


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter holds after some code."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_import_is_light_and_names_every_function() -> None:
    loaded = modules_after("import ddpm_eval as de; assert 'load' in de.__all__ and dir(de)")
    assert not {"torch", "numpy", "pandas", "matplotlib", "scipy"} & loaded
    for name in de.__all__:
        assert callable(getattr(de, name))
        assert getattr(de, name).__doc__.count(">>>") or name == "load"
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = de.nonsense  # type: ignore[attr-defined]


def test_a_model_is_loaded_by_text_path_or_home(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(saved.parent))
    models = [de.load(path) for path in (saved, str(saved), "~/tiny.pt")]
    assert len({model.facts.digest for model in models}) == 1
    raw = de.load(saved, weights="raw")
    assert (models[0].facts.weights, raw.facts.weights) == ("ema", "raw")
    assert models[0].facts.digest != raw.facts.digest
    assert str(raw) == (
        f"tiny.pt, step 7: raw weights, {raw.facts.parameters:,} parameters, "
        "8x8x1 images, T = 20, fixedlarge, on cpu"
    )


def test_averaged_weights_that_equal_the_raw_ones_are_said(saved: Path) -> None:
    content = checkpoint.load(saved)
    same = saved.with_name("same.pt")
    checkpoint.save(same, Checkpoint(model=TINY, step=7, ema=content.ema, weights=content.ema))
    assert "equal the raw ones" in de.load(same).facts.file["warnings"][0]
    assert "warnings" not in de.load(saved).facts.file


def test_the_network_is_prepared_when_it_is_first_evaluated(saved: Path) -> None:
    model = de.load(saved)
    network: Any = model.denoise.network
    assert "network" not in vars(network)
    x = torch.zeros(2, 1, 8, 8)
    assert network(x, torch.tensor([1, 20])).shape == x.shape
    assert "network" in vars(network)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("times", ["paper", "index"])
def test_a_wrapped_network_is_the_loaded_one(saved: Path, times: Any, training: bool) -> None:
    net = checkpoint.network(checkpoint.load(saved)).train(training)
    module = net if times == "paper" else Counting(net)
    mine = de.wrap(
        module, schedule=TINY.schedule, image_shape=(1, 8, 8), times=times, weights="ema"
    )
    loaded = de.load(saved)
    x, t = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(1, 6)
    a, b = (model.denoise.network(x, t) for model in (mine, loaded))
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    assert net.training == training
    assert mine.facts.weights == "ema"
    assert mine.facts.parameters == loaded.facts.parameters


class Counting(nn.Module):
    """A network that counts times from 0."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t + 1)  # type: ignore[no-any-return]


class Linear(nn.Module):
    """The smallest network there is."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x * self.scale


def wrapped(net: Any = None, **options: Any) -> Model:
    plain = {"schedule": torch.linspace(0.01, 0.3, 20), "image_shape": (1, 8, 8)}
    return de.wrap(net or Linear(), **{**plain, **options})


def test_a_wrapped_network_is_known_by_what_it_is() -> None:
    other = Linear()
    with torch.no_grad():
        other.scale += 1
    different = [
        wrapped(),
        wrapped(other),
        wrapped(predicts="mu_tilde"),
        wrapped(times="index"),
        wrapped(variance="fixedsmall"),
        wrapped(schedule=torch.linspace(0.01, 0.31, 20)),
    ]
    assert len({model.facts.digest for model in different}) == len(different)
    assert (
        wrapped().facts.digest
        == wrapped(schedule=torch.linspace(0.01, 0.3, 20).tolist()).facts.digest
    )


def test_what_diffusers_networks_give_is_taken() -> None:
    class Output(nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Any:
            return type("UNet2DOutput", (), {"sample": x * 0})()

    x = torch.ones(2, 1, 8, 8)
    assert not wrapped(Output()).denoise.network(x, torch.tensor([1, 2])).any()


WRONG: list[tuple[str, Callable[[], Any]]] = [
    ("path=int: not a path", lambda: de.load(3)),  # type: ignore[arg-type]
    ("no such checkpoint", lambda: de.load("nowhere.pt")),
    ("weights=best: not a choice", lambda: de.load("x.pt", weights="best")),  # type: ignore[arg-type]
    ("device=tpu", lambda: de.load("x.pt", device="tpu")),
    ("precision=fp8: unknown", lambda: de.load("x.pt", precision="fp8")),
    ("net=function: not a torch.nn.Module", lambda: wrapped(lambda x, t: x)),
    ("predicts=noise: not a choice", lambda: wrapped(predicts="noise")),
    ("variance=none: not a choice", lambda: wrapped(variance="none")),
    ("times=zero: not a choice", lambda: wrapped(times="zero")),
    ("image_shape=8: not", lambda: wrapped(image_shape=8)),
    ("image_shape=.*below 1", lambda: wrapped(image_shape=(0, 8, 8))),
    ("schedule=str: no forward process", lambda: wrapped(schedule="linear")),
    ("schedule: betas of shape", lambda: wrapped(schedule=torch.ones(2, 2))),
    ("betas must lie in", lambda: wrapped(schedule=[0.1, 2.0])),
    ("split=valid: not a split", lambda: de.images("digits", split="valid")),
    ("images=cifr10: no such file", lambda: de.images("cifr10")),
    ("path=x: belongs to a named data set", lambda: de.images("y", path="x")),
    ("float64 .* are not uint8", lambda: de.images(np.zeros((2, 8, 8, 1)))),  # type: ignore[arg-type]
    ("has the channels first", lambda: de.images(np.zeros((2, 3, 8, 8), np.uint8))),
    ("does not say what it was trained on", lambda: de.images(wrapped())),
    ("array is 9x8x1 .* the model takes 8x8x1", lambda: de.images(BAD, like=wrapped())),
]
BAD = np.zeros((2, 9, 8, 1), np.uint8)


@pytest.mark.parametrize(("message", "call"), WRONG, ids=[message for message, _ in WRONG])
def test_what_is_wrong_is_one_clear_line(message: str, call: Callable[[], Any]) -> None:
    with pytest.raises(FixableError, match=message) as caught:
        call()
    assert "--" not in str(caught.value)
    assert "\n" not in caught.value.problem


def test_a_network_of_another_shape_says_so() -> None:
    with pytest.raises(FixableError, match=r"net: gives \[1, 2, 8, 8\] .*\[1, 1, 8, 8\] expected"):
        wrapped(Linear(2)).denoise.network(torch.zeros(1, 1, 8, 8), torch.tensor([1]))


def test_images_of_every_kind(tmp_path: Path, saved: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", train=pixels, test=pixels[:4])
    assert len(de.images(pixels)) == len(de.images(tmp_path / "x.npz")) == 6
    part = de.images(str(tmp_path / "x.npz"), split="test")
    assert (len(part), part.split, part.dataset) == (4, "test", "x")
    assert len(de.images("npz", path=tmp_path / "x.npz", split="train")) == 6
    of_run = de.images(de.load(saved), split="train")
    assert (of_run.name, len(of_run)) == ("digits train", 1500)
    assert de.images(part, like=de.load(saved)) is part


def test_a_report_holds_results_of_a_model_and_of_images_side_by_side(
    saved: Path, tmp_path: Path
) -> None:
    """Each has its own record, which a second report adds to; no other record is touched."""
    model, test = de.load(saved, device="cpu"), de.images("digits", split="test")
    bound = de.bits_per_dim(model, test, n=3, batch=60)
    quality = de.quality(test[:20].read(range(20)), test, extractor="digits-cnn", metrics=["FID"])
    for results in ([bound, quality], [quality]):
        page = de.report(results, tmp_path / "mine" if len(results) > 1 else tmp_path / "other")
        assert f"{quality.scores[0].value:.1f}" in page.read_text("utf-8")
    assert sorted(path.parent.name for path in (tmp_path / "mine").glob("*/results.json")) == [
        "array",
        "digits",
    ]
    with pytest.raises(FixableError, match="a record lies there"):
        de.report([bound, quality], tmp_path / "other")
