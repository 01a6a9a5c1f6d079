"""From a foreign checkpoint under our names to one of ours: every setting and shape checked."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch

from ddpm_train.architectures import NetworkConfig, UNetConfig
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.errors import FixableError
from ddpm_train.formats.canonical import architecture
from ddpm_train.formats.foreign import Foreign, Origins, listed, sentences
from ddpm_train.weights import Tensors, build_network, check_weights, require_real


def finish(foreign: Foreign, *, changes: Iterable[str] = ()) -> Checkpoint:
    """Make a checkpoint of ours, every name and shape checked against the network.

    Args:
        foreign: The checkpoint under our names.
        changes: Settings that the file does not tell, ``unet.heads=4``.

    Raises:
        FixableError: A setting that matters is not known, names or shapes differ from the
            network's, or a weight is not finite.
    """
    foreign, changes = foreign.flagged(changes)
    model, origins = foreign.settled(changes)
    groups = {"weights": foreign.weights, "ema": foreign.ema or foreign.unlabelled}
    for group in groups.values():
        if group and model.network == "unet":
            model = replace(model, unet=_of_shapes(model.unet, group, origins))
    notes = list(foreign.notes)
    net = build_network(model, seed=None)
    for name, group in groups.items():
        if group:
            notes += _notes_of_bits(group)
            groups[name] = fit(group, model.net, net.state_dict(), foreign.rows)
            check_weights(net, groups[name])
    if not groups["ema"]:
        notes.append("there are no averaged (EMA) weights: measure with weights=raw")
    rows = listed(model, origins)
    notes = [f"assumed: {text}" for text in sentences(rows, "assumed")] + notes
    facts: dict[str, object] = {
        "format": foreign.format,
        "origins": rows,
        "warnings": list(dict.fromkeys(notes)),
    }
    if foreign.unlabelled:
        facts["weights"] = "as given"
    return Checkpoint(
        model=model,
        step=foreign.step,
        facts=facts,
        weights=groups["weights"],
        ema=groups["ema"],
    )


def _notes_of_bits(group: Tensors) -> list[str]:
    """Say where weights were stored in other bits than the 32 that they are used in."""
    sizes = {8 * tensor.element_size() for tensor in group.values()} - {32}
    return [f"weights were stored in {size} bits and are used in 32" for size in sorted(sizes)]


def _of_shapes(unet: UNetConfig, weights: Tensors, origins: Origins) -> UNetConfig:
    """Compare settings with shapes before a network of their size is built.

    Levels with attention stay where they are when the image size is set.
    """
    shaped, _ = architecture(weights, image_size=unet.image_size)
    kinds = {name: origins.get(f"unet.{name}", ("",))[0] for name in _COMPARED}
    if origins.get("unet.image_size", ("",))[0] == "set" and kinds["attn_resolutions"] != "set":
        origins.derived("the image size and the shapes of the weights", "unet.attn_resolutions")
        unet = replace(unet, attn_resolutions=shaped.attn_resolutions)
    for name in _COMPARED:
        ours, theirs = getattr(unet, name), getattr(shaped, name)
        if ours != theirs and (name != "attn_resolutions" or set(ours) != set(theirs)):
            raise FixableError(
                f"unet.{name}={ours} and the others do not fit the network of these weights, "
                f"which has {theirs}",
                "correct the settings, or leave them out where shapes tell them",
            )
    _require_heads(unet)
    return unet


def _require_heads(unet: UNetConfig) -> None:
    levels = enumerate(unet.channel_mult)
    widths = {unet.base_channels * mult for level, mult in levels
              if unet.image_size >> level in unet.attn_resolutions}  # fmt: skip
    for width in {*widths, unet.base_channels * unet.channel_mult[-1]}:
        heads = unet.head_channels or unet.heads
        if heads < 1 or width % heads:
            name = "head_channels" if unet.head_channels else "heads"
            raise FixableError(
                f"unet.{name}={heads} does not divide attention's {width} channels",
                f"set unet.{name} to the value that it was trained with",
            )


_COMPARED = (
    *("channels", "base_channels", "channel_mult", "num_res_blocks", "attn_resolutions"),
    *("resample", "time_channels", "classes"),
)


def fit(
    group: Tensors, config: NetworkConfig, ours: Mapping[str, torch.Tensor], rows: str
) -> Tensors:
    """Split fused attention, and drop or add the two last dimensions of 1x1 convolutions.

    Args:
        group: Weights under our names.
        config: The settings that tell the heads.
        ours: The weights of the network, for their shapes.
        rows: The order of the rows of ``qkv``, an entry of ``ROWS``.

    Raises:
        FixableError: A weight is not finite or of another type, or the heads do not divide.
    """
    fitted: Tensors = {}
    for name, tensor in group.items():
        stem, fused, kind = name.rpartition(".qkv.")
        if fused:
            split = split_heads(tensor, config.heads_of(len(tensor) // 3), rows)
            fitted |= {f"{stem}.{part}.{kind}": split[i] for i, part in enumerate("qkv")}
        else:
            fitted[name] = tensor
    for name, tensor in fitted.items():
        shape = ours[name].shape if name in ours else tensor.shape
        if tensor.shape != shape and _bare(tensor.shape) == _bare(shape):
            tensor = tensor.reshape(shape)
        require_real(name, tensor)
        fitted[name] = tensor.float()
        if not fitted[name].isfinite().all():
            raise FixableError(f"{name} holds NaN or Inf", "use a checkpoint of an earlier step")
    return fitted


ROWS: dict[str, tuple[Callable[[int], tuple[int, int, int]], tuple[int, int, int]]] = {
    "legacy": (lambda heads: (heads, 3, -1), (1, 0, 2)),
    "new": (lambda heads: (3, heads, -1), (0, 1, 2)),
    "edm": (lambda heads: (heads, -1, 3), (2, 0, 1)),
}
"""Orders of the rows of queries, keys and values in one tensor: the sizes of the axes, and which
of them are (q, k or v), head, channel. OpenAI's first, its new attention order, and EDM's."""


def split_heads(qkv: torch.Tensor, heads: int, rows: str = "legacy") -> torch.Tensor:
    """Take queries, keys and values apart, [3C, ...] -> [3, C, ...].

    Args:
        qkv: The rows of a weight or a bias.
        heads: How many heads the C channels make.
        rows: Their order, an entry of ``ROWS``.

    Raises:
        FixableError: The rows do not divide.

    >>> split_heads(torch.arange(12), 2)[0].tolist()  # q of both heads
    [0, 1, 6, 7]
    """
    if len(qkv) % (3 * heads):
        raise FixableError(
            f"{len(qkv) // 3} channels of attention do not make {heads} heads", "set unet.heads"
        )
    sizes, axes = ROWS[rows]
    apart = qkv.reshape(*sizes(heads), *qkv.shape[1:])
    return apart.permute(*axes, *range(3, apart.ndim)).reshape(3, -1, *qkv.shape[1:])


def _bare(shape: torch.Size) -> tuple[int, ...]:
    """A shape without the trailing ones."""
    sizes = list(shape)
    while len(sizes) > 2 and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)
