"""Names and shapes of the files of score_sde and EDM, of small networks (32; 1, 2, 2; 1 block)."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from tests.train.golden import Shapes

WIDTH, TIME, MULT, SIZE = 32, 128, (1, 2, 2), 32


@dataclass
class Flat:
    """score_sde's ``all_modules``, numbered as they are made."""

    plus: bool  # DDPM++ or NCSN++
    residual: bool = False
    shapes: Shapes = field(default_factory=Shapes)
    numbers: Iterator[int] = field(default_factory=count)

    def layer(self, at: str, *weight: int) -> None:
        self.shapes[f"{at}.weight"], self.shapes[f"{at}.bias"] = weight, weight[:1]

    def nin(self, at: str, a: int, b: int) -> None:
        self.shapes[f"{at}.W"], self.shapes[f"{at}.b"] = (a, b), (b,)

    def module(self) -> str:
        return f"all_modules.{next(self.numbers)}"

    def block(self, a: int, b: int, *, resizes: bool = False) -> None:
        at = self.module()
        self.layer(f"{at}.GroupNorm_0", a)
        self.layer(f"{at}.Conv_0", b, a, 3, 3)
        self.layer(f"{at}.Dense_0", b, TIME)
        self.layer(f"{at}.GroupNorm_1", b)
        self.layer(f"{at}.Conv_1", b, b, 3, 3)
        if self.plus and (a != b or resizes):
            self.layer(f"{at}.Conv_2", b, a, 1, 1)
        elif a != b:
            self.nin(f"{at}.NIN_0", a, b)

    def attention(self, c: int) -> None:
        at = self.module()
        self.layer(f"{at}.GroupNorm_0", c)
        for i in range(4):
            self.nin(f"{at}.NIN_{i}", c, c)

    def resample(self, c: int) -> None:
        if self.plus:
            self.block(c, c, resizes=True)
        else:
            self.layer(f"{self.module()}.Conv_0", c, c, 3, 3)


def score_sde(*, plus: bool, residual: bool = False, fourier: bool = False) -> Shapes:
    net, widths = Flat(plus, residual), [WIDTH * mult for mult in MULT]
    if fourier:
        net.shapes[f"{net.module()}.W"] = (WIDTH,)
    net.layer(net.module(), TIME, WIDTH * (1 + fourier))
    net.layer(net.module(), TIME, TIME)
    net.layer(net.module(), WIDTH, 3, 3, 3)
    skips = _down(net, widths)
    _up(net, widths, skips)
    return net.shapes


def _down(net: Flat, widths: list[int]) -> list[int]:
    skips, now, image = [WIDTH], WIDTH, 3
    for level, width in enumerate(widths):
        net.block(now, width)
        if level == 1:
            net.attention(width)
        now = width
        skips.append(now)
        if level < 2:
            net.resample(now)
            if net.residual:
                net.layer(f"{net.module()}.Conv2d_0", now, image, 3, 3)
                image = now
            skips.append(now)
    net.block(now, now)
    net.attention(now)
    net.block(now, now)
    return skips


def _up(net: Flat, widths: list[int], skips: list[int]) -> None:
    now = widths[-1]
    for level, width in reversed(list(enumerate(widths))):
        for _ in range(2):
            net.block(now + skips.pop(), width)
            now = width
        if level == 1:
            net.attention(now)
        if level:
            net.resample(now)
    net.layer(net.module(), now)
    net.layer(net.module(), 3, now, 3, 3)


@dataclass
class Named:
    """EDM's ``enc`` and ``dec``."""

    time: int = TIME
    adm: bool = False
    shapes: Shapes = field(default_factory=Shapes)

    def layer(self, at: str, *weight: int, bias: bool = True) -> None:
        self.shapes[f"{at}.weight"] = weight
        if bias:
            self.shapes[f"{at}.bias"] = weight[:1]

    def block(
        self, at: str, a: int, b: int, *, attends: bool = False, resizes: bool = False
    ) -> None:
        self.layer(f"{at}.norm0", a)
        self.layer(f"{at}.conv0", b, a, 3, 3)
        self.layer(f"{at}.affine", b * (1 + self.adm), self.time)
        self.layer(f"{at}.norm1", b)
        self.layer(f"{at}.conv1", b, b, 3, 3)
        if a != b or (resizes and not self.adm):
            self.layer(f"{at}.skip", b, a, 1, 1)
        if attends:
            self.layer(f"{at}.norm2", b)
            self.layer(f"{at}.qkv", 3 * b, b, 1, 1)
            self.layer(f"{at}.proj", b, b, 1, 1)


def edm(*, ncsnpp: bool = False, classes: int = 0) -> Shapes:
    net, widths = Named(), [WIDTH * mult for mult in MULT]
    sines = WIDTH * (1 + ncsnpp)
    net.layer("map_layer0", TIME, sines)
    net.layer("map_layer1", TIME, TIME)
    net.layer("map_augment", sines, 9, bias=False)
    if classes:
        net.layer("map_label", sines, classes)
    net.layer("enc.32x32_conv", WIDTH, 3, 3, 3)
    skips, now, image = [WIDTH], WIDTH, 3
    for level, width in enumerate(widths):
        at = f"enc.{SIZE >> level}x{SIZE >> level}"
        if level:
            net.block(f"{at}_down", now, now, resizes=True)
            if ncsnpp:
                net.layer(f"{at}_aux_residual", now, image, 3, 3)
                image = now
            skips.append(now)
        net.block(f"{at}_block0", now, width, attends=level == 1)
        now = width
        skips.append(now)
    for level, width in reversed(list(enumerate(widths))):
        at = f"dec.{SIZE >> level}x{SIZE >> level}"
        if level == 2:
            net.block(f"{at}_in0", now, now, attends=True)
            net.block(f"{at}_in1", now, now)
        else:
            net.block(f"{at}_up", now, now, resizes=True)
        for i in range(2):
            net.block(f"{at}_block{i}", now + skips.pop(), width, attends=level == 1 and i == 1)
            now = width
    net.layer("dec.32x32_aux_norm", now)
    net.layer("dec.32x32_aux_conv", 3, now, 3, 3)
    return net.shapes


def dhariwal(
    classes: int,
    *,
    size: int = 32,
    width: int = 64,
    mult: tuple[int, ...] = (1, 2),
    blocks: int = 1,
    attention: tuple[int, ...] = (16,),  # pixels across
) -> Shapes:
    """ADM's network in EDM's names."""
    net, widths, time = Named(time=4 * width, adm=True), [width * k for k in mult], 4 * width
    net.layer("map_layer0", time, width)
    net.layer("map_layer1", time, time)
    net.layer("map_label", time, classes, bias=False)
    net.layer(f"enc.{size}x{size}_conv", width, 3, 3, 3)
    skips, now = [width], width
    for level, channels in enumerate(widths):
        pixels = size >> level
        at, attends = f"enc.{pixels}x{pixels}", pixels in attention
        if level:
            net.block(f"{at}_down", now, now, resizes=True)
            skips.append(now)
        for i in range(blocks):
            net.block(f"{at}_block{i}", now, channels, attends=attends)
            now = channels
            skips.append(now)
    for level, channels in reversed(list(enumerate(widths))):
        pixels = size >> level
        at, attends = f"dec.{pixels}x{pixels}", pixels in attention
        if level + 1 == len(widths):
            net.block(f"{at}_in0", now, now, attends=True)
            net.block(f"{at}_in1", now, now)
        else:
            net.block(f"{at}_up", now, now, resizes=True)
        for i in range(blocks + 1):
            net.block(f"{at}_block{i}", now + skips.pop(), channels, attends=attends)
            now = channels
    net.layer("out_norm", now)
    net.layer("out_conv", 3, now, 3, 3)
    return net.shapes
