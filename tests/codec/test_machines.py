"""Other machines: threads, batches, float64 and rounding change no pixel, or it is said."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpm_eval as de
from ddpm_eval.codec import reading
from ddpm_eval.codec.network import Estimate, estimator
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.words import Array
from ddpm_eval.model import Model
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from tests.codec import fields


class Convolutions(nn.Module):
    """x_0_hat as the best denoiser of white pictures, and a little of two random convolutions."""

    def __init__(self, bars: Tensor) -> None:
        super().__init__()
        self.bars, rng = bars, np.random.default_rng(0)
        self.first, self.second = nn.Conv2d(3, 32, 3, padding=1), nn.Conv2d(32, 3, 3, padding=1)
        with torch.no_grad():
            for weights in self.parameters():
                weights.copy_(torch.from_numpy(rng.uniform(-0.15, 0.15, tuple(weights.shape))))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        bar = self.bars[t].to(x).reshape(-1, 1, 1, 1)
        shrunk = bar.sqrt() * 0.05 / (bar * 0.05 + 1 - bar) * x
        learned = self.second(torch.sin(self.first(x)))
        return shrunk + 0.1 * (1 - bar).sqrt() * learned


BETAS = torch.linspace(2e-4, 0.12, 80, dtype=torch.float64)


@pytest.fixture(scope="module")
def model() -> Model:
    bars = torch.cat([torch.ones(1), (1 - BETAS).cumprod(0)])
    net = Convolutions(bars)
    return de.wrap(net, schedule=BETAS, predicts="x_0", image_shape=(3, 16, 16))


@pytest.fixture(scope="module")
def fitted(model: Model) -> Profile:
    return de.calibrate(model, fields.pictures(24, seed=8), n=0, rows=16)


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return [*fields.pictures(3, seed=4), fields.pictures(1, side=32, seed=5)[0][:20, :27]]


@pytest.fixture(scope="module")
def files(model: Model, fitted: Profile, pictures: list[Pixels]) -> list[bytes]:
    return de.compress(model, pictures, profile=fitted, effort=10)


def read(profile: Profile, files: list[bytes], estimate: Estimate) -> list[Decoded]:
    readers = [Reader(profile, file) for file in files]
    return fields.finish(reading.decompress(profile, estimate, readers))


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.usefixtures("two_threads")
def test_threads_and_batches_change_no_pixel(
    model: Model, fitted: Profile, pictures: list[Pixels], files: list[bytes], batch: int
) -> None:
    result = de.decompress(model, files, profile=fitted, batch=batch)
    assert all(picture.lossless for picture in result)
    assert all((a.picture == b).all() for a, b in zip(result, pictures, strict=True))


def test_a_network_in_float64_reads_the_same_pixels(
    model: Model, fitted: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    assert model.double is not None
    estimate = estimator(model.double(), batch=16)
    assert estimate(np.zeros((1, 3, 16, 16)), 5).dtype == np.float64
    result = read(fitted, files, estimate)
    assert all(picture.lossless for picture in result)
    assert all((a.picture == b).all() for a, b in zip(result, pictures, strict=True))


def test_noise_of_1e_5_moves_pictures_by_less_than_a_tenth_of_a_level(
    model: Model, fitted: Profile, files: list[bytes], pictures: list[Pixels]
) -> None:
    """And portable files are exact, or say that they are not."""
    rng, exact = np.random.default_rng(0), estimator(model, batch=16)
    outputs = dict[str, list[Array]](clean=[], noisy=[])

    def clean(x_t: Array, row: int) -> Array:
        outputs["clean"].append(exact(x_t, row))
        return outputs["clean"][-1]

    def noisy(x_t: Array, row: int) -> Array:
        x_0_hat = exact(x_t, row)
        factor = 1 + 1e-5 * rng.uniform(-1, 1, x_0_hat.shape)
        outputs["noisy"].append(np.clip(x_0_hat * factor, -1, 1).astype(np.float32))
        return outputs["noisy"][-1]

    read(fitted, files, clean)
    for picture, original in zip(read(fitted, files, noisy), pictures, strict=True):
        assert (picture.picture == original).all() or not picture.lossless
        assert picture.lossless or picture.problem
    pairs = zip(outputs["clean"], outputs["noisy"], strict=True)
    assert max(127.5 * np.abs(a - b).max() for a, b in pairs) < 0.1


def test_a_machine_that_moves_colours_by_more_than_the_tolerance_reads_exact_pixels(
    model: Model, fitted: Profile
) -> None:
    """Of 24 files 13 are exact if the list does not tell how far colours have moved."""
    pictures = fields.pictures(24, seed=4)
    files = de.compress(model, pictures, profile=fitted, effort=10)
    exact, moves = estimator(model, batch=16), fitted.tolerance / 127.5 * np.array([1.6, 1.8, 1.5])

    def moving(x_t: Array, row: int) -> Array:
        moved = moves.reshape(1, 3, 1, 1) if row == fitted.rows[-1] else 0
        return exact(x_t, row).astype(np.float64) + moved

    result = read(fitted, files, moving)
    assert sum(picture.lossless for picture in result) > 20
    for picture, original in zip(result, pictures, strict=True):
        assert (picture.picture == original).all() or not picture.lossless


def test_a_network_of_nan_is_named(model: Model) -> None:
    bars = torch.cat([torch.ones(1), (1 - BETAS).cumprod(0)])
    net = Convolutions(bars)
    with torch.no_grad():
        net.first.weight[0] = float("nan")
    failed = de.wrap(net, schedule=BETAS, predicts="x_0", image_shape=(3, 16, 16), name="failed")
    with pytest.raises(FixableError, match="failed: its network gives NaN at t"):
        de.calibrate(failed, fields.pictures(4), n=0, rows=8)
