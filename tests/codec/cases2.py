"""Files of version 2: their pictures, their network with its own errors, and their settings.

The pictures are those of ``cases`` with noise that grows by the column, and the network says
what it misses there: M = errors_t[column] (12 + rint(4 x_0_hat)) / (12 2^40).

``python -m tests.codec.cases2`` writes what is missing in the folder; version 2 is frozen too.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.calibrate import calibrate
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.curve import squares
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import ArchiveSettings, CalibrationSettings, CompressionSettings
from ddpm_eval.codec.words import Array, numbers
from ddpm_eval.model import Model
from ddpm_eval.runtime import Runtime
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Pixels, Stack
from ddpm_train.denoiser import Denoiser
from tests.codec import cases, fields
from tests.codec.cases import SCHEDULE, SIDE, Case

FOLDER = Path(__file__).parent / "conformance2"
_NOISE, _UNIT = 18, 1 << 40


def picture(index: int, height: int, width: int, channels: int = 3) -> Pixels:
    """A smooth picture of integers with noise of column % 8 squared, [H, W, C]."""
    smooth = cases.picture(index, height, width, channels, contrast=2).astype(np.int64)
    noise = numbers(_NOISE, index, smooth.size).astype(np.int64).reshape(smooth.shape)
    columns = (np.arange(width) % SIDE)[:, None] ** 2
    return np.clip(smooth + (noise * columns >> 9), 0, 255).astype(np.uint8)


def estimate(plain: dict[str, Any]) -> Estimate:
    """The network by the tables of index.json: x_0_hat, and M behind it."""

    def evaluate(x_t: Array, t: int) -> Array:
        x_0_hat = cases.x_0_hat(x_t, plain["network"][str(t)]).astype(np.float64)
        columns = np.array(plain["errors"][str(t)])
        errors = columns * (12 + np.rint(4 * x_0_hat)) / (12 * _UNIT)
        return np.concatenate([x_0_hat, errors], 1)

    return evaluate


def files() -> dict[str, Case]:
    """The files by their names."""
    usual = CompressionSettings(effort=10)
    return {
        "tile": Case(picture(1, SIDE, SIDE)),
        "plain": Case(picture(2, SIDE, SIDE), replace(usual, portable=False)),
        "grey": Case(picture(3, SIDE, SIDE, 1)),
        "odd": Case(picture(4, 15, 14)),
        "lanes": Case(picture(6, 33, 31)),
        "lossy": Case(picture(9, 12, 20), replace(usual, bits=1.2)),
    }


class RuledDenoiser(Denoiser):
    """The denoiser whose errors of pixels are those of the rule, whatever the network puts out."""

    def __init__(self, plain: dict[str, Any]) -> None:
        """Take the tables of index.json."""
        objective = ObjectiveConfig(prediction="x_0", loss="L", variance="learned")
        self._rule = estimate(plain)
        super().__init__(self._evaluate, SCHEDULE, objective)

    def _evaluate(
        self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor | None = None
    ) -> torch.Tensor:
        rows = [self._rule(x[i : i + 1].numpy(), int(t[i])) for i in range(len(x))]
        return torch.from_numpy(np.concatenate(rows)).to(x.dtype)

    def pixel_errors(self, output: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """M itself, the second half."""
        return output.chunk(2, dim=1)[1].double()


def model(plain: dict[str, Any]) -> Model:
    """The network as a model."""
    single = replace(cases.model({}), denoise=RuledDenoiser(plain))
    double = replace(single, dtype=torch.float64, precision="float64")
    return replace(single, double=lambda: double)


def archive(profile: Profile, plain: dict[str, Any]) -> cases.RowsOfProfile:
    """The archive's codec."""
    return cases.RowsOfProfile(Codec(model(plain), profile, 16))


def archived() -> list[Pixels]:
    """The pictures of the archive."""
    return [picture(40 + i, SIDE, SIDE) for i in range(12)]


def learn() -> tuple[Profile, dict[str, Any]]:
    """A profile, and the network's numbers at its rows."""
    pixels = np.stack([picture(100 + i, SIDE, SIDE) for i in range(48)])
    x_0 = pixels.transpose(0, 3, 1, 2) / 127.5 - 1
    table = cases.tables(squares(cases.BANDS, x_0).mean(0))
    errors = {str(t): _columns(x_0, table[t], t) for t in table}
    plain = {"network": {str(t): table[t] for t in table}, "errors": errors}
    settings = CalibrationSettings(n=0, rows=40, noise=2.5, tolerance=2e-3)
    images = ImageSet.of(Stack("rule", pixels))
    learned = replace(
        calibrate(model(plain), images, settings, Runtime()), fingerprint={}, facts={}
    )
    if learned.pixel_errors is None:
        raise ValueError("M is of no use")
    wide = replace(learned.pixel_errors, tolerance=0.1)  # so that some are listed
    kept = {name: {str(t): plain[name][str(t)] for t in learned.rows} for name in plain}
    return replace(learned, pixel_errors=wide), {**kept, "files": {}}


def _columns(x_0: Array, gains: list[int], t: int) -> list[int]:
    """What the network misses in each column of pictures at t, in 2^-40."""
    bar = float(SCHEDULE.alphas_bar[t])
    noise = numbers(_NOISE, 1000 + t, x_0.size).reshape(x_0.shape) / 209
    missed = x_0 - cases.x_0_hat(bar**0.5 * x_0 + (1 - bar) ** 0.5 * noise, gains)
    return [round(mean * _UNIT) for mean in np.square(missed).mean((0, 1, 2)).tolist()]


def main() -> None:
    """Write what is missing in the folder."""
    path, index = FOLDER / "profile.json", FOLDER / "index.json"
    FOLDER.mkdir(exist_ok=True)
    if not path.exists():
        profile, plain = learn()
        profile.save(path)
        index.write_text(json.dumps(plain) + "\n")
    profile, plain = profiles.load(path), json.loads(index.read_text())
    for name, case in files().items():
        if name not in plain["files"]:
            data = cases.encode(profile, case, estimate(plain))
            (FOLDER / f"{name}.ddpm").write_bytes(data)
            plain["files"][name] = cases.describe(profile, data, estimate(plain))
    if "archive" not in plain:
        names = [f"picture-{i}" for i in range(len(archived()))]
        work = archive(profile, plain).write(archived(), names, ArchiveSettings())
        data = fields.finish(work)
        (FOLDER / "pictures.archive").write_bytes(data)
        digests = [cases.digest(pixels) for pixels in archived()]
        file = cases.digest(np.frombuffer(data, np.uint8))
        plain["archive"] = {"file": file, "pixels": digests}
    index.write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    main()
