"""The packaged network: a picture becomes a file and comes back without any model of one's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.cli import app
from ddpm_eval.codec import packaged, profile

MIB = 1 << 20


def scene(height: int, width: int) -> np.ndarray:
    """A smooth picture with an edge and a little noise, uint8 [height, width, 3]."""
    y, x = np.mgrid[:height, :width] / 32
    light = 120 + 60 * np.sin(2 * x + y) + 50 * (x > y)
    noise = np.random.default_rng(0).normal(0, 2, (height, width, 3))
    levels = light[..., None] * np.array([1.0, 0.9, 0.8]) + noise
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def run(*words: object) -> str:
    result = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"}).invoke(app, [str(w) for w in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_it_is_small_and_its_profile_is_made_for_it() -> None:
    place = profile.beside(packaged.NETWORK)
    assert packaged.NETWORK.stat().st_size + place.stat().st_size < 8 * MIB
    model = de.load(packaged.NETWORK, device="cpu")
    assert profile.load(place).weights == model.facts.digest and model.shape == (3, 32, 32)
    assert not Path(str(model.facts.settings.get("path", ""))).is_absolute()


def test_a_picture_comes_back_without_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(32, 40)).save("photo.png")
    run("compress", "photo.png", "--out", "files", "--effort", "10")
    assert "lossless, verified" in run("decompress", "files/photo.ddpm", "--out", "back")
    assert (np.asarray(Image.open("back/photo.png")) == scene(32, 40)).all()
    size = Path("files/photo.ddpm").stat().st_size
    assert size < 0.75 * scene(32, 40).size
    (picture,) = de.decompress(None, [Path("files/photo.ddpm").read_bytes()])
    assert picture.lossless and (picture.picture == scene(32, 40)).all()
