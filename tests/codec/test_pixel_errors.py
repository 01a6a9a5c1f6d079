"""The network's own errors (version 2): closed forms, what they save, and any machine."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import ddpm_eval as de
from ddpm_eval.codec import pixel_errors, reading, refine, strides
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.contents import describe
from ddpm_eval.codec.network import estimator
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Reader
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Pixels
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import posterior_coefficients
from ddpm_train.errors import FixableError
from ddpm_train.schedule import at
from tests.codec import fields, second, unlike


@pytest.fixture(scope="module")
def isotropic() -> Profile:
    model = unlike.model("fixedsmall")
    return de.calibrate(model, unlike.pictures(48, seed=5), n=0, rows=16, noise=2.5)


@pytest.fixture(scope="module")
def fitted() -> Profile:
    return de.calibrate(unlike.model(), unlike.pictures(48, seed=5), n=0, rows=16, noise=2.5)


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    whole = np.concatenate(list(unlike.pictures(2, seed=6)), 1)  # two tiles
    return [*unlike.pictures(5, seed=7), whole]


@pytest.fixture(scope="module")
def files(fitted: Profile, pictures: list[Pixels]) -> list[bytes]:
    return de.compress(unlike.model(), pictures, profile=fitted, effort=10)


@pytest.mark.parametrize("variance", ["learned", "learned_range"])
def test_the_errors_are_those_that_the_best_variance_follows_from(variance: str) -> None:
    """sigma^2 = beta-tilde + c_0^2 M, also at t = 1, where beta-tilde is 0."""
    objective = ObjectiveConfig(loss="L", variance=variance)  # type: ignore[arg-type]
    denoise = Denoiser(lambda x, t, condition=None: x, unlike.SCHEDULE, objective)
    t = torch.tensor([1, 2, 50, 400, 1000])
    place = torch.rand((5, 1, 4, 4), generator=torch.Generator().manual_seed(0)).double()
    betas = at(unlike.SCHEDULE.betas, t, place)
    output = torch.cat([place, betas.log() + place if variance == "learned" else place], 1)
    sigma = denoise.read(output, place, t, clip=True).p.log_var.exp()
    c_0 = at(posterior_coefficients(unlike.SCHEDULE)[0], t, place)
    errors = denoise.pixel_errors(output, t)
    wanted = at(unlike.SCHEDULE.posterior_variances, t, place) + c_0.square() * errors
    torch.testing.assert_close(wanted, sigma, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("shape", "block"), [((3, 8, 8), 8), ((3, 4, 8), 2), ((1, 4, 4), 1)])
def test_variances_of_coefficients_are_those_of_independent_pixels(
    shape: tuple[int, int, int], block: int
) -> None:
    bands, rng = Bands(shape, block), np.random.default_rng(0)
    matrix = bands.transform(np.eye(bands.n).reshape(-1, *shape)).T  # columns: pixels
    variances = rng.uniform(0.1, 3, (2, *shape))
    wanted = np.square(matrix) @ variances.reshape(2, -1).T
    np.testing.assert_allclose(bands.variances(variances), wanted.T, rtol=1e-12)


def test_weights_keep_the_sum_of_the_errors_and_are_1_without_an_exponent() -> None:
    bands, rng = Bands((3, 8, 8)), np.random.default_rng(1)
    usual, errors = rng.uniform(0.1, 2, bands.count), rng.uniform(0.01, 5, (2, 3, 8, 8))
    w = pixel_errors.weights(bands, usual, errors, 0.7)
    np.testing.assert_allclose(w @ usual[bands.of], usual[bands.of].sum())
    assert w.std() > 0.01
    np.testing.assert_allclose(pixel_errors.weights(bands, usual, errors, 0.0), 1)


def test_errors_are_cut_off_where_they_mean_nothing() -> None:
    output = np.zeros((1, 2, 1, 3))
    output[0, 1] = [-1, 2, 1e9]
    results = pixel_errors.split(output, 2.0)
    assert results.errors is not None and results.x_0_hat.shape == (1, 1, 1, 3)
    np.testing.assert_array_equal(results.errors.ravel(), [2 / 1024, 2, 2048])


def test_layers_of_known_variances_cost_what_the_closed_form_says(
    fitted: Profile, isotropic: Profile
) -> None:
    """D = 1/2 sum log2(1 + gain M_i); one variance for all pays the gap of Jensen's inequality."""
    assert fitted.version == 2 and isotropic.version == 1
    assert fitted.pixel_errors is not None and fitted.pixel_errors.block == 1
    assert fitted.rows == isotropic.rows and min(fitted.pixel_errors.exponents) >= 0.75
    v, n = unlike.variances().ravel(), fitted.bands.n
    gap = 0.0
    for stride, usual in zip(fitted.strides, isotropic.strides, strict=True):
        bar = fitted.alphas_bar[stride.k]
        missed = v * (1 - bar) / (bar * v + 1 - bar)
        own = 0.5 * np.log2(1 + stride.gain * missed).sum()
        flat = 0.5 * n * np.log2(1 + stride.gain * missed.mean())
        middle = stride.limit
        wanted = [float(strides.layer_bits(np.array(bits), n)) for bits in (own, flat)]
        assert stride.bits[middle] == pytest.approx(wanted[0], abs=4 + 0.02 * own)
        assert usual.bits[middle] == pytest.approx(wanted[1], abs=4 + 0.02 * flat)
        gap += flat - own
    assert gap > 0.1 * n


def test_files_are_smaller_by_what_one_variance_for_all_pays(
    fitted: Profile, isotropic: Profile, files: list[bytes], pictures: list[Pixels]
) -> None:
    """And the final stage needs its scale from nothing else."""
    flat = de.compress(unlike.model("fixedsmall"), pictures, profile=isotropic, effort=10)
    dims = sum(picture.size for picture in pictures)
    saved = 8 * (sum(map(len, flat)) - sum(map(len, files))) / dims
    expected = [profile.facts["expected"][-1]["bits_per_dim"] for profile in (isotropic, fitted)]
    assert saved == pytest.approx(expected[0] - expected[1], abs=0.06) and saved > 0.1
    assert expected[1] < 1.06 * unlike.entropy()


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_any_machine_reads_the_exact_pixels(
    fitted: Profile, files: list[bytes], pictures: list[Pixels]
) -> None:
    """Another batch, two threads, float64, and 1e-7 more in x_0_hat and 1e-6 in M."""
    results = de.decompress(unlike.model(), files, profile=fitted, batch=1)
    double = unlike.model().double
    assert double is not None
    estimate, rng = estimator(double(), batch=16, errors=True), np.random.default_rng(0)

    def noisy(x_t: np.ndarray, row: int) -> np.ndarray:
        output = estimate(x_t, row)
        more = rng.uniform(-1, 1, output.shape) * [[[[1e-7]], [[1e-6]]]]
        return np.asarray(output * (1 + more))

    readers = [Reader(fitted, file) for file in files]
    results += fields.finish(reading.decompress(fitted, noisy, readers))
    assert all(picture.lossless for picture in results)
    assert all((a.picture == b).all() for a, b in zip(results, 2 * pictures, strict=True))


def test_damage_is_no_crash_and_no_wrong_picture_called_exact(
    fitted: Profile, files: list[bytes], pictures: list[Pixels]
) -> None:
    rng, model = np.random.default_rng(3), unlike.model()
    data = files[0]
    damaged = [data[: int(cut)] for cut in rng.integers(12, len(data), 6)]
    for bit in rng.integers(64, 8 * len(data), 12).tolist():
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for file in damaged:
        try:
            (results,) = de.decompress(model, [file], profile=fitted)
        except FixableError:
            continue  # it goes on behind its end
        assert not results.lossless or (results.picture == pictures[0]).all()


def test_the_second_decoder_reads_blocks_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pictures: list[Pixels]
) -> None:
    """Where frequencies have errors of their own: (T o T) M of cosines."""
    monkeypatch.setattr(refine.Rows, "blocks", [8])
    monkeypatch.setattr(refine, "_WORTH", -1000)
    model = unlike.model()
    profile = de.calibrate(model, unlike.pictures(24, seed=5), n=0, rows=12, noise=2.5)
    assert profile.pixel_errors is not None and profile.pixel_errors.block == 8
    varied = replace(profile.pixel_errors, exponents=(0.5,) * len(profile.strides))
    profile = replace(profile, pixel_errors=varied)
    profile.save(tmp_path / "p.json")
    (file,) = de.compress(model, pictures[:1], profile=profile, effort=10)
    plain = json.loads((tmp_path / "p.json").read_text())
    estimate = estimator(model, batch=1, errors=True)
    pixels, verified = second.decode(file, plain, estimate)
    assert verified and (pixels == pictures[0]).all()


def test_what_a_file_is_and_which_profile_it_needs(
    fitted: Profile, isotropic: Profile, files: list[bytes], tmp_path: Path
) -> None:
    assert any("variance for every pixel" in line for line in describe(fitted, files[0], "a"))
    with pytest.raises(FixableError, match="of another profile"):
        Reader(isotropic, files[0])
    with pytest.raises(FixableError, match="version 3, newer than this program's 2"):
        Reader(fitted, files[0][:1] + bytes([files[0][1] + 16]) + files[0][2:])
    fitted.save(tmp_path / "p.json")
    assert profiles.load(tmp_path / "p.json") == fitted
    plain = json.loads((tmp_path / "p.json").read_text())
    own = plain["pixel_errors"]
    for change in ({"block": 5}, {"exponents": [2.0, *own["exponents"][1:]]}, {"exponents": []}):
        (tmp_path / "q.json").write_text(json.dumps(plain | {"pixel_errors": own | change}))
        with pytest.raises(FixableError, match="damaged"):
            profiles.load(tmp_path / "q.json")


def test_a_network_whose_variances_say_nothing_keeps_version_1() -> None:
    """A constant place between the bounds: M is the same everywhere."""

    def flat(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        eps = fields.best(x, t)
        return torch.cat([eps, torch.zeros_like(eps)], 1)

    objective = ObjectiveConfig(loss="hybrid", variance="learned_range")
    model = replace(fields.model(8), denoise=Denoiser(flat, fields.SCHEDULE, objective))
    profile = de.calibrate(model, fields.pictures(24, side=8, seed=7), n=0, rows=12, noise=2.5)
    assert profile.version == 1 and profile.facts["pixel_errors"]["saved"] < 0.001
