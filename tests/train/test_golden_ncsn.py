"""NCSN and NCSNv2: their own code's numbers, by import; annealed Langevin dynamics."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import ddpm_eval as de
from ddpm_train import checkpoint, data, formats
from ddpm_train.architectures import RefineNetConfig
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig, SamplerConfig, schedule_of_levels
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.langevin import Langevin
from ddpm_train.loop import Trainer
from ddpm_train.networks.instance_norm import InstanceNormPlus
from ddpm_train.presets import ncsn_digits
from ddpm_train.samplers import build as build_sampler
from ddpm_train.schedule import build
from ddpm_train.settings import from_dict, override, to_dict
from ddpm_train.weights import build_network
from tests.train import ncsn_files
from tests.train.golden import assert_counts, assert_row, fill, filled, images
from tests.train.test_loop import WORLD

NCSN = "ncsn"
ROWS: dict[str, dict[str, Any]] = {
    NCSN: {"levels": 10},
    "ncsnv2": {},
    "ncsnv2_deeper": {"depth": "deeper"},
    "ncsnv2_deepest": {"depth": "deepest"},
}
CONFIG = """data: !!python/object:argparse.Namespace
  image_size: 32
  logit_transform: false
model: !!python/object:argparse.Namespace
  num_classes: 10
  sigma_begin: 1
  sigma_end: 0.01
"""
SIZE = "refinenet.image_size=32"


def geometric(begin: float, end: float, count: int) -> Tensor:
    ends = math.log(begin), math.log(end)
    return torch.linspace(*ends, count, dtype=torch.float64).exp().float()


def write(folder: Path, name: str) -> Path:
    weights = filled(ncsn_files.refinenet(**ROWS[name]))
    assert_counts(name, weights, buffers=int(name != NCSN))
    state = {f"module.{key}": value for key, value in weights.items()}
    content: list[Any] = [state, {"state": {}}]
    if name != NCSN:
        state |= {key: value + 1 for key, value in state.items()}
        state["module.sigmas"] = geometric(50, 0.01, 20)
        content += [3, 4567, weights]
    torch.save(content, folder / "checkpoint.pth")
    if name == NCSN:
        (folder / "config.yml").write_text(CONFIG)
    return folder / "checkpoint.pth"


def load(folder: Path, name: str) -> Checkpoint:
    return formats.load_any(write(folder, name), changes=[SIZE])


@pytest.mark.parametrize("name", ROWS)
def test_imported_networks_give_the_original_numbers(name: str, tmp_path: Path) -> None:
    content = load(tmp_path, name)
    net = checkpoint.network(content, ema=name != NCSN).double()
    config = content.model.refinenet
    bar = build(content.model.schedule).alphas_bar
    assert config.levels == (10 if name == NCSN else 20)
    levels = torch.tensor([0, 7])
    t = config.levels - levels
    sigmas = geometric(config.sigma_begin, config.sigma_end, config.levels).double()[levels]
    torch.testing.assert_close(bar[t], 1 / (1 + 4 * sigmas**2), rtol=1e-6, atol=0)
    x = 2 * (0.25 * images() + 0.5) - 1
    with torch.no_grad():
        output = net(x * bar[t].sqrt()[:, None, None, None], t)
    assert_row(name, output / sigmas[:, None, None, None])
    assert content.step == (0 if name == NCSN else 4567)


def test_annealed_langevin_dynamics_gives_the_original_numbers(tmp_path: Path) -> None:
    content = load(tmp_path, "ncsnv2")
    net = checkpoint.network(content).double()
    denoise = Denoiser(net, build(content.model.schedule), content.model.objective)
    sampler = Langevin(denoise, level_steps=2, step_lr=1e-7)
    x, K = 2 * (0.25 * images() + 0.5) - 1, sampler.schedule.T
    assert K == 41
    start = torch.erfinv(x) * math.sqrt(2)  # the walk begins with normal noise
    assert x.abs().max() < 1
    with torch.no_grad():
        for i, k in enumerate(range(K, 1, -1)):
            p, _ = sampler.step(start if k == K else x, torch.full((2,), k))
            x = p.mean + (0.5 * p.log_var).exp() * fill(2000004 + i, x.shape).double()
        x_0_hat = sampler.step(x, torch.ones(2, dtype=torch.long)).x_0_hat
    assert_row("ncsnv2_langevin", (x_0_hat + 1) / 2)


def test_langevin_begins_uniformly() -> None:
    """From normal noise, through its distribution function."""
    model = ModelConfig(network="refinenet", refinenet=RefineNetConfig())
    denoise = Denoiser(lambda x, t: 0 * x, build(model.schedule), model.objective)
    z = torch.linspace(-3, 3, 7).view(1, 1, 1, 7)
    sampler = Langevin(denoise, level_steps=1, step_lr=1e-9)
    mean = sampler.step(z, torch.tensor([sampler.schedule.T])).p.mean
    torch.testing.assert_close(mean, 2 * torch.special.ndtr(z) - 1)


def test_levels_that_the_file_does_not_hold_are_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, NCSN)
    (tmp_path / "config.yml").unlink()
    with pytest.raises(FixableError, match=r"does not say refinenet\.sigma_begin"):
        formats.load_any(path)
    changes = ["refinenet.sigma_begin=1", "refinenet.sigma_end=0.01"]
    assert formats.load_any(path, changes=changes).model.schedule.T == 10
    (tmp_path / "config.yml").write_text(CONFIG.replace("logit_transform: false",
                                                        "logit_transform: true"))  # fmt: skip
    with pytest.raises(FixableError, match="logit_transform: true"):
        formats.load_any(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("image_size: big", r"config\.yml: image_size=big: not a whole number"),
        ("sigma_begin: 0", r"config\.yml: sigma_begin=0: out of range"),
        ("sigma_end: 1e-200", r"config\.yml: sigma_end=1e-200: out of range"),
        ("rescaled: yes", r"config\.yml: rescaled: yes"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_named(
    tmp_path: Path, line: str, message: str
) -> None:
    path = write(tmp_path, NCSN)
    with (tmp_path / "config.yml").open("a") as file:
        file.write(f"  {line}\n")
    with pytest.raises(FixableError, match=message):
        formats.load_any(path)


def test_a_schedule_of_other_levels_is_refused(tmp_path: Path) -> None:
    """It trained with an IndexError, or on other noise than its levels."""
    run = override(ncsn_digits(), ["refinenet.levels=5", "refinenet.sigma_begin=1"])
    fix = "--set schedule.T=5 --set schedule.snr_end=0.25"
    with pytest.raises(FixableError, match=r"schedule\.T=50: not that") as refusal:
        build_network(run.model, seed=None)
    assert refusal.value.fix == fix
    build_network(override(run, fix.split()[1::2]).model, seed=None)
    with pytest.raises(FixableError, match=r"schedule\.T=7: not that"):
        formats.load_any(write(tmp_path, NCSN), changes=["schedule.T=7"])


def test_a_score_network_is_sampled_by_langevin_alone(tmp_path: Path) -> None:
    content = load(tmp_path, "ncsnv2")
    again = from_dict(ModelConfig, to_dict(content.model))
    assert again == content.model
    net = checkpoint.network(content)
    denoise = Denoiser(net, build(content.model.schedule), content.model.objective)
    with pytest.raises(FixableError, match="a score network has no p"):
        build_sampler(denoise, SamplerConfig())
    assert isinstance(build_sampler(denoise, SamplerConfig(sampler="langevin")), Langevin)
    with pytest.raises(FixableError, match="visits every level"):
        build_sampler(denoise, SamplerConfig(sampler="langevin", steps=5))
    with pytest.raises(FixableError, match=r"level_steps=3 has no effect"):
        build_sampler(denoise, SamplerConfig(sampler="ddim", level_steps=3))


RELEASED: dict[str, tuple[dict[str, Any], int, int]] = {
    "ncsn cifar10": ({"levels": 10, "sigma_begin": 1.0, "conditional": True}, 30_117_635, 173),
    "cifar10": ({"levels": 232}, 29_694_083, 153),
    "celeba": ({"levels": 500, "sigma_begin": 90.0, "image_size": 64}, 29_694_083, 153),
    "church": ({"levels": 788, "depth": "deeper", "image_size": 64}, 83_445_379, 191),
    "bedroom": ({"levels": 1086, "depth": "deeper", "image_size": 128}, 83_445_379, 191),
    "ffhq": ({"levels": 2311, "depth": "deepest", "image_size": 256}, 94_132_611, 229),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_networks_have_their_parameters(name: str) -> None:
    values, parameters, tensors = RELEASED[name]
    config = RefineNetConfig(**values)
    model = ModelConfig(network="refinenet", refinenet=config, schedule=schedule_of_levels(config))
    sizes = [each.numel() for each in build_network(model, seed=None).parameters()]
    assert (sum(sizes), len(sizes)) == (parameters, tensors)


def test_the_norm_knows_the_means_of_the_channels() -> None:
    """Of channels with the means 0 and 2 the shifts are -1/sqrt(2) and 1/sqrt(2)."""
    norm = InstanceNormPlus(2, 0)
    for name, value in (("alpha", 3.0), ("gamma", 2.0), ("beta", 1.0)):
        getattr(norm, name).data.fill_(value)
    x = torch.tensor([-1.0, 1.0, 1.0, 3.0]).view(1, 2, 1, 2)
    z = norm(x, torch.zeros(1, dtype=torch.long))
    shift = torch.tensor([-1.0, -1.0, 1.0, 1.0]) / 2**0.5
    wanted = 2 * (torch.tensor([-1.0, 1.0, -1.0, 1.0]) + 3 * shift) + 1
    torch.testing.assert_close(z.flatten(), wanted, atol=1e-4, rtol=1e-4)


def test_what_needs_a_bound_is_refused_and_samples_are_drawn(tmp_path: Path) -> None:
    model = de.load(write(tmp_path, "ncsnv2"), settings=[SIZE])
    images = np.zeros((2, 32, 32, 3), np.uint8)
    for measure in (de.bits_per_dim, de.rate_distortion, de.compress, de.reconstruct):
        with pytest.raises(FixableError, match=r"a score network \(NCSN\) has no p"):
            measure(model, images)  # type: ignore[operator]
    with pytest.raises(FixableError, match="a score network"):
        de.progressive(model, 2)
    with pytest.raises(FixableError, match="sampler=langevin"):
        de.sample(model, 2)
    drawn = de.sample(model, 2, sampler="langevin", level_steps=1)
    assert drawn.shape == (2, 32, 32, 3)


def test_score_matching_trains_and_samples(tmp_path: Path) -> None:
    """The squared error of -eps, which is sigma^2 times that of the score."""
    small = override(ncsn_digits(), ["refinenet.base_channels=8", "refinenet.levels=5"])
    run = override(small, ["schedule.T=5", "optim.batch_size=16"])
    images = data.load(run.data, image_size=8, channels=1)
    trainer = Trainer(run, images, WORLD)
    for _ in range(3):
        result = trainer.advance(stopping=lambda: False, measure_loss=True)
        assert result is not None and result.loss is not None and 0 < result.loss < 3
    drawn = trainer.samples(2, stopping=lambda: False)
    assert drawn is not None and drawn.shape == (2, 8, 8, 1)
    trainer.close()
