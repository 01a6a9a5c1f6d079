"""From another system's names and shapes to ours; what every format shares.

Our names, with l = 0 the highest resolution: ``time_dense_{0,1}``, ``conv_in``,
``down.{l}.blocks.{i}.{norm1,conv1,temb_proj,norm2,conv2,shortcut}``,
``down.{l}.attentions.{i}.{norm,q,k,v,proj}``, ``down.{l}.downsample``,
``middle.{block_0,attention,block_1}``, ``up.{l}...``, ``up.{l}.upsample``, ``norm_out``,
``conv_out``.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ddpm_train import checkpoint, config, settings
from ddpm_train.checkpoint import Checkpoint, Tensors
from ddpm_train.config import ModelConfig, UNetConfig
from ddpm_train.errors import FixableError

Rules = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A checkpoint of another system under our names.

    Attention may have ``qkv`` in place of q, k and v: head by head, the rows of q, k and v.
    """

    format: str
    model: ModelConfig
    weights: Tensors = field(default_factory=dict)  # as trained
    ema: Tensors = field(default_factory=dict)  # averaged
    given: Tensors = field(default_factory=dict)  # the only ones, and it is not said which
    step: int = 0
    warnings: Sequence[str] = ()


def rename(weights: Tensors, rules: Rules) -> Tensors:
    """Apply every rule (pattern, replacement) to every name, in order.

    >>> rename({"mid.attn_1.q": torch.zeros(1)}, [(r"^mid.attn_1", "middle.attention")]).keys()
    dict_keys(['middle.attention.q'])
    """

    def canonical(name: str) -> str:
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        return name

    found = {canonical(name): tensor for name, tensor in weights.items()}
    if len(found) < len(weights):
        raise FixableError(
            f"{len(weights) - len(found)} weights appear twice under different names",
            "use the file as its program wrote it",
        )
    return found


def architecture(weights: Tensors, *, image_size: int = 0) -> tuple[UNetConfig, list[str]]:
    """Read the network's size off the shapes of weights under our names.

    Args:
        weights: The weights.
        image_size: If it is known. Shapes do not tell it: without it, the first level with
            attention is taken for 16x16, as in the paper's networks.

    Returns:
        The settings that shapes tell, the others the paper's, and what was assumed.

    Raises:
        FixableError: The weights are not those of a U-Net of this kind.
    """
    levels = _count(weights, r"^down\.(\d+)\.")
    blocks = _count(weights, r"^down\.0\.blocks\.(\d+)\.")
    try:
        base, channels = weights["conv_in.weight"].shape[:2]
        widths = [len(weights[f"down.{level}.blocks.0.conv1.bias"]) for level in range(levels)]
        modulation = len(weights["down.0.blocks.0.temb_proj.bias"]) // widths[0]
    except (KeyError, IndexError) as error:
        raise FixableError(
            f"the file holds no whole U-Net ({error} is missing)", "download it again"
        ) from error
    if any(width % base for width in widths):
        raise FixableError(
            f"channels {widths} are not multiples of the first convolution's {base}",
            "there is no setting for this network",
        )
    attention = [level for level in range(levels) if f"down.{level}.attentions.0.q.weight"
                 in weights or f"down.{level}.attentions.0.qkv.weight" in weights]  # fmt: skip
    assumed = []
    if not image_size:
        image_size = 16 << attention[0] if attention else 4 << (levels - 1)
        assumed.append(f"image size {image_size} is assumed (unet.image_size)")
    return UNetConfig(
        image_size=image_size,
        channels=channels,
        base_channels=base,
        channel_mult=tuple(width // base for width in widths),
        num_res_blocks=blocks,
        attn_resolutions=tuple(image_size >> level for level in attention),
        dropout=0.0,
        time_modulation="scale_shift" if modulation == 2 else "shift",
    ), assumed


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
        found = re.search(pattern, name)
        if found:
            n = int(found[1])
            numbers[n] = numbers.get(n, False) or re.search(ends, name) is not None
    places, level, i = {}, 0, 0
    for n in sorted(numbers):
        places[n] = level, i
        level, i = (level + 1, 0) if numbers[n] else (level, i + 1)
    return places


def finish(foreign: Foreign, *, changes: Iterable[str] = ()) -> Checkpoint:
    """Make a checkpoint of ours, every name and shape checked against the network.

    Args:
        foreign: The checkpoint under our names.
        changes: Settings that the file does not tell, ``unet.heads=4``.

    Raises:
        FixableError: Names or shapes differ from the network's, or a weight is not finite.
    """
    model = settings.override(foreign.model, changes)
    warnings = list(foreign.warnings)
    net = checkpoint.build_network(model)
    groups = {"weights": foreign.weights, "ema": foreign.ema or foreign.given}
    for name, group in groups.items():
        if group:
            if any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in group.values()):
                warnings.append("weights were stored in 16 bits and are used in 32")
            groups[name] = _fit(group, model.unet, net.state_dict())
            checkpoint.load_weights(net, groups[name])
    if not (foreign.ema or foreign.given):
        warnings.append("there are no averaged (EMA) weights: measure with --raw")
    if foreign.given:
        warnings.append("it is not said whether the weights are averaged (EMA)")
    facts: dict[str, object] = {"format": foreign.format, "warnings": list(dict.fromkeys(warnings))}
    if foreign.given:
        facts["weights"] = "as given"
    return Checkpoint(
        model=model,
        step=foreign.step,
        facts=facts,
        weights=groups["weights"],
        ema=groups["ema"],
    )


def paper_variance(model: ModelConfig) -> ModelConfig:
    """Assume the fixed variance that the paper used at this image size (section 4)."""
    small = config.ObjectiveConfig(variance="fixedsmall")
    large = config.ObjectiveConfig(variance="fixedlarge")
    return replace(model, objective=large if model.unet.image_size <= 32 else small)


def step_in_name(path: Path) -> int:
    """The training step at the end of a file's name; 0 without one.

    >>> step_in_name(Path("ema_cifar10-790000.ckpt"))
    790000
    """
    found = re.search(r"[-_](\d{3,})$", path.stem)
    return int(found[1]) if found else 0


def averaged_by_name(name: str) -> bool:
    """Whether a file or folder calls its weights averaged.

    >>> averaged_by_name("ddpm-ema-cifar10-32"), averaged_by_name("schema.pt")
    (True, False)
    """
    return re.search(r"(^|[-_.])ema([-_.]|$)", name.lower()) is not None


def _count(weights: Mapping[str, object], pattern: str) -> int:
    found = [re.search(pattern, name) for name in weights]
    return len({match[1] for match in found if match})


def _fit(group: Tensors, unet: UNetConfig, ours: Mapping[str, torch.Tensor]) -> Tensors:
    """Split fused attention, and drop or add the two last dimensions of 1x1 convolutions."""
    found: Tensors = {}
    for name, tensor in group.items():
        stem, fused, kind = name.rpartition(".qkv.")
        if fused:
            split = split_heads(tensor, unet.heads_of(len(tensor) // 3))
            found |= {f"{stem}.{part}.{kind}": split[i] for i, part in enumerate("qkv")}
        else:
            found[name] = tensor
    for name, tensor in found.items():
        shape = ours[name].shape if name in ours else tensor.shape
        if tensor.shape != shape and _bare(tensor.shape) == _bare(shape):
            tensor = tensor.reshape(shape)
        found[name] = tensor.float()
        if not tensor.isfinite().all():
            raise FixableError(f"{name} holds NaN or Inf", "use a checkpoint of an earlier step")
    return found


def split_heads(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Take apart rows that lie as (head, q or k or v, channel), [3C, ...] -> [3, C, ...].

    Raises:
        FixableError: The rows do not divide.

    >>> split_heads(torch.arange(12), 2)[0].tolist()  # q of both heads
    [0, 1, 6, 7]
    """
    if len(qkv) % (3 * heads):
        raise FixableError(
            f"{len(qkv) // 3} channels of attention do not make {heads} heads", "set unet.heads"
        )
    apart = qkv.reshape(heads, 3, -1, *qkv.shape[1:])
    return apart.transpose(0, 1).reshape(3, -1, *qkv.shape[1:])


def _bare(shape: torch.Size) -> tuple[int, ...]:
    """A shape without the trailing ones."""
    sizes = list(shape)
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)
