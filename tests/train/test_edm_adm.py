"""EDM's ImageNet network: ADM's in other names, beside its facts written out once more."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import ddpm_eval as de
from ddpm_train import checkpoint, formats
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.denoiser import Denoiser
from ddpm_train.formats import edm, finishing
from ddpm_train.formats.released import RELEASED
from ddpm_train.heun import noise_levels
from ddpm_train.schedule import build
from ddpm_train.weights import build_network
from tests.train import golden
from tests.train.golden import Shapes, assert_row, fill, fused, images
from tests.train.sde_files import dhariwal
from tests.train.test_heun import TABLE_1
from tests.train.test_unet import relative

Weights = Mapping[str, Tensor]
CLASSES = 5
SMALL = dhariwal(CLASSES, size=16, mult=(1, 2, 3), blocks=2, attention=(8,))
LABELS = torch.tensor([1, 4])
NOISE = torch.tensor([-1.5, 0.75], dtype=torch.float64)
X = fill(7, (2, 3, 16, 16)).double()
AGREEMENT = 1e-7  # relative, in float64
IMAGENET = dhariwal(1000, size=64, width=192, mult=(1, 2, 3, 4), blocks=3, attention=(32, 16, 8))
PARAMETERS, TENSORS, FILTERS = 295_899_267, 553, 12  # two filters in each block that resamples


# --------------------------------------------------------------- the network as its facts say


def layer(weights: Weights, at: str, x: Tensor) -> Tensor:
    """A linear layer or a convolution of the same size."""
    weight, bias = weights[f"{at}.weight"].to(x), weights.get(f"{at}.bias")
    bias = None if bias is None else bias.to(x)
    if x.ndim == 2:
        return F.linear(x, weight, bias)
    return F.conv2d(x, weight, bias, padding=weight.shape[2] // 2)


def norm(weights: Weights, at: str, x: Tensor) -> Tensor:
    """Min(32, C/4) groups."""
    B, C, H, W = x.shape
    groups = x.reshape(B, min(32, C // 4), -1)
    normal = (groups - groups.mean(2, keepdim=True)) / (
        groups.var(2, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    scale, shift = (weights[f"{at}.{name}"].to(x)[:, None, None] for name in ("weight", "bias"))
    return normal.view(B, C, H, W) * scale + shift


def resampled(kind: str, x: Tensor) -> Tensor:
    if kind == "down":
        return (x[:, :, ::2] + x[:, :, 1::2]).unfold(3, 2, 2).sum(4) / 4
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3) if kind == "up" else x


def block(weights: Weights, at: str, x: Tensor, embedding: Tensor) -> Tensor:
    kind = at.rpartition("_")[2]
    h = layer(weights, f"{at}.conv0", resampled(kind, F.silu(norm(weights, f"{at}.norm0", x))))
    scale, shift = layer(weights, f"{at}.affine", embedding)[:, :, None, None].chunk(2, 1)
    h = F.silu(norm(weights, f"{at}.norm1", h) * (1 + scale) + shift)
    bare = resampled(kind, x)
    skip = layer(weights, f"{at}.skip", bare) if f"{at}.skip.weight" in weights else bare
    h = layer(weights, f"{at}.conv1", h) + skip
    if f"{at}.qkv.weight" not in weights:
        return h
    B, C, H, W = h.shape
    qkv = layer(weights, f"{at}.qkv", norm(weights, f"{at}.norm2", h))
    q, k, v = qkv.view(B, C // 64, 64, 3, H * W).unbind(3)  # heads, channels of a head, {q, k, v}
    attended = (torch.einsum("bhcq,bhck->bhqk", q, k) / 8).softmax(3)
    a = torch.einsum("bhqk,bhck->bhcq", attended, v).reshape(B, C, H, W)
    return h + layer(weights, f"{at}.proj", a)


def network(weights: Weights, x: Tensor, noise: Tensor, labels: Tensor) -> Tensor:
    """F(x; c_noise, labels)."""
    half = weights["map_layer0.weight"].shape[1] // 2
    angles = noise[:, None] * 10_000 ** (-torch.arange(half, dtype=torch.float64) / half)
    waves = torch.cat([angles.cos(), angles.sin()], 1)
    told = F.one_hot(labels, weights["map_label.weight"].shape[1]).double()
    embedding = layer(weights, "map_layer1", F.silu(layer(weights, "map_layer0", waves)))
    embedding = F.silu(embedding + layer(weights, "map_label", told))
    skips: list[Tensor] = []
    for at in blocks(weights):
        if at.endswith("_conv"):
            x = layer(weights, at, x)
        else:
            wanted = len(weights[f"{at}.norm0.weight"])
            x = x if x.shape[1] == wanted else torch.cat([x, skips.pop()], 1)
            x = block(weights, at, x, embedding)
        skips += [x] if at.startswith("enc.") else []
    assert not skips
    return layer(weights, "out_conv", F.silu(norm(weights, "out_norm", x)))


def blocks(weights: Weights) -> Iterator[str]:
    """The layers of both ways in their order, as state_dict() has it."""
    inside = [name for name in weights if name.startswith(("enc.", "dec."))]
    for at, _ in groupby(inside, key=lambda name: ".".join(name.split(".")[:2])):
        yield at


def filled(shapes: Shapes) -> dict[str, Tensor]:
    """In the order of the shapes, which is that of the layers."""
    weights = golden.filled(shapes)
    return {name: weights[name] for name in shapes}


def test_the_facts_written_out_give_the_original_numbers() -> None:
    weights = filled(dhariwal(10))
    assert_row("edm_dhariwal", network(weights, images(), NOISE, torch.tensor([1, 7])))


# ------------------------------------------------------------------------------------ our import


def load(folder: Path, weights: Weights, *changes: str, preconditioning: str = "vp") -> Checkpoint:
    torch.save(dict(weights), folder / "edm.pt")
    return formats.load_any(
        folder / "edm.pt", changes=[f"preconditioning={preconditioning}", *changes]
    )


def difference(content: Checkpoint, weights: Weights, labels: Tensor = LABELS) -> float:
    """Between our network and the facts, relative."""
    unet = content.model.unet
    t = 1 + (NOISE - unet.time_first) / unet.time_scale
    with torch.no_grad():
        ours = checkpoint.network(content).double()(X, t, labels)
    return relative(ours, network(weights, X, NOISE, LABELS))


def test_the_import_is_the_same_function(tmp_path: Path) -> None:
    weights = filled(SMALL)
    assert difference(load(tmp_path, weights), weights) < AGREEMENT


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("time_order", "sin_cos"),
        ("time_freq_shift", 1),
        ("norm_eps", 1e-6),
        ("head_channels", 32),
        ("group_channels", 1),
    ],
)
def test_another_setting_is_another_function(name: str, value: Any, tmp_path: Path) -> None:
    weights = filled(SMALL)
    content = load(tmp_path, weights)
    unet = replace(content.model.unet, **{name: value})
    wrong = replace(content, model=replace(content.model, unet=unet))
    assert difference(wrong, weights) > 10 * AGREEMENT


@pytest.mark.parametrize("rows", ["legacy", "new"])
def test_another_order_of_attention_is_another_function(
    rows: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = filled(SMALL)
    monkeypatch.setitem(finishing.ROWS, "edm", finishing.ROWS[rows])
    assert difference(load(tmp_path, weights), weights) > 1e-3


def test_labels_are_told_unscaled(tmp_path: Path) -> None:
    weights = filled(SMALL)
    content = load(tmp_path, weights)
    assert difference(content, weights, LABELS.flip(0)) > 1e-3
    content.ema["labels.weight"].mul_(math.sqrt(CLASSES))  # as SongUNet is told them
    assert difference(content, weights) > 1e-3


PRECONDITIONING = {**TABLE_1, "vp": lambda sigma: (1.0, -sigma, (1 + sigma**2) ** -0.5, vp(sigma))}
"""c_skip, c_out, c_in and c_noise of a sigma (Karras et al. 2022, Table 1)."""


def vp(sigma: float) -> float:
    """999 u, where sigma^2 = exp(19.9 u^2 / 2 + 0.1 u) - 1."""
    return 999 * (math.sqrt(0.1**2 + 2 * 19.9 * math.log1p(sigma**2)) - 0.1) / 19.9


@pytest.mark.parametrize("kind", PRECONDITIONING)
def test_the_denoiser_is_that_of_its_preconditioning(kind: str, tmp_path: Path) -> None:
    """D(y; sigma) = c_skip y + c_out F(c_in y; c_noise)."""
    weights = filled(SMALL)
    content = load(tmp_path, weights, preconditioning=kind)
    process, net = build(content.model.schedule), checkpoint.network(content).double()
    denoise, t = Denoiser(net, process, content.model.objective), torch.tensor([200, 700])
    sigmas = noise_levels(process.alphas_bar)[t]
    skip, out, scale, noise = torch.tensor(
        [PRECONDITIONING[kind](sigma) for sigma in sigmas.tolist()], dtype=torch.float64
    ).T
    wide = (slice(None), None, None, None)
    y = X * sigmas[wide]
    with torch.no_grad():
        ours = denoise.estimate(y * process.alphas_bar[t].sqrt()[wide], t, LABELS)
    theirs = skip[wide] * y + out[wide] * network(weights, scale[wide] * y, noise, LABELS)
    assert relative(ours, theirs) < AGREEMENT


def test_it_is_sampled_by_heun_with_classes(tmp_path: Path) -> None:
    torch.save(filled(SMALL), tmp_path / "edm.pt")
    settings = ["preconditioning=edm"]
    model = de.load(tmp_path / "edm.pt", weights="ema", settings=settings, device="cpu")
    first, second = (
        de.sample(model, 2, sampler="heun", steps=3, classes=classes) for classes in ([0], [3])
    )
    assert first.shape == (2, 16, 16, 3) and (first != second).any()


# ------------------------------------------------------------------------------ the released one


def test_the_released_network_is_adm_s_for_images_of_64_pixels() -> None:
    """edm-imagenet-64x64-cond-adm: read without its numbers, every name and shape."""
    shapes: Shapes = IMAGENET
    assert sum(math.prod(shape) for shape in shapes.values()) == PARAMETERS
    assert len(shapes) + FILTERS == TENSORS
    theirs = {f"model.{name}": torch.empty(shape, device="meta") for name, shape in shapes.items()}
    theirs["model.enc.32x32_down.conv0.resample_filter"] = torch.empty(1, 1, 2, 2, device="meta")
    foreign = edm.read(theirs, Path("edm.pt"))
    net = build_network(foreign.model, seed=None)
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    assert sum(sizes.values()) == PARAMETERS
    assert fused(list(sizes)) + FILTERS == TENSORS
    assert shapes_of(net) == {name: plain(value) for name, value in foreign.unlabelled.items()}
    openai = RELEASED["64x64_diffusion"].model.unet
    other = {"pad_down": openai.pad_down, "dropout": 0.0, "group_channels": 1}
    assert replace(foreign.model.unet, **other) == openai


def shapes_of(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of every parameter, queries, keys and values as one."""
    shapes = {}
    for name, parameter in net.named_parameters():
        stem, _, kind = name.rpartition(".")
        if stem.endswith(".q"):
            shapes[f"{stem}kv.{kind}"] = (3 * len(parameter), *parameter.shape[1:])
        elif not stem.endswith((".k", ".v")):
            shapes[name] = plain(parameter)
    return shapes


def plain(tensor: Tensor) -> tuple[int, ...]:
    """A shape without the two last dimensions of 1x1 convolutions."""
    return tuple(tensor.shape[:2] if tensor.shape[2:] == (1, 1) else tensor.shape)
