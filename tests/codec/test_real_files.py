"""Rate and distortion of real files: their own bytes and pictures, other codecs, the bound."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ddpm_eval as de
from ddpm_eval.codec.profile import Profile
from ddpm_eval.measure.files import codecs
from ddpm_eval.measure.files.codecs import CODECS, ImageCodec
from ddpm_eval.measure.files.settings import FileSettings
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from tests.codec import fields

N = 3
FEW = FileSettings(prefixes=5, shown=2, effort=10)


@pytest.fixture(scope="module")
def images() -> Pixels:
    return fields.pictures(N, seed=5)


@pytest.fixture(scope="module")
def measured(profile: Profile, images: Pixels) -> Measurement:
    return de.rate_distortion(fields.model(), images, files=FEW, profile=profile)


def value(measurement: Measurement, metric: str, **of: object) -> float:
    score = measurement.score(metric, **of)
    assert score is not None, (metric, of)
    return score.value


def curve(measurement: Measurement, metric: str, whose: str, over: str) -> Curve:
    (only,) = (
        line
        for line in measurement.curves
        if (line.metric, line.of.whose, line.over) == (metric, whose, over)
    )
    return only


def test_bytes_are_those_of_files(measured: Measurement, profile: Profile, images: Pixels) -> None:
    """The sizes, the prefixes and their pictures are what compress and decompress give."""
    files = de.compress(fields.model(), images, profile=profile, effort=10)
    assert measured.arrays["bytes"].tolist() == [len(file) for file in files]
    bits = 8 * sum(map(len, files)) / images.size
    assert value(measured, "file_bits_per_dim", whose=".ddpm") == pytest.approx(bits)
    ends, mse = measured.arrays["prefix_bytes"], measured.arrays["prefix_mse"]
    assert ends.shape == mse.shape == (N, 5)
    for i in range(N):
        cut = [files[i][:end] for end in ends[i]]
        decoded = de.decompress(fields.model(), cut, profile=profile)
        errors = [np.square(result.picture - images[i].astype(float)).mean() for result in decoded]
        assert mse[i] == pytest.approx(errors, rel=0.02)
    assert (np.diff(ends, axis=1) > 0).all() and (ends[:, -1] < measured.arrays["bytes"]).all()
    assert (np.diff(mse.mean(0)) < 0).all()


def test_files_are_exact_and_cannot_beat_the_entropy(measured: Measurement) -> None:
    assert value(measured, "exact_files") == N
    assert measured.facts["stored"] == 0 and not measured.warnings
    bits, bound = measured.arrays["bytes"] * 8 / 768, measured.arrays["bound"]
    assert bits.mean() > fields.entropy() - 0.05
    assert value(measured, "file_over_bound") == pytest.approx(bits.mean() / bound.mean())
    assert 0.9 < value(measured, "file_over_bound") < 1.1
    best = value(measured, "bits_per_dim", variance="optimal")
    assert best == pytest.approx(bound.mean()) and best < value(
        measured, "bits_per_dim", variance=""
    )


def test_rate_and_error_stand_on_the_axes_of_the_bound(measured: Measurement) -> None:
    """At the same reverse step: few more bits than the KL, the error of x_t ~ q."""
    steps = "reverse_steps"
    rate = curve(measured, "file_bits_per_dim", ".ddpm", steps)
    bound = next(c for c in measured.curves if c.metric == "rate" and c.of.variance == "optimal")
    kl = np.interp(rate.x, bound.x, bound.y)
    late, head = rate.y > 0.5, 8 * 8 / 768
    assert (rate.y > kl).all() and late.any()
    assert (rate.y[late] - head < 1.2 * kl[late]).all()
    ours, theirs = (curve(measured, "rmse", whose, steps) for whose in (".ddpm", "model"))
    wanted = np.interp(ours.x, theirs.x, theirs.y)
    assert ours.y[late] == pytest.approx(wanted[late], rel=0.08)
    psnr = curve(measured, "psnr", ".ddpm", "file_bits_per_dim")
    assert psnr.y == pytest.approx(20 * np.log10(255 / ours.y))


def test_other_codecs_stand_beside(measured: Measurement, images: Pixels) -> None:
    sizes = measured.arrays["codec_bytes"]
    png = codecs.trials()[0]
    assert png.codec.name == "PNG" and png.is_exact
    assert sizes[:, 0].tolist() == [png.run(picture)[0] for picture in images]
    assert value(measured, "file_bits_per_dim", whose="PNG") == 8 * sizes[:, 0].sum() / images.size
    for name in ("JPEG", "WebP"):
        lossy = curve(measured, "rmse", name, "file_bits_per_dim")
        assert (np.diff(lossy.x) >= 0).all() and lossy.y[-1] < lossy.y[0] and lossy.n == N


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.name)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 16])
def test_every_codec_keeps_what_it_says(codec: ImageCodec, channels: int, side: int) -> None:
    if not codec.version:
        pytest.skip(f"{codec.name} is not installed")
    picture = fields.pictures(1, side=side, seed=3)[0][..., :channels]
    trials = [trial for trial in codecs.trials() if trial.codec == codec]
    runs: Mapping[bool, list[Any]] = {
        exact: [trial.run(picture) for trial in trials if trial.is_exact is exact]
        for exact in (True, False)
    }
    assert all(size > 0 and missed == 0 for size, missed in runs[True])
    lossy = runs[False]
    assert not lossy or (lossy[0][0] < lossy[-1][0] and lossy[0][1] > lossy[-1][1] > 0)


def test_a_codec_that_is_not_installed_is_left_out(
    profile: Profile, images: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ddpm_eval.runtime import Runtime

    monkeypatch.setattr(codecs, "find_spec", lambda _name: None)
    notes: list[str] = []
    runtime = Runtime(batch=64, notify=notes.append)
    measurement = de.rate_distortion(
        fields.model(), images[:2], files=FEW, profile=profile, runtime=runtime
    )
    assert notes == ["JPEG XL is left out: pip install 'ddpm-eval[codecs]'"]
    assert measurement.score("size_ratio") is None and measurement.facts["absent"] == ["JPEG XL"]


def test_a_codec_that_loses_pixels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from ddpm_eval.measure.files import files

    broken = codecs.Trial(CODECS[0], {}, is_exact=True)
    with pytest.raises(FixableError, match=r"PNG .* not lossless"):
        files._check_exact([broken], np.array([[0.0], [0.1]]))


def test_unfinished_work_is_gone_on_with(
    profile: Profile, images: Pixels, tmp_path: Path, measured: Measurement
) -> None:
    """Files of half of the images, in shards on the disk, are those of all in memory."""
    arguments: dict[str, Any] = {"files": FEW, "profile": profile, "batch": 2}
    measurement = de.rate_distortion(fields.model(), images, cache=tmp_path, **arguments)
    assert list(tmp_path.glob("files-*/images-*.npz")) and list(tmp_path.glob("codecs-*"))
    assert measurement.arrays["bytes"] == pytest.approx(measured.arrays["bytes"], abs=3)
    for shard in tmp_path.glob("files-*/images-0000002-*.npz"):
        shard.unlink()
    again = de.rate_distortion(fields.model(), images, cache=tmp_path, **arguments)
    for name, array in measurement.arrays.items():
        assert (again.arrays[name] == array).all(), name
    assert (again.grids["prefixes"].images == measurement.grids["prefixes"].images).all()


def test_files_go_with_the_full_bound_alone(profile: Profile, images: Pixels) -> None:
    with pytest.raises(FixableError, match="files"):
        de.rate_distortion(fields.model(), images, files=True, profile=profile, budget=10)
    with pytest.raises(FixableError, match="profile"):
        de.rate_distortion(fields.model(), images, files=True)
