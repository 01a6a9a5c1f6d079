"""The variance of Nichol and Dhariwal (2021): between two bounds, as the network says."""

import math
from typing import Any

import pytest
import torch

from ddpm_train import diffusion, schedule
from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.objective import check
from ddpm_train.variances import VARIANCES
from ddpm_train.weights import build_network

PROCESS = schedule.build(ScheduleConfig())
CONFIG = ObjectiveConfig(variance="learned_range")


def log_var(output: float, t: torch.Tensor) -> torch.Tensor:
    x = torch.full((len(t), 1, 1, 1), 0.3).double()
    net: Any = lambda x, t: torch.cat([x, torch.full_like(x, output)], 1)  # noqa: E731
    return Denoiser(net, PROCESS, CONFIG)(x, t).p.log_var.flatten()


def test_the_ends_are_the_fixed_variances() -> None:
    t = torch.arange(2, 1001)
    torch.testing.assert_close(log_var(-1, t), VARIANCES["fixedsmall"](PROCESS)[t])
    torch.testing.assert_close(log_var(1, t), VARIANCES["fixedlarge"](PROCESS)[t])
    middle = (VARIANCES["fixedsmall"](PROCESS) + VARIANCES["fixedlarge"](PROCESS))[t] / 2
    torch.testing.assert_close(log_var(0, t), middle)
    first = torch.tensor([1])  # the upper bound there is beta_1 itself
    assert log_var(1, first).item() == pytest.approx(math.log(1e-4))
    assert log_var(-1, first).exp().item() == pytest.approx(5.4532e-5, rel=1e-4)


def test_the_step_is_that_of_diffusers(monkeypatch: pytest.MonkeyPatch) -> None:
    diffusers = pytest.importorskip("diffusers")
    theirs = diffusers.DDPMScheduler(variance_type="learned_range")
    generator = torch.Generator().manual_seed(0)
    x, z = (torch.randn(1, 3, 4, 4, generator=generator) for _ in range(2))
    out = torch.randn(1, 6, 4, 4, generator=generator)
    target = "diffusers.schedulers.scheduling_ddpm.randn_tensor"
    monkeypatch.setattr(target, lambda *_, **__: z)
    for t in (2, 500, 1000):
        p, _ = Denoiser(lambda x, t: out, PROCESS, CONFIG)(x, torch.tensor([t]))
        ours = p.mean + (0.5 * p.log_var).exp() * z
        wanted = theirs.step(out, t - 1, x).prev_sample
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


def test_the_network_has_twice_the_channels() -> None:
    unet = UNetConfig(image_size=8, base_channels=32, channel_mult=(1,), attn_resolutions=())
    net = build_network(ModelConfig(unet=unet, objective=CONFIG))
    assert net(torch.zeros(1, 3, 8, 8), torch.tensor([1])).shape == (1, 6, 8, 8)
    with pytest.raises(FixableError, match="does not train a learned variance"):
        check(CONFIG, PROCESS)
    terms = diffusion.bound_term(
        PROCESS, torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), torch.tensor([1]),
        Denoiser(net, PROCESS, CONFIG)(torch.zeros(1, 3, 8, 8), torch.tensor([1])).p,
    )  # fmt: skip
    assert terms.isfinite().all()
