"""The ten files of conformance: their pictures, their network and their settings, by rules.

Pictures are made of integers. The network is the best one for Gaussian pictures whose bands are
independent, its x_0_hat rounded so coarsely that it is the same on every machine:

    x_0_hat = rint(2^12 inverse(gain_t[band] transform(x_t)) / 2^16) / 2^12, cut to [-1, 1]

``python -m tests.codec.cases`` writes what is missing in the folder; version 1 is frozen, so
nothing that is there may ever change.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec import reading, writing
from ddpm_eval.codec.archive import Archive
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.calibrate import calibrate
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.curve import squares
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import ArchiveSettings, CalibrationSettings, CompressionSettings
from ddpm_eval.codec.words import Array, numbers
from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.runtime import Runtime
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Pixels, Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.schedule import from_betas
from tests.codec import fields

FOLDER = Path(__file__).parent / "conformance"
SIDE, UNIT, GRID = 8, 1 << 16, 1 << 12
BANDS = Bands((3, SIDE, SIDE))
_BARS = torch.sigmoid(torch.linspace(9.6, -5, 200, dtype=torch.float64))
SCHEDULE = from_betas(1 - _BARS / torch.cat([torch.ones(1, dtype=torch.float64), _BARS[:-1]]))
_PICTURES = 17  # purpose of the sequences that pictures come from


def tables(variances: Array) -> dict[int, list[int]]:
    """gain_t of every t and band, for pictures of these variances."""
    bars = SCHEDULE.alphas_bar.tolist()
    gains = [[bar**0.5 * v / (bar * v + 1 - bar) for v in variances.tolist()] for bar in bars]
    return {t: [round(UNIT * gain) for gain in gains[t]] for t in range(1, len(bars))}


def x_0_hat(x_t: Array, gains: list[int]) -> Array:
    """The network, [B, C, H, W] float32 to the same."""
    y = BANDS.transform(x_t.astype(np.float64)) * np.array(gains)[BANDS.of] / UNIT
    estimate = np.rint(BANDS.invert(y) * GRID) / GRID
    return np.clip(estimate, -1, 1).astype(np.float32)


def network(plain: dict[str, Any], x_t: Array, t: int) -> Array:
    """The network by the tables of index.json."""
    return x_0_hat(x_t, plain[str(t)])


def estimate(plain: dict[str, Any]) -> Estimate:
    """The same as the codec takes it."""
    return lambda x_t, t: network(plain, x_t, t)


def picture(index: int, height: int, width: int, channels: int = 3, contrast: int = 8) -> Pixels:
    """A smooth picture of integers, [H, W, C]; contrast 0 is noise."""
    count = (height + 16) * (width + 16) * channels
    v = numbers(_PICTURES, index, count).astype(np.int64)
    if not contrast:
        levels = v[: height * width * channels].reshape(height, width, channels)
        return (levels & 255).astype(np.uint8)
    v = v.reshape(height + 16, width + 16, channels)
    for _ in range(8):
        v = v[2:] + 2 * v[1:-1] + v[:-2]
        v = v[:, 2:] + 2 * v[:, 1:-1] + v[:, :-2]
    v = v + v[..., :1]  # colours that go together
    return np.clip(128 + (v * contrast >> 36), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Case:
    """One file: its picture, how it is written, and how many of its bytes are kept."""

    picture: Pixels
    settings: CompressionSettings = field(default_factory=lambda: CompressionSettings(effort=10))
    kept_bytes: int | None = None


def files() -> dict[str, Case]:
    """The ten files by their names."""
    usual = CompressionSettings(effort=10)
    return {
        "tile": Case(picture(1, SIDE, SIDE)),
        "plain": Case(picture(2, SIDE, SIDE), replace(usual, portable=False)),
        "grey": Case(picture(3, SIDE, SIDE, 1)),
        "odd": Case(picture(4, 13, 11)),
        "pixel": Case(picture(5, 1, 1)),
        "lanes": Case(picture(6, 33, 31)),  # 20 tiles: a lane of 16 and one of 4
        "saturated": Case(picture(7, SIDE, SIDE, contrast=24)),
        "stored": Case(picture(8, 5, 3, contrast=0)),
        "lossy": Case(picture(9, 12, 20), replace(usual, bits=1.2)),
        "cut": Case(picture(10, 13, 11), kept_bytes=150),
    }


def model(table: dict[int, list[int]]) -> Model:
    """The network as a model, to calibrate with."""

    def predict(x: torch.Tensor, t: torch.Tensor, condition: object = None) -> torch.Tensor:
        rows = [x_0_hat(x[i : i + 1].numpy(), table[int(t[i])]) for i in range(len(x))]
        return torch.from_numpy(np.concatenate(rows))

    objective = ObjectiveConfig(prediction="x_0")
    facts = ModelFacts(digest="the rule of tests/codec/cases.py", name="rule")
    denoise, shape = Denoiser(predict, SCHEDULE, objective), (3, SIDE, SIDE)
    single = Model(denoise=denoise, shape=shape, facts=facts, device=torch.device("cpu"))
    double = replace(single, dtype=torch.float64, precision="float64")
    return replace(single, double=lambda: double)


class RowsOfProfile(Archive):
    """Archives whose chain has the rows of the profile, for which index.json has the network."""

    def rows(self, settings: ArchiveSettings) -> list[int]:
        return list(self.codec.profile.rows)


def archive(profile: Profile, plain: dict[str, Any]) -> RowsOfProfile:
    """The archive's codec."""
    table = {int(t): gains for t, gains in plain.items()}
    return RowsOfProfile(Codec(model(table), profile, 16))


def archived() -> list[Pixels]:
    """The pictures of the archive: tiles, a grey one, one of several tiles."""
    tiles = [picture(20 + i, SIDE, SIDE) for i in range(13)]
    return [tiles[0], picture(30, SIDE, SIDE, 1), picture(31, 11, 13), *tiles[1:]]


def encode(profile: Profile, case: Case, network: Estimate) -> bytes:
    """The file of a case as the encoder writes it today."""
    work = writing.compress(profile, network, [case.picture], case.settings)
    return fields.finish(work)[0].file[: case.kept_bytes]


def digest(pixels: Array) -> str:
    """SHA-256 of the levels of a picture."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()


def main() -> None:
    """Write what is missing in the folder."""
    path, index = FOLDER / "profile.json", FOLDER / "index.json"
    if not path.exists():
        learn(path, index)
    profile, plain = profiles.load(path), json.loads(index.read_text())
    for name, case in files().items():
        if name not in plain["files"]:
            data = encode(profile, case, estimate(plain["network"]))
            (FOLDER / f"{name}.ddpm").write_bytes(data)
            plain["files"][name] = describe(profile, data, estimate(plain["network"]))
    if "archive" not in plain:
        codec = archive(profile, plain["network"])
        names = [f"picture-{i}" for i in range(len(archived()))]
        data = fields.finish(codec.write(archived(), names, ArchiveSettings()))
        (FOLDER / "pictures.archive").write_bytes(data)
        digests = [digest(pixels) for pixels in archived()]
        plain["archive"] = {"file": digest(np.frombuffer(data, np.uint8)), "pixels": digests}
    index.write_text(json.dumps(plain, indent=1) + "\n")


def learn(path: Path, index: Path) -> None:
    """Write a profile, and the network's numbers at its rows."""
    pixels = np.stack([picture(100 + i, SIDE, SIDE) for i in range(48)])
    settings = CalibrationSettings(n=0, rows=40, noise=2.5, tolerance=2e-3)
    x_0 = pixels.transpose(0, 3, 1, 2) / 127.5 - 1
    table = tables(squares(BANDS, x_0).mean(0))
    learned = calibrate(model(table), ImageSet.of(Stack("rule", pixels)), settings, Runtime())
    replace(learned, fingerprint={}, facts={}).save(path)
    plain = {"network": {str(t): table[t] for t in learned.rows}, "files": {}}
    index.write_text(json.dumps(plain, indent=1) + "\n")


def describe(profile: Profile, data: bytes, network: Estimate) -> dict[str, Any]:
    """What index.json says of a file."""
    work = reading.decompress(profile, network, [reading.Reader(profile, data)])
    (decoded,) = fields.finish(work)
    return {
        "file": digest(np.frombuffer(data, np.uint8)),
        "pixels": digest(decoded.picture),
        "shape": list(decoded.picture.shape),
        "lossless": decoded.lossless,
    }


if __name__ == "__main__":
    main()
