"""Files of pictures whose entropy is known: they are exact, nearly as short, and end anywhere."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ddpm_eval.codec import calibrate, format, reading, strides, writing
from ddpm_eval.codec.curve import Curve
from ddpm_eval.codec.network import Estimate
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_eval.codec.words import Array
from ddpm_train.data.images import Pixels
from tests.codec import fields

LOSSLESS = CompressionSettings(effort=12)


def write(
    profile: Profile, pictures: list[Pixels], settings: CompressionSettings = LOSSLESS
) -> list[writing.Writer]:
    return fields.finish(writing.compress(profile, fields.estimate(), pictures, settings))


def read(
    profile: Profile,
    files: list[bytes],
    *,
    most: int | None = None,
    estimate: Estimate | None = None,
) -> list[Decoded]:
    readers = [Reader(profile, file, most=most) for file in files]
    return fields.finish(reading.decompress(profile, estimate or fields.estimate(), readers))


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    return list(fields.pictures(8, seed=1))


@pytest.fixture(scope="module")
def files(profile: Profile, pictures: list[Pixels]) -> list[bytes]:
    return [writer.file for writer in write(profile, pictures)]


def test_files_give_the_exact_pixels_back(
    profile: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    for picture, result in zip(pictures, read(profile, files), strict=True):
        assert result.lossless and str(result) == "lossless, verified"
        assert (result.picture == picture).all()


def test_files_are_nearly_as_short_as_the_entropy(files: list[bytes]) -> None:
    n = 3 * 16 * 16
    rate = np.mean([8 * (len(file) - 8) / n for file in files])
    entropy = fields.entropy()
    assert entropy < rate < 1.08 * entropy, (rate, entropy)


def test_the_last_estimates_error_is_that_of_x_t_drawn_from_q(
    profile: Profile, pictures: list[Pixels]
) -> None:
    errors = np.array([writer.errors for writer in write(profile, pictures)])
    for k in range(len(profile.rows) // 2, len(profile.rows)):
        ideal = 127.5 * fields.missed(profile.rows[k]) ** 0.5
        assert np.sqrt(np.square(errors[:, k]).mean()) == pytest.approx(ideal, rel=0.08)


def test_any_prefix_is_a_picture_and_longer_ones_are_nearer(
    profile: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    errors = []
    for part in (0.02, 0.1, 0.3, 0.5, 0.97):
        (result,) = read(profile, [files[0][: int(part * len(files[0]))]])
        assert not result.lossless
        assert result.picture.shape == pictures[0].shape
        errors.append(np.square(result.picture.astype(float) - pictures[0]).mean())
    assert errors == sorted(errors, reverse=True)


def test_asking_for_layers_gives_so_many(profile: Profile, files: list[bytes]) -> None:
    (result,) = read(profile, files[:1], most=5)
    assert str(result) == f"lossy, from 5 of {len(profile.strides)} layers"


def test_a_rate_and_an_error_can_be_asked_for(profile: Profile, pictures: list[Pixels]) -> None:
    for writer in write(profile, pictures, CompressionSettings(bits=0.5)):
        assert 8 * len(writer.file) / writer.picture.size <= 0.5 + 8 / 768
        (result,) = read(profile, [writer.file])
        assert result.layers == writer.file[5] > 0 and not result.problem
    for writer in write(profile, pictures, CompressionSettings(rmse=6)):
        (result,) = read(profile, [writer.file])
        error = np.square(result.picture.astype(float) - writer.picture).mean() ** 0.5
        assert error < 6.2 and writer.errors[-2] > 6


def noisy(size: float, seed: int = 0) -> Estimate:
    """A machine that computes x_0_hat with errors of so many levels."""
    rng, exact = np.random.default_rng(seed), fields.estimate()

    def estimate(x_t: Array, row: int) -> Array:
        error = rng.uniform(-size, size, x_t.shape) / 127.5
        return (exact(x_t, row) + error).astype(np.float32)

    return estimate


def test_portable_files_are_exact_on_machines_that_differ_within_the_tolerance(
    profile: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    result = read(profile, files, estimate=noisy(profile.tolerance / 2))
    assert all(item.lossless for item in result)
    assert all((a.picture == b).all() for a, b in zip(result, pictures, strict=True))


def test_machines_that_differ_more_get_the_picture_and_no_false_claim(
    profile: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    for item, picture in zip(read(profile, files, estimate=noisy(0.05)), pictures, strict=True):
        assert not item.lossless and item.problem
        exact = read(profile, files[:1], most=len(profile.strides))
        assert np.abs(exact[0].picture.astype(int) - pictures[0]).max() < 30
        assert np.square(item.picture.astype(float) - picture).mean() < 36


def test_noise_on_the_network_stays_noise_on_the_picture(
    profile: Profile, files: list[bytes]
) -> None:
    k = len(profile.strides)
    for most in (k // 2, k):
        clean = read(profile, files, most=most)
        other = read(profile, files, most=most, estimate=noisy(1e-3))
        for a, b in zip(clean, other, strict=True):
            assert np.abs(a.picture.astype(int) - b.picture).max() <= 1


def test_plain_files_are_shorter_and_exact_where_nothing_differs(
    profile: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    plain = [writer.file for writer in write(profile, pictures, replace(LOSSLESS, portable=False))]
    assert sum(map(len, plain)) < sum(map(len, files))
    assert all(item.lossless for item in read(profile, plain))


def test_batches_do_not_change_what_is_read(
    profile: Profile, pictures: list[Pixels], files: list[bytes]
) -> None:
    for batch in (1, 3):
        result = read(profile, files, estimate=fields.estimate(batch=batch))
        assert all((a.picture == b).all() for a, b in zip(result, pictures, strict=True))


@pytest.mark.parametrize("size", [(16, 16), (20, 33), (5, 7), (1, 1), (40, 16)])
def test_pictures_of_any_size(profile: Profile, size: tuple[int, int]) -> None:
    picture = fields.pictures(1, side=48, seed=3)[0, : size[0], : size[1]]
    (writer,) = write(profile, [picture])
    (result,) = read(profile, [writer.file])
    assert result.lossless and (result.picture == picture).all()


def test_grey_pictures_cost_one_colour_in_the_final_stage(
    profile: Profile, pictures: list[Pixels]
) -> None:
    grey = pictures[0][..., 1:2]
    one, three = write(profile, [grey, np.repeat(grey, 3, 2)])
    assert len(one.file) < 0.75 * len(three.file)
    (result,) = read(profile, [one.file])
    assert result.lossless and (result.picture == grey).all()


@pytest.mark.parametrize("kind", ["noise", "white", "black", "stripes"])
def test_strange_pictures_are_exact_too(profile: Profile, kind: str) -> None:
    rng = np.random.default_rng(0)
    stripes = np.broadcast_to(255 * (np.arange(16) % 2)[:, None, None], (16, 16, 3))
    picture = {
        "noise": rng.integers(0, 256, (16, 16, 3)),
        "white": np.full((16, 16, 3), 255),
        "black": np.zeros((16, 16, 3)),
        "stripes": stripes,
    }[kind].astype(np.uint8)
    (writer,) = write(profile, [np.ascontiguousarray(picture)])
    assert len(writer.file) <= 768 + 8
    assert format.parse(writer.file)[0].stored or kind != "noise"
    (result,) = read(profile, [writer.file])
    assert result.lossless and (result.picture == picture).all()


# ------------------------------------------------------------------------------------- prefixes


def along(profile: Profile, rows: list[int]) -> Profile:
    """The same profile with other strides."""
    learned: Any = profile.facts["curve"]
    curve = Curve(np.array(learned["rows"]), np.array(learned["errors"]))
    bars, errors = fields.SCHEDULE.alphas_bar.numpy()[rows], curve.at(np.array(rows))
    return replace(
        profile,
        rows=tuple(rows),
        alphas_bar=tuple(bars.tolist()),
        errors=tuple(map(tuple, errors[:-1].tolist())),
        bits=calibrate._tables(profile.bands, strides.snr(bars), errors),
    )


def test_the_nearest_of_several_prefixes_is_kept_over_short_layers(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = along(profile, [1000, 640, 540, 470, 410, 360, 320, 285, 255, 3])
    pictures = list(fields.pictures(8, seed=40))
    dims, most = pictures[0].size, len(profile.strides) - 1
    usual = [row[len(row) // 2] for row in profile.bits]
    assert max(usual[:most]) <= strides.SHORT * dims < usual[most]
    rate = 0.25
    settings = CompressionSettings(effort=14, bits=rate)
    several = write(profile, pictures, settings)
    monkeypatch.setattr(CompressionSettings, "prefixes", 1)
    one = write(profile, pictures, settings)

    def errors(writers: list[writing.Writer]) -> Array:
        return np.asarray(np.sqrt(np.square([writer.errors[:6] for writer in writers]).mean(0)))

    assert errors(several)[5] < 0.97 * errors(one)[5]
    for writer, picture, decoded in zip(
        several, pictures, read(profile, [writer.file for writer in several]), strict=True
    ):
        missed = decoded.picture.astype(float) - picture
        assert np.sqrt(np.square(missed).mean()) == pytest.approx(writer.errors[-1], abs=0.05)
        assert 8 * len(writer.file) <= rate * dims + 7
