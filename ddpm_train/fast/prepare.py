"""The network prepared for evaluation: the same function of x_t and t, sooner.

``prepare`` takes what evaluation never changes out of the way: the weights are laid out for the
convolutions once, what a block is told of each t is a row of a table, queries, keys and values are
one product, and nothing is kept for gradients. On CPUs a block works on a few images at a time, so
that they stay in the cache from its first norm to its last sum, and its 3x3 convolutions take fewer
multiplications (``winograd``). The network itself stays the reference: float32 agrees with it
to 5e-6.

Activations are [B, H, W, C] here.
"""

import contextlib
import copy
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, pairwise
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ddpm_train.denoiser import Network
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory, winograd
from ddpm_train.fast.packed import Convolution, fastest
from ddpm_train.networks.unet import (
    Attention,
    Down,
    Level,
    ResidualBlock,
    ScaleShiftBlock,
    UNet,
    Up,
    attend,
    check_condition,
    fourier,
)

Layer = TypeVar("Layer", bound=nn.Module)
PRECISIONS = ("float32", "tf32", "bf16")
_CACHE_ELEMENTS = 1 << 19  # of a block's input at a time; a fixed rule, since bits depend on it


def prepare(
    network: UNet,
    T: int,
    *,
    precision: str = "float32",
    compiled: bool = False,
    use_up: bool = False,
) -> Network:
    """Prepare a network for evaluation on the device where it lies; its weights are copied.

    bf16 keeps t <= T / 100 in float32: there, where little noise hides it, lies most of what bf16
    adds to the bound. What is left is some 0.0004 bits/dim.

    Args:
        network: The network; training it further changes nothing here.
        T: Times are 1..T. Integers in between are looked up, others cost two small products.
        precision: float32; tf32 on GPUs; bf16, in which all but sums and norms has 8 bits.
        compiled: Let inductor write the kernels; the first evaluation then takes minutes.
        use_up: Free the network's own weights on the way: it is of no use afterwards.

    Raises:
        FixableError: The device has no such precision, or there is no compiler.
    """
    device = network.conv_in.weight.device
    check(device, precision, compiled=compiled)
    with torch.inference_mode():
        times = None if compiled or device.type != "cpu" else _Times(network, T)

        def build(dtype: torch.dtype, *, use_up: bool = use_up, small: bool = False) -> Network:
            if times is not None:
                return _OnCPU(network, times, dtype, use_up=use_up, small=small)
            ours = network if use_up else copy.deepcopy(network)
            ours = ours.eval().requires_grad_(requires_grad=False)
            return _Plain(ours, dtype, compiled=compiled, tf32=precision == "tf32")

        if precision != "bf16":
            return build(torch.float32)
        fast = build(torch.bfloat16, use_up=False)
        return _Mixed(build(torch.float32, small=True), fast, T // 100)


def check(device: torch.device, precision: str, *, compiled: bool) -> None:
    """Refuse a precision that the device lacks, and compiling without a compiler.

    Raises:
        FixableError: Names the setting.
    """
    if precision not in PRECISIONS:
        raise FixableError(f"precision={precision}: unknown", f"choose {', '.join(PRECISIONS)}")
    if precision == "tf32" and device.type != "cuda":
        raise FixableError(f"precision=tf32: not on {device.type}", "use float32 or bf16")
    if precision == "bf16" and device.type == "cpu" and not bf16_is_fast():
        raise FixableError(
            "precision=bf16: this processor emulates it, more slowly than float32",
            "use float32, or a processor with AVX-512 BF16 or AMX",
        )
    if compiled and not _compiler():
        raise FixableError(
            "compile=true: there is no C++ compiler here", "install g++ or set CXX, or leave it out"
        )


def bf16_is_fast() -> bool:
    """Whether this processor multiplies bf16 numbers itself."""
    supported = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(supported or not winograd.IS_X86)


def _compiler() -> str | None:
    names = [os.environ.get("CXX"), "g++", "clang++"]
    return next((found for name in names if name and (found := shutil.which(name))), None)


class _Mixed:
    """A fast network, and an exact one for small t."""

    def __init__(self, exact: Network, fast: Network, until: int) -> None:
        self.exact, self.fast, self.until = exact, fast, until

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate each row by the network of its time; keep t on the CPU: no GPU waits for it."""
        small = t <= self.until
        if not small.any():
            return self.fast(x, t, condition)
        if small.all():
            return self.exact(x, t, condition)
        first, rest = small.nonzero()[:, 0], (~small).nonzero()[:, 0]
        parts = [
            network(x[rows], t[rows], None if condition is None else condition[rows])
            for network, rows in ((self.exact, first), (self.fast, rest))
        ]
        return torch.cat(parts)[torch.cat([first, rest]).argsort()]


class _Plain:
    """The network in its own layout on an accelerator, or compiled."""

    def __init__(
        self, network: UNet, dtype: torch.dtype, *, compiled: bool, tf32: bool = False
    ) -> None:
        self.dtype, self.tf32 = dtype, tf32
        network = network.to(dtype).to(memory_format=torch.channels_last)
        mode = "default" if network.conv_in.weight.device.type == "cpu" else "reduce-overhead"
        self.network: Network = torch.compile(network, mode=mode) if compiled else network

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate; the output has the precision of ``x``."""
        t = t.to(x.device, non_blocking=x.is_cuda)
        # A copy: graphs on a GPU write every output to the same place.
        with _tf32(x.device, enabled=self.tf32):
            return self.network(x.to(self.dtype), t, condition).to(x.dtype, copy=True)


@contextlib.contextmanager
def _tf32(device: torch.device, *, enabled: bool) -> Iterator[None]:
    """Let GPUs multiply in TF32, or not, inside the block only."""
    if device.type != "cuda":
        yield
        return
    products, convolutions = torch.backends.cuda.matmul, torch.backends.cudnn
    before = products.allow_tf32, convolutions.allow_tf32
    products.allow_tf32 = convolutions.allow_tf32 = enabled
    try:
        yield
    finally:
        products.allow_tf32, convolutions.allow_tf32 = before


class _Times:
    """What the blocks are told of each time: a row of a table, of which each reads its part."""

    def __init__(self, network: UNet, T: int) -> None:
        self.embed, self.told = (
            network.embed,
            [_copy(block.temb_proj) for block in _blocks(network)],
        )
        self.dense = _copy(network.time_dense_0), _copy(network.time_dense_1)
        table = self.compute(torch.arange(T) + 1)
        self.table = torch.cat([torch.full_like(table[:1], torch.nan), table])

    def parts(self) -> Iterator[slice]:
        """The part of each block."""
        ends = list(accumulate((dense.out_features for dense in self.told), initial=0))
        return (slice(*both) for both in pairwise(ends))

    def __call__(self, t: Tensor) -> Tensor:
        """Tell times, [B] -> [B, sum of the blocks' channels]; integers are looked up."""
        return self.compute(t) if t.is_floating_point() else self.table[t]

    def compute(self, t: Tensor) -> Tensor:
        """Tell times that may lie between those of the table."""
        first, second = self.dense
        temb = self.embed(t).to(first.weight.dtype)
        temb = F.silu(second(F.silu(first(temb))))
        return torch.cat([dense(temb) for dense in self.told], 1)


class _OnCPU:
    """The network as a list of blocks on few images at a time."""

    def __init__(
        self, network: UNet, times: _Times, dtype: torch.dtype, *, use_up: bool, small: bool
    ) -> None:
        """Copy the network; a ``small`` copy has 3x3 kernels as they are."""
        self.dtype, self.times, self.norm_out = dtype, times, _copy(network.norm_out)
        self.use_up, self.small, self.fourier = use_up, small, network.fourier
        self._parts = times.parts()
        rows = _rows(cast(Level, network.down[0]).blocks[0])
        self.conv_in = Convolution(network.conv_in, dtype, rows=rows)
        self.down: list[_Block | _Down] = []
        for down in cast(Iterable[Down], network.down):
            self.down += self._level(down)
            if down.downsample is not None:
                self.down.append(_Down(down, dtype))
        middle = network.middle
        self.middle = [
            self._block(middle.block_0, middle.attention),
            self._block(middle.block_1, None),
        ]
        self.up: list[_Block | _Up] = []
        for up in reversed(network.up):
            self.up += self._level(cast(Level, up))
            if up.upsample is not None:
                self.up.append(_Up(cast(Up, up), dtype))
        self.conv_out = Convolution(network.conv_out, dtype, rows=rows)
        del self._parts
        memory.give_back()

    def _level(self, level: Level) -> list["_Block"]:
        attentions: Iterable[nn.Module | None] = level.attentions or [None] * len(level.blocks)
        return [self._block(*both) for both in zip(level.blocks, attentions, strict=True)]

    def _block(self, block: nn.Module, attention: nn.Module | None) -> "_Block":
        block = cast(ResidualBlock, block)
        told = next(self._parts)
        convolution = Convolution if self.small else fastest
        found = _Block(block, cast(Attention | None, attention), told, self.dtype, convolution)
        if self.use_up:
            block.to("meta")
            memory.give_back()  # the new weights do not fit into the holes of the old
        return found

    @torch.inference_mode()
    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate, [B, C, H, W] and [B] -> [B, out_channels, H, W] in the precision of ``x``."""
        check_condition(condition)
        told = self.times(t)
        pixels = fourier(x, self.fourier).to(self.dtype).permute(0, 2, 3, 1).contiguous()
        skips = [self.conv_in(pixels)]
        for step in self.down:
            h = skips[-1]
            skips.append(step(h, None, told) if isinstance(step, _Block) else step(h))
        h = skips[-1]
        for block in self.middle:
            h = block(h, None, told)
        for part in self.up:
            h = part(h, skips.pop(), told) if isinstance(part, _Block) else part(h)
        return self._out(h).to(x.dtype)

    def _out(self, h: Tensor) -> Tensor:
        parts = [self.conv_out.of_swish(_normalise(self.norm_out, few)) for few in h.split(_few(h))]
        return torch.cat(parts).permute(0, 3, 1, 2)


class _Block:
    """A residual block and the attention behind it."""

    def __init__(
        self,
        block: ResidualBlock,
        attention: Attention | None,
        told: slice,
        dtype: torch.dtype,
        convolution: Callable[..., "Convolution"],
    ) -> None:
        self.told = told  # its part of a row of the table
        self.norms = _copy(block.norm1), _copy(block.norm2)  # in float32
        self.scales = isinstance(block, ScaleShiftBlock)
        self.shortcut: Convolution | None = None
        self.attention: _Attention | None = None
        rows = _rows(block)
        self.convs = [convolution(conv, dtype, rows=rows) for conv in (block.conv1, block.conv2)]
        if block.shortcut is not None:
            self.shortcut = Convolution(block.shortcut, dtype, rows=rows)
        if attention is not None:
            self.attention = _Attention(attention, dtype, rows)

    def __call__(self, x: Tensor, skip: Tensor | None, told: Tensor) -> Tensor:
        """[B, H, W, C_in] -> [B, H, W, C], some images at a time; behind ``x`` comes ``skip``."""
        B, H, W, _ = x.shape
        few = _few(x)
        out = x.new_empty(B, H, W, self.convs[1].channels)
        for i in range(0, B, few):
            here = slice(i, i + few)
            inside = x[here] if skip is None else torch.cat([x[here], skip[here]], 3)
            self._advance(inside, told[here, None, None, self.told], out[here])
        return out

    def _advance(self, x: Tensor, time: Tensor, out: Tensor) -> None:
        h = self.convs[0].of_swish(_normalise(self.norms[0], x)).float()
        if self.scales:
            scale, shift = time.chunk(2, 3)
            h = torch.addcmul(shift, _normalise(self.norms[1], h), 1 + scale)
        else:
            h = _normalise(self.norms[1], h.add_(time))
        h = self.convs[1].of_swish(h)
        torch.add(h, x if self.shortcut is None else self.shortcut(x), out=out)
        if self.attention is not None:
            self.attention.add_to(out)


class _Attention:
    """Self-attention over all pixels."""

    def __init__(self, attention: Attention, dtype: torch.dtype, rows: int) -> None:
        self.norm, self.heads = _copy(attention.norm), attention.heads
        dense = (attention.q, attention.k, attention.v)
        weight, bias = (torch.cat([getattr(d, name) for d in dense]) for name in ("weight", "bias"))
        proj = attention.proj.weight[:, :, None, None], attention.proj.bias
        self.qkv = Convolution((weight[:, :, None, None], bias), dtype, rows=rows)
        self.proj = Convolution(proj, dtype, rows=rows)

    def add_to(self, x: Tensor) -> None:
        """Add the attention of x to x, [B, H, W, C]."""
        B, H, W, C = x.shape
        qkv = self.qkv(_normalise(self.norm, x).to(x.dtype))
        qkv = qkv.view(B, H * W, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        self.proj.add_to(x, attend(*qkv).transpose(1, 2).reshape(B, H, W, C))


class _Down:
    """Half the size: a convolution with a stride."""

    def __init__(self, level: Down, dtype: torch.dtype) -> None:
        self.padding = level.padding
        layer = cast(nn.Conv2d, level.downsample)
        self.conv = Convolution(layer, dtype, rows=_rows(level.blocks[0]), stride=2, padding=0)

    def __call__(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H/2, W/2, C]."""
        return self.conv(F.pad(x, (0, 0, *self.padding)))


class _Up:
    """Twice the size: nearest neighbours, then a 3x3 convolution, in a quarter of the products."""

    def __init__(self, level: Up, dtype: torch.dtype) -> None:
        layer, rows = cast(nn.Conv2d, level.upsample), _rows(level.blocks[0])
        self.convs: list[Convolution] = []
        self.direct: Convolution | None = None
        if not winograd.sums_pay(dtype):
            self.direct = Convolution(layer, dtype, rows=2 * rows)
            return
        for kernel in winograd.kernels_of_differences(layer.weight.double()):
            bias = torch.zeros(len(kernel)) if self.convs else cast(Tensor, layer.bias)
            self.convs.append(Convolution((kernel.float(), bias), dtype, rows=rows))

    def __call__(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, 2H, 2W, C]."""
        if self.direct is not None:
            return self.direct(x.repeat_interleave(2, 1).repeat_interleave(2, 2))
        B, H, W, C = x.shape
        out = x.new_empty(B, H, 2, W, 2, C)
        few = _few(x)
        for i in range(0, B, few):
            self._enlarge(x[i : i + few], out[i : i + few])
        return out.view(B, 2 * H, 2 * W, C)

    def _enlarge(self, x: Tensor, out: Tensor) -> None:
        parts = zip(self.convs, winograd.differences(x.float()), strict=True)
        products = [conv(part.to(x.dtype)).float() for conv, part in parts]
        for (a, b), both in zip(winograd.KINDS, winograd.assemble(products), strict=True):
            torch.add(*both, out=out[:, :, a, :, b])


def _blocks(network: UNet) -> list[ResidualBlock]:
    """The residual blocks in the order of their work."""
    found: list[nn.Module] = []
    for level in network.down:
        found += cast(Level, level).blocks
    found += [network.middle.block_0, network.middle.block_1]
    for level in reversed(network.up):
        found += cast(Level, level).blocks
    return cast(list[ResidualBlock], found)


def _copy(layer: Layer) -> Layer:
    """A copy that training does not move."""
    return copy.deepcopy(layer).requires_grad_(requires_grad=False)


def _rows(block: nn.Module) -> int:
    """How tall the images of a block are."""
    block = cast(ResidualBlock, block)
    return math.isqrt(block.elements // block.conv1.out_channels)


def _few(x: Tensor) -> int:
    """How many images of a batch are worked on at a time."""
    return max(1, _CACHE_ELEMENTS // x[0].numel())


def _normalise(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """The norm of x in float32: more exact than in bf16, and on some sizes much faster."""
    return norm(x.float().permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
