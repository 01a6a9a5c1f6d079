"""Files that are refused, each with the reason by name."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ddpm_train.errors import FixableError
from ddpm_train.formats import classifiers, containers

KNOWN = (
    "diffusers UNet2DModel, the original's TensorFlow bundle, pesser, tqch, w86763777, "
    "improved-diffusion, guided-diffusion, NCSN, score_sde and EDM's state dicts"
)
OTHERS = {  # a part of a weight's name: whose network it is of
    "init_conv.": "lucidrains/denoising-diffusion-pytorch",
    "model.diffusion_model.": "latent diffusion",
    "first_stage_model.": "latent diffusion",
    "pos_embed": "a transformer (DiT)",
}


def read(path: Path) -> Mapping[str, Any]:
    """Read a file of tensors; EDM's and other pickles of whole programs are refused by name.

    Raises:
        FixableError: The file is such a pickle, is missing or damaged, or is a folder.
    """
    if path.is_dir():
        raise FixableError(
            f"{path}: no checkpoint in this folder", f"known are {KNOWN}; or name a file in it"
        )
    if path.suffix == ".pkl":
        raise FixableError(
            f"{path}: a pickle of Python objects (EDM, StyleGAN), which are never executed",
            "in EDM's own folder: net = pickle.load(open(FILE, 'rb'))['ema']; "
            "torch.save(net.state_dict(), 'edm.pt'); then give edm.pt",
        )
    return containers.read(path)


def classifier(path: Path) -> FixableError:
    """Say that a file holds a classifier, where a diffusion model is meant."""
    return FixableError(
        f"{path}: a classifier of noisy images, which is no diffusion model",
        "give the diffusion model that it is to guide",
    )


def explain(content: Mapping[str, Any], path: Path) -> FixableError:
    """Say whose file this is, if that can be told, and what could be read."""
    if classifiers.recognises(content):
        return classifier(path)
    names = list(_names(content))
    for part, owner in OTHERS.items():
        if any(name.startswith(part) or f".{part}" in name for name in names):
            return FixableError(
                f"{path}: a checkpoint of {owner}, whose network is another than DDPM's",
                f"known are {KNOWN}",
            )
    first = ", ".join(names[:3])
    return FixableError(f"{path}: of no known format (it holds {first} ...)", f"known are {KNOWN}")


def _names(content: Mapping[str, Any], depth: int = 3) -> Iterator[str]:
    """Every name, those inside dictionaries too."""
    for name, value in content.items():
        if isinstance(value, Mapping) and depth:
            yield from (f"{name}.{inner}" for inner in _names(value, depth - 1))
        else:
            yield str(name)
