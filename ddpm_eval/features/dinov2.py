"""DINOv2 (Oquab et al. 2023): a vision transformer whose class token FD_DINOv2 is taken in.

    x   = [class token; patches of 14 x 14 pixels] + positions
    x  += s_1 attention(norm(x)),   x += s_2 mlp(norm(x)),   at each layer
    out = norm(x)[class token]

The published networks were trained at 518 pixels; at 224 their positions are interpolated as the
authors' code does it.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddpm_eval.features.extractor import Description, Extractor, Outputs
from ddpm_eval.features.weights import WeightsFile, check
from ddpm_train.data.download import Published
from ddpm_train.formats import containers

SIDE, PATCH = 224, 14
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_OFFSET = 0.1  # pixels that the authors add before they divide, when positions are interpolated


class Attention(nn.Module):
    """Self-attention with one projection for queries, keys and values."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, N, dim]."""
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = functional.scaled_dot_product_attention(q, k, v)
        projected: Tensor = self.proj(out.transpose(1, 2).flatten(2))
        return projected


class Scale(nn.Module):
    """A learned factor for each feature."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, N, dim]."""
        return x * self.gamma


class Perceptron(nn.Module):
    """Two layers with a GELU between them, four times as wide."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, N, dim]."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A layer of the transformer, normalised before each part."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn, self.mlp = Attention(dim, heads), Perceptron(dim)
        self.ls1, self.ls2 = Scale(dim), Scale(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [B, N, dim]."""
        x = x + self.ls1(self.attn(self.norm1(x)))
        out: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return out


class Transformer(nn.Module):
    """DINOv2's network; its parameters are called as in the published files."""

    def __init__(self, dim: int, depth: int, heads: int, trained_at: int = 37) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + trained_at**2, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))  # of training alone
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, dim, PATCH, PATCH)})
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Give the class token, [B, dim], of normalised images [B, 3, 14 n, 14 n]."""
        patches: Tensor = self.patch_embed["proj"](x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), patches], 1)
        tokens = tokens + self.positions(x.shape[2] // PATCH)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens[:, 0])
        return out

    def positions(self, side: int) -> Tensor:
        """Interpolate the learned positions for side x side patches, [1, 1 + side^2, dim]."""
        trained = round((self.pos_embed.shape[1] - 1) ** 0.5)
        if trained == side:
            return self.pos_embed
        grid = self.pos_embed[:, 1:].unflatten(1, (trained, trained)).permute(0, 3, 1, 2)
        scale = (side + _OFFSET) / trained
        grid = functional.interpolate(grid, scale_factor=(scale, scale), mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], grid.flatten(2).transpose(1, 2)], 1)


class _Network:
    """Normalises levels and gives the class token."""

    def __init__(self, module: Transformer, device: torch.device) -> None:
        self.module = module
        self.mean, self.std = (
            255 * torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD)
        )

    def __call__(self, levels: Tensor) -> Outputs:
        """Map levels 0..255 [B, 3, 224, 224]."""
        return Outputs(self.module((levels - self.mean) / self.std))


class Size:
    """One of the published sizes: its network, its weights and its description."""

    def __init__(self, letter: str, shape: tuple[int, int, int], file: Published) -> None:
        self.shape = shape
        name = f"dinov2-{letter}14"
        self.weights = WeightsFile(
            what=f"DINOv2 ViT-{letter.upper()}/14",
            fetch=name,
            published=file,
            names=(f"dinov2_vit{letter}14_pretrain.pth",),
            variable=f"DDPM_DINOV2_{letter.upper()}14",
        )
        self.description = Description(
            name=name,
            dim=shape[0],
            side=SIDE,
            resizes=("pillow", "bicubic", "tf1"),
            normalisation="(levels / 255 - mean) / std of ImageNet",
            published=file.sha256,
            batch=(4, 64),
        )

    def load(
        self, path: Path | None, resize: str, device: torch.device, *, accept: str = ""
    ) -> Extractor:
        """Find, verify and load the weights.

        Raises:
            FixableError: There is no file, it is damaged, or it is not the published one.
        """
        file, digest = self.weights.verified(path, accept)
        tensors = containers.tensors(containers.read(file), str(file))
        with torch.device("meta"):
            module = Transformer(*self.shape)
        check(tensors, module.state_dict(), file, self.weights.what)
        module.load_state_dict(tensors, assign=True)
        module = module.to(device).eval().requires_grad_(requires_grad=False)
        return Extractor(
            description=self.description,
            network=_Network(module, device),
            digest=digest,
            resize=resize,
            device=device,
        )


_HOST = "https://dl.fbaipublicfiles.com/dinov2"
B14 = Size(
    "b",
    (768, 12, 12),
    Published(
        urls=(f"{_HOST}/dinov2_vitb14/dinov2_vitb14_pretrain.pth",),
        size=346_378_731,
        sha256="0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    ),
)
L14 = Size(
    "l",
    (1024, 24, 16),
    Published(
        urls=(f"{_HOST}/dinov2_vitl14/dinov2_vitl14_pretrain.pth",),
        size=1_217_586_395,
        sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
    ),
)
