"""Networks of other systems, rebuilt from what is known of them: their names, their quirks.

Written to be read against PyTorch's documentation alone; nothing here looks at our network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Size:
    """A small network that has every part: two levels, attention at the second."""

    ch: int = 32
    mult: Sequence[int] = (1, 2)
    blocks: int = 2
    attn: Sequence[int] = (1,)
    channels: int = 3

    def widths(self) -> list[int]:
        return [self.ch * m for m in self.mult]


def gn(width: int, eps: float) -> nn.GroupNorm:
    return nn.GroupNorm(32, width, eps=eps)


def dot(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """One head over [B, C, H, W]."""
    B, C, H, W = q.shape
    logits = torch.einsum("bci,bcj->bij", q.flatten(2), k.flatten(2)) / math.sqrt(C)
    return torch.einsum("bij,bcj->bci", logits.softmax(-1), v.flatten(2)).view(B, C, H, W)


def twice(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def sines(i: Tensor, ch: int) -> Tensor:
    """The paper's: sines, then cosines; the last frequency is 1/10000."""
    f = torch.logspace(0, -4, ch // 2, dtype=torch.float64)
    a = i[:, None].double() * f
    return torch.cat([a.sin(), a.cos()], 1).float()


class Named(nn.Module):
    """A module whose parts are named by keyword."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


def pesser_block(a: int, b: int, time: int) -> Named:
    block = Named(norm1=gn(a, 1e-6), conv1=nn.Conv2d(a, b, 3, padding=1),
                  temb_proj=nn.Linear(time, b), norm2=gn(b, 1e-6),
                  conv2=nn.Conv2d(b, b, 3, padding=1))  # fmt: skip
    if a != b:
        block.nin_shortcut = nn.Conv2d(a, b, 1)
    return block


def pesser_attn(c: int) -> Named:
    parts = {name: nn.Conv2d(c, c, 1) for name in ("q", "k", "v", "proj_out")}
    return Named(norm=gn(c, 1e-6), **parts)


class Pesser(nn.Module):
    """The original's network under pesser's names."""

    def __init__(self, size: Size) -> None:  # noqa: C901
        super().__init__()
        ch, time, w = size.ch, 4 * size.ch, size.widths()
        self.size, L = size, len(w)
        self.temb = Named(dense=nn.ModuleList([nn.Linear(ch, time), nn.Linear(time, time)]))
        self.conv_in = nn.Conv2d(size.channels, ch, 3, padding=1)
        skips, now = [ch], ch
        self.down, ups = nn.ModuleList(), []
        for level in range(L):
            block, attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(size.blocks):
                block.append(pesser_block(now, w[level], time))
                now = w[level]
                skips.append(now)
                if level in size.attn:
                    attn.append(pesser_attn(now))
            stage = Named(block=block, attn=attn)
            if level != L - 1:
                stage.downsample = Named(conv=nn.Conv2d(now, now, 3, stride=2))
                skips.append(now)
            self.down.append(stage)
        self.mid = Named(block_1=pesser_block(now, now, time), attn_1=pesser_attn(now),
                         block_2=pesser_block(now, now, time))  # fmt: skip
        for level in range(L)[::-1]:
            block, attn = nn.ModuleList(), nn.ModuleList()
            for _ in range(size.blocks + 1):
                block.append(pesser_block(now + skips.pop(), w[level], time))
                now = w[level]
                if level in size.attn:
                    attn.append(pesser_attn(now))
            stage = Named(block=block, attn=attn)
            if level:
                stage.upsample = Named(conv=nn.Conv2d(now, now, 3, padding=1))
            ups.append(stage)
        self.up = nn.ModuleList(ups[::-1])
        self.norm_out, self.conv_out = gn(now, 1e-6), nn.Conv2d(now, size.channels, 3, padding=1)

    def res(self, m: nn.Module, x: Tensor, t: Tensor) -> Tensor:
        h = m.conv1(F.silu(m.norm1(x))) + m.temb_proj(F.silu(t))[..., None, None]
        h = m.conv2(F.silu(m.norm2(h)))
        return h + (m.nin_shortcut(x) if hasattr(m, "nin_shortcut") else x)

    def att(self, m: nn.Module, x: Tensor) -> Tensor:
        h = m.norm(x)
        return x + m.proj_out(dot(m.q(h), m.k(h), m.v(h)))

    def forward(self, x: Tensor, i: Tensor) -> Tensor:  # noqa: C901
        t = self.temb.dense[1](F.silu(self.temb.dense[0](sines(i, self.size.ch))))
        h = self.conv_in(x)
        first = [h]
        for stage in self.down:
            for n, block in enumerate(stage.block):
                h = self.res(block, h, t)
                if len(stage.attn):
                    h = self.att(stage.attn[n], h)
                first.append(h)
            if hasattr(stage, "downsample"):
                h = stage.downsample.conv(F.pad(h, (0, 1, 0, 1)))
                first.append(h)
        h = self.res(self.mid.block_2,
                     self.att(self.mid.attn_1, self.res(self.mid.block_1, h, t)), t)  # fmt: skip
        for stage in reversed(self.up):
            for n, block in enumerate(stage.block):
                h = self.res(block, torch.cat([h, first.pop()], 1), t)
                if len(stage.attn):
                    h = self.att(stage.attn[n], h)
            if hasattr(stage, "upsample"):
                h = stage.upsample.conv(twice(h))
        return self.conv_out(F.silu(self.norm_out(h)))


class TqchBlock(nn.Module):
    def __init__(self, a: int, b: int, time: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = gn(a, 1e-6), nn.Conv2d(a, b, 3, padding=1)
        self.fc, self.norm2 = nn.Linear(time, b), gn(b, 1e-6)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1)
        self.skip = nn.Conv2d(a, b, 1) if a != b else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x))) + self.fc(F.silu(t))[..., None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.skip(x)


class TqchAttention(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.norm = gn(c, 1e-6)
        self.project_in, self.project_out = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x + self.project_out(dot(*self.project_in(self.norm(x)).chunk(3, 1)))


class Pad(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 1, 0, 1))


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return twice(x)


class Tqch(nn.Module):
    """The paper's network under tqch's names."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        ch, time, w, L = size.ch, 4 * size.ch, size.widths(), len(size.mult)
        self.size = size

        def layer(a: int, level: int) -> nn.Module:
            block = TqchBlock(a, w[level], time)
            pair = [block, TqchAttention(w[level])]
            return nn.Sequential(*pair) if level in size.attn else block

        self.embed = nn.Sequential(nn.Linear(ch, time), nn.SiLU(), nn.Linear(time, time))
        self.in_conv = nn.Conv2d(size.channels, ch, 3, padding=1)
        skips, now = [ch], ch
        self.downsamples, self.upsamples = nn.ModuleDict(), nn.ModuleDict()
        for level in range(L):
            parts = nn.ModuleList()
            for _ in range(size.blocks):
                parts.append(layer(now, level))
                now = w[level]
                skips.append(now)
            if level < L - 1:
                parts.append(nn.Sequential(Pad(), nn.Conv2d(now, now, 3, 2)))
                skips.append(now)
            self.downsamples[f"level_{level}"] = parts
        self.middle = nn.ModuleList(
            [TqchBlock(now, now, time), TqchAttention(now), TqchBlock(now, now, time)]
        )
        for level in range(L)[::-1]:
            parts = nn.ModuleList()
            for _ in range(size.blocks + 1):
                parts.append(layer(now + skips.pop(), level))
                now = w[level]
            if level:
                parts.append(nn.Sequential(Double(), nn.Conv2d(now, now, 3, 1, 1)))
            self.upsamples[f"level_{level}"] = parts
        self.out_conv = nn.Sequential(
            gn(now, 1e-6), nn.SiLU(), nn.Conv2d(now, size.channels, 3, 1, 1)
        )

    @staticmethod
    def through(layer: nn.Module, h: Tensor, t: Tensor) -> Tensor:
        parts = list(layer) if isinstance(layer, nn.Sequential) else [layer]
        for part in parts:
            h = part(h, t) if isinstance(part, TqchBlock | TqchAttention) else part(h)
        return h

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        t = self.embed(sines(i, self.size.ch))
        first = [self.in_conv(x)]
        for level in self.downsamples.values():
            for layer in level:
                first.append(self.through(layer, first[-1], t))
        h = first[-1]
        for layer in self.middle:
            h = layer(h, t)
        for level in self.upsamples.values():
            for n, layer in enumerate(level):
                h = torch.cat([h, first.pop()], 1) if n <= self.size.blocks else h
                h = self.through(layer, h, t)
        return self.out_conv(h)


def interleaved(T: int, ch: int) -> Tensor:
    """Row i: sin(i f_0), cos(i f_0), sin(i f_1), ... with f_j = 10000^(-2j/ch)."""
    table = torch.empty(T, ch, dtype=torch.float64)
    for j in range(ch // 2):
        a = torch.arange(T, dtype=torch.float64) * 10000.0 ** (-2 * j / ch)
        table[:, 2 * j], table[:, 2 * j + 1] = a.sin(), a.cos()
    return table.float()


class WAttention(nn.Module):
    def __init__(self, c: int) -> None:
        super().__init__()
        self.group_norm = gn(c, 1e-5)
        self.proj_q, self.proj_k = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)
        self.proj_v, self.proj = nn.Conv2d(c, c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.group_norm(x)
        return x + self.proj(dot(self.proj_q(h), self.proj_k(h), self.proj_v(h)))


class WBlock(nn.Module):
    def __init__(self, a: int, b: int, time: int, attn: bool) -> None:
        super().__init__()
        self.block1 = nn.Sequential(gn(a, 1e-5), nn.SiLU(), nn.Conv2d(a, b, 3, padding=1))
        self.temb_proj = nn.Sequential(nn.SiLU(), nn.Linear(time, b))
        self.block2 = nn.Sequential(
            gn(b, 1e-5), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(b, b, 3, padding=1)
        )
        self.shortcut = nn.Conv2d(a, b, 1) if a != b else nn.Identity()
        self.attn = WAttention(b) if attn else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.block1(x) + self.temb_proj(t)[..., None, None]
        return self.attn(self.block2(h) + self.shortcut(x))


class WResample(nn.Module):
    def __init__(self, c: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Conv2d(c, c, 3, stride=stride, padding=1)


class W86763777(nn.Module):
    """Alternating sines, padding on both sides, epsilon 1e-5."""

    def __init__(self, size: Size, T: int) -> None:
        super().__init__()
        ch, time, w, L = size.ch, 4 * size.ch, size.widths(), len(size.mult)
        table = nn.Embedding.from_pretrained(interleaved(T, ch))
        self.time_embedding = Named(timembedding=nn.Sequential(
            table, nn.Linear(ch, time), nn.SiLU(), nn.Linear(time, time)))  # fmt: skip
        self.head = nn.Conv2d(size.channels, ch, 3, padding=1)
        skips, now = [ch], ch
        self.downblocks, self.upblocks = nn.ModuleList(), nn.ModuleList()
        for level in range(L):
            for _ in range(size.blocks):
                self.downblocks.append(WBlock(now, w[level], time, level in size.attn))
                now = w[level]
                skips.append(now)
            if level < L - 1:
                self.downblocks.append(WResample(now, 2))
                skips.append(now)
        self.middleblocks = nn.ModuleList(
            [WBlock(now, now, time, True), WBlock(now, now, time, False)]
        )
        for level in range(L)[::-1]:
            for _ in range(size.blocks + 1):
                pair = now + skips.pop()
                self.upblocks.append(WBlock(pair, w[level], time, level in size.attn))
                now = w[level]
            if level:
                self.upblocks.append(WResample(now, 1))
        self.tail = nn.Sequential(
            gn(now, 1e-5), nn.SiLU(), nn.Conv2d(now, size.channels, 3, padding=1)
        )

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        t = self.time_embedding.timembedding(i)
        h = self.head(x)
        first = [h]
        for part in self.downblocks:
            h = part(h, t) if isinstance(part, WBlock) else part.main(h)
            first.append(h)
        for part in self.middleblocks:
            h = part(h, t)
        for part in self.upblocks:
            if isinstance(part, WBlock):
                h = part(torch.cat([h, first.pop()], 1), t)
            else:
                h = part.main(twice(h))
        return self.tail(h)


class ImprovedBlock(nn.Module):
    def __init__(self, a: int, b: int, time: int, scaled: bool) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(gn(a, 1e-5), nn.SiLU(), nn.Conv2d(a, b, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * b if scaled else b))
        self.out_layers = nn.Sequential(
            gn(b, 1e-5), nn.SiLU(), nn.Dropout(0.1), nn.Conv2d(b, b, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(a, b, 1) if a != b else nn.Identity()
        self.scaled = scaled

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h, e = self.in_layers(x), self.emb_layers(t)[..., None, None]
        if self.scaled:
            first, second = e[:, : h.shape[1]], e[:, h.shape[1] :]
            h = self.out_layers[1:](self.out_layers[0](h) * (first + 1) + second)
        else:
            h = self.out_layers(h + e)
        return h + self.skip_connection(x)


class ImprovedAttention(nn.Module):
    """Heads lie one after another in qkv, each with its own q, k and v."""

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.norm, self.qkv = gn(c, 1e-5), nn.Conv1d(c, 3 * c, 1)
        self.proj_out, self.heads = nn.Conv1d(c, c, 1), heads

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        H, W = x.shape[2:]
        qkv = self.qkv(self.norm(x).flatten(2))
        out = []
        for head in qkv.chunk(self.heads, 1):
            q, k, v = (part.unflatten(2, (H, W)) for part in head.chunk(3, 1))
            out.append(dot(q, k, v))
        return x + self.proj_out(torch.cat(out, 1).flatten(2)).view(x.shape)


class Improved(nn.Module):
    """Cosines first, padding on both sides, epsilon 1e-5."""

    def __init__(
        self, size: Size, *, heads: int = 1, scaled: bool = False, learned: bool = False,
        time_scale: float = 1.0,
    ) -> None:  # fmt: skip
        super().__init__()
        ch, time, w, L = size.ch, 4 * size.ch, size.widths(), len(size.mult)
        self.ch, self.time_scale = ch, time_scale

        def parts(a: int, level: int) -> list[nn.Module]:
            block = ImprovedBlock(a, w[level], time, scaled)
            return [block, ImprovedAttention(w[level], heads)] if level in size.attn else [block]

        self.time_embed = nn.Sequential(nn.Linear(ch, time), nn.SiLU(), nn.Linear(time, time))
        first = nn.Conv2d(size.channels, ch, 3, padding=1)
        self.input_blocks = nn.ModuleList([nn.Sequential(first)])
        self.output_blocks = nn.ModuleList()
        skips, now = [ch], ch
        for level in range(L):
            for _ in range(size.blocks):
                self.input_blocks.append(nn.Sequential(*parts(now, level)))
                now = w[level]
                skips.append(now)
            if level < L - 1:
                down = Named(op=nn.Conv2d(now, now, 3, stride=2, padding=1))
                self.input_blocks.append(nn.Sequential(down))
                skips.append(now)
        self.middle_block = nn.Sequential(
            ImprovedBlock(now, now, time, scaled), ImprovedAttention(now, heads),
            ImprovedBlock(now, now, time, scaled),
        )  # fmt: skip
        for level in range(L)[::-1]:
            for n in range(size.blocks + 1):
                layers = parts(now + skips.pop(), level)
                now = w[level]
                if level and n == size.blocks:
                    layers.append(Named(conv=nn.Conv2d(now, now, 3, padding=1)))
                self.output_blocks.append(nn.Sequential(*layers))
        outputs = size.channels * (2 if learned else 1)
        self.out = nn.Sequential(gn(now, 1e-5), nn.SiLU(), nn.Conv2d(now, outputs, 3, padding=1))

    def step(self, layers: nn.Module, h: Tensor, t: Tensor) -> Tensor:
        for layer in layers:
            if isinstance(layer, ImprovedBlock | ImprovedAttention):
                h = layer(h, t)
            elif hasattr(layer, "op"):
                h = layer.op(h)
            else:
                h = layer.conv(twice(h)) if hasattr(layer, "conv") else layer(h)
        return h

    def forward(self, x: Tensor, i: Tensor) -> Tensor:
        j = torch.arange(self.ch // 2, dtype=torch.float64)
        a = i[:, None] * self.time_scale * 10000.0 ** (-j / (self.ch // 2))
        t = self.time_embed(torch.cat([a.cos(), a.sin()], 1).float())
        h, first = x, []
        for layers in self.input_blocks:
            h = self.step(layers, h, t)
            first.append(h)
        h = self.step(self.middle_block, h, t)
        for layers in self.output_blocks:
            h = self.step(layers, torch.cat([h, first.pop()], 1), t)
        return self.out(h)
