"""Every measurement is written up: in order, in its own pictures, within a page's size."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddpm_eval import present
from ddpm_eval.present import document, figures, frames, grids, sections
from ddpm_eval.present.canvas import Picture
from ddpm_eval.present.parts import Document, Section
from ddpm_eval.present.runs import WHOLE_PAGE, Run
from ddpm_eval.present.tables import Table
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Grid
from tests.eval import records


def built(*measurements: Measurement | str, room: int = 10**9) -> list[Section]:
    """The sections of a record of these measurements, but for what is not measured."""
    run = Run(records.only("r", *measurements), image_bytes=room)
    return [item for item in sections.build([run]) if "Not measured" not in "".join(item.texts)]


def section(*measurements: Measurement | str, room: int = 10**9) -> Section:
    """The section of the first of some measurements."""
    first = measurements[0]
    measure = first if isinstance(first, str) else first.measure
    title = {"reconstructions": "Lossy", "neighbours": "Nearest", "watch": "Checkpoints"}
    wanted = title.get(measure, measure.capitalize())
    return next(x for x in built(*measurements, room=room) if x.title.startswith(wanted))


def opened(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Pictures have their texts but no files, which take long; the keys of what was asked for."""
    drawn: list[str] = []

    def finish(key: str, figure: Any, texts: tuple[str, str], **_: object) -> Picture:
        drawn.append(key)
        return Picture(key, {"png": b""}, *texts, shape=(1, 1))

    monkeypatch.setattr(figures, "finish", finish)
    monkeypatch.setattr(grids, "finish", finish)
    return drawn


@pytest.fixture
def story(undrawn: list[str]) -> Document:
    return document.compose([records.digits()])


def test_the_story_is_told_in_order(story: Document) -> None:
    assert [section.title for section in story.sections] == [
        "Beside the published numbers",
        "Sample quality",
        "Which published row may this stand beside?",
        "Where the bits go",
        "Samples",
        "Rate and distortion",
        "Rate and distortion in numbers",
        "Real files",
        "Lossy reconstructions",
        "Progressive generation",
        "Interpolation",
        "Nearest training images",
        "Checkpoints over training",
        "Training",
        "Settings",
        "Where the numbers come from",
        "Warnings",
    ]


def test_every_picture_says_what_how_many_and_which_seed(story: Document) -> None:
    pictures = list(story.pictures())
    assert len(pictures) == 17
    for picture in pictures:
        assert len(picture.caption) > 20, picture.key
        if picture.images:
            assert re.search(r"[Ss]eed \d", picture.caption), picture.key
            assert re.match(r"\d+ images in \d+ rows of \d+", picture.alt), picture.key
    names = [picture.key for picture in pictures]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w-]+", name) for name in names)


def test_the_slider_shows_the_rows_of_the_grid(undrawn: list[str]) -> None:
    strip = records.measured("reconstructions")
    (slider,) = section(strip).frames
    grid = strip.grids["reconstructions"]
    assert len(slider.files) == len(slider.names) == 11
    for row, content in enumerate(slider.files):
        shown = opened(content)
        assert shown.shape[1::-1] == slider.shape
        for column in range(8):
            left = column * 9
            pixels = shown[:, left : left + 8, :3]
            image = grid.images[8 * row + column]
            np.testing.assert_array_equal(pixels, np.broadcast_to(image, pixels.shape))
            assert (shown[:, left : left + 8, 3] == 255).all()
    stops: Any = strip.facts["frames"]
    for i in (0, 9):
        rate, rmse, steps = (stops[name][i] for name in ("rate", "rmse", "reverse_steps"))
        text = f"{rate:.4g} bits/dim, RMSE {rmse:.3g}, after {steps} reverse steps"
        assert slider.names[i] == text
    assert slider.last == "originals"


def test_the_point_moves_along_the_measured_curve(undrawn: list[str]) -> None:
    curve = records.measured("rate_distortion")
    (slider,) = section("reconstructions", curve).frames
    track = slider.track
    assert track is not None
    assert len(track.line) == 200
    x, y = np.array(track.stops).T
    assert (np.diff(x) > 0).all()
    rate, distortion = curve.curve("rate", variance="optimal"), curve.curve("rmse")
    assert rate is not None and distortion is not None
    line = np.array(track.line)
    along = np.polyfit(np.log10(rate.y), line[:, 0], 1, full=True)
    assert along[1][0] < 0.1  # logarithmic in the rate
    slope = np.polyfit(distortion.y, line[:, 1], 1)
    assert np.polyval(slope, 0) == pytest.approx(track.size[1], abs=0.1)  # zero is the floor
    stops: Any = records.measured("reconstructions").facts["frames"]
    np.testing.assert_allclose(np.polyval(slope, stops["rmse"]), y, atol=0.1)
    np.testing.assert_allclose(np.polyval(along[0], np.log10(stops["rate"])), x, atol=0.1)
    alone = section("reconstructions").frames[0].track
    assert alone is not None
    assert alone.line == alone.stops


def test_ticks_stand_at_their_values() -> None:
    track = frames.track([0.001, 1], [50, 1], [(0.001, 50.0), (1.0, 1.0)], "rate|RMSE")
    ticks = dict(track.x_ticks)
    assert ticks["1"] == pytest.approx(track.stops[1][0], abs=0.01)
    assert ticks["10⁻³"] == pytest.approx(track.stops[0][0], abs=0.01)
    (zero,) = [y for text, y in track.y_ticks if text == "0"]
    assert zero == track.size[1]
    assert (track.x_name, track.y_name) == ("rate", "RMSE")


def test_a_rate_of_nothing_stays_on_the_page() -> None:
    track = frames.track([0, 1], [50, 1], [(0.0, 50.0), (1.0, 1.0)], "rate|RMSE")
    assert all(np.isfinite([*place]).all() and 0 <= place[0] <= 300 for place in track.line)


def test_what_does_not_fit_keeps_every_rate_and_the_originals(undrawn: list[str]) -> None:
    shown = section("reconstructions", room=11 * 3 * 8 * 8)
    assert "3 test images" in shown.frames[0].caption and "Here 3 of 8." in shown.frames[0].caption
    assert len(shown.frames[0].files) == 11
    small = shown.pictures[0].reduced
    assert small is not None
    assert small.alt == "33 images in 11 rows of 3"
    assert shown.pictures[0].alt == "88 images in 11 rows of 8"


def test_neighbours_begin_with_the_verdict_and_flicker_in_pairs(undrawn: list[str]) -> None:
    near = records.measured("neighbours")
    shown = section(near)
    assert [text[:40] for text in shown.texts] == [
        "In pixels: no sign of memorisation: 0 of",
        "In features: no sign of memorisation: 0 ",
    ]
    pixels = shown.frames[0]
    samples, nearest = map(opened, pixels.files)
    images, k = near.grids["pixels"].images, near.grids["pixels"].columns
    for picture, image in ((samples, images[k]), (nearest, images[k + 1])):
        tile = picture[:8, 9:17, :3]
        np.testing.assert_array_equal(tile, np.broadcast_to(image, tile.shape))
    assert pixels.names == ("samples", "nearest training images")


def test_figure_10_has_a_panel_for_each_curve_in_the_paper_s_order(undrawn: list[str]) -> None:
    shown = section("progressive")
    curves = shown.pictures[-1]
    assert curves.wide
    assert curves.alt.startswith("3 panels. Curve of FD(digits-cnn) over reverse steps")
    assert curves.alt.index("Curve of IS") < curves.alt.index("Curve of RMSE")
    assert [picture.key for picture in shown.pictures] == [
        "progressive",
        "progressive-shared-latents",
        "progressive-quality",
    ]


def test_the_best_checkpoint_is_named_and_marked() -> None:
    shown = section("watch")
    assert shown.texts == ("The best checkpoint by FD(digits-cnn) is that of step 1,000.",)
    svg = shown.pictures[0].files["svg"].decode()
    assert svg.count("stroke-dasharray") == 3  # a line in each panel


def test_panels_say_on_how_many_images_each_is_and_what_its_band_is(undrawn: list[str]) -> None:
    assert section("watch").pictures[0].caption == (
        "Quality over training, samples drawn in 20 steps; the line marks the best checkpoint. "
        "Bits/dim on 297 images, IS(digits-cnn) and FD(digits-cnn) on 256 images. Bands are one "
        "standard error for Bits/dim and FD(digits-cnn) and one spread over parts for "
        "IS(digits-cnn). Seed 0."
    )


def test_the_slider_says_that_its_points_are_of_few_images(undrawn: list[str]) -> None:
    caption = section("reconstructions", "rate_distortion").frames[0].caption
    assert "The points are means over these 8 images, the curve over 297." in caption
    assert (
        "The points are means over these 8 images. " in section("reconstructions").frames[0].caption
    )


def test_measures_of_training_images_say_so_and_stand_beside_those_of_test_images(
    undrawn: list[str],
) -> None:
    test = records.measured("rate_distortion")
    train = records.changed(test, images={"split": "train", "digest": "other"})
    titles = [item.title for item in built(train, test)]
    assert titles[-4:] == [
        "Rate and distortion",
        "Rate and distortion in numbers",
        "Rate and distortion, on training images",
        "Rate and distortion in numbers, on training images",
    ]
    assert {"rate_distortion", "rate_distortion-train"} <= set(undrawn)


def test_a_weaker_measurement_is_listed_with_what_sets_it_apart(undrawn: list[str]) -> None:
    whole = records.measured("bound")
    few = records.counted(records.changed(whole, images={"n": 50}), 50)
    raw = records.changed(whole, weights="raw", clip=False)
    record = records.only("r", few, whole, raw)
    page = document.compose([record])
    bits = next(table for table in page.tables() if table.key == "bits")
    assert [row.cells[1].number for row in bits.rows if row.block == "The bound"] == ["297"] * 9
    (table,) = (table for table in page.tables() if table.key == "others")
    assert [row.name for row in table.rows] == [
        "Bits/dim: clipping of x̂₀ no, weights raw",
        "Bits/dim: number of images 50",
    ]
    assert [row.cells[1].number for row in table.rows] == ["297", "50"]
    assert not any(
        x.title == "Also measured" for x in document.compose([records.digits()]).sections
    )


def test_an_older_checkpoint_is_listed_by_its_step(undrawn: list[str]) -> None:
    new = records.measured("bound")
    old = records.changed(new, model="older")
    record = records.only("r", new, old)
    subjects = {**record.subjects, "older": {"step": 500}}
    page = document.compose([replace(record, subjects=subjects)])
    (table,) = (table for table in page.tables() if table.key == "others")
    assert [row.name for row in table.rows] == ["Bits/dim: step 500"]
    assert "step 1,000" in page.about


def test_two_extractors_have_files_and_tables_of_their_own(undrawn: list[str]) -> None:
    digits = records.measured("quality")
    other = replace(records.changed(digits, extractor={"name": "other"}))
    scores = [replace(x, of=replace(x.of, extractor="(other)")) for x in digits.scores]
    curves = [replace(x, of=replace(x.of, extractor="(other)")) for x in digits.curves]
    other = replace(other, scores=tuple(scores), curves=tuple(curves))
    page = document.compose([records.only("r", digits, other)])
    assert {"quality-digits-cnn", "quality-other"} <= {table.key for table in page.tables()}
    assert len([key for key in undrawn if key.startswith("quality")]) == 2


def bare(**parts: Any) -> Measurement:
    return Measurement(measure="m", protocol=Protocol(version=1), **parts)


def test_room_is_shared_so_that_small_pictures_leave_theirs_to_large_ones() -> None:
    def record(*sizes: int) -> Record:
        grids = {
            str(i): Grid(np.zeros((1, 1, size, 1), np.uint8), 1) for i, size in enumerate(sizes)
        }
        return Record(name="r", measurements=(bare(grids=grids),))

    most = WHOLE_PAGE
    assert document._share([record(10, 20, 30)]) >= 30
    assert document._share([record(most, most)]) == most // 2
    assert document._share([record(most // 10, most, most)]) == (most - most // 10) // 2
    two = document._share([record(most)] * 2)  # the curves of the second take some
    assert two == (most - document.RUN_BYTES) // 2
    assert 0 < document._share([record(most)] * 99) < two


def test_a_full_record_fits_a_page_even_if_its_images_are_noise(tmp_path: Path) -> None:
    whole = records.enlarged(records.digits(), 32)
    t = np.arange(5000)
    curves = [
        Curve(metric=f"c{i}", over="t", x=t, y=np.sin(t * 1.7) + 2, n=9, error=0.1 + 0 * t)
        for i in range(3)
    ]
    more = bare(curves=tuple(curves))
    present.render([replace(whole, measurements=(*whole.measurements, more))], tmp_path)
    size = (tmp_path / "report.html").stat().st_size
    assert 2e6 < size < 4.9e6


def test_every_variance_has_its_line_in_the_bits(undrawn: list[str]) -> None:
    bound = records.measured("bound")
    total = bound.score("bits_per_dim", part="total", variance="optimal")
    assert total is not None
    others = [
        replace(total, of=replace(total.of, variance=variance))
        for variance in ("calibrated", "annealed")
    ]
    kept = tuple(score for score in bound.scores if score.of.variance not in ("calibrated",))
    more = replace(bound, scores=(*kept, *others))
    for own, text in (
        ("fixedlarge", "Total with the best isotropic σ²"),
        ("optimal", "Total with the isotropic σ² that training learned (optimal)"),
    ):
        tables = section_tables(records.changed(more, variance=own))
        (names,) = ([row.name for row in item.rows] for item in tables if item.key == "bits")
        assert names[-6:] == [
            "Total with σ² = β (fixedlarge)",
            "of which σ² = β costs a perfect mean",
            "Total with σ² = β̃ (fixedsmall)",
            text,
            "Total with the isotropic σ² of some training images (calibrated)",
            "Total with the annealed σ²",
        ]


def section_tables(*measurements: Measurement) -> list[Table]:
    return [table for part in built(*measurements) for table in part.tables]


def test_a_measure_without_a_builder_shows_conclusion_scores_and_curves(undrawn: list[str]) -> None:
    bound = records.measured("bound")
    scores = (replace(bound.scores[0], of=replace(bound.scores[0].of, whose="difference")),)
    text = "no difference can be told (95%)"
    compared = replace(bound, measure="comparison", scores=scores, facts={"verdict": text})
    (part,) = (part for part in built(compared) if part.title == "One model against another")
    assert part.texts == (text,)
    assert [row.name for row in part.tables[0].rows] == ["Bits/dim, difference"]
    assert [picture.key for picture in part.pictures] == ["comparison-L_t"]
