"""Interpolation: its ends, its symmetry, its noise, and which images it takes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.pictures import decoding, interpolation, mixing
from ddpm_eval.measure.pictures.mixing import Pair
from ddpm_eval.measure.pictures.settings import InterpolationSettings
from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train import data, schedule
from ddpm_train.chain import chain
from ddpm_train.config import ObjectiveConfig, ScheduleConfig
from ddpm_train.data.images import Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import q_sample
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.samplers import Ancestral
from ddpm_train.schedule import at
from tests import oracle
from tests.eval import jobs
from tests.eval.pieces import assert_resumes, assert_shared, images

MIXES = ["linear", "spherical"]
PAIRS = ((3, 8), (5, 1))


def settings(**changes: Any) -> InterpolationSettings:
    return InterpolationSettings(**({"pairs": PAIRS, "lambdas": (0.3, 0.5)} | changes))


def measure(*, batch: int = 64, **changes: Any) -> Measurement:
    runtime = Runtime(batch=batch)
    return interpolation.measure(jobs.subject(), images(), settings(**changes), runtime)


def rows(result: Measurement, name: str) -> np.ndarray:
    grid = result.grids[name]
    return grid.images.reshape(-1, grid.columns, *grid.images.shape[1:])


def pair(*places: int) -> Pair:
    return Pair(images().read(places), (str(places[0]), str(places[1])))


def encode(two: Pair, t: int, lambdas: tuple[float, ...], mix: Any = "linear") -> Tensor:
    return mixing.encode(jobs.subject(), two, t, settings(lambdas=lambdas, mix=mix))


@pytest.mark.parametrize("mix", MIXES)
def test_the_ends_are_the_two_reconstructions(mix: str) -> None:
    result = measure(mix=mix)
    denoise = jobs.subject().denoise
    for row, places in zip(rows(result, "path"), PAIRS, strict=True):
        two = pair(*places)
        for end, index, column in ((0, places[0], 1), (1, places[1], 4)):
            pixels = images().read([index])
            np.testing.assert_array_equal(row[-end], pixels[0])  # the sources are outside
            x_0 = data.to_model(pixels).double()
            eps = normal(Stream(0, "encode"), [two.keys[end]], (1, 8, 8)).double()
            x_t = q_sample(denoise.schedule, x_0, torch.tensor([20]), eps).float()
            walk = chain(Ancestral(denoise), x_t, [two.key], Stream(0, "encode"), start=20)
            np.testing.assert_array_equal(row[column], data.to_uint8([*walk][-1].x_0_hat)[0])


@pytest.mark.parametrize("mix", MIXES)
def test_the_path_from_the_other_end_is_the_same(mix: str) -> None:
    forth = measure(mix=mix, lambdas=(0.1, 0.3))
    back = measure(mix=mix, lambdas=(0.9, 0.7), pairs=((8, 3), (1, 5)))
    for name in ("path", "coarse to fine"):
        np.testing.assert_array_equal(rows(forth, name), rows(back, name)[:, ::-1])
    assert len({picture.tobytes() for picture in rows(forth, "path")[0]}) == 6


@pytest.mark.parametrize("mix", MIXES)
def test_the_other_end_is_the_same_to_the_last_bit(mix: str) -> None:
    lambdas = (0, 0.1, 0.3, 0.7, 0.9, 1)
    one = encode(pair(3, 8), 17, lambdas, mix)
    two = encode(pair(8, 3), 17, lambdas, mix).flip(0)
    assert [torch.equal(a, b) for a, b in zip(one, two, strict=True)] == [True] * 6


def test_at_t_0_pixels_are_mixed() -> None:
    result = measure(t=0, mix="spherical")
    a, b = images().read([3, 8]).astype(float)
    for picture, part in zip(rows(result, "path")[0][1:-1], (0, 0.3, 0.5, 1), strict=True):
        mixed = (1 - part) * a + part * b
        assert np.abs(picture - mixed).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(rows(result, "coarse to fine")[0], rows(result, "path")[0][1:-1])


def test_one_figure_is_a_row_of_the_other() -> None:
    result = measure(t=15)
    path, coarse = rows(result, "path"), rows(result, "coarse to fine")
    np.testing.assert_array_equal(path[0, 1:-1], coarse[3])
    texts = [label for label in result.grids["coarse to fine"].labels if label]
    assert texts == [f"t={t}" for t in range(0, 41, 5)]


def test_a_mix_keeps_the_variance_or_shrinks_it_as_it_says() -> None:
    """In a world of N(0, I) at t = T: the spherical mix has variance 1, the linear one less."""
    facts = ModelFacts(digest="a", weights="ema")
    model = replace(oracle.subject(oracle.Exact(oracle.process(40))), facts=facts)
    grey = np.full((2, 64, 64, 3), 127, np.uint8)
    grey[1] += 1
    lambdas = (0.0, 0.2, 0.5, 0.7)
    factors: dict[Any, Callable[[float], float]] = {
        "spherical": lambda x: 1.0,
        "linear": lambda x: (1 - x) ** 2 + x**2,
    }
    for mix, factor in factors.items():
        options = settings(mix=mix, lambdas=lambdas)
        x_t = mixing.encode(model, Pair(grey, ("a", "b")), 40, options)
        expected = [factor(part) for part in lambdas]
        np.testing.assert_allclose(x_t.var((1, 2, 3)).numpy(), expected, rtol=0.06)


def test_the_linear_mix_is_the_papers() -> None:
    """(1 - l) x_t + l x_t', with the noise held fixed over l."""
    x_t = encode(pair(3, 8), 17, (0, 0.25, 1))
    torch.testing.assert_close(x_t[1], 0.75 * x_t[0] + 0.25 * x_t[2], rtol=0, atol=1e-12)
    assert not torch.equal(x_t[0], x_t[2])


def test_the_noise_belongs_to_the_pixels_wherever_they_were_read_from() -> None:
    two = ImageSet.of(Stack("mine", images().read([3, 8])))
    runtime = Runtime()
    one = measure(pairs=((3, 8),))
    other = interpolation.measure(
        jobs.subject(), two, settings(pairs=((0, 1),)), runtime, names=("a.png", "b.png")
    )
    np.testing.assert_array_equal(rows(one, "path"), rows(other, "path"))
    assert other.facts["pairs"] == [["a.png", "b.png"]] and one.facts["pairs"] == [["3", "8"]]
    assert one.facts["keys"] == other.facts["keys"]
    assert "images a.png and b.png" in other.grids["path"].caption


def test_four_pairs_are_drawn_by_the_seed_or_are_the_first() -> None:
    drawn = measure(pairs=())
    indices = choose(images(), 8, seed=0).indices.tolist()
    assert drawn.facts["pairs"] == np.array(indices, str).reshape(4, 2).tolist()
    assert indices != sorted(indices)
    other = measure(pairs=(), seed=1)
    assert other.facts["pairs"] != drawn.facts["pairs"]
    first = measure(pairs=(), first=True)
    assert first.facts["pairs"] == [["0", "1"], ["2", "3"], ["4", "5"], ["6", "7"]]
    named = measure(pairs=((0, 1), (2, 3), (4, 5), (6, 7)))
    np.testing.assert_array_equal(rows(first, "path"), rows(named, "path"))
    assert first.protocol.images is not None and first.protocol.images.n == 8


def test_the_batch_changes_nothing() -> None:
    one, two = measure(), measure(batch=3)
    for name in ("path", "coarse to fine"):
        assert np.abs(rows(one, name).astype(int) - rows(two, name)).max() <= 1


def by(model: Model, runtime: Runtime) -> Measurement:
    return interpolation.measure(model, images(), settings(), runtime)


def test_a_killed_measurement_goes_on_and_processes_share_it(tmp_path: Path) -> None:
    assert_resumes(by, jobs.subject(), Runtime(cache=tmp_path / "a"), stops=[30, 50])
    assert_shared(by, jobs.subject(), Runtime(cache=tmp_path / "b"))


@pytest.mark.parametrize(
    ("asked", "problem", "fix"),
    [
        ({"t": 41}, "t=41: the model has 40 steps", "0 to 40"),
        ({"t": -1}, "t=-1: the model has 40 steps", "0 to 40"),
        ({"pairs": ((0, 30),)}, "pairs=0,30: pictures test has 30 images", "0 to 29"),
        ({"pairs": ((-1, 3),)}, "pairs=-1,3: pictures test has 30 images", "0 to 29"),
        ({"pairs": ((7, 7),)}, "pairs=7,7: not two images", "that differ"),
        ({"lambdas": (0.5, 1.01)}, "lambdas=1.01", "0.25"),
        ({"lambdas": (float("nan"),)}, "lambdas=nan", "0.25"),
    ],
)
def test_what_cannot_be_mixed_is_refused_with_the_fix(
    asked: dict[str, Any], problem: str, fix: str
) -> None:
    with pytest.raises(FixableError) as caught:
        measure(**asked)
    assert problem in caught.value.problem and fix in caught.value.fix


def test_images_of_another_shape_are_refused() -> None:
    large = ImageSet.of(Stack("large", np.arange(288, dtype=np.uint8).reshape(2, 12, 12, 1)))
    with pytest.raises(FixableError, match="12x12x1 cannot be mixed by a model of 8x8x1"):
        interpolation.measure(jobs.subject(), large, settings(pairs=()), Runtime())


def test_twins_in_the_data_are_refused() -> None:
    twins = ImageSet.of(Stack("twins", np.zeros((2, 8, 8, 1), np.uint8)))
    with pytest.raises(FixableError, match="the same picture"):
        interpolation.measure(jobs.subject(), twins, settings(pairs=()), Runtime())


def score_model(levels: int = 6) -> Model:
    """A score network of the exact score of images N(0, 0.3^2), by pixel."""
    config = ScheduleConfig(kind="log_snr", T=levels, snr_start=400.0, snr_end=0.04)
    process = schedule.build(config)
    bar = process.alphas_bar
    share = (1 - bar).sqrt() / (1 - bar + 0.09 * bar)
    objective = ObjectiveConfig(prediction="score", loss="mse")
    denoise = Denoiser(lambda x, t: -at(share, t, x) * x, process, objective)
    return replace(jobs.subject(), denoise=denoise)


def test_a_score_network_decodes_by_langevin_dynamics_from_the_level_of_noise() -> None:
    """The first column is the walk written out: noise at level t, then every level down from it."""
    model, t, steps = score_model(), 4, 3
    asked = settings(t=t, level_steps=steps, step_lr=2e-4, pairs=((3, 8),))
    result = interpolation.measure(model, images(), asked, Runtime())
    two, bar = pair(3, 8), model.denoise.schedule.alphas_bar
    sigmas = ((1 - bar) / bar).sqrt()
    eps = normal(Stream(0, "encode"), [two.keys[0]], (1, 8, 8)).double()
    x = data.to_model(images().read([3])).double() + sigmas[t] * eps
    for row in range(t * steps, 0, -1):
        level = (row + steps - 1) // steps
        alpha = 4 * 2e-4 * (sigmas[level] / sigmas[1]) ** 2
        z = normal(Stream(0, "encode"), [two.key], (1, 8, 8), steps=row + 1).double()
        score = -x / (0.09 + sigmas[level] ** 2)
        x = x + alpha * score + (2 * alpha).sqrt() * z
    x = x - sigmas[1] ** 2 * x / (0.09 + sigmas[1] ** 2)
    drawn = rows(result, "path")[0][1].astype(int)
    assert np.abs(drawn - data.to_uint8(x)[0]).max() <= 1
    caption = result.grids["path"].caption
    assert "decoded from there, by 3 Langevin steps of 0.0002 a level, denoised." in caption
    assert result.protocol.settings["level_steps"] == 3


def test_at_the_last_level_too_the_walk_begins_with_the_images() -> None:
    """Not with the uniform noise of a sample."""
    model = score_model()
    T = model.denoise.schedule.T
    plain = interpolation.measure(model, images(), settings(t=T), Runtime())
    bar = model.denoise.schedule.alphas_bar
    x_t = encode_of(model, pair(*PAIRS[0]), T)
    state, row = decoding.decoder(model, settings())(x_t, T)[1:]
    torch.testing.assert_close(state, x_t / bar[T].sqrt())
    assert row == 1 + 5 * T
    sampler = decoding.decoder(model, settings())(x_t, T)[0]
    p = sampler.step(state, torch.full((len(state),), row)).p
    alpha = 0.062 * (1 - bar[T]) / bar[T]
    wanted = state - alpha * state / (0.09 + (1 - bar[T]) / bar[T])
    torch.testing.assert_close(p.mean, wanted)
    assert "5 Langevin steps a level, denoised" in plain.grids["coarse to fine"].caption


def encode_of(model: Model, two: Pair, t: int) -> Tensor:
    return mixing.encode(model, two, t, settings())


def test_settings_of_langevin_have_no_effect_on_another_model() -> None:
    with pytest.raises(FixableError, match="level_steps=3 has no effect: this model does not"):
        measure(level_steps=3)
    assert "level_steps" not in measure().protocol.settings
