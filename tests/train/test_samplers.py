"""DDIM against diffusers, from the same noise, in each convention."""

import diffusers
import pytest
import torch
from torch import Tensor

from ddpm_train import samplers
from ddpm_train.architectures import UNetConfig
from ddpm_train.chain import sample
from ddpm_train.config import ObjectiveConfig, SamplerConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.noise import Stream, normal
from ddpm_train.schedule import from_betas, linear
from tests.train.test_unet import lively

SHAPE, STREAM = (3, 8, 8), Stream(4, "sample")
TINY = UNetConfig(
    image_size=8,
    base_channels=32,
    channel_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(4,),
    dropout=0.0,
)
CONVENTIONS = {
    "rederived": {"use_clipped_model_output": True},
    "predicted": {},
    "unclipped": {"clip_sample": False},
}
PREDICTIONS = {"eps": "epsilon", "x_0": "sample", "v": "v_prediction"}


@torch.no_grad()
def theirs(network: Denoiser, config: SamplerConfig, convention: dict[str, bool]) -> Tensor:
    """Two images by diffusers' scheduler: the loop of its DDIMPipeline, with our noise."""
    convention = dict(convention)
    rederives = convention.pop("use_clipped_model_output", False)
    scheduler = diffusers.DDIMScheduler(
        timestep_spacing=config.spacing,
        prediction_type=PREDICTIONS[network.objective.prediction],
        **convention,
    )
    scheduler.alphas_cumprod = network.schedule.alphas_bar[1:]  # theirs are in float32
    scheduler.set_timesteps(config.steps)
    x = normal(STREAM, range(2), SHAPE).double()
    for i in scheduler.timesteps:
        output = network.network(x, torch.full((2,), int(i) + 1))
        noise = normal(STREAM, range(2), SHAPE, steps=int(i) + 1).double()
        x = scheduler.step(
            *(output, i, x),
            eta=config.eta,
            use_clipped_model_output=rederives,
            variance_noise=noise if config.eta else None,
        ).prev_sample
    return x


@pytest.mark.parametrize("prediction", PREDICTIONS)
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 0.7])
def test_each_convention_is_that_of_diffusers(prediction: str, spacing: str, eta: float) -> None:
    net = lively(TINY, dtype=torch.float64).eval()
    tables = from_betas(linear(1000, 1e-4, 0.02))
    denoise = Denoiser(net, tables, ObjectiveConfig(prediction=prediction))
    images, like = {}, torch.zeros(1, dtype=torch.float64)
    for name, convention in CONVENTIONS.items():
        config = SamplerConfig(sampler="ddim", steps=10, spacing=spacing, eta=eta, convention=name)
        sampler = samplers.build(denoise, config)
        images[name] = sample(sampler, range(2), SHAPE, STREAM, like=like)
        expected = theirs(denoise, config, convention)
        torch.testing.assert_close(images[name], expected, rtol=1e-7, atol=1e-7)
    if eta == 0:
        assert (images["rederived"] - images["predicted"]).square().mean().sqrt() > 0.05
        assert images["unclipped"].abs().max() > 1
