"""The chain: its laws in the Gaussian world, with any number of steps and either sampler."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ddpm_train import samplers, schedule, spacing, variances
from ddpm_train.chain import Frame, chain, prior, sample
from ddpm_train.chain import walk as walk_on
from ddpm_train.config import ObjectiveConfig, SamplerConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import kl, q_posterior
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.predictions import PREDICTIONS
from ddpm_train.samplers import Ancestral, Sampler
from ddpm_train.schedule import NoiseSchedule, at
from tests import oracle

STREAM = Stream(5, "sample")
LIKE = torch.zeros((), dtype=torch.float64)


def shorten(
    denoise: Denoiser, sampler: str = "ancestral", *, clip: bool = False, **settings: object
) -> Sampler:
    config = SamplerConfig(sampler=sampler, **settings)  # type: ignore[arg-type]
    return samplers.build(denoise, config, clip=clip)


def walk(sampler: Sampler, n: int) -> list[Frame]:
    x_T = prior(STREAM, range(n), oracle.SHAPE).to(LIKE)
    return list(chain(sampler, x_T, range(n), STREAM))


def plain(denoise: Denoiser, n: int) -> Tensor:
    """Algorithm 2 in its own words."""
    x, T = prior(STREAM, range(n), oracle.SHAPE).to(LIKE), denoise.schedule.T
    for t in range(T, 1, -1):
        p, _ = denoise(x, torch.full((n,), t), clip=False)
        z = normal(STREAM, range(n), oracle.SHAPE, steps=t).to(LIKE)
        x = p.mean + (0.5 * p.log_var).exp() * z
    return denoise(x, torch.ones(n, dtype=torch.long), clip=False).x_0_hat


def assert_standard_normal(x: Tensor) -> None:
    assert x.mean().item() == pytest.approx(0, abs=4 / x.numel() ** 0.5)
    assert x.var().item() == pytest.approx(1, abs=4 * (2 / x.numel()) ** 0.5)
    neighbours = (x[..., 1:] * x[..., :-1]).mean().item()
    assert neighbours == pytest.approx(0, abs=4 / x.numel() ** 0.5)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 29, 30])
def test_any_number_of_ancestral_steps_draws_from_the_data(steps: int) -> None:
    whole = oracle.Exact(oracle.process(30))
    frames = walk(shorten(whole, steps=steps), 200)
    assert len(frames) == steps and frames[-1].t == (1 if steps > 1 else 30)
    # The last step is noiseless: it shrinks N(0, I) by x_0_hat's sqrt(alpha-bar_t).
    assert_standard_normal(frames[-1].x_0_hat / whole.schedule.alphas_bar[frames[-1].t].sqrt())
    for frame in frames:
        assert frame.x_t.var().item() == pytest.approx(1, abs=0.03)


def test_all_steps_are_algorithm_2_bit_for_bit() -> None:
    whole = oracle.Exact(oracle.process(30))
    for steps in (0, 30):
        assert torch.equal(walk(shorten(whole, steps=steps), 3)[-1].x_0_hat, plain(whole, 3))


@pytest.mark.parametrize("steps", [2, 5, 40])
def test_ddim_turns_without_noise(steps: int) -> None:
    """With sqrt(alpha-bar_t) = cos(a_t), x_s = cos(a_t - a_s) x_t: the flow that keeps N(0, I)."""
    whole = oracle.Exact(oracle.process(40))
    short = shorten(whole, "ddim", steps=steps)
    angles = whole.schedule.alphas_bar[[0, *spacing.even(40, steps)]].sqrt().arccos()
    frames = walk(short, 4)
    shrink = (angles[1:] - angles[:-1]).cos().prod()
    torch.testing.assert_close(frames[-1].x_0_hat, shrink * frames[0].x_t, rtol=1e-10, atol=1e-12)


def test_ddim_tends_to_the_data() -> None:
    steps = 1000
    frames = walk(shorten(oracle.Exact(oracle.process(steps)), "ddim"), 50)
    expected = math.exp(-((math.pi / 2) ** 2) / steps)  # of the variance, to first order at least
    assert expected - 0.002 < frames[-1].x_0_hat.var() / frames[0].x_t.var() < 1


@pytest.mark.parametrize("steps", [1, 6, 30])
def test_ddim_with_eta_1_is_ancestral_with_the_posterior_variance(steps: int) -> None:
    tables = oracle.process(30)
    network = oracle.Exact(tables).network
    small = Denoiser(network, tables, ObjectiveConfig(variance="fixedsmall"))
    one, other = (
        walk(shorten(small, name, steps=steps, eta=eta, clip=True), 3)
        for name, eta in (("ddim", 1.0), ("ancestral", 0.0))
    )
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a.x_t, b.x_t, rtol=1e-9, atol=1e-9)


def test_eta_scales_the_deviation_and_keeps_the_marginal() -> None:
    """q(x_s | x_0) is the forward process's for every eta (Song et al., lemma 1)."""
    tables = oracle.process(30)
    x_0, eps = oracle.images(2)
    perfect = Denoiser(lambda x, t: eps[None], tables, ObjectiveConfig())
    for eta, convention in itertools.product((0.0, 0.3, 1.0), samplers.CONVENTIONS):
        short = shorten(perfect, "ddim", steps=9, eta=eta, convention=convention)
        process = short.schedule
        for k in range(2, 10):
            x_t = process.alphas_bar[k].sqrt() * x_0 + (1 - process.alphas_bar[k]).sqrt() * eps
            p, x_0_hat = short.step(x_t[None], torch.tensor([k]))
            torch.testing.assert_close(x_0_hat[0], x_0, rtol=1e-9, atol=1e-9)
            rest = p.mean[0] - process.alphas_bar[k - 1].sqrt() * x_0
            variance = p.log_var.exp().item()
            scale = (1 - process.alphas_bar[k - 1] - variance).sqrt()
            torch.testing.assert_close(rest, scale * eps, rtol=1e-9, atol=1e-9)
            assert variance == pytest.approx(eta**2 * process.posterior_variances[k].item())
            assert short.is_certain(k) == (eta == 0)


def test_the_network_is_evaluated_at_the_papers_t() -> None:
    times: list[int] = []

    def network(x: Tensor, t: Tensor) -> Tensor:
        times.extend(t.tolist())
        return 0 * x

    whole = Denoiser(network, oracle.process(30), ObjectiveConfig())
    frames = walk(shorten(whole, steps=4), 1)
    assert times == [frame.t for frame in frames] == [30, 20, 11, 1]
    assert [frame.k for frame in frames] == [4, 3, 2, 1]


def test_a_condition_reaches_the_network_and_only_where_there_is_one() -> None:
    def network(x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        return condition.to(x).view(-1, 1, 1, 1) * x

    conditional = Ancestral(Denoiser(network, oracle.process(30), ObjectiveConfig()))
    labels = torch.tensor([0, 2, 1])
    x_0 = sample(conditional, range(3), oracle.SHAPE, STREAM, like=LIKE, condition=labels)
    for i, label in enumerate(labels):
        alone = sample(conditional, [i], oracle.SHAPE, STREAM, like=LIKE, condition=label[None])
        torch.testing.assert_close(x_0[i : i + 1], alone)
    assert len({float(image.std()) for image in x_0}) == 3
    plain = Ancestral(Denoiser(lambda x, t: 0 * x, oracle.process(30), ObjectiveConfig()))
    assert len(walk(plain, 1)) == 30  # a network of two arguments


def test_a_frame_carries_the_step_that_follows() -> None:
    frames = walk(Ancestral(oracle.Exact(oracle.process(30)), clip=False), 2)
    for frame, following in itertools.pairwise(frames):
        z = normal(STREAM, range(2), oracle.SHAPE, steps=frame.t).to(LIKE)
        assert torch.equal(following.x_t, frame.p.mean + (0.5 * frame.p.log_var).exp() * z)


def test_a_walk_ends_as_the_sample() -> None:
    sampler = Ancestral(oracle.Exact(oracle.process(30)))
    steps = walk_on(chain(sampler, prior(STREAM, [4], oracle.SHAPE).to(LIKE), [4], STREAM))
    with pytest.raises(StopIteration) as end:
        for _ in range(31):
            next(steps)
    assert torch.equal(end.value.value, sample(sampler, [4], oracle.SHAPE, STREAM, like=LIKE))


def test_noise_belongs_to_the_image_and_the_papers_t() -> None:
    """Another batch, the same images; a walk that begins in the middle, the same noise."""
    whole = oracle.Exact(oracle.process(30))
    short = shorten(whole, steps=4)
    frames = walk(short, 5)
    x_t = frames[1].x_t[[3, 1]]
    rest = list(chain(short, x_t, [3, 1], STREAM, start=20))
    assert [frame.t for frame in rest] == [20, 11, 1]
    torch.testing.assert_close(rest[-1].x_0_hat, frames[-1].x_0_hat[[3, 1]], rtol=1e-12, atol=1e-12)
    z = normal(STREAM, [3], oracle.SHAPE, steps=20).to(LIKE)
    p, _ = short.step(x_t[:1], torch.tensor([3]))
    assert torch.equal(rest[1].x_t[:1], p.mean + (0.5 * p.log_var).exp() * z)
    with pytest.raises(FixableError, match="begin at 20"):
        next(chain(short, x_t, [3, 1], STREAM, start=19))


def one_guess(tables: NoiseSchedule, prediction: str, *, halves: bool = False) -> Denoiser:
    """One guess of x_0 in the words of any prediction, and a position between two variances."""
    guess = oracle.images(1).clamp(-0.9, 0.9)
    target, scale = PREDICTIONS[prediction].target, PREDICTIONS[prediction].scale

    def network(x: Tensor, t: Tensor) -> Tensor:
        bar = tables.alphas_bar
        x = x if scale is None else x / at(scale(tables), t, x)
        eps = (x - at(bar.sqrt(), t, x) * guess) * at((1 - bar).rsqrt(), t, x)
        out = target(tables, guess.expand_as(x), x, t, eps)
        return torch.cat([out, torch.full_like(out, 0.5)], 1) if halves else out

    variance = "learned_range" if halves else "fixedlarge"
    return Denoiser(network, tables, ObjectiveConfig(prediction=prediction, variance=variance))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "sampler", [{}, *({"sampler": "ddim", "convention": c} for c in samplers.CONVENTIONS)]
)
@pytest.mark.parametrize("prediction", sorted(set(PREDICTIONS) - {"score"}))
def test_every_prediction_walks_the_same_way(prediction: str, sampler: dict[str, str]) -> None:
    tables = oracle.process(30)
    one, two = (
        walk(shorten(one_guess(tables, name), steps=7, **sampler), 3)
        for name in ("eps", prediction)
    )
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a.x_t, b.x_t, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(a.x_0_hat, b.x_0_hat, rtol=1e-6, atol=1e-6)


def test_a_learned_range_lies_between_the_respaced_variances() -> None:
    short = shorten(one_guess(oracle.process(30), "eps", halves=True), steps=7)
    for k in range(2, 8):
        x_t = oracle.images(1)
        p, _ = short.step(x_t, torch.tensor([k]))
        small, large = variances.fixed_small(short.schedule)[k], short.schedule.betas[k].log()
        expected = (0.25 * small + 0.75 * large).expand_as(p.log_var)
        torch.testing.assert_close(p.log_var, expected)


def test_respacing_is_the_product_of_its_steps() -> None:
    """q(x_t | x_s) of the respaced process is that of the steps between; so is the posterior."""
    whole = oracle.process(30)
    times = [2, 3, 17, 30]
    short = schedule.respace(whole, times)
    edges = [0, *times]
    for row, (s, t) in enumerate(itertools.pairwise(edges), 1):
        first = (1 - whole.betas[s + 1 : t + 1]).prod()
        assert short.betas[row].item() == pytest.approx(1 - first.item(), rel=1e-12)
    assert torch.equal(short.alphas_bar, whole.alphas_bar[edges])
    x_0, x_t = oracle.images(2)
    # Two steps at once: integrate q(x_2 | x_3) against q(x_1 | x_2), in closed form.
    two, three = (q_posterior(whole, x_0[None], x_t[None], torch.tensor([t])) for t in (2, 3))
    c_t = ((1 - whole.betas).sqrt() * (1 - whole.alphas_bar_before) / (1 - whole.alphas_bar))[2]
    mean = two.mean + c_t * (three.mean - x_t)
    variance = two.log_var.exp() + c_t**2 * three.log_var.exp()
    pair = q_posterior(schedule.respace(whole, [1, 3]), x_0[None], x_t[None], torch.tensor([2]))
    merged = type(pair)(mean, variance.log())
    assert kl(pair, merged).abs().max() < 1e-20 and kl(merged, pair).abs().max() < 1e-20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sampler": "euler"}, "choose ancestral, ddim, heun or langevin"),
        ({"sampler": "ddim", "steps": 31}, "choose 1 to 30"),
        ({"sampler": "ddim", "eta": 1.5}, "eta=1.5: out of range"),
        ({"sampler": "ddim", "convention": "theirs"}, "rederived, predicted or unclipped"),
        ({"eta": 0.5}, "set sampler=ddim, or eta=0"),
        ({"convention": "predicted"}, "convention=predicted has no effect on the ancestral"),
    ],
)
def test_what_means_nothing_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(FixableError, match=message):
        shorten(oracle.Exact(oracle.process(30)), **arguments)  # type: ignore[arg-type]


def test_a_learned_variance_of_single_steps_is_refused_only_where_it_matters() -> None:
    tables = oracle.process(30)
    learned = Denoiser(
        lambda x, t: torch.cat([x, x], 1), tables, ObjectiveConfig(variance="learned", loss="L")
    )
    with pytest.raises(FixableError, match="take all 30 steps, or set sampler=ddim"):
        shorten(learned, steps=10)
    assert shorten(learned, steps=30) == Ancestral(learned, clip=False)
    assert len(walk(shorten(learned, "ddim", steps=3, eta=1.0, clip=True), 1)) == 3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["ancestral", "ddim"])
def test_no_step_waits_for_the_accelerator(name: str) -> None:
    def network(x: Tensor, t: Tensor) -> Tensor:
        return x * t.to(x, non_blocking=True).view(-1, 1, 1, 1)

    whole = Denoiser(network, oracle.process(30), ObjectiveConfig())
    short = shorten(whole, name, steps=7, clip=True)
    x_T = prior(STREAM, range(3), oracle.SHAPE).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        frames = list(chain(short, x_T, range(3), STREAM))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    on_cpu = list(chain(short, x_T.cpu(), range(3), STREAM))
    torch.testing.assert_close(frames[-1].x_0_hat.cpu(), on_cpu[-1].x_0_hat, rtol=1e-4, atol=1e-4)
