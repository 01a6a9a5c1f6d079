"""The toy model is the best one of Gaussian images."""

import numpy as np
import pytest
import torch

import ddpm_eval as de
from ddpm_eval.toy import gaussian_model
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.schedule import at


@pytest.mark.parametrize("variance", [1.0, 0.1])
def test_its_x_0_hat_is_the_mean_of_x_0(variance: float) -> None:
    """E[x_0 | x_t] = sqrt(alpha-bar) variance / (alpha-bar variance + 1 - alpha-bar) x_t."""
    model = gaussian_model(T=20, variance=variance)
    denoise, k = model.denoise, torch.tensor([1, 7, 20])
    x_t = normal(Stream(0, "init"), range(3), model.shape).double()
    bars = at(denoise.schedule.alphas_bar, k, x_t)
    mean = bars.sqrt() * variance / (bars * variance + 1 - bars) * x_t
    torch.testing.assert_close(denoise.estimate(x_t, k), mean, rtol=1e-4, atol=1e-5)


def test_it_draws_images_of_this_variance() -> None:
    """Levels of deviation 127.5 sqrt(variance), but for the last steps' discretisation."""
    x = de.sample(gaussian_model(T=200, variance=0.05), 64, clip=False)
    assert np.std(x) == pytest.approx(127.5 * 0.05**0.5, rel=0.05)


@pytest.mark.parametrize("setting", [{"T": 0}, {"variance": 0.0}, {"variance": float("nan")}])
def test_what_is_out_of_range_is_named(setting: dict[str, float]) -> None:
    (name,) = setting
    with pytest.raises(FixableError, match=f"{name}="):
        gaussian_model(**setting)  # type: ignore[arg-type]
