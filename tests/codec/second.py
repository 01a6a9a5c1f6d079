"""A second decoder, written from docs/format.md alone: numpy, and nothing of the first one.

``decode(file, profile, x_0_hat)`` gives the picture and whether its checksum fits. It takes a whole
file or any prefix, and is slow and short.
"""

import hashlib
import math
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
U64, U32 = np.uint64, np.uint32
GREY = 128
PHASES = ((0, 0), (1, 1), (0, 1), (1, 0))


class CutOff(Exception):
    """The bits end."""


class Bits:
    def __init__(self, data: bytes) -> None:
        self.line, self.place = "".join(f"{byte:08b}" for byte in data), 0

    def number(self, width: int) -> int:
        if self.place + width > len(self.line):
            raise CutOff
        self.place += width
        return int(self.line[self.place - width : self.place] or "0", 2)

    def zeros(self) -> int:
        one = self.line.find("1", self.place)
        if one < 0:
            raise CutOff
        count, self.place = one - self.place, one + 1
        return count

    def signed(self) -> int:
        size = self.zeros()
        return -size if size and self.number(1) else size

    def rice(self, k: int) -> int:
        return self.zeros() << k | self.number(k)


def varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for i in range(5):
        value |= (data[place + i] & 127) << 7 * i
        if data[place + i] < 128:
            return value, place + i + 1
    raise ValueError("a number of six bytes")


# ------------------------------------------------------------------------------ shared numbers


def mix(x: Array) -> Array:
    x = (x ^ x >> U64(30)) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> U64(27)) * U64(0x94D049BB133111EB)
    return x ^ x >> U64(31)


def numbers(purpose: int, index: int, count: int) -> Array:
    i = np.arange(1, count + 1, dtype=U64)
    words = mix(mix(np.array([256 * index + purpose], U64)) + i * U64(0x9E3779B97F4A7C15))
    return sum((words >> U64(8 * j) & U64(255)).astype(np.int64) for j in range(8)) - 1020


def normals(purpose: int, index: int, count: int) -> Array:
    return (numbers(purpose, index, count) / 209).astype(np.float32)


CODEBOOK = numbers(2, 0, 2048 * 512).reshape(2048, 512)
PHI = np.array(
    [round(2**30 * 0.5 * math.erfc((8 - i / 64) / math.sqrt(2))) for i in range(1025)], np.int64
)
SLOPES = np.array([round(2 ** (26 - scale / 12)) for scale in range(144)], np.int64)


def point(nibbles: list[int], k: int, places: int) -> Array:
    """The point of a lane that nibbles name."""
    if not nibbles:
        return normals(3, k, places).astype(np.float64)
    count = len(nibbles)
    q = [max(i, 4 * i - 5) for i in range(count + 1)]
    bounds = [q[i] * places // q[count] for i in range(count + 1)]
    state, z = (k + 1) * 0x9E3779B1 & 0xFFFFFFFF, np.empty(places)
    for i, nibble in enumerate(nibbles):
        h = state * 0x9E3779B1 & 0xFFFFFFFF
        h = (h ^ h >> 15) * 0x85EBCA77 & 0xFFFFFFFF
        row, length = 8 * (h >> 24) + (nibble >> 1), bounds[i + 1] - bounds[i]
        rows = [(row + 811 * j) % 2048 for j in range(-(-length // 512))]
        values = CODEBOOK[rows].ravel()[:length]
        values = values * math.sqrt(length / max(1, int((values**2).sum())))
        z[bounds[i] : bounds[i + 1]] = -values if nibble & 1 else values
        state = 16 * state + nibble & 0xFFFFFFFF
    return z


# ----------------------------------------------------------------------------- tiles and bands


COLOURS = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]]) / np.sqrt([[3], [2], [6]])


def cosines_of(side: int) -> Array:
    u, x = np.arange(side)[:, None], np.arange(side)
    return np.sqrt(np.where(u == 0, 1, 2) / side) * np.cos(np.pi * u * (2 * x + 1) / (2 * side))


def inverse(coefficients: Array, side: int) -> Array:
    """Coefficients [B, C, H, W] to pixels."""
    (B, C, H, W), cosines = coefficients.shape, cosines_of(side)
    blocks = coefficients.reshape(B, C, H // side, side, W // side, side)
    pixels = np.einsum("bciujv,ux,vy->bcixjy", blocks, cosines, cosines).reshape(B, C, H, W)
    if C != 3:
        return pixels
    return np.einsum("kc,bkhw->bchw", COLOURS, pixels)


def variances(pixels: Array, side: int) -> Array:
    """Of coefficients where pixels [B, C, H, W] have these."""
    (B, C, H, W), squares = pixels.shape, cosines_of(side) ** 2
    mixed = np.einsum("kc,bchw->bkhw", COLOURS**2, pixels) if C == 3 else pixels
    blocks = mixed.reshape(B, C, H // side, side, W // side, side)
    return np.einsum("bcixjy,ux,vy->bciujv", blocks, squares, squares).reshape(B, C, H, W)


def cut_off(errors: Array, profile: dict[str, Any], k: int) -> Array | None:
    """M at row k; None in version 1."""
    if profile["version"] == 1:
        return None
    usual = (2 ** (profile["tile_scale"] / 12 - 3) / 127.5) ** 2
    if k < len(profile["errors"]):
        usual = np.array(profile["errors"][k])[
            bands(tuple(profile["shape"]), block(profile))
        ].mean()
    return np.clip(errors, usual / 1024, usual * 1024)


def block(profile: dict[str, Any]) -> int:
    if profile["version"] == 1:
        return math.gcd(8, *profile["shape"][1:])
    return int(profile["pixel_errors"]["block"])


def bands(shape: tuple[int, int, int], side: int) -> Array:
    c, y, x = np.indices(shape)
    return c * (2 * side - 1) + y % side + x % side


def order(band: Array, tiles: int) -> Array:
    listed = np.argsort(np.tile(band.ravel(), tiles), kind="stable")
    N = len(listed)
    g = N * 987 // 1597
    while math.gcd(g, N) != 1:
        g += 1
    return listed[np.arange(N) * g % N]


# ---------------------------------------------------------------------------------- the decoder


def decode(
    data: bytes, profile: dict[str, Any], x_0_hat: Callable[[Array, int], Array]
) -> tuple[Array, bool]:
    """The picture [H, W, C'] of a file or a prefix, and whether it is verified.

    In version 2 ``x_0_hat`` gives M behind x_0_hat, [B, 2 C, H, W].
    """
    flags, (C, H, W) = data[1], profile["shape"]
    version = profile["version"]
    if data[0] != 0xDD or flags >> 4 != version or data[2:5].hex() != profile["digest"][:6]:
        raise ValueError("not of this profile and its version")
    lossless, sized, stored = flags & 1, flags & 4, flags & 8
    layers, place = (len(profile["bits"]), 8) if lossless else varint(data, 5)
    width, height, grey = W, H, False
    if sized:
        width, place = varint(data, place)
        height, place = varint(data, place)
        grey, place = data[place] == 1, place + 1
    body, channels = data[place:], 1 if grey else C
    if stored:
        pixels = np.frombuffer(body, np.uint8).reshape(height, width, channels)
        return pixels, check(pixels, data[5:8])
    tiles = -(-height // H) * -(-width // W)
    bits = Bits(body)
    x, scales, k = read_layers(bits, profile, tiles, layers, x_0_hat)
    if not k:
        return np.full((height, width, channels), GREY, np.uint8), False
    estimate = x_0_hat(x, profile["rows"][k]).astype(np.float64)
    estimate, errors = estimate[:, :C], cut_off(estimate[:, C:], profile, k)
    if lossless and k == len(profile["bits"]):
        edges = (height, width, channels)
        try:
            agreed = read_means(bits, 127.5 * (estimate + 1), errors, flags & 2)
            levels = final_stage(bits, body, profile, agreed, scales, edges)
        except CutOff:
            levels = np.zeros(estimate.shape)
        pixels = join(levels, height, width)[..., :channels]
        if check(pixels, data[5:8]):
            return pixels, True
    return join(np.rint(127.5 * (estimate + 1)), height, width)[..., :channels], False


def check(pixels: Array, checksum: bytes) -> bool:
    whole = struct.pack("<III", *pixels.shape) + pixels.tobytes()
    return hashlib.sha256(whole).digest()[:3] == checksum


def join(levels: Array, height: int, width: int) -> Array:
    _, C, H, W = levels.shape
    rows, columns = -(-height // H), -(-width // W)
    whole = levels.reshape(rows, columns, C, H, W).transpose(0, 3, 1, 4, 2)
    whole = whole.reshape(rows * H, columns * W, C)[:height, :width]
    return np.ascontiguousarray(whole.astype(np.uint8))


def read_layers(
    bits: Bits,
    profile: dict[str, Any],
    tiles: int,
    layers: int,
    x_0_hat: Callable[[Array, int], Array],
) -> tuple[Array, list[int], int]:
    """Where the chain ends, the scales there, and how many layers there were."""
    C, H, W = shape = tuple(profile["shape"])
    side, n = block(profile), C * H * W
    band = bands(shape, side)
    x = np.stack([normals(1, i, n).reshape(shape) for i in range(tiles)])
    scales = [0] * tiles
    for k in range(min(layers, len(profile["bits"]))):
        table, limit = profile["bits"][k], len(profile["bits"][k]) // 2
        z, fresh = np.empty((tiles, n)), scales
        try:
            if k % 2 == 0:
                fresh = [max(-limit, min(limit, scale + bits.signed())) for scale in scales]
            for first in range(0, tiles, 16):
                lane = range(first, min(first + 16, tiles))
                count = sum(table[fresh[i] + limit] for i in lane) // 4
                nibbles = [bits.number(4) for _ in range(count)]
                line = np.empty(len(lane) * n)
                line[order(band, len(lane))] = point(nibbles, k, len(lane) * n)
                z[lane.start : lane.stop] = line.reshape(-1, n)
        except CutOff:
            return x, scales, k
        p, q = profile["alphas_bar"][k : k + 2]
        r, gain, scales = p / q, q / (1 - q) - p / (1 - p), fresh
        e = np.array(profile["errors"][k])[band]
        estimate = x_0_hat(x, profile["rows"][k])
        errors, estimate = cut_off(estimate[:, C:], profile, k), estimate[:, :C]
        wide = e * 2.0 ** (np.array(scales).reshape(-1, 1, 1, 1) / 3)
        if errors is not None:
            v = variances(errors ** profile["pixel_errors"]["exponents"][k], side)
            wide = wide * v * (e.sum() / (e * v).sum((1, 2, 3), keepdims=True))
        sigma = np.sqrt((1 - q) * (1 - r) / (1 - p) * (1 + gain * wide))
        a, b = math.sqrt(r) * (1 - q) / (1 - p), math.sqrt(q) * (1 - r) / (1 - p)
        noise = inverse(sigma * z.reshape(tiles, *shape), side)
        x = (a * x.astype(np.float64) + b * estimate + noise).astype(np.float32)
    return x, scales, min(layers, len(profile["bits"]))


# -------------------------------------------------------------------------------- final stage


def final_stage(
    bits: Bits,
    body: bytes,
    profile: dict[str, Any],
    agreed: tuple[Array, Array],
    scales: list[int],
    edges: tuple[int, int, int],
) -> Array:
    """The levels, [B, C, H, W], from mu and h."""
    (mu, h), sets, choices = agreed, profile["sets"], []
    for scale in scales:
        d = max(-64, min(64, bits.signed()))
        chosen = min(bits.number((len(sets) - 1).bit_length()), len(sets) - 1)
        choices.append((profile["tile_scale"] + 2 * scale + 2 * d, sets[chosen]))
    (B, C, H, W), (height, width, channels) = mu.shape, edges
    columns, decoder = -(-width // W), Range(body[-(-bits.place // 8) :])
    levels, e = np.zeros_like(mu), np.zeros((B, C, H + 2, W + 2), np.int64)
    rough = np.pad(mu, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="edge")
    colours, finished = [1, 0, 2] if C == 3 else list(range(C)), list[int]()
    for colour in colours if channels == C else colours[:1]:
        for phase, (down, right) in enumerate(PHASES):
            later = np.zeros_like(e[:, colour])
            for tile in range(B):
                top, left = H * (tile // columns), W * (tile % columns)
                T, passes = choices[tile]
                numbers_ = passes[4 * len(finished) + phase]
                for y in range(down, min(H, height - top), 2):
                    for x in range(right, min(W, width - left), 2):
                        window = e[tile, :, y : y + 3, x : x + 3]
                        around = rough[tile, :, y : y + 3, x : x + 3]
                        middle = mu[tile, colour, y, x], h[tile, colour, y, x]
                        mean, scale = predict(window, around, middle, T, numbers_, finished, colour)
                        level = decoder.level(mean, scale)
                        levels[tile, colour, y, x] = level
                        later[tile, y + 1, x + 1] = 8 * level - mu[tile, colour, y, x]
            e[:, colour] += later
        finished.append(colour)
    if channels != C:
        levels[:] = levels[:, colours[:1]]
    return levels


def read_means(bits: Bits, m: Array, errors: Array | None, portable: int) -> tuple[Array, Array]:
    """Mu and h; 0 in version 1."""
    zeros = np.zeros(m.shape, np.int64)
    h = None if errors is None else 4 * np.log2(errors)
    if not portable:
        return np.rint(8 * m).astype(np.int64), zeros if h is None else np.rint(h).astype(np.int64)
    moved = 0.5 + (2 * bits.number(3) - 7) / 16
    mu = read_list(bits, 8 * m + moved, 2)
    return mu, zeros if h is None else read_list(bits, h + moved, 0)


def read_list(bits: Bits, y: Array, shift: int) -> Array:
    mu, count, place = np.floor(y).astype(np.int64), bits.rice(shift), -1
    k = bits.number(5) if count else 0
    for _ in range(count):
        place += 1 + bits.rice(k)
        low, odd = math.floor(y.flat[place] - 0.5), bits.number(1)
        mu.flat[place] = low if low % 2 == odd else low + 1
    return mu


def predict(
    e: Array,
    mu: Array,
    middle: tuple[int, int],
    T: int,
    numbers_: Any,
    finished: list[int],
    colour: int,
) -> tuple[int, int]:
    """Mean and scale of a pixel from the 3 x 3 around it, [C, 3, 3]."""

    def beside(plane: Array) -> int:
        return int(plane[0, 1] + plane[2, 1] + plane[1, 0] + plane[1, 2])

    def corners(plane: Array) -> int:
        return int(plane[0, 0] + plane[0, 2] + plane[2, 0] + plane[2, 2])

    f = [g(e[c]) for c in finished for g in (lambda plane: int(plane[1, 1]), beside, corners)]
    f += [beside(e[colour]), corners(e[colour])]
    move = sum(w * value for w, value in zip(numbers_["weights"], f, strict=True))
    sizes = [abs(e[c]) for c in (*finished, colour)]
    A = sum(4 * int(size[1, 1]) + beside(size) + corners(size) for size in sizes)
    g = sum(beside(abs(plane - plane[1, 1])) for plane in mu)
    v = [*numbers_["scale"], 0]
    scale = (
        v[0] + v[1] * T + v[2] * logarithm(A + 1) + v[3] * logarithm(g + 16) + v[4] * int(middle[1])
    )
    return max(0, min(4080, 2 * int(middle[0]) + (move >> 11))), max(0, min(143, scale >> 10))


def logarithm(v: int) -> int:
    return (v**8).bit_length() - 1


class Range:
    def __init__(self, data: bytes) -> None:
        self.rest, self.range = iter(data), 1 << 48
        self.code = int.from_bytes(next(self.rest, 0) for _ in range(6))

    def level(self, mean: int, scale: int) -> int:
        levels = np.arange(257)
        y = ((16 * levels - 8 - mean) * SLOPES[scale] >> 11) + (1 << 19)
        y = np.clip(y, 0, 1 << 20)
        i = np.minimum(y >> 10, 1023)
        share = PHI[i] + ((PHI[i + 1] - PHI[i]) * (y - 1024 * i) >> 10)
        F = levels + (share * (2**24 - 256) >> 30)
        F[0], F[256] = 0, 1 << 24
        u = self.range >> 24
        part = min(self.code // u, 2**24 - 1)
        level = int(np.searchsorted(F, part, side="right")) - 1
        self.code -= u * int(F[level])
        self.range = u * int(F[level + 1] - F[level])
        while self.range < 1 << 40:
            self.code, self.range = 256 * self.code + next(self.rest, 0), 256 * self.range
        return level
