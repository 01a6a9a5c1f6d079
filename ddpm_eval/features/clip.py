"""CLIP's image towers (Radford et al. 2021), through torch-fidelity's network."""

from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_eval.features import torchscript
from ddpm_eval.features.extractor import Description, Extractor, Outputs
from ddpm_eval.features.weights import WeightsFile, check
from ddpm_train.data.download import Published
from ddpm_train.formats import containers

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
_TOWER = "visual."
_HOST = "https://openaipublic.azureedge.net/clip/models"


class _Network:
    """Normalises levels and gives the embedding of the image."""

    def __init__(self, tower: nn.Module, device: torch.device) -> None:
        self.tower = tower
        self.mean, self.std = (
            255 * torch.tensor(values, device=device)[:, None, None] for values in (MEAN, STD)
        )

    def __call__(self, levels: Tensor) -> Outputs:
        """Map levels 0..255 [B, 3, side, side]."""
        return Outputs(self.tower((levels - self.mean) / self.std))


class Size:
    """One of the published vision transformers: its network, weights and description."""

    def __init__(
        self, name: str, shape: dict[str, int], resizes: tuple[str, ...], file: Published
    ) -> None:
        self.shape = shape
        self.weights = WeightsFile(
            what=f"CLIP {name.removeprefix('clip-').upper()}",
            fetch=name,
            published=file,
            names=(file.urls[0].rpartition("/")[2],),
            variable=f"DDPM_{name.replace('-', '_').upper()}",
        )
        self.description = Description(
            name=name,
            dim=shape["output_dim"],
            side=shape["input_resolution"],
            resizes=resizes,
            normalisation="(levels / 255 - mean) / std of CLIP",
            published=file.sha256,
            batch=(4, 64),
        )

    def load(
        self, path: Path | None, resize: str, device: torch.device, *, accept: str = ""
    ) -> Extractor:
        """Find, verify and load the image tower's weights.

        Raises:
            FixableError: There is no file, it is damaged, or it is not the published one.
        """
        from torch_fidelity.feature_extractor_clip import VisionTransformer  # takes two seconds

        file, digest = self.weights.verified(path, accept)
        tower: nn.Module = VisionTransformer(**self.shape)
        tensors = {
            name.removeprefix(_TOWER): value.float()
            for name, value in _tensors(file).items()
            if name.startswith(_TOWER) and name != f"{_TOWER}input_resolution"
        }
        check(tensors, tower.state_dict(), file, self.weights.what)
        tower.load_state_dict(tensors)
        tower = tower.to(device).eval().requires_grad_(requires_grad=False)
        return Extractor(
            description=self.description,
            network=_Network(tower, device),
            digest=digest,
            resize=resize,
            device=device,
        )


def _tensors(file: Path) -> dict[str, Tensor]:
    """Read OpenAI's archive, or the same tensors as .safetensors."""
    if file.suffix == ".safetensors":
        return dict(containers.tensors(containers.read(file), str(file)))
    return torchscript.read(file)


def _published(sha256: str, name: str, size: int) -> Published:
    return Published(urls=(f"{_HOST}/{sha256}/{name}.pt",), size=size, sha256=sha256)


L14_336 = Size(
    "clip-l14-336",
    {
        **{"input_resolution": 336, "patch_size": 14, "width": 1024},
        **{"layers": 24, "heads": 16, "output_dim": 768},
    },
    ("plain-bicubic", "tf1"),
    _published(
        "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        "ViT-L-14-336px",
        934_088_680,
    ),
)
B32 = Size(
    "clip-b32",
    {
        **{"input_resolution": 224, "patch_size": 32, "width": 768},
        **{"layers": 12, "heads": 12, "output_dim": 512},
    },
    ("tf1", "plain-bicubic"),
    _published(
        "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
        "ViT-B-32",
        353_976_522,
    ),
)
