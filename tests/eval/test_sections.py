"""Every measurement is written up: in order, in its own pictures, within a page's size."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ddpm_eval import present
from ddpm_eval.present import document, figures, frames, grids, sections
from ddpm_eval.present.figures import Picture
from ddpm_eval.present.parts import Document, Section
from ddpm_eval.present.sections.shared import Place
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Curve, Measurement, Report
from ddpm_eval.record.scores import Grid
from tests.eval import records


def place(*others: Measurement, room: int = 10**9) -> Place:
    return Place("", room, {each.name: each for each in others})


def section(found: Measurement, *others: Measurement, room: int = 10**9) -> Section:
    return next(iter(sections.build(found, place(*others, room=room))))


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
def told(undrawn: list[str]) -> Document:
    return document.compose([records.full(size=8)])


def test_the_story_is_told_in_order(told: Document) -> None:
    assert [each.title for each in told.sections] == [
        "Beside the published numbers",
        "Sample quality",
        "Where the bits go",
        "Samples",
        "Rate and distortion",
        "Rate and distortion in numbers",
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


def test_every_picture_says_what_how_many_and_which_seed(told: Document) -> None:
    for each in told.pictures():
        assert len(each.caption) > 20, each.key
        if each.images:
            assert re.search(r"[Ss]eed \d", each.caption), each.key
            assert re.match(r"\d+ images in \d+ rows of \d+", each.alt), each.key
    names = [each.key for each in told.pictures()]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w-]+", name) for name in names)


def test_the_slider_shows_the_rows_of_the_grid(undrawn: list[str]) -> None:
    found = records.reconstructions(columns=4, size=8)
    (slider,) = section(found).frames
    grid = found.grids["reconstructions"]
    assert len(slider.files) == len(slider.names) == 11
    for row, content in enumerate(slider.files):
        shown = opened(content)
        assert shown.shape[1::-1] == slider.shape
        for column in range(4):
            left = column * 9
            np.testing.assert_array_equal(
                shown[:, left : left + 8, :3], grid.images[4 * row + column]
            )
            assert (shown[:, left : left + 8, 3] == 255).all()
    assert slider.names[0] == "1e-05 bits/dim, RMSE 67.6, after 100 reverse steps"
    assert slider.names[9] == "1.776 bits/dim, RMSE 0.951, after 1,000 reverse steps"
    assert slider.last == "originals"


def test_the_point_moves_along_the_measured_curve(undrawn: list[str]) -> None:
    curve = records.rate_distortion()
    (slider,) = section(records.reconstructions(4, 8), curve).frames
    track = slider.track
    assert track is not None
    assert len(track.line) == 1000
    x, y = np.array(track.stops).T
    assert (np.diff(x) > 0).all()
    assert (np.diff(y) > 0).all()  # down the page: the error falls
    rates, errors = curve.curves["rate (fixedlarge)"].y, curve.curves["distortion"].y
    line = np.array(track.line)
    along = np.polyfit(np.log10(rates), line[:, 0], 1, full=True)
    assert along[1][0] < 0.1  # logarithmic in the rate
    slope = np.polyfit(errors, line[:, 1], 1)
    assert np.polyval(slope, 0) == pytest.approx(track.size[1], abs=0.1)  # zero is the floor
    stops = records.reconstructions(4, 8).settings["frames"]
    assert isinstance(stops, dict)
    np.testing.assert_allclose(np.polyval(slope, stops["rmse"]), y, atol=0.1)
    np.testing.assert_allclose(np.polyval(along[0], np.log10(stops["rate"])), x, atol=0.1)
    alone = section(records.reconstructions(4, 8)).frames[0].track
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
    found = records.reconstructions(columns=6, size=8)
    shown = section(found, room=11 * 3 * 8 * 8 * 3)
    assert "3 test images" in shown.frames[0].caption
    assert len(shown.frames[0].files) == 11
    small = shown.pictures[0].reduced
    assert small is not None
    assert small.alt == "33 images in 11 rows of 3"
    assert shown.pictures[0].alt == "66 images in 11 rows of 6"


@pytest.mark.parametrize(
    "frames_told",
    [
        {"grid": "absent", "rows": 11, "columns": 4, "reverse_steps": [], "rate": [], "rmse": []},
        {"grid": "reconstructions", "rows": 9, "columns": 4}
        | {"reverse_steps": [1], "rate": [1], "rmse": [1]},
        "nonsense",
        None,
    ],
)
def test_a_strip_without_a_fitting_slider_is_still_a_strip(frames_told: Json) -> None:
    found = records.reconstructions(4, 8)
    other = replace(found, settings={**found.settings, "frames": frames_told})
    shown = section(other)
    assert shown.frames == ()
    assert len(shown.pictures) == 1


def test_neighbours_begin_with_the_verdict_and_flicker_in_pairs(undrawn: list[str]) -> None:
    found = records.neighbours(8)
    shown = section(found)
    assert shown.texts == (found.settings["verdict"],)
    pixels = shown.frames[0]
    samples, nearest = map(opened, pixels.files)
    np.testing.assert_array_equal(samples[:, 9:17, :3], found.grids["pixels"].images[9])
    np.testing.assert_array_equal(nearest[:, 9:17, :3], found.grids["pixels"].images[10])
    assert pixels.names == ("samples", "nearest training images")


def test_figure_10_has_a_panel_for_each_curve_in_the_paper_s_order(undrawn: list[str]) -> None:
    shown = section(records.progressive(2, 8))
    curves = shown.pictures[-1]
    assert curves.wide
    assert curves.alt.startswith("3 panels. Curve of FID over reverse steps")
    assert curves.alt.index("Curve of IS") < curves.alt.index("Curve of RMSE")
    assert [each.key for each in shown.pictures] == [
        "progressive",
        "progressive-shared-latents",
        "progressive-quality",
    ]


def test_the_best_checkpoint_is_named_and_marked() -> None:
    shown = section(records.watch())
    assert shown.texts == ("The best checkpoint is that of step 450,000.",)
    svg = shown.pictures[0].files["svg"].decode()
    assert svg.count("stroke-dasharray") == 3  # a line in each panel
    unmarked = section(replace(records.watch(), settings={}))
    assert unmarked.texts == ()
    assert "stroke-dasharray" not in unmarked.pictures[0].files["svg"].decode()


def test_panels_say_on_how_many_images_each_is_and_what_its_band_is(undrawn: list[str]) -> None:
    x = np.arange(1.0, 4)
    curves = {
        name: Curve(x, x, "training step", name, n, x / 9)
        for name, n in (("FD(net)", 256), ("IS(net)", 256), ("bits/dim", 297))
    }
    best: Json = {"by": "FD(net)", "step": 3}
    found = Measurement("watch", curves=curves, settings={"best": best, "steps": 20, "seed": 4})
    shown = section(found)
    assert shown.texts == ("The best checkpoint by FD(net) is that of step 3.",)
    assert shown.pictures[0].caption == (
        "Quality over training, samples drawn in 20 steps; the line marks the best checkpoint. "
        "FD(net) and IS(net) on 256 images, bits/dim on 297 images. Bands are one standard error; "
        "of IS the spread over its parts. Seed 4."
    )


def test_the_slider_says_that_its_points_are_of_few_images(undrawn: list[str]) -> None:
    few, curve = records.reconstructions(4, 8), records.rate_distortion()
    n = curve.curves["distortion"].n
    caption = section(few, curve).frames[0].caption
    assert f"The points are means over these 4 images, the curve over {n:,}." in caption
    assert "The points are means over these 4 images. " in section(few).frames[0].caption + " "


def without(found: Measurement, what: str) -> Measurement:
    return replace(found, **{what: {}})


MADE: tuple[Callable[[], Measurement], ...] = (
    records.rate_distortion,
    lambda: records.reconstructions(2, 8),
    lambda: records.progressive(2, 8),
    lambda: records.interpolation(8),
    lambda: records.neighbours(8),
    records.watch,
    records.training,
)


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("what", ["quantities", "curves", "grids", "settings"])
def test_a_measurement_that_lacks_something_is_shown_without_it(
    make: Callable[[], Measurement], what: str, undrawn: list[str]
) -> None:
    found = make()
    shown = list(sections.build(without(found, what), place()))
    assert all(each.title for each in shown)
    assert len(undrawn) > 0 or what in ("grids", "curves")


def test_room_is_shared_so_that_small_pictures_leave_theirs_to_large_ones() -> None:
    def report(*sizes: int) -> Report:
        grids = {
            str(i): Grid(np.zeros((1, 1, size, 1), np.uint8), 1) for i, size in enumerate(sizes)
        }
        return Report("r", {}, {"m": Measurement("m", grids=grids)})

    most = document.PAGE_IMAGE_BYTES
    assert document._share([report(10, 20, 30)]) >= 30
    assert document._share([report(most, most)]) == most // 2
    assert document._share([report(most // 10, most, most)]) == (most - most // 10) // 2
    two = document._share([report(most)] * 2)  # the curves of the second take some
    assert two == (most - document.RUN_BYTES) // 2
    assert 0 < document._share([report(most)] * 99) < two


def test_a_full_record_fits_a_page_even_if_its_images_are_noise(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 32, 32, 3), np.uint8)
    grids = {name: Grid(noise, 20) for name in ("path", "coarse to fine")}
    many = [Measurement(name, grids=grids) for name in ("interpolation", "a", "b")]
    t = np.arange(5000)
    curves = {f"c{i}": Curve(t, np.sin(t * 1.7) + 2, "t", "y", 9, 0.1 + 0 * t) for i in range(3)}
    present.render([records.report("r", *many, Measurement("z", curves=curves))], tmp_path)
    size = (tmp_path / "report.html").stat().st_size
    assert 2e6 < size < 4.9e6
