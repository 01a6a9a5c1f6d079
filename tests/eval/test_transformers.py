"""DINOv2 and CLIP with random weights, against torch-fidelity's extractors and torch's layers."""

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch_fidelity import feature_extractor_clip
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

from ddpm_eval.features import EXTRACTORS, clip, dinov2, resizing, torchscript
from ddpm_eval.features.dinov2 import Transformer
from ddpm_eval.metrics.clip_mmd import cmmd
from ddpm_eval.metrics.registry import METRICS
from ddpm_train.errors import FixableError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
CPU = torch.device("cpu")
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 32, 40, 3), np.uint8)


def randomise(module: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---------------------------------------------------------------------------------------- DINOv2


class Layers(nn.Module):
    """The same function through torch's own encoder layers, scales folded into projections."""

    def __init__(self, source: Transformer, heads: int) -> None:
        super().__init__()
        self.source = source
        dim = source.cls_token.shape[2]
        self.layers = nn.ModuleList()
        for block in source.blocks:
            layer = nn.TransformerEncoderLayer(
                dim, heads, 4 * dim, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True
            )
            state = block.state_dict()
            first, second = state["ls1.gamma"], state["ls2.gamma"]
            layer.load_state_dict(
                {
                    "self_attn.in_proj_weight": state["attn.qkv.weight"],
                    "self_attn.in_proj_bias": state["attn.qkv.bias"],
                    "self_attn.out_proj.weight": state["attn.proj.weight"] * first[:, None],
                    "self_attn.out_proj.bias": state["attn.proj.bias"] * first,
                    "linear1.weight": state["mlp.fc1.weight"],
                    "linear1.bias": state["mlp.fc1.bias"],
                    "linear2.weight": state["mlp.fc2.weight"] * second[:, None],
                    "linear2.bias": state["mlp.fc2.bias"] * second,
                    **{
                        f"{norm}.{w}": state[f"{norm}.{w}"]
                        for norm in ("norm1", "norm2")
                        for w in ("weight", "bias")
                    },
                }
            )
            self.layers.append(layer.eval())

    def forward(self, x: Tensor) -> Tensor:
        source = self.source
        conv = source.patch_embed["proj"]
        patches = functional.unfold(x, 14, stride=14).transpose(1, 2)
        tokens = patches @ conv.weight.flatten(1).T + conv.bias
        grid = round((source.pos_embed.shape[1] - 1) ** 0.5)
        positions = source.pos_embed
        if grid != x.shape[2] // 14:  # bicubic, a = -0.75, at (i + 0.5) s - 0.5, s = 37 / 16.1
            positions = interpolated(source.pos_embed, grid, x.shape[2] // 14)
        tokens = torch.cat([source.cls_token.expand(len(x), -1, -1), tokens], 1) + positions
        for layer in self.layers:
            tokens = layer(tokens)
        return source.norm(tokens)[:, 0]


def interpolated(positions: Tensor, grid: int, side: int) -> Tensor:
    """The authors' interpolation, one weight at a time."""

    def weights(i: int) -> Tensor:
        place = (i + 0.5) * grid / (side + 0.1) - 0.5
        row, whole, a = torch.zeros(grid), int(np.floor(place)), -0.75
        for k in range(whole - 1, whole + 3):
            d = abs(place - k)
            near = (a + 2) * d**3 - (a + 3) * d**2 + 1
            far = a * (d**3 - 5 * d**2 + 8 * d - 4)
            row[min(max(k, 0), grid - 1)] += near if d <= 1 else far
        return row

    matrix = torch.stack([weights(i) for i in range(side)])
    square = positions[0, 1:].unflatten(0, (grid, grid))
    out = torch.einsum("ia,jb,abd->ijd", matrix, matrix, square)
    return torch.cat([positions[:, :1], out.flatten(0, 1)[None]], 1)


@pytest.mark.parametrize("trained_at", [16, 37])
def test_dinov2_is_the_published_network(trained_at: int) -> None:
    network = Transformer(48, 3, 4, trained_at)
    randomise(network)
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = network(x), Layers(network, 4)(x)
    assert ours.std() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> tuple[dinov2.Size, Path]:
    """DINOv2 of three narrow layers, in a file like the published ones."""
    network = Transformer(48, 3, 4)
    randomise(network)
    path = tmp_path / "dinov2.pth"
    torch.save(network.state_dict(), path)
    size = dinov2.Size("b", (48, 3, 4), dinov2.B14.weights.published)
    return size, path


def test_dinov2_gives_torch_fidelity_s_features(
    small: tuple[dinov2.Size, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    size, path = small
    ours = size.load(path, "tf1", CPU, accept=digest(path))
    network = Transformer(48, 3, 4)
    network.load_state_dict(torch.load(path, weights_only=True))
    layers = Layers(network, 4)
    monkeypatch.setattr(torch.hub, "load", lambda *_: layers)  # theirs is fetched from the network
    theirs = FeatureExtractorDinoV2("dinov2-vit-b-14", ["dinov2"])
    with torch.no_grad():
        (wanted,) = theirs(torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    features = ours(PIXELS)
    np.testing.assert_allclose(features.pool, wanted, rtol=1e-5, atol=1e-5)
    assert features.logits is None and features.spatial is None
    assert ours.suffix == f"(dinov2-b14-{digest(path)[:8]})[tf1]"


def test_the_two_published_resizes_of_dinov2_are_near_and_not_the_same(
    small: tuple[dinov2.Size, Path],
) -> None:
    size, path = small
    pillow, bicubic, tf1 = (
        size.load(path, way, CPU, accept=digest(path))(PIXELS).pool
        for way in ("pillow", "bicubic", "tf1")
    )
    apart = np.abs(pillow - bicubic).max(), np.abs(pillow - tf1).max()
    assert 0 < apart[0] < apart[1]


# ------------------------------------------------------------------------------------------ CLIP


SHAPE = {
    **{"input_resolution": 28, "patch_size": 14, "width": 64},
    **{"layers": 2, "heads": 1, "output_dim": 24},
}


class Archive(nn.Module):
    """What OpenAI's archives hold: an image tower and the text model's projection."""

    def __init__(self) -> None:
        super().__init__()
        self.visual = feature_extractor_clip.VisionTransformer(**SHAPE)
        self.text_projection = nn.Parameter(torch.zeros(8, 24))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.visual(x)
        return out


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    module = Archive().eval()
    randomise(module)
    for parameter in module.parameters():
        parameter.data = parameter.data.half().float()  # as OpenAI's: torch-fidelity rounds
    path = tmp_path / "clip.pt"
    torch.jit.save(torch.jit.trace(module, torch.zeros(1, 3, 28, 28)), str(path))
    return path


@pytest.fixture
def size() -> clip.Size:
    return clip.Size("clip-b32", SHAPE, ("tf1", "plain-bicubic"), clip.B32.weights.published)


def test_clip_gives_torch_fidelity_s_features(archive: Path, size: clip.Size) -> None:
    ours = size.load(archive, "tf1", CPU, accept=digest(archive))
    theirs = feature_extractor_clip.FeatureExtractorCLIP(
        "clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(archive)
    )
    with torch.no_grad():
        (wanted,) = theirs(torch.from_numpy(PIXELS).permute(0, 3, 1, 2))
    assert ours(PIXELS).pool.std() > 0.01
    np.testing.assert_allclose(ours(PIXELS).pool, wanted, rtol=1e-5, atol=1e-5)


def test_an_archive_is_read_as_torch_reads_it_and_never_run(archive: Path, tmp_path: Path) -> None:
    tensors = torchscript.read(archive)
    wanted = torch.jit.load(str(archive)).state_dict()
    assert tensors.keys() == wanted.keys()
    assert all(torch.equal(tensors[name], wanted[name]) for name in wanted)

    class Evil:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
            return Path.touch, (str(tmp_path / "ran"),)

    evil = tmp_path / "evil.pt"
    with zipfile.ZipFile(evil, "w") as file:
        file.writestr("evil/data.pkl", pickle.dumps(Evil()))
    with pytest.raises(FixableError, match="is no tensor"):
        torchscript.read(evil)
    assert not (tmp_path / "ran").exists()


def test_damage_to_an_archive_is_one_sentence(archive: Path) -> None:
    whole = archive.read_bytes()
    rng = np.random.default_rng(0)
    tensors = torchscript.read(archive)
    for place in rng.integers(0, len(whole), 80).tolist():
        archive.write_bytes(whole[:place] + bytes([whole[place] ^ 64]) + whole[place + 1 :])
        try:
            again = torchscript.read(archive)
        except FixableError:
            continue
        assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    for cut in (0, 50, len(whole) // 2, len(whole) - 1):
        archive.write_bytes(whole[:cut])
        with pytest.raises(FixableError):
            torchscript.read(archive)


def test_weights_of_another_network_are_named(archive: Path, tmp_path: Path) -> None:
    other = clip.Size("clip-b32", {**SHAPE, "layers": 3}, ("tf1",), clip.B32.weights.published)
    with pytest.raises(FixableError, match=r"not weights of CLIP B32: transformer.resblocks.2"):
        other.load(archive, "tf1", CPU, accept=digest(archive))
    with pytest.raises(FixableError, match="not the published CLIP B32 weights"):
        other.load(archive, "tf1", CPU)


def test_cmmd_is_defined_through_the_extractor_of_its_authors(
    archive: Path, size: clip.Size
) -> None:
    assert METRICS["cmmd"].only <= EXTRACTORS.keys()
    extractor = size.load(archive, "plain-bicubic", CPU, accept=digest(archive))
    x, y = (extractor(PIXELS[i : i + 1].repeat(3, 0)).pool for i in (0, 1))
    assert cmmd(x, x).value == pytest.approx(0, abs=1e-6) and cmmd(x, y).value > 0


# -------------------------------------------------------------------------------------- resizing


@pytest.mark.parametrize("shape", [(32, 32), (40, 28), (64, 300), (320, 320)])
def test_each_way_of_resizing_is_its_library_s(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (1, *shape, 3), np.uint8)
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    side, cubic = 56, Image.Resampling.BICUBIC

    def ours(name: str) -> np.ndarray:
        return resizing.RESIZERS[name].apply(x, side)[0].permute(1, 2, 0).numpy()

    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32), "F").resize((side, side), cubic))
        for plane in pixels[0].transpose(2, 0, 1)
    ]
    np.testing.assert_allclose(ours("clean"), np.stack(planes, 2).clip(0, 255), atol=2e-3)
    np.testing.assert_allclose(ours("bicubic"), np.stack(planes, 2), atol=2e-3)
    rounded = np.asarray(Image.fromarray(pixels[0]).resize((side, side), cubic))
    np.testing.assert_array_equal(ours("pillow"), rounded)
    linear = [
        np.asarray(
            Image.fromarray(plane.astype(np.float32), "F").resize(
                (side, side), Image.Resampling.BILINEAR
            )
        )
        for plane in pixels[0].transpose(2, 0, 1)
    ]
    np.testing.assert_allclose(ours("antialias"), np.stack(linear, 2), atol=2e-3)


def test_every_extractor_resizes_in_ways_that_exist() -> None:
    for name, entry in EXTRACTORS.items():
        assert entry.description.name == name
        assert entry.description.resizes
        assert {way for way in entry.description.resizes if way} <= resizing.RESIZERS.keys()
        assert len(entry.description.published) == 64
        if entry.weights is not None:
            assert entry.weights.published.sha256 == entry.description.published
