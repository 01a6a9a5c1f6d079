"""Guidance by a classifier: the original code's numbers, and a world where it is exact."""

from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ddpm_train import checkpoint, formats, samplers, schedule
from ddpm_train.chain import chain, prior
from ddpm_train.config import ObjectiveConfig, SamplerConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.formats import classifiers
from ddpm_train.guidance import Gradient, guided
from ddpm_train.networks.classifier import log_probability
from ddpm_train.noise import Stream
from ddpm_train.schedule import at
from tests.train import openai_files
from tests.train.golden import assert_row, filled, images
from tests.train.test_golden_openai import LABELS, OLD, PROCESS, UPDOWN

SCALE = 4.0


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Denoiser, Gradient]:
    """The two networks of the golden rows, by import, in float64."""
    folder: Path = tmp_path_factory.mktemp("openai")
    flags = replace(UPDOWN, classes=10)
    torch.save(filled(openai_files.unet(flags)), folder / "ema_0.9999_000100.pt")
    changes = [*PROCESS, "unet.head_channels=32", OLD]
    content = formats.load_any(folder / "ema_0.9999_000100.pt", changes=changes)
    net = checkpoint.network(content).double()
    weights = filled(openai_files.classifier(replace(UPDOWN, classes=10), "attention", pixels=8))
    torch.save(weights, folder / "classifier.pt")
    file = classifiers.load(folder / "classifier.pt", changes=["encoder.head_channels=32"])
    classifier = file.network().double()
    denoise = Denoiser(net, schedule.build(content.model.schedule), content.model.objective)
    return denoise, Gradient(lambda x, t, y: log_probability(classifier(x, t), y), SCALE)


@pytest.mark.parametrize("row", [0, 12, 24])
def test_guidance_gives_the_original_numbers(original: tuple[Denoiser, Gradient], row: int) -> None:
    denoise, gradient = original
    k, x = torch.full((2,), row + 1), images()
    steps = {}
    for name in ("ancestral", "ddim"):
        plain = samplers.build(denoise, SamplerConfig(sampler=name, spacing="ddim25"))
        with torch.inference_mode():
            steps[name] = guided(plain, gradient, conditional=True).step(x, k, LABELS)
    mean, log_var = steps["ancestral"].p
    assert_row(f"guidance_mean_row{row}", mean)
    assert_row(f"guidance_log_variance_row{row}", log_var)
    assert_row(f"guidance_score_pred_xstart_row{row}", steps["ddim"].x_0_hat)


@pytest.mark.parametrize("convention", samplers.CONVENTIONS)
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_guided_ddim_is_ddim_of_the_guided_noise(
    original: tuple[Denoiser, Gradient], convention: str, eta: float
) -> None:
    """Algorithm 2 written out: eps' = eps - sqrt(1 - alpha-bar) g, and DDIM from there."""
    denoise, gradient = original
    config = SamplerConfig(sampler="ddim", spacing="ddim25", eta=eta, convention=convention)
    plain = samplers.build(denoise, config)
    k, x = torch.tensor([13, 2]), images()
    with torch.no_grad():
        p, x_0_hat = guided(plain, gradient, conditional=True).step(x, k, LABELS)
        before = plain.step(x, k, LABELS)
        process = plain.schedule
        g = gradient(x, process.times[k], LABELS)
        bar, bar_s = (
            table[k].view(-1, 1, 1, 1) for table in (process.alphas_bar, process.alphas_bar_before)
        )
        variance = before.p.log_var.exp()
        eps = (before.p.mean - bar_s.sqrt() * before.x_0_hat) / (1 - bar_s - variance).sqrt()
        eps = eps - (1 - bar).sqrt() * g
        x_0 = before.x_0_hat + (1 - bar) / bar.sqrt() * g
        mean = bar_s.sqrt() * x_0 + (1 - bar_s - variance).sqrt() * eps
    torch.testing.assert_close(x_0_hat, x_0, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(p.mean, mean, rtol=1e-8, atol=1e-8)


class Gaussians:
    """Two classes, x_0 ~ N(-2, 1) and N(2, 1), and the exact network and classifier of both."""

    def __init__(self, T: int) -> None:
        self.process = schedule.from_betas(schedule.linear(T, 0.03 / T, min(0.9, 21 / T)))

    def log_parts(self, x: Tensor, t: Tensor) -> Tensor:
        """log p(x_t | y) up to a constant, [B, 2]; x is [B, 1, 1, 1]."""
        mean = 2 * self.process.alphas_bar.sqrt()[t]
        return torch.stack([-0.5 * (x.flatten() + sign * mean) ** 2 for sign in (1, -1)], 1)

    def network(self, x: Tensor, t: Tensor) -> Tensor:
        """E[eps | x_t] of the mixture: its marginal has unit variance about either mean."""
        noise = at((1 - self.process.alphas_bar).sqrt(), t, x)
        share = self.log_parts(x, t).softmax(1)
        centre = (share[:, 1] - share[:, 0]).view(-1, 1, 1, 1)
        return noise * (x - at(2 * self.process.alphas_bar.sqrt(), t, x) * centre)

    def log_probability(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        return log_probability(self.log_parts(x, t), labels)


@pytest.mark.parametrize("name", ["ancestral", "ddim"])
def test_an_exact_classifier_turns_a_mixture_into_its_class(name: str) -> None:
    """At scale 1 the samples are of the class's own distribution: mean 2 and variance 1."""
    world, n = Gaussians(300), 800
    denoise = Denoiser(world.network, world.process, ObjectiveConfig(variance="fixedlarge"))
    plain = samplers.build(denoise, SamplerConfig(sampler=name), clip=False)
    x_T = prior(Stream(0, "sample"), range(n), (1, 1, 1)).double()
    labels = torch.arange(n) % 2
    sampler = guided(plain, Gradient(world.log_probability, 1.0), conditional=False)
    frames = chain(sampler, x_T, range(n), Stream(0, "sample"), condition=labels)
    x_0 = deque(frames, maxlen=1).pop().x_0_hat.flatten()
    for label, mean in ((0, -2.0), (1, 2.0)):
        some = x_0[labels == label]
        assert some.mean().item() == pytest.approx(mean, abs=0.15)
        assert some.var().item() == pytest.approx(1, abs=0.2)


def test_a_scale_of_nothing_changes_nothing() -> None:
    world = Gaussians(20)
    denoise = Denoiser(world.network, world.process, ObjectiveConfig())
    x, k = prior(Stream(0, "sample"), range(6), (1, 1, 1)).double(), torch.arange(1, 7)
    for name in ("ancestral", "ddim"):
        plain = samplers.build(denoise, SamplerConfig(sampler=name))
        sampler = guided(plain, Gradient(world.log_probability, 0.0), conditional=False)
        one, other = sampler.step(x, k, torch.ones(6, dtype=torch.long)), plain.step(x, k)
        assert torch.equal(one.p.mean, other.p.mean) and torch.equal(one.x_0_hat, other.x_0_hat)
        with pytest.raises(FixableError, match="no class to guide to"):
            sampler.step(x, k)
