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
from ddpm_eval.present import figures, grids, real_files, sections
from ddpm_eval.present.canvas import Picture
from ddpm_eval.present.parts import Section
from ddpm_eval.present.published_codecs import published_codecs
from ddpm_eval.present.runs import Run
from ddpm_eval.record.record import Measurement, Record
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


def test_bits_at_an_error_lie_between_two_files_of_each_image(measured: Measurement) -> None:
    bits = measured.arrays["prefix_bytes"] * 8 / 768
    rmse = np.sqrt(measured.arrays["prefix_mse"])
    score = measured.score("file_bits_per_dim", whose=".ddpm", at=("rmse", 5.0))
    assert score is not None and score.n == N and score.error is not None
    late = [int((row > 5).sum()) for row in rmse]
    low = np.mean([row[k - 1] for row, k in zip(bits, late, strict=True)])
    assert low < score.value < np.mean([row[k] for row, k in zip(bits, late, strict=True)])


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


# ------------------------------------------------------------------------------- in a report


@pytest.fixture
def section(measured: Measurement, monkeypatch: pytest.MonkeyPatch) -> Section:
    def finish(key: str, figure: Any, texts: tuple[str, str], **_: object) -> Picture:
        return Picture(key, {"png": b""}, *texts, shape=(1, 1))

    for module in (figures, grids, real_files):
        monkeypatch.setattr(module, "finish", finish)
    built = list(sections.build([Run(Record(name="r", measurements=(measured,)))]))
    (only,) = (chapter for chapter in built if chapter.title == "Real files")
    return only


def test_the_section_says_what_was_measured(section: Section, measured: Measurement) -> None:
    own = measured.score("file_bits_per_dim", whose=".ddpm")
    assert own is not None and own.texts[0] in section.texts[0]
    assert f"{N} of {N} decoded to their exact pixels" in section.texts[0]
    assert "The head of a file, 8 bytes, is 0.083 bits/dim of it" in section.texts[0]
    assert [picture.key for picture in section.pictures] == [
        "files-prefixes",
        "files-curves",
        "files-scatter",
    ]


def test_the_table_has_every_codec_in_order_and_published_ends(section: Section) -> None:
    table, lossy = section.tables
    files = [row for row in table.rows if row.block.startswith("Lossless files")]
    numbers = [float(row.cells[0].number) for row in files]
    assert numbers == sorted(numbers)
    assert {".ddpm", "PNG", "WebP", "JPEG 2000"} <= {row.name for row in files}
    assert [row.name for row in files if row.ours] == [".ddpm"]
    published = {row.name: row.cells[0].number for row in table.rows if "Published" in row.block}
    assert published["BPG"] == "4.74" and published["UQDM, PSNR 60.0 dB, no files"] == "5.10"
    assert "sums of KL terms" in table.caption and "JPEG" not in published
    assert lossy.rows[0].name == ".ddpm" and lossy.rows[0].ours
    assert [str(column) for column in lossy.columns][-2:] == ["at RMSE 5 ↓", "at RMSE 2.5 ↓"]


def test_the_slider_shows_pictures_of_real_prefixes(
    section: Section, measured: Measurement, images: Pixels
) -> None:
    (frames,) = section.frames
    stops: Any = measured.facts["frames"]
    assert len(frames.names) == len(frames.files) == stops["rows"] == len(stops["rate"]) + 1
    assert f"{stops['bytes'][0]:,.0f} bytes a picture" in frames.names[0]
    assert frames.names[-1].startswith("whole files")
    assert frames.track is not None and len(frames.track.stops) == len(stops["rate"])
    grid = measured.grids["prefixes"]
    assert (grid.images[-2:] == images[:2]).all() and grid.labels[-1].endswith("exact")
    sizes = measured.arrays["bytes"][:2]
    assert stops["bytes"][-1] == pytest.approx(sizes.mean())


def test_published_curves_are_those_of_the_source() -> None:
    """A second transcription of some numbers, and what every curve does."""
    curves = {curve.name: curve for curve in published_codecs().curves}
    assert (curves["BPG"].bpp[3], curves["BPG"].psnr[3]) == (3.5282, 36.815)
    assert (curves["UQDM"].bpp[1], curves["UQDM"].psnr[1]) == (0.8459, 21.8842)
    assert (curves["VDM, T = 1000"].bpp[-2], curves["VDM, T = 1000"].psnr[-2]) == (8.4341, 58.1181)
    assert (curves["JPEG 2000"].bpp[0], curves["JPEG"].psnr[-1]) == (1.9891, 41.9347)
    for curve in curves.values():
        assert (np.diff(curve.bpp) > 0).all() and (np.diff(curve.psnr) > 0).all()
        assert curve.is_counted_in_bytes == (curve.name in ("JPEG", "JPEG 2000", "BPG"))
