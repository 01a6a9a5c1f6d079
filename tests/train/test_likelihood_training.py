"""Training for bits/dim: times that are worth drawing, running errors, and what they lead to."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_train import checkpoint, data, schedule, spacing, times
from ddpm_train.config import DataConfig, ObjectiveConfig, RunConfig, ScheduleConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import q_sample, step_kl
from ddpm_train.errors import FixableError
from ddpm_train.loop import Trainer
from ddpm_train.noise import Stream
from ddpm_train.objective import Objective
from ddpm_train.running_errors import RunningErrors
from ddpm_train.settings import override
from ddpm_train.variances import optimal
from ddpm_train.weights import weights_digest
from ddpm_train.world import World

WORLD = World(torch.device("cpu"))
LINE = schedule.build(ScheduleConfig(kind="log_snr", T=200, snr_start=2e4))
LIKELIHOOD = ["objective.loss=L", "objective.variance=optimal", "objective.times=importance"]
BAR = LINE.alphas_bar
SNR = BAR / (1 - BAR)
ERRORS = 0.2 / (1 + 0.2 * SNR)  # of the best estimate, where x_0 ~ N(0, 0.2)


@pytest.fixture(scope="module")
def images() -> data.Images:
    return data.load(DataConfig(source="digits"), image_size=8, channels=1)


def bits(log_errors: Tensor) -> Tensor:
    """The code length under the best variances: nats per dimension up to a constant."""
    errors = log_errors.exp()
    steps = torch.log1p((SNR[1:-1] - SNR[2:]) * errors[2:])
    return 0.5 * (steps.sum() + log_errors[1])


def test_times_are_drawn_as_a_relative_error_costs() -> None:
    log_errors = ERRORS.log().requires_grad_()
    (gradient,) = torch.autograd.grad(bits(log_errors), log_errors)
    p = times.importance(LINE, ERRORS)
    expected = 0.2 * times.uniform(200) + 0.8 * gradient / gradient.sum()
    torch.testing.assert_close(p[1:], expected[1:])
    assert p[0] == 0


def test_the_bits_of_a_step_are_those_of_the_best_variance() -> None:
    t = torch.arange(2, 201)
    kl = step_kl(LINE, t, ERRORS[2:], optimal(LINE, ERRORS))
    torch.testing.assert_close(kl, 0.5 * torch.log1p((SNR[1:-1] - SNR[2:]) * ERRORS[2:]))


@pytest.mark.parametrize("name", ["uniform", "importance"])
def test_weighed_draws_have_the_mean_of_uniform_ones(name: str) -> None:
    """Over all offsets of the batch the mean is exact: an integral, here by its midpoints."""
    p = times.uniform(200) if name == "uniform" else times.importance(LINE, ERRORS)
    loss = torch.cat([torch.zeros(1), 3 + torch.randn(200)]).double()
    t, weights = times.draw(p, (torch.arange(2_000_000) + 0.5) / 2_000_000)
    assert t.min() == 1 and t.max() == 200
    assert (weights * loss[t]).mean() == pytest.approx(loss[1:].mean().item(), abs=1e-4)
    assert weights.max() <= 1 / times.FLOOR


def test_a_batch_covers_the_times_evenly() -> None:
    stream = Stream(3, "train")
    t, weights = times.draw(times.uniform(200), times.points(stream, 8, range(50), 50))
    assert (t.sort().values.diff() == 4).all() and (weights == 1).all()
    parts = [times.points(stream, 8, part, 50) for part in (range(17), range(17, 50))]
    assert torch.equal(torch.cat(parts), times.points(stream, 8, range(50), 50))
    assert not torch.equal(parts[0], times.points(stream, 9, range(17), 50))


def test_importance_evens_out_what_a_draw_weighs() -> None:
    """Of the gradient by the logarithm of the errors, at equal draws: a tenth of the variance."""
    log_errors = ERRORS.log().requires_grad_()
    (gradient,) = torch.autograd.grad(bits(log_errors), log_errors)

    def variance(p: Tensor) -> float:
        estimate = gradient[1:] / (200 * p[1:])
        return float((p[1:] * (estimate - gradient[1:].mean()).square()).sum())

    assert variance(times.importance(LINE, ERRORS)) < 0.1 * variance(times.uniform(200))


def test_running_errors_find_the_curve() -> None:
    running, generator = RunningErrors(LINE), torch.Generator().manual_seed(0)
    for step in range(1500):
        t, _ = times.draw(
            times.importance(LINE, running.errors), torch.rand(8, generator=generator).double()
        )
        noise = torch.rand(8, generator=generator).double() + 0.5
        old = 3.0 if step < 300 else 1.0  # what the network does not do any more is forgotten
        running.update(step, t, old * noise * ERRORS[t])
    ratio = (running.errors / ERRORS)[1:]
    assert ratio.mean() == pytest.approx(1, abs=0.04) and ratio.std() < 0.12
    gap = bits(running.errors.log()) - bits(ERRORS.log())
    assert abs(gap) < 0.05


def gaussian(variance: str, errors: Tensor | None = ERRORS) -> Denoiser:
    """The best network where x_0 ~ N(0, 0.2): x_0_hat is a multiple of x_t."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        total = 0.2 * BAR + 1 - BAR
        return schedule.at((1 - BAR).sqrt() / total, t, x) * x

    objective = ObjectiveConfig(loss="L", variance=variance)  # type: ignore[arg-type]
    return Denoiser(network, LINE, objective, errors)


@pytest.mark.parametrize("drawn", ["uniform", "importance"])
def test_the_loss_is_the_code_length(drawn: str) -> None:
    """The Gaussian world's entropy, by weighed draws of its T terms."""
    denoise = gaussian("optimal")
    objective = Objective(denoise.objective, denoise)
    p = times.uniform(200) if drawn == "uniform" else times.importance(LINE, ERRORS)
    t, weights = times.draw(p, (torch.arange(4000) + 0.5) / 4000)
    rng = np.random.default_rng(0)
    x_0, eps = torch.from_numpy(rng.normal(size=(2, 4000, 1, 8, 8)))
    x_0 *= math.sqrt(0.2)
    x_t = q_sample(LINE, x_0, t, eps)
    losses = objective.loss(denoise.network(x_t, t), x_0, x_t, t, eps)
    entropy = 0.5 * math.log2(2 * math.pi * math.e * 0.2) - math.log2(2 / 255)
    assert 200 * (weights * losses).mean() == pytest.approx(entropy, abs=0.02)


def test_shortened_chains_have_the_variance_of_their_steps() -> None:
    whole = gaussian("optimal")
    short = whole.respaced(spacing.even(whole.schedule.T, 10))
    rows = short.schedule.times
    torch.testing.assert_close(
        short.log_variances, optimal(short.schedule, ERRORS[rows]), equal_nan=True
    )
    with pytest.raises(FixableError, match="no table of errors"):
        gaussian("optimal", None)


def test_the_checkpoint_carries_its_variance(
    tiny: RunConfig, images: data.Images, tmp_path: Path
) -> None:
    trainer = Trainer(override(tiny, LIKELIHOOD), images, WORLD)
    for _ in range(3):
        trainer.advance(stopping=lambda: False, measure_loss=False)
    trainer.close()
    checkpoint.save(tmp_path / "run.pt", trainer.checkpoint())
    loaded = checkpoint.load(tmp_path / "run.pt")
    assert trainer.running is not None
    assert torch.equal(loaded.tables["errors"], trainer.running.errors)
    assert (loaded.tables["errors"] != RunningErrors(trainer.denoise.schedule).errors).any()
    slim = replace(loaded, weights={}, optimizer={})
    checkpoint.save(tmp_path / "slim.pt", slim)
    assert torch.equal(
        checkpoint.load(tmp_path / "slim.pt").tables["errors"], trainer.running.errors
    )


def test_another_table_is_another_model(tiny: RunConfig, images: data.Images) -> None:
    content = Trainer(override(tiny, LIKELIHOOD), images, WORLD).checkpoint()
    errors = content.tables["errors"]
    one, two = (
        weights_digest(content.ema, content.model, table) for table in (errors, 1.01 * errors)
    )
    assert one != two


def test_half_a_cosine_ends_at_nothing(tiny: RunConfig, images: data.Images) -> None:
    config = override(tiny, ["optim.decay=cosine", "optim.warmup_steps=0", "optim.lr=1e-3"])
    trainer = Trainer(config, images, WORLD)
    rates = []
    for _ in range(6):
        result = trainer.advance(stopping=lambda: False, measure_loss=False)
        assert result is not None
        rates.append(result.lr)
    trainer.close()
    np.testing.assert_allclose(rates, 5e-4 * (1 + np.cos(np.pi * np.arange(6) / 6)), rtol=1e-12)


def test_hybrid_moves_the_variance_alone_by_the_bound(tiny: RunConfig, images: data.Images) -> None:
    config = override(tiny, ["objective.loss=hybrid", "objective.variance=learned_range"])
    trainer = Trainer(config, images, WORLD)
    trainer.close()
    rng = np.random.default_rng(0)
    output = torch.from_numpy(rng.normal(size=(4, 2, 8, 8))).requires_grad_()
    x_0, eps = torch.from_numpy(rng.normal(size=(2, 4, 1, 8, 8)))
    t = torch.tensor([1, 2, 10, 20])
    x_t = q_sample(trainer.denoise.schedule, x_0, t, eps)

    def gradient(loss: str) -> Tensor:
        objective = Objective(replace(config.objective, loss=loss), trainer.denoise)  # type: ignore[arg-type]
        total = objective.loss(output, x_0, x_t, t, eps).sum()
        return torch.autograd.grad(total, output)[0]

    hybrid, bound = gradient("hybrid"), gradient("L")
    torch.testing.assert_close(hybrid[:, 1], 0.001 * 20 * bound[:, 1])
    torch.testing.assert_close(hybrid[:, :1], 2 * (output[:, :1] - eps).detach() / 64)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["objective.loss=hybrid"], "nothing to learn"),
        (["schedule.kind=log_snr", "schedule.snr_end=1e5"], "no signal to noise ratio that falls"),
        (["schedule.kind=log_snr", "schedule.snr_end=0"], "schedule.snr_end=0"),
    ],
)
def test_bad_settings_are_named(
    tiny: RunConfig, images: data.Images, settings: list[str], message: str
) -> None:
    with pytest.raises(FixableError, match=message):
        Trainer(override(tiny, settings), images, WORLD)
