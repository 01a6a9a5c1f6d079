"""improved-diffusion, guided-diffusion and its classifier: their own code's numbers, by import."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ddpm_train import checkpoint, formats
from ddpm_train.architectures import ClassifierConfig, UNetConfig
from ddpm_train.errors import FixableError
from ddpm_train.fast.prepare import prepare
from ddpm_train.formats import classifiers, released
from ddpm_train.formats.openai_names import canonical
from ddpm_train.networks.classifier import Classifier, log_probability
from ddpm_train.networks.unet import UNet
from ddpm_train.weights import build_network, load_weights
from tests.train import openai_files
from tests.train.golden import assert_counts, assert_row, fill, filled, fused, images
from tests.train.openai_files import Flags
from tests.train.test_classes import CLASSES
from tests.train.test_unet import inputs, lively, relative

TIMES, LABELS = torch.tensor([1, 500]), torch.tensor([1, 7])  # i = 0 and 499
PROCESS = ["schedule.kind=linear", "schedule.T=1000", "unet.image_size=32", "unet.time_scale=1"]
UPDOWN = Flags(resample="block")
OLD, NEW = "use_new_attention_order=False", "use_new_attention_order=True"
NETWORKS = {
    "adm_conv_heads4": (Flags(), ["unet.heads=4"]),
    "adm_conv_headch32_legacy": (Flags(), ["unet.head_channels=32", OLD]),
    "adm_conv_headch32_new": (Flags(), ["unet.head_channels=32", NEW]),
    "adm_noscaleshift": (Flags(scale_shift=False), ["unet.heads=1"]),
    "adm_avgpool": (Flags(resample="none"), ["unet.heads=4", OLD]),
    "adm_updown_headch32_legacy": (UPDOWN, ["unet.head_channels=32", OLD]),
    "adm_updown_headch32_new_class10": (
        replace(UPDOWN, classes=10),
        ["unet.head_channels=32", NEW],
    ),
    "adm_updown_heads4_class10": (replace(UPDOWN, classes=10), ["unet.heads=4", OLD]),
    "adm_512like_mult0.5": (
        replace(UPDOWN, width=64, mult=(0.5, 1, 2)),
        ["unet.head_channels=32", OLD],
    ),
}
POOLS = ("attention", "adaptive", "spatial", "spatial_v2")


def test_the_networks_of_the_paper_give_the_original_numbers(tmp_path: Path) -> None:
    """pesser/pytorch_diffusion, whose names are the original's."""
    shapes = openai_files.paper()
    weights = filled(shapes)
    assert_counts("pesser", weights)
    torch.save(weights, tmp_path / "ema_diffusion_cifar10_model-790000.ckpt")
    content = formats.load_any(tmp_path / "ema_diffusion_cifar10_model-790000.ckpt")
    with torch.no_grad():
        assert_row("pesser", checkpoint.network(content).double()(images(), TIMES))


@pytest.mark.parametrize("name", NETWORKS)
def test_imported_networks_give_the_original_numbers(name: str, tmp_path: Path) -> None:
    flags, changes = NETWORKS[name]
    weights = filled(openai_files.unet(flags))
    assert_counts(name, weights)
    torch.save(weights, tmp_path / "ema_0.9999_000100.pt")
    content = formats.load_any(tmp_path / "ema_0.9999_000100.pt", changes=[*PROCESS, *changes])
    net = checkpoint.network(content).double()
    with torch.no_grad():
        assert_row(name, net(images(), TIMES, LABELS if flags.classes else None))
    assert content.model.objective.variance == "learned_range"


def test_an_upsampler_is_refused_though_its_function_is_known(tmp_path: Path) -> None:
    weights = filled(openai_files.unet(replace(UPDOWN, inputs=6, classes=10)))
    assert_counts("adm_superres", weights)
    torch.save(weights, tmp_path / "64_256_upsampler.pt")
    with pytest.raises(FixableError, match="a super-resolution network"):
        formats.load_any(tmp_path / "64_256_upsampler.pt", changes=PROCESS)
    config = UNetConfig(
        channels=6,
        classes=10,
        base_channels=32,
        channel_mult=(1, 2, 3),
        num_res_blocks=1,
        attn_resolutions=(16, 8),
        dropout=0.0,
        time_order="cos_sin",
        time_freq_shift=0,
        time_modulation="scale_shift",
        norm_eps=1e-5,
        heads=4,
        resample="block",
    )
    net = UNet(config, out_channels=6)
    load_weights(net, classifiers.fit(canonical(weights), config, net.state_dict(),
                                                 "legacy"))  # fmt: skip
    low = torch.nn.functional.interpolate(
        fill(1000033, (2, 3, 16, 16)).double(), size=32, mode="bilinear"
    )
    with torch.no_grad():
        assert_row("adm_superres", net.double()(torch.cat([images(), low], 1), TIMES, LABELS))


@pytest.mark.parametrize("pool", POOLS)
def test_imported_classifiers_give_the_original_numbers(pool: str, tmp_path: Path) -> None:
    weights = filled(openai_files.classifier(replace(UPDOWN, classes=10), pool, pixels=8))
    assert_counts(f"classifier_{pool}", weights)
    torch.save(weights, tmp_path / "classifier.pt")
    changes = ["encoder.head_channels=32"]
    if pool != "attention":  # whose positions tell the size
        changes.append("encoder.image_size=32")
    net = classifiers.load(tmp_path / "classifier.pt", changes=changes).network().double()
    x = images().requires_grad_()
    logits = net(x, TIMES)
    assert_row(f"classifier_{pool}", logits)
    (gradient,) = torch.autograd.grad(log_probability(logits, LABELS).sum(), x)
    assert_row(f"classifier_{pool}_gradient", gradient)
    with pytest.raises(FixableError, match=r"does not say encoder\.heads"):
        classifiers.load(tmp_path / "classifier.pt")
    with pytest.raises(FixableError, match="a classifier of noisy images, which is no diffusion"):
        formats.load_any(tmp_path / "classifier.pt")


COUNTS = {
    "cifar10_uncond_50M_500K": (52_546_438, 446),
    "imagenet64_uncond_vlb_100M_1500K": (121_063_942, 450),
    "imagenet64_cond_270M_250K": (273_049_350, 451),
    "lsun_uncond_100M_2400K_bs64": (113_676_678, 426),
    "64x64_diffusion": (295_904_454, 541),
    "128x128_diffusion": (421_529_606, 493),
    "256x256_diffusion": (553_838_086, 567),
    "256x256_diffusion_uncond": (552_814_086, 566),
    "512x512_diffusion": (558_997_638, 645),
}


@pytest.mark.parametrize("name", COUNTS)
def test_released_networks_have_their_parameters(name: str) -> None:
    net = build_network(released.RELEASED[name].model, seed=None)
    parameters = sum(parameter.numel() for parameter in net.parameters())
    assert (parameters, fused(list(net.state_dict()))) == COUNTS[name]


CLASSIFIERS = {
    64: ((1, 2, 3, 4), 128, 4, 0, 65_438_568, 307),
    128: ((1, 1, 2, 3, 4), 128, 2, 0, 42_568_040, 221),
    256: ((1, 1, 2, 2, 4, 4), 128, 2, 0, 54_096_360, 249),
    512: ((1, 2, 2, 4, 4, 8, 8), 64, 2, 128, 54_448_360, 281),
}


@pytest.mark.parametrize("size", CLASSIFIERS)
def test_released_classifiers_have_their_parameters(size: int) -> None:
    mult, width, blocks, sines, parameters, tensors = CLASSIFIERS[size]
    encoder = replace(
        released.GUIDED,
        image_size=size,
        base_channels=width,
        channel_mult=mult,
        num_res_blocks=blocks,
        time_channels=sines,
    )
    net = Classifier(ClassifierConfig(encoder=encoder), seed=None)
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    assert fused(list(net.state_dict())) == tensors


def test_flags_that_shapes_do_not_tell_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "ema_0.9999_000100.pt"
    torch.save(filled(openai_files.unet(UPDOWN)), path)
    every = [*PROCESS, "unet.head_channels=32", OLD]
    for flag in ("schedule.kind", "schedule.T", "unet.head_channels", "use_new_attention_order"):
        changes = [change for change in every if not change.startswith(flag)]
        with pytest.raises(FixableError, match=f"does not say {flag}"):
            formats.load_any(path, changes=changes)
    assert formats.load_any(path, changes=every).facts["format"] == "openai/guided-diffusion"
    with pytest.raises(FixableError, match="use_new_attention_order=perhaps: not a choice"):
        formats.load_any(path, changes=[*every[:-1], "use_new_attention_order=perhaps"])
    with pytest.raises(FixableError, match="released=64x64_diffusion: the network of this file"):
        formats.load_any(path, changes=["released=64x64_diffusion"])
    with pytest.raises(FixableError, match="released=elsewhere: unknown"):
        formats.load_any(path, changes=["released=elsewhere"])


@pytest.mark.parametrize("by_name", [True, False])
def test_a_released_file_needs_no_flags(
    by_name: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small network takes the place of the released one."""
    small = replace(
        released.RELEASED["64x64_diffusion"].model.unet,
        base_channels=32,
        channel_mult=(1, 2, 3, 4),
        num_res_blocks=1,
        classes=10,
        head_channels=32,
    )
    entry_before = released.RELEASED["64x64_diffusion"]
    entry = replace(entry_before, model=replace(entry_before.model, unet=small))
    monkeypatch.setitem(released.RELEASED, "64x64_diffusion", entry)
    flags = Flags(resample="block", mult=(1, 2, 3, 4), classes=10, attention=(2, 4, 8))
    path = tmp_path / ("64x64_diffusion.pt" if by_name else "copy.pt")
    torch.save(filled(openai_files.unet(flags)), path)
    if not by_name:
        with pytest.raises(FixableError, match="--set released=64x64_diffusion"):
            formats.load_any(path)
    content = formats.load_any(path, changes=[] if by_name else ["released=64x64_diffusion"])
    assert content.model == replace(entry.model, unet=replace(small, dropout=0.0))
    rows = {text: (kind, source) for kind, text, source in content.facts["origins"]}
    assert rows["use_new_attention_order=True"][0] == "read"


@pytest.mark.parametrize("resample", ["block", "none"])
def test_prepared_networks_resample_likewise(resample: str) -> None:
    config = replace(CLASSES, resample=resample, time_channels=32, attn_up="last", group_channels=8)
    x, t = inputs(config, 3)
    labels = torch.tensor([0, 2, 1])
    with torch.no_grad():
        wanted = lively(config, dtype=torch.float64)(x.double(), t, labels)
    assert relative(prepare(lively(config), 1000)(x, t, labels), wanted) < 5e-6
