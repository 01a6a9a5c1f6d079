"""score_sde and EDM: their own code's numbers, by import."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import ddpm_eval as de
from ddpm_eval import inspection
from ddpm_eval.measure.pictures.protocols import settings_of
from ddpm_eval.measure.pictures.sample_facts import facts_of, folder_name
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.record.store import label, sampling_facts
from ddpm_eval.runtime import Runtime
from ddpm_train import checkpoint, formats
from ddpm_train.architectures import NcsnppConfig, UNetConfig
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast.prepare import prepare
from ddpm_train.formats import to_diffusers
from ddpm_train.formats.all_modules import canonical
from ddpm_train.formats.edm import NOISE
from ddpm_train.formats.score_sde import on_vp_sde
from ddpm_train.guidance import guided
from ddpm_train.heun import noise_levels
from ddpm_train.networks.ncsnpp import NCSNpp
from ddpm_train.presets import celebahq256, cifar10
from ddpm_train.samplers import build as build_sampler
from ddpm_train.schedule import build
from ddpm_train.settings import from_dict, to_dict
from ddpm_train.weights import build_network, load_weights
from tests.train import golden, sde_files
from tests.train.golden import assert_counts, assert_row, fill, filled, fused, images
from tests.train.test_heun import TABLE_1
from tests.train.test_unet import relative

Weights = dict[str, Tensor]
LABELS = torch.tensor([1, 7])


def evaluate(content: Checkpoint, times: list[float], labels: Tensor | None = None) -> Tensor:
    """At the labels of time that the original code was given."""
    net = checkpoint.network(content).double()
    config = content.model.net
    t = 1 + (torch.tensor(times, dtype=torch.float64) - config.time_first) / config.time_scale
    with torch.no_grad():
        output: Tensor = net(images(), t, labels)
    return output


def training_state(weights: Weights, *, buffers: tuple[str, ...] = ()) -> dict[str, Any]:
    """What its training saves: the raw weights are others."""
    model = {f"module.{name}": value + 1 for name, value in weights.items()}
    model["module.sigmas"] = torch.linspace(0.01, 50, 1000, dtype=torch.float64)
    averages = [value for name, value in weights.items() if name not in buffers]
    ema = {"decay": 0.9999, "num_updates": 3, "shadow_params": averages}
    return {"optimizer": {}, "model": model, "ema": ema, "step": 17}


ROWS = {
    "sde_vp.ddpm.cifar10": ({"plus": False}, "vp", [0.0, 499.0]),
    "sde_vp.cifar10_ddpmpp": ({"plus": True}, "vp", [0.0, 499.0]),
    "sde_vp.cifar10_ddpmpp_continuous": ({"plus": True}, "vp_continuous", [0.5, 499.25]),
    "sde_vp.cifar10_ncsnpp": ({"plus": True, "residual": True}, "vp", [0.0, 499.0]),
}


@pytest.mark.parametrize("name", ROWS)
def test_imported_networks_give_the_original_numbers(name: str, tmp_path: Path) -> None:
    kind, sde, times = ROWS[name]
    weights = filled(sde_files.score_sde(**kind))
    assert_counts(name, weights, buffers=1)
    torch.save(training_state(weights), tmp_path / "checkpoint_8.pth")
    with pytest.raises(FixableError, match="the file does not say sde"):
        formats.load_any(tmp_path / "checkpoint_8.pth")
    content = formats.load_any(tmp_path / "checkpoint_8.pth", changes=[f"sde={sde}"])
    assert content.model.net.image_size == 32 and content.step == 17
    assert_row(name, evaluate(content, times))
    schedule = build(content.model.schedule)
    if sde == "vp":
        assert torch.equal(schedule.betas, build(cifar10().schedule).betas)
    else:  # of the SDE's own marginal, exp(-19.9 u^2 / 4 - 0.1 u / 2) for the signal
        u = torch.tensor(0.3, dtype=torch.float64)
        signal = (-0.25 * u**2 * 19.9 - 0.05 * u).exp()
        torch.testing.assert_close(schedule.alphas_bar[300], signal**2)


def test_averages_in_another_order_are_refused(tmp_path: Path) -> None:
    state = training_state(filled(sde_files.score_sde(plus=False)))
    state["ema"]["shadow_params"][:2] = state["ema"]["shadow_params"][1::-1]
    torch.save(state, tmp_path / "checkpoint.pth")
    with pytest.raises(FixableError, match="not those of its model in order"):
        formats.load_any(tmp_path / "checkpoint.pth", changes=["sde=vp"])


def test_networks_of_the_ve_sde_are_no_diffusion_models(tmp_path: Path) -> None:
    """Their function is known nevertheless: of log sigma, or of an index, and divided by sigma."""
    shapes = sde_files.score_sde(plus=True, residual=True, fourier=True)
    weights = filled(shapes)
    name = "sde_ve.cifar10_ncsnpp_continuous"
    assert_counts(name, weights, buffers=1)
    state = training_state(weights, buffers=("all_modules.0.W",))
    torch.save(state, tmp_path / "checkpoint.pth")
    with pytest.raises(FixableError, match="a network of the VE SDE"):
        formats.load_any(tmp_path / "checkpoint.pth", changes=["sde=vp"])
    small = NcsnppConfig(
        base_channels=32,
        channel_mult=(1, 2, 2),
        num_res_blocks=1,
        embedding="fourier",
        filter="fir",
        residual_input=True,
        dropout=0.0,
    )
    sigmas = torch.tensor([0.01, 3.0]).double()
    x = 2 * (0.25 * images() + 0.5) - 1
    assert_row(name, score(small, weights, x, 1 + sigmas.log(), sigmas), tolerance=5e-6)
    name = "sde_ve.cifar10_ncsnpp"
    weights = filled(sde_files.score_sde(plus=True, residual=True))
    levels = torch.linspace(torch.tensor(50.0).log(), torch.tensor(0.01).log(), 1000).exp()
    index = torch.tensor([0, 499])
    plain = replace(small, embedding="sines")
    assert_row(name, score(plain, weights, x, index + 1, levels[index].double()))


def score(config: NcsnppConfig, weights: Weights, x: Tensor, t: Tensor, sigmas: Tensor) -> Tensor:
    net = NCSNpp(config, out_channels=3)
    load_weights(net, canonical(weights))
    with torch.no_grad():
        output: Tensor = net.double()(x, t) / sigmas[:, None, None, None]
    return output


EDM = {
    "edm_song_ddpmpp": (sde_files.edm(), None),
    "edm_song_ncsnpp": (sde_files.edm(ncsnpp=True), None),
    "edm_song_ddpmpp_class": (sde_files.edm(classes=10), LABELS),
    "edm_dhariwal": (sde_files.dhariwal(10), LABELS),
}


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize("name", EDM)
def test_state_dicts_of_edm_give_the_original_numbers(
    name: str, prefix: str, tmp_path: Path
) -> None:
    shapes, labels = EDM[name]
    weights = filled(shapes)
    assert sum(value.numel() for value in weights.values()) == golden.ROWS[name]["parameters"]
    if "ncsnpp" in name:
        weights["map_noise.freqs"] = fill(999983, (32,))
    weights["enc.16x16_down.conv0.resample_filter"] = torch.ones(1, 1, 2, 2) / 4
    torch.save({prefix + key: value for key, value in weights.items()}, tmp_path / "edm.pt")
    with pytest.raises(FixableError, match="the file does not say preconditioning"):
        formats.load_any(tmp_path / "edm.pt")
    content = formats.load_any(tmp_path / "edm.pt", changes=["preconditioning=vp"])
    assert content.model.net.image_size == 32
    assert_row(name, evaluate(content, [-1.5, 0.75], labels))


def test_edm_on_the_vp_sde_is_a_ddpm_in_other_clothes() -> None:
    """c_noise = 999 u(sigma), where 1 / (1 + sigma^2) is alpha-bar of the table."""
    model = on_vp_sde(ModelConfig(network="ncsnpp"))
    bar = build(model.schedule).alphas_bar[1:]
    log = (1 / bar).log()  # ln(1 + sigma^2)
    u = ((0.1**2 + 2 * 19.9 * log).sqrt() - 0.1) / 19.9
    t = torch.arange(1, 1001, dtype=torch.float64)
    labels = model.ncsnpp.time_first + (t - 1) * model.ncsnpp.time_scale
    torch.testing.assert_close(999 * u, labels, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", TABLE_1)
def test_edm_and_ve_are_told_their_noise_at_levels_even_in_its_logarithm(
    kind: str, tmp_path: Path
) -> None:
    """c_noise of Table 1 (Karras et al. 2022) at every level, and the network as ever."""
    fourier = kind == "ve"
    name = "edm_song_ncsnpp" if fourier else "edm_song_ddpmpp"
    weights = filled(EDM[name][0])
    if fourier:
        weights["map_noise.freqs"] = fill(999983, (32,))
    torch.save(weights, tmp_path / "edm.pt")
    changes = [f"preconditioning={kind}", "schedule.T=200"]
    content = formats.load_any(tmp_path / "edm.pt", changes=changes)
    model, net = content.model, content.model.ncsnpp
    sigmas = noise_levels(build(model.schedule).alphas_bar)
    assert sigmas[[1, 200]].tolist() == pytest.approx(NOISE[kind].range)
    for t in (1, 77, 200):
        label = net.time_first + net.time_scale * (t - 1)
        assert label == pytest.approx(TABLE_1[kind](sigmas[t].item())[3], abs=1e-9)
    assert_row(name, evaluate(content, [-1.5, 0.75]))
    rows = {text.partition("=")[0]: origin for origin, text, _ in content.facts["origins"]}
    assert rows["schedule.T"] == "set" and rows["ncsnpp.time_scale"] == "derived"
    again = formats.load_any(tmp_path / "edm.pt", changes=[*changes, "schedule.snr_end=1e-3"])
    assert again.model.ncsnpp.time_scale < net.time_scale
    checkpoint.save(tmp_path / "ours.pt", content)
    assert checkpoint.load(tmp_path / "ours.pt").model == model


def test_another_preconditioning_is_refused(tmp_path: Path) -> None:
    torch.save(filled(sde_files.edm()), tmp_path / "edm.pt")
    with pytest.raises(FixableError, match="preconditioning=iddpm: unknown") as caught:
        formats.load_any(tmp_path / "edm.pt", changes=["preconditioning=iddpm"])
    assert "choose vp, edm or ve" in caught.value.fix


def test_the_samples_of_edm_by_heun_say_so(tmp_path: Path) -> None:
    torch.save(filled(sde_files.edm()), tmp_path / "edm.pt")
    settings = ["preconditioning=edm"]
    model = de.load(tmp_path / "edm.pt", weights="ema", settings=settings, device="cpu")
    sampling = SamplingSettings(n=2, sampler="heun", steps=3, churn=1)
    facts = facts_of(model, sampling, Runtime(batch=2))
    assert label(facts) == "heun, 3 of 1,000 steps, rho 7, churn 1 of 1 in 0 to 1e+06"
    assert "heun3" in folder_name(facts) and sampling_facts(facts, 2).heun == facts["heun"]
    assert not settings_of(SamplingSettings()).keys() & {"rho", "churn", "churn_from"}
    assert settings_of(sampling)["churn"] == 1
    assert de.sample(model, 2, sampler="heun", steps=3).shape == (2, 32, 32, 3)
    with pytest.raises(FixableError, match="guidance has no rule"):
        guided(build_sampler(model.denoise, sampling), None, conditional=False)  # type: ignore[arg-type]


DDPM = cifar10().unet
PLUS, NCSN = NcsnppConfig(), NcsnppConfig(filter="fir", residual_input=True)
LARGE = celebahq256().unet
THREE_LEVELS = replace(PLUS, channel_mult=(2, 2, 2))
DEEP = replace(NCSN, num_res_blocks=8, embedding="fourier")
AUGMENT = 9  # inputs of EDM's map_augment, which evaluation does not use
COUNTS: list[tuple[UNetConfig | NcsnppConfig, int, int]] = [
    (replace(DDPM, attn_up="last"), 35_218_947, 308),
    (replace(LARGE, attn_up="last"), 111_569_923, 430),
    (PLUS, 61_804_419, 564),
    (replace(PLUS, num_res_blocks=8), 106_632_579, 956),
    (NCSN, 62_693_251, 570),
    (replace(NCSN, embedding="fourier"), 62_758_787, 570),
    (DEEP, 107_587_075 - 128, 962),  # its 128 frequencies are not trained
    (DDPM, 35_746_307, 328),  # of the DDIM repository, as the next two
    (replace(DDPM, image_size=64, channel_mult=(1, 2, 2, 2, 4)), 78_700_803, 390),
    (LARGE, 113_673_219, 450),
]
FUSED: list[tuple[NcsnppConfig, int, int]] = [
    # less map_augment, and the buffers: a filter of each resampling convolution, frequencies
    (THREE_LEVELS, 55_733_891 - AUGMENT * 128, 425 - 1 - 8),
    (replace(THREE_LEVELS, classes=10), 55_735_299 - AUGMENT * 128, 427 - 1 - 8),
    (replace(THREE_LEVELS, filter="fir", residual_input=True, embedding="fourier"),
     56_397_827 - AUGMENT * 256, 432 - 1 - 8 - 2 - 1),
    (replace(PLUS, image_size=64), 61_805_571 - AUGMENT * 128, 553 - 1 - 12),
]  # fmt: skip


def parameters_of(config: UNetConfig | NcsnppConfig) -> dict[str, int]:
    """Names and sizes of the parameters of a network without weights."""
    model = (
        ModelConfig(unet=config)
        if isinstance(config, UNetConfig)
        else ModelConfig(network="ncsnpp", ncsnpp=config)
    )
    net = build_network(model, seed=None)
    return {name: parameter.numel() for name, parameter in net.named_parameters()}


@pytest.mark.parametrize(("config", "parameters", "tensors"), COUNTS)
def test_released_networks_have_their_parameters(
    config: UNetConfig | NcsnppConfig, parameters: int, tensors: int
) -> None:
    sizes = parameters_of(config)
    assert (sum(sizes.values()), len(sizes)) == (parameters, tensors)


@pytest.mark.parametrize(("config", "parameters", "tensors"), FUSED)
def test_released_networks_of_edm_have_their_parameters(
    config: NcsnppConfig, parameters: int, tensors: int
) -> None:
    sizes = parameters_of(config)
    assert (sum(sizes.values()), fused(list(sizes))) == (parameters, tensors)


def test_the_prepared_network_and_a_copy_of_ours(tmp_path: Path) -> None:
    weights = filled(sde_files.score_sde(plus=True, residual=True))
    torch.save(training_state(weights), tmp_path / "checkpoint.pth")
    content = formats.load_any(tmp_path / "checkpoint.pth", changes=["sde=vp"])
    checkpoint.save(tmp_path / "ours.pt", content)
    again = checkpoint.load(tmp_path / "ours.pt")
    assert again.model == content.model and again.model.network == "ncsnpp"
    plain = to_dict(again.model)
    assert plain.keys() == {"schedule", "objective", "network", "ncsnpp"}
    net, t = checkpoint.network(again), torch.tensor([1, 500])
    fast = prepare(checkpoint.network(again), 1000)(images().float(), t)
    with torch.no_grad():
        assert relative(fast.double(), net.double()(images(), t)) < 5e-6
    assert dict(inspection.describe(again))["network"].startswith("ncsnpp, ")
    assert "another network" in dict(inspection.describe(again))["paper"]
    with pytest.raises(FixableError, match="no name for network=ncsnpp"):
        to_diffusers.write(again, tmp_path / "folder")


def test_a_unet_is_written_as_before() -> None:
    assert to_dict(ModelConfig()).keys() == {"schedule", "unet", "objective"}
    run = to_dict(cifar10())
    assert not run.keys() & {"network", "ncsnpp"}
    assert from_dict(RunConfig, run) == cifar10()
