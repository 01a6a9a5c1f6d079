"""score_sde's flat list of modules: which place in our networks each number has.

Its networks are one list, ``all_modules.K``, in the order of construction. Its kinds of modules
are told by the names inside, and the levels by where the size changes.
"""

import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from ddpm_train.errors import FixableError
from ddpm_train.weights import Tensors

_BLOCK = {
    **{"GroupNorm_0": "norm1", "Conv_0": "conv1", "Dense_0": "temb_proj", "GroupNorm_1": "norm2"},
    **{"Conv_1": "conv2", "Conv_2": "shortcut", "NIN_0": "shortcut"},
}
_ATTENTION = {"GroupNorm_0": "norm", "NIN_0": "q", "NIN_1": "k", "NIN_2": "v", "NIN_3": "proj"}
_RESAMPLING = ("resampling convolution", "resampling block")
_ENDS = {"W": "weight", "b": "bias"}  # of a NIN, whose matrix is transposed


def canonical(weights: Mapping[str, Tensor]) -> Tensors:
    """Bring the weights under our names.

    Args:
        weights: By their names there, ``all_modules.K.REST``.

    Raises:
        FixableError: The modules do not follow one another as in these networks.
    """
    modules = _modules(weights)
    kinds = [_kind(module) for module in modules]
    ours: Tensors = {}
    for kind, place, module in zip(kinds, places(kinds), modules, strict=True):
        for name, tensor in module.items():
            ours[_name(kind, place, name)] = tensor.T if name.endswith(".W") else tensor
    return ours


def places(kinds: list[str]) -> list[str]:
    """Our name for each module, by the kinds of all.

    >>> change, blocks = "resampling block", ["block", "block"]
    >>> kinds = ["linear", "linear", "conv", "block", change, *blocks, "attention", "block"]
    >>> places([*kinds, *blocks, change, *blocks, "norm", "conv"])[3:9]
    ['down.0.blocks.0', 'down.0.downsample', 'down.1.blocks.0', 'middle.block_0',
     'middle.attention', 'middle.block_1']
    """
    kinds = ["resample" if kind in _RESAMPLING else kind for kind in kinds]
    if "resample" not in kinds:
        raise _strange("they have one size")
    blocks = kinds[: kinds.index("resample")].count("block")
    levels = kinds.count("resample") // 2 + 1
    expected = iter([*_way_down(levels, blocks), *_way_up(levels, blocks)])
    names = []
    for number, kind in enumerate(kinds):
        wanted, name = next(expected, ("the end", ""))
        while wanted != kind and wanted in _OPTIONAL:
            wanted, name = next(expected)
        if wanted != kind:
            raise _strange(f"number {number} is of the kind {kind}, not {wanted}")
        names.append(name)
    return names


_OPTIONAL = ("fourier", "attention", "pyramid")


def _way_down(levels: int, blocks: int) -> Iterator[tuple[str, str]]:
    """The kind and our name of each module that there may be, to the middle."""
    yield "fourier", ""
    yield from [("linear", "time_dense_0"), ("linear", "time_dense_1"), ("conv", "conv_in")]
    for level in range(levels):
        for i in range(blocks):
            yield "block", f"down.{level}.blocks.{i}"
            yield "attention", f"down.{level}.attentions.{i}"
        if level + 1 < levels:
            yield "resample", f"down.{level}.downsample"
            yield "pyramid", f"down.{level}.residual"
    yield "block", "middle.block_0"
    yield "attention", "middle.attention"
    yield "block", "middle.block_1"


def _way_up(levels: int, blocks: int) -> Iterator[tuple[str, str]]:
    for level in reversed(range(levels)):
        for i in range(blocks + 1):
            yield "block", f"up.{level}.blocks.{i}"
        yield "attention", f"up.{level}.attentions.0"
        if level:
            yield "resample", f"up.{level}.upsample"
    yield from [("norm", "norm_out"), ("conv", "conv_out")]


def _modules(weights: Mapping[str, Tensor]) -> list[Tensors]:
    """The weights of each number, by the rest of their names."""
    modules: dict[int, Tensors] = {}
    for name, tensor in weights.items():
        match = re.fullmatch(r"all_modules\.(\d+)\.(.+)", name)
        if not match:
            raise _strange(f"{name} is none of them")
        modules.setdefault(int(match[1]), {})[match[2]] = tensor
    return [modules[number] for number in sorted(modules)]


def _kind(module: Tensors) -> str:
    """The kind of a module by the names and shapes inside."""
    if "Conv_0.weight" in module and "GroupNorm_0.weight" in module:
        channels, channels_in = module["Conv_0.weight"].shape[:2]
        resizes = "Conv_2.weight" in module and channels == channels_in
        return "resampling block" if resizes else "block"
    for name, kind in (
        ("GroupNorm_0.weight", "attention"),
        ("Conv_0.weight", "resampling convolution"),
        ("Conv2d_0.weight", "pyramid"),
        ("W", "fourier"),
    ):
        if name in module:
            return kind
    kinds = {1: "norm", 2: "linear", 4: "conv"}
    return kinds.get(module["weight"].ndim if "weight" in module else 0, "unknown")


def _name(kind: str, place: str, name: str) -> str:
    """Our name for a weight of a module."""
    first, _, last = name.partition(".")
    if kind == "fourier":
        return "frequencies"
    if not last:
        return f"{place}.{first}"
    inside = _ATTENTION if kind == "attention" else _BLOCK
    if kind in ("pyramid", "resampling convolution"):
        return f"{place}.{last}"
    return f"{place}.{inside.get(first, first)}.{_ENDS.get(last, last)}"


def _strange(reason: str) -> FixableError:
    return FixableError(
        f"all_modules: not the order of score_sde's networks: {reason}",
        "only its classes DDPM and NCSNpp (biggan blocks) can be imported",
    )
