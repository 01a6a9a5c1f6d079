"""Names and shapes of the files of improved-diffusion and guided-diffusion."""

from dataclasses import dataclass
from itertools import pairwise

from tests.train.golden import Shapes


@dataclass(frozen=True, kw_only=True)
class Flags:
    """What decides names and shapes."""

    width: int = 32
    mult: tuple[float, ...] = (1, 2, 3)
    blocks: int = 1
    attention: tuple[int, ...] = (2, 4)  # downsampling rates
    outputs: int = 6
    inputs: int = 3
    classes: int = 0
    resample: str = "conv"
    scale_shift: bool = True


class _File:
    """Names and shapes, as they are added."""

    def __init__(self, flags: Flags) -> None:
        self.flags, self.shapes = flags, Shapes()

    def layer(self, name: str, *weight: int, bias: bool = True) -> None:
        self.shapes[f"{name}.weight"] = weight
        if bias:
            self.shapes[f"{name}.bias"] = weight[:1]

    def block(self, at: str, a: int, b: int) -> None:
        time = 4 * self.flags.width
        self.layer(f"{at}.in_layers.0", a)
        self.layer(f"{at}.in_layers.2", b, a, 3, 3)
        self.layer(f"{at}.emb_layers.1", b * (1 + self.flags.scale_shift), time)
        self.layer(f"{at}.out_layers.0", b)
        self.layer(f"{at}.out_layers.3", b, b, 3, 3)
        if a != b:
            self.layer(f"{at}.skip_connection", b, a, 1, 1)

    def attention(self, at: str, c: int) -> None:
        self.layer(f"{at}.norm", c)
        self.layer(f"{at}.qkv", 3 * c, c, 1)
        self.layer(f"{at}.proj_out", c, c, 1)

    def down(self) -> list[int]:
        """The time embedding, the way down and the middle; the channels of every output."""
        flags, width = self.flags, self.flags.width
        self.layer("time_embed.0", 4 * width, width)
        self.layer("time_embed.2", 4 * width, 4 * width)
        now = int(flags.mult[0] * width)
        self.layer("input_blocks.0.0", now, flags.inputs, 3, 3)
        skips = [now]
        for level, mult in enumerate(flags.mult):
            for _ in range(flags.blocks):
                at, out = f"input_blocks.{len(skips)}", int(mult * width)
                self.block(f"{at}.0", now, out)
                now = out
                if 2**level in flags.attention:
                    self.attention(f"{at}.1", now)
                skips.append(now)
            if level + 1 < len(flags.mult):
                if flags.resample == "conv":
                    self.layer(f"input_blocks.{len(skips)}.0.op", now, now, 3, 3)
                elif flags.resample == "block":
                    self.block(f"input_blocks.{len(skips)}.0", now, now)
                skips.append(now)
        self.block("middle_block.0", now, now)
        self.attention("middle_block.1", now)
        self.block("middle_block.2", now, now)
        return skips

    def up(self, skips: list[int]) -> None:
        flags, now, n = self.flags, skips[-1], 0
        for level, mult in reversed(list(enumerate(flags.mult))):
            for i in range(flags.blocks + 1):
                at, out, member = f"output_blocks.{n}", int(mult * flags.width), 1
                self.block(f"{at}.0", now + skips.pop(), out)
                now, n = out, n + 1
                if 2**level in flags.attention:
                    self.attention(f"{at}.1", now)
                    member = 2
                if level and i == flags.blocks:
                    if flags.resample == "conv":
                        self.layer(f"{at}.{member}.conv", now, now, 3, 3)
                    elif flags.resample == "block":
                        self.block(f"{at}.{member}", now, now)
        self.layer("out.0", now)
        self.layer("out.2", flags.outputs, now, 3, 3)


def unet(flags: Flags) -> Shapes:
    file = _File(flags)
    file.up(file.down())
    if flags.classes:
        file.shapes["label_emb.weight"] = (flags.classes, 4 * flags.width)
    return file.shapes


def classifier(flags: Flags, pool: str, *, pixels: int, hidden: int = 2048) -> Shapes:
    """``pixels``: across the lowest level."""
    file = _File(flags)
    skips = file.down()
    lowest, total = skips[-1], sum(skips) + skips[-1]
    if pool == "attention":
        file.layer("out.0", lowest)
        file.shapes["out.2.positional_embedding"] = (lowest, pixels**2 + 1)
        file.layer("out.2.qkv_proj", 3 * lowest, lowest, 1)
        file.layer("out.2.c_proj", flags.classes, lowest, 1)
    elif pool == "adaptive":
        file.layer("out.0", lowest)
        file.layer("out.3", flags.classes, lowest, 1, 1)
    else:
        sizes = [total, hidden, flags.classes]
        places = ("out.0", "out.2") if pool == "spatial" else ("out.0", "out.3")
        for place, (a, b) in zip(places, pairwise(sizes), strict=True):
            file.layer(place, b, a)
        if pool == "spatial_v2":
            file.layer("out.1", hidden)
    return file.shapes


def paper() -> Shapes:
    """pesser's names of a network of 32 channels, (1, 2, 2), one block a level, attention at 16."""
    file, widths = _Paper(Flags(mult=(1, 2, 2))), [32, 64, 64]
    file.layer("temb.dense.0", 128, 32)
    file.layer("temb.dense.1", 128, 128)
    file.layer("conv_in", 32, 3, 3, 3)
    skips, now = [32], 32
    for level, width in enumerate(widths):
        file.paper_block(f"down.{level}.block.0", now, width)
        if level == 1:
            file.paper_attention("down.1.attn.0", width)
        now = width
        skips.append(now)
        if level < 2:
            file.layer(f"down.{level}.downsample.conv", now, now, 3, 3)
            skips.append(now)
    file.paper_block("mid.block_1", now, now)
    file.paper_attention("mid.attn_1", now)
    file.paper_block("mid.block_2", now, now)
    for level, width in reversed(list(enumerate(widths))):
        for i in range(2):
            file.paper_block(f"up.{level}.block.{i}", now + skips.pop(), width)
            now = width
            if level == 1:
                file.paper_attention(f"up.1.attn.{i}", now)
        if level:
            file.layer(f"up.{level}.upsample.conv", now, now, 3, 3)
    file.layer("norm_out", now)
    file.layer("conv_out", 3, now, 3, 3)
    return file.shapes


class _Paper(_File):
    def paper_block(self, at: str, a: int, b: int) -> None:
        self.layer(f"{at}.norm1", a)
        self.layer(f"{at}.conv1", b, a, 3, 3)
        self.layer(f"{at}.temb_proj", b, 128)
        self.layer(f"{at}.norm2", b)
        self.layer(f"{at}.conv2", b, b, 3, 3)
        if a != b:
            self.layer(f"{at}.nin_shortcut", b, a, 1, 1)

    def paper_attention(self, at: str, c: int) -> None:
        self.layer(f"{at}.norm", c)
        for name in ("q", "k", "v", "proj_out"):
            self.layer(f"{at}.{name}", c, c, 1, 1)
