"""From another system's names and shapes to ours; what every format shares.

Our names, with l = 0 the highest resolution: ``time_dense_{0,1}``, ``conv_in``,
``down.{l}.blocks.{i}.{norm1,conv1,temb_proj,norm2,conv2,shortcut}``,
``down.{l}.attentions.{i}.{norm,q,k,v,proj}``, ``down.{l}.downsample``,
``middle.{block_0,attention,block_1}``, ``up.{l}...``, ``up.{l}.upsample``, ``norm_out``,
``conv_out``.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats.foreign import Origins
from ddpm_train.weights import Tensors

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


def rename(weights: Tensors, rules: Rules) -> Tensors:
    """Apply every rule (pattern, replacement) to every name, in order.

    >>> import torch
    >>> rename({"mid.attn_1.q": torch.zeros(1)}, [(r"^mid.attn_1", "middle.attention")]).keys()
    dict_keys(['middle.attention.q'])
    """

    def canonical(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    renamed = {canonical(name): tensor for name, tensor in weights.items()}
    if len(renamed) < len(weights):
        raise FixableError(
            f"{len(weights) - len(renamed)} weights appear twice under different names",
            "use the file as its program wrote it",
        )
    return renamed


SHAPES = "the shapes of the weights"
_TOLD_BY_SHAPES = (
    *("unet.channels", "unet.base_channels", "unet.channel_mult", "unet.num_res_blocks"),
    *("unet.attn_resolutions", "unet.time_modulation", "unet.resample", "unet.time_channels"),
    "unet.classes",
)


def architecture(weights: Tensors, *, image_size: int = 0) -> tuple[UNetConfig, Origins]:
    """Read the network's size off the shapes of weights under our names.

    Args:
        weights: The weights.
        image_size: If it is known. Shapes do not tell it: without it, the first level with
            attention is taken for 16x16, as in the paper's networks.

    Returns:
        The settings that shapes tell, the others the paper's, and where they come from.

    Raises:
        FixableError: The weights are not those of a U-Net of this kind.
    """
    levels = _count(weights, r"^down\.(\d+)\.")
    blocks = _count(weights, r"^down\.0\.blocks\.(\d+)\.")
    try:
        base, channels = weights["conv_in.weight"].shape[:2]
        widths = [len(weights[f"down.{level}.blocks.0.conv1.bias"]) for level in range(levels)]
        modulation = len(weights["down.0.blocks.0.temb_proj.bias"]) // widths[0]
        sines = weights["time_dense_0.weight"].shape[1]
    except (KeyError, IndexError, ValueError, TypeError, ZeroDivisionError) as error:
        raise FixableError(
            f"the file holds no whole U-Net ({error} is missing)", "download it again"
        ) from error
    if not base or any(not width or width % base for width in widths):
        raise FixableError(
            f"channels {widths} are not multiples of the first convolution's {base}",
            "there is no setting for this network",
        )
    require_pixels(channels, "its first convolution")
    attention = [level for level in range(levels) if f"down.{level}.attentions.0.q.weight"
                 in weights or f"down.{level}.attentions.0.qkv.weight" in weights]  # fmt: skip
    origins = Origins().read(SHAPES, *_TOLD_BY_SHAPES)
    if not image_size:
        image_size = 16 << attention[0] if attention else 4 << (levels - 1)
        origins.assumed("attention is taken to begin at 16x16", "unet.image_size")
    return UNetConfig(
        image_size=image_size,
        channels=channels,
        base_channels=base,
        channel_mult=tuple(width // base for width in widths),
        num_res_blocks=blocks,
        attn_resolutions=tuple(image_size >> level for level in attention),
        dropout=0.0,
        time_modulation="scale_shift" if modulation == 2 else "shift",
        classes=len(weights.get("labels.weight", ())),
        resample=_resample(weights) if levels > 1 else "conv",
        time_channels=sines if sines != base else 0,
    ), origins


def _resample(weights: Tensors) -> Literal["conv", "block", "none"]:
    """What joins the first two levels."""
    if "down.0.downsample.conv1.weight" in weights:
        return "block"
    return "conv" if "down.0.downsample.weight" in weights else "none"


def require_pixels(channels: int, what: str) -> None:
    """Refuse networks whose input is not an image alone.

    Raises:
        FixableError: They take latents or a second image.

    >>> require_pixels(4, "a.pt")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: a.pt takes 4 channels: latents, or more than an image
      fix: only networks of gray or RGB images alone can be imported
    """
    if channels not in (1, 3):
        kind = {6: "a super-resolution network (the image, and a smaller one)"}.get(
            channels, "latents, or more than an image"
        )
        raise FixableError(
            f"{what} takes {channels} channels: {kind}",
            "only networks of gray or RGB images alone can be imported",
        )


def walk(names: Iterable[str], pattern: str, *, ends: str) -> dict[int, tuple[int, int]]:
    r"""Give blocks that are numbered straight through a level and a place in it.

    Args:
        names: Names of weights.
        pattern: Finds the running number.
        ends: Finds the names whose block ends a level.

    Returns:
        (levels passed, residual blocks passed in this level) for each number.

    >>> names = ["b.0.conv", "b.1.conv", "b.2.op", "b.3.conv"]
    >>> walk(names, r"^b.(\d+)", ends="op")
    {0: (0, 0), 1: (0, 1), 2: (0, 2), 3: (1, 0)}
    """
    numbers: dict[int, bool] = {}
    for name in names:
        match = re.search(pattern, name)
        if match:
            n = int(match[1])
            numbers[n] = numbers.get(n, False) or re.search(ends, name) is not None
    places, level, i = {}, 0, 0
    for n in sorted(numbers):
        places[n] = level, i
        level, i = (level + 1, 0) if numbers[n] else (level, i + 1)
    return places


def paper_process(model: ModelConfig, fixed: frozenset[str] = frozenset()) -> ModelConfig:
    """Take the fixed variance that the paper used at this image size (section 4)."""
    if "objective.variance" in fixed:
        return model
    large = model.unet.image_size <= 32
    objective = replace(model.objective, variance="fixedlarge" if large else "fixedsmall")
    return replace(model, objective=objective)


def step_in_name(path: Path) -> int:
    """The training step at the end of a file's name; 0 without one.

    >>> step_in_name(Path("ema_cifar10-790000.ckpt"))
    790000
    """
    match = re.search(r"[-_](\d{3,15})$", path.stem)
    return int(match[1]) if match else 0


def _count(weights: Mapping[str, object], pattern: str) -> int:
    matches = [re.search(pattern, name) for name in weights]
    return len({match[1] for match in matches if match})
