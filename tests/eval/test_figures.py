"""Figures show every pixel as it is and every curve whole, the same bytes each time."""

import base64
import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from ddpm_eval.present import canvas, contents, figures, grids
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.scores import Curve, Grid, Qualifiers
from tests.eval import records


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


def scattered(n: int, size: int, channels: int) -> Grid:
    images = np.random.default_rng(1).integers(0, 256, (n, size, size, channels), np.uint8)
    return Grid(images, 4)


@pytest.mark.parametrize(("n", "size", "channels"), [(10, 8, 1), (5, 32, 3), (4, 256, 3)])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_grid_shows_every_pixel_exactly(n: int, size: int, channels: int, labelled: bool) -> None:
    grid = scattered(n, size, channels)
    labels = [f"{i}\n{i}" for i in range(n)] if labelled else ()
    picture = grids.draw("g", Grid(grid.images, 4, labels))
    shown = pixels(picture.files["png"])
    assert (shown.shape[1], shown.shape[0]) == picture.shape
    solid = shown[..., 3] == 255
    columns = np.flatnonzero(solid[0])
    scale = len(columns) // (min(n, 4) * size)
    lefts = columns[:: size * scale]
    tops = [y for y in range(len(solid)) if solid[y, : size * scale].all()][:: size * scale]
    for i, image in enumerate(grid.images):
        top, left = tops[i // 4], lefts[i % 4]
        tile = shown[top : top + size * scale, left : left + size * scale, :3]
        for dy, dx in ((0, 0), (scale - 1, 0), (0, scale - 1), (scale - 1, scale - 1)):
            result = tile[dy::scale, dx::scale]
            np.testing.assert_array_equal(result, np.broadcast_to(image, result.shape))


def test_the_files_of_a_grid_hold_the_same_pixels() -> None:
    picture = grids.draw("g", scattered(6, 8, 3))
    svg = picture.files["svg"].decode()
    inside = re.search(r'href="data:image/png;base64,\s*([^"]+)"', svg)
    assert inside is not None
    embedded = pixels(base64.b64decode(inside[1]))[::-1]  # SVG counts upwards there
    shown = pixels(picture.files["png"])
    solid = shown[..., 3] == 255
    np.testing.assert_array_equal(embedded[..., :3][solid], shown[..., :3][solid])


def test_rows_that_do_not_fit_a_page_are_left_out() -> None:
    grid = Grid(np.zeros((10, 8, 8, 1), np.uint8), 4, list("abcdefghij"))
    assert grids.first_rows(grid, 10 * 64) is grid
    assert list(grids.first_rows(grid, 9 * 64).labels) == list("abcdefgh")
    assert len(grids.first_rows(grid, 3 * 64).images) == 3
    assert len(grids.first_rows(grid, 5).images) == 1


def test_a_long_curve_keeps_its_extremes_and_its_order() -> None:
    y = np.random.default_rng(0).normal(size=50_000)
    y[[777, 31_415]] = -99, 99
    x, thinned = figures.thin(np.arange(len(y)), y)
    assert len(x) <= 1000
    assert thinned.min() == -99
    assert thinned.max() == 99
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(thinned, y[x])


def curve(x: Array, y: Array, error: Array | None = None, **fields: Any) -> Curve:
    return Curve(**{"metric": "rate", "over": "t", "n": 1, **fields}, x=x, y=y, error=error)


CURVE = curve(np.arange(40), np.geomspace(2, 0.1, 40), np.full(40, 0.5), n=9)


def test_a_curve_is_the_same_bytes_whatever_the_users_settings() -> None:
    first = figures.curve("c", CURVE).files
    with mpl.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        before = dict(mpl.rcParams)
        assert figures.curve("c", CURVE).files == first
        assert dict(mpl.rcParams) | {"backend": ""} == before | {"backend": ""}
    assert first.keys() == {"png", "svg", "pdf"}


def test_files_carry_no_date_and_no_version() -> None:
    files = figures.curve("c", CURVE).files
    for word in (b"CreationDate", b"Matplotlib v", b"dc:date", b"matplotlib.org"):
        assert not any(word in content for content in files.values()), word


def line(svg: bytes, colour: str) -> np.ndarray:
    """The points of the widest line of a colour, in the SVG's units."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*stroke: ' + colour, svg.decode())
    return np.array(
        [re.findall(r"[-\d.]+", p) for p in max(paths, key=len).split("\n")[:-1]], float
    )


def test_the_line_goes_through_the_points() -> None:
    result = line(figures.curve("c", CURVE).files["svg"], canvas.BLUE)
    places = (result - result[0]) / (result[-1] - result[0])  # 0 to 1 in both directions
    np.testing.assert_allclose(places[:, 1], (CURVE.y - 2) / (0.1 - 2), atol=1e-3)
    np.testing.assert_allclose(places[:, 0], CURVE.x / 39, atol=1e-3)


@pytest.mark.parametrize("n", [1, 3, 4, 5])
def test_every_panel_without_a_curve_is_blank(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def finish(key: str, figure: Figure, text: tuple[str, str]) -> canvas.Picture:
        drawn.append(figure)
        return original(key, figure, text)

    original = canvas.finish
    monkeypatch.setattr(figures, "finish", finish)
    figures.panels("key", [curve(np.arange(3.0), np.arange(3.0))] * n)
    shown = [axes.axison for axes in drawn[0].axes]
    assert shown == [True] * n + [False] * (len(shown) - n)


def test_the_axes_are_logarithmic_where_the_curve_says_so() -> None:
    x = np.geomspace(1, 1000, 31)
    result = line(figures.curve("c", curve(x, x**-2.0, log="xy")).files["svg"], "#0072b2")
    steps = np.diff(result, axis=0)
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-3)  # straight


@pytest.mark.parametrize(
    ("highest", "height"), [(3.0, 1 / 2), (30.0, 1 - np.log(31 / 2) / np.log(30))]
)
def test_the_average_of_the_loss_is_between_its_values_on_a_scale_that_has_ticks(
    highest: float, height: float
) -> None:
    """Linear within a decade, where a logarithm has no tick."""
    y = np.tile([1.0, highest], 500)
    logged = curve(np.arange(1000), y, metric="loss", over="training_steps")
    svg = figures.loss("c", logged).files["svg"]
    result, raw = line(svg, canvas.ORANGE), line(svg, canvas.BLUE)
    assert np.ptp(raw[:, 1]) > 5 * np.ptp(result[100:, 1])
    middle = raw[:, 1].min() + np.ptp(raw[:, 1]) * height
    assert result[-1, 1] == pytest.approx(middle, abs=0.05 * np.ptp(raw[:, 1]))


def test_names_on_axes_are_text() -> None:
    name = f"--><script> {records.HOSTILE} $\\frac{{ " + records.LATEX_SPECIALS.replace("中", "")
    strange = curve(np.ones(2), np.ones(2), metric=name, over=name, of=Qualifiers(whose=name))
    picture = figures.curve("c", strange)
    svg = picture.files["svg"].decode()
    assert "<script" not in svg
    assert "<img" not in svg
    assert name in picture.alt


def test_a_zero_does_not_break_a_logarithmic_axis() -> None:
    y = np.array([1.0, 0.0, 0.01])
    picture = figures.curve("c", curve(np.arange(3), y, y / 2, log="xy"))
    assert len(pixels(picture.files["png"])) == 630


def test_the_text_describes_the_curve() -> None:
    assert figures.curve("c", CURVE, "So it falls.").alt == (
        "Curve of Rate (bits/dim) over t: 2 at 0, 0.1 at 39; lowest 0.1, highest 2"
    )


def markers(svg: bytes) -> int:
    """How many markers and bands lie on the data of an SVG."""
    groups = re.findall(r'<g clip-path="[^"]*">(.*?)</g>', svg.decode(), re.DOTALL)
    return sum(group.count("<use ") for group in groups)


def test_published_points_are_drawn_where_the_steps_are_the_same() -> None:
    points = [(int(r), 0.1 * i, 10.0 * i) for i, r in enumerate(range(100, 1100, 100))]
    drawn = []
    for T in (1000, 40):
        measurement = records.stretched(records.measured("rate_distortion"), T)
        distortion = measurement.curve("rmse")
        assert distortion is not None
        rates = contents.rates(measurement)
        drawn.append(figures.rate_distortion("f", distortion, rates, points, ""))
    same, other = drawn
    assert same.shape[0] > 2 * 990
    bands = 1 + 2 * 4  # of RMSE; of the rate under each variance, in two panels
    assert markers(same.files["svg"]) == 30 + bands
    assert markers(other.files["svg"]) == 10 + bands
    assert "Three panels" in same.alt
