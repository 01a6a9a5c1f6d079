"""The profile: everything but the weights that a file is written and read with, one JSON file.

Its digest covers every number that a file depends on; a file names the digest's first three bytes,
so that nothing is decoded by another profile than its own.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.codebook import NIBBLE
from ddpm_eval.codec.contexts import PHASES, SCALE_NUMBERS, Pass
from ddpm_eval.codec.layers import Stride
from ddpm_eval.codec.levels import deviation
from ddpm_eval.codec.pixel_errors import Evaluation, PixelErrors, split
from ddpm_eval.codec.strides import coefficients
from ddpm_eval.codec.words import Array
from ddpm_train.errors import FixableError
from ddpm_train.files import require_folder, require_replaceable, write_text
from ddpm_train.reading import read_json

FORMAT, NEWEST = "ddpm-eval codec profile", 2
SUFFIX = ".profile.json"
_AGAIN = "make it again: ddpm-eval calibrate"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How files are written with one model.

    Attributes:
        weights: The digest of the weights and the model's settings.
        shape: [C, H, W] of a tile.
        rows: The rows of the schedule that the chain stands at, falling, [K + 1].
        alphas_bar: Of these rows, [K + 1].
        errors: The mean square that the network misses in each band, row by row, [K][J].
        bits: Of a layer of one tile for each scale, [K][Q].
        tile_scale: The usual scale of a tile in the final stage.
        sets: The integers of the final stage: sets of which each tile chooses one.
        tolerance: How far two machines may differ in the last x_0_hat, in levels.
        pixel_errors: How the network's own errors are used, in version 2; None: version 1.
        fingerprint: What the network computes on the machine that made the profile.
        facts: Where the numbers come from and what is expected; nothing is decoded by them.
    """

    weights: str
    shape: tuple[int, int, int]
    rows: tuple[int, ...]
    alphas_bar: tuple[float, ...]
    errors: tuple[tuple[float, ...], ...]
    bits: tuple[tuple[int, ...], ...]
    tile_scale: int
    sets: tuple[tuple[Pass, ...], ...]
    tolerance: float
    pixel_errors: PixelErrors | None = None
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the weights' digest and every number, in 8 bytes each."""
        integers = [
            *(*self.shape, len(self.strides), len(self.bits[0]), len(self.sets)),
            *(*self.rows, *chain(*self.bits), self.tile_scale),
            *chain(*((*p.weights, *p.scale) for p in chain(*self.sets))),
        ]
        reals = [*self.alphas_bar, *chain(*self.errors), self.tolerance]
        if self.pixel_errors is not None:
            integers += [self.version, self.pixel_errors.block]
            reals += [*self.pixel_errors.exponents, self.pixel_errors.tolerance]
        sha = hashlib.sha256(self.weights.encode() + b"\n")
        sha.update(np.array(integers, "<i8").tobytes() + np.array(reals, "<f8").tobytes())
        return sha.hexdigest()

    @property
    def id(self) -> bytes:
        """What a file names it by, 3 bytes."""
        return bytes.fromhex(self.digest[:6])

    @property
    def version(self) -> int:
        """Of the format of its files."""
        return 1 if self.pixel_errors is None else 2

    @property
    def tolerances(self) -> tuple[float, float]:
        """How far two machines may differ in levels, and in logarithms of errors."""
        pixels = self.pixel_errors
        return self.tolerance, 0.0 if pixels is None else pixels.tolerance

    @cached_property
    def bands(self) -> Bands:
        """The transform of its tiles."""
        return Bands(self.shape, 0 if self.pixel_errors is None else self.pixel_errors.block)

    def split(self, output: Array, k: int) -> Evaluation:
        """Take apart what the network says at row k of the chain."""
        return split(output, None if self.pixel_errors is None else self.usual_errors[k])

    @cached_property
    def usual_errors(self) -> list[float]:
        """The usual error at each row of the chain, [K + 1]."""
        last = float(np.square(deviation(np.array(self.tile_scale)) / 127.5))
        sizes = self.bands.sizes / self.bands.n
        return [*(float(np.array(row) @ sizes) for row in self.errors), last]

    @cached_property
    def strides(self) -> tuple[Stride, ...]:
        """Its strides, from noise to the last row."""
        pairs = pairwise(self.alphas_bar)
        return tuple(
            Stride(
                k=k,
                row=self.rows[k],
                bands=self.bands,
                of=coefficients(t, s),
                gain=s / (1 - s) - t / (1 - t),
                errors=np.array(self.errors[k]),
                bits=self.bits[k],
                exponent=None if self.pixel_errors is None else self.pixel_errors.exponents[k],
            )
            for k, (t, s) in enumerate(pairs)
        )

    def save(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            FixableError: Something that is no profile has the name, or it cannot be written.
        """
        require_writable(path)
        head = {"format": FORMAT, "version": self.version, "digest": self.digest}
        write_text(path, json.dumps(head | self._plain(), indent=1) + "\n")

    def _plain(self) -> dict[str, Any]:
        sets = [[{"weights": p.weights, "scale": p.scale} for p in passes] for passes in self.sets]
        names = ("weights", "rows", "alphas_bar", "errors", "bits", "tile_scale", "tolerance")
        plain = {name: getattr(self, name) for name in names}
        others = {"fingerprint": self.fingerprint, "facts": self.facts}
        whole = plain | {"shape": self.shape, "sets": sets} | others
        if self.pixel_errors is not None:
            whole["pixel_errors"] = asdict(self.pixel_errors)
        return dict(json.loads(json.dumps(whole)))


def require_writable(path: Path) -> None:
    """Refuse to write a profile over another program's file.

    Raises:
        FixableError: A folder, a device or a file that is no profile has the name.
    """
    require_replaceable(path)
    require_folder(path.parent)
    if not path.exists():
        return
    try:
        ours = read_json(path).get("format") == FORMAT
    except FixableError:
        ours = path.name.endswith(SUFFIX)  # a profile that was damaged
    if not ours:
        raise FixableError(f"{path}: exists, and is no profile", "name a new file: --profile FILE")


def beside(checkpoint: Path) -> Path:
    """Where the profile of a checkpoint lies: beside a file, inside a folder.

    >>> beside(Path("runs/a/checkpoints/step-00001000.pt")).name
    'step-00001000.profile.json'
    """
    if checkpoint.is_dir():
        return checkpoint / f"codec{SUFFIX}"
    is_file = checkpoint.suffix in (".pt", ".ckpt", ".safetensors", ".bin", ".pth")
    return checkpoint.with_name((checkpoint.stem if is_file else checkpoint.name) + SUFFIX)


def load(path: Path) -> Profile:
    """Read a profile and check every number in it.

    Raises:
        FixableError: It is missing, of another kind or a newer version, or damaged.
    """
    if not path.exists():
        raise FixableError(f"{path}: no such profile", "make it: ddpm-eval calibrate")
    plain = read_json(path, fix=_AGAIN)
    if plain.get("format") != FORMAT or not isinstance(plain.get("version"), int):
        raise _damaged(path, "it is no profile")
    if plain["version"] > NEWEST:
        raise FixableError(
            f"{path}: version {plain['version']} is newer than this program's {NEWEST}",
            "pip install --upgrade ddpm-eval",
        )
    try:
        profile = _revive(plain)
        digest = profile.digest
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        raise _damaged(path, str(error)) from error
    if digest != plain.get("digest"):
        raise _damaged(path, "its digest does not fit its numbers")
    return profile


def _revive(plain: Mapping[str, Any]) -> Profile:
    channels, height, width = plain["shape"]
    sets = tuple(
        tuple(Pass(tuple(map(int, p["weights"])), tuple(map(int, p["scale"]))) for p in passes)
        for passes in plain["sets"]
    )
    profile = Profile(
        weights=plain["weights"],
        shape=(channels, height, width),
        rows=tuple(plain["rows"]),
        alphas_bar=tuple(plain["alphas_bar"]),
        errors=tuple(tuple(row) for row in plain["errors"]),
        bits=tuple(tuple(row) for row in plain["bits"]),
        tile_scale=plain["tile_scale"],
        sets=sets,
        tolerance=plain["tolerance"],
        pixel_errors=_pixel_errors(plain),
        fingerprint=plain["fingerprint"],
        facts=plain["facts"],
    )
    _check(profile)
    return profile


def _pixel_errors(plain: Mapping[str, Any]) -> PixelErrors | None:
    if plain["version"] < 2:
        return None
    own, (_, height, width) = plain["pixel_errors"], plain["shape"]
    block, exponents = own["block"], tuple(own["exponents"])
    if not (block > 0 and math.gcd(block, height, width) == block):
        raise ValueError("its blocks do not fit its tiles")
    if not all(0 <= exponent <= 1 for exponent in exponents):
        raise ValueError("its exponents are none")
    return PixelErrors(block, exponents, own["tolerance"])


def _check(profile: Profile) -> None:
    """Refuse tables that differ in length, and numbers that no file can be read by.

    Raises:
        ValueError: Says which.
    """
    strides, bands, pixels = len(profile.rows) - 1, profile.bands, profile.pixel_errors
    tables: list[tuple[Any, ...]] = [profile.alphas_bar[1:], profile.errors, profile.bits]
    tables += [] if pixels is None else [pixels.exponents]
    numbers = SCALE_NUMBERS + (pixels is not None)
    scales = {len(row) for row in profile.bits}
    features = [3 * (i // len(PHASES)) + 2 for i in range(bands.shape[0] * len(PHASES))]
    if not (
        {len(table) for table in tables} == {strides}
        and {len(row) for row in profile.errors} == {bands.count}
        and len(scales) == 1
        and min(scales) % 2
        and profile.sets
        and all([len(p.weights) for p in passes] == features for passes in profile.sets)
        and {len(p.scale) for p in chain(*profile.sets)} == {numbers}
    ):
        raise ValueError("its tables differ in length")
    if not (
        all(t > s > 0 for t, s in pairwise(profile.rows))
        and all(0 < t < s < 1 for t, s in pairwise(profile.alphas_bar))
        and all(0 <= error < math.inf for row in profile.errors for error in row)
        and (pixels is None or all(map(any, profile.errors)))
        and all(b % NIBBLE == 0 and 0 <= b <= bands.n for row in profile.bits for b in row)
    ):
        raise ValueError("its numbers are none of a chain")


def _damaged(path: Path, problem: str) -> FixableError:
    return FixableError(f"{path}: damaged ({problem})", _AGAIN)
