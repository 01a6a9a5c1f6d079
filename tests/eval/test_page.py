"""One file that stands alone, says everything, believes no name, and is the same each time."""

import base64
import hashlib
import io
import itertools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from ddpm_eval import present
from ddpm_eval.present import document
from ddpm_eval.record import disk
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Grid, Score
from tests.eval import records

PARTS = ("bound", "baselines", "samples", "training")
VOID = {"meta", "img", "br", "link", "input", "hr"}


@dataclass
class Page(HTMLParser):
    """What a browser makes of a page: elements in order and their texts."""

    text: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag  # well-formed

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], " ".join(data.split())))

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def texts_of(self, *tags: str) -> list[str]:
        return [text for tag, text in self.texts if tag in tags]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered report with a hostile name."""
    folder = tmp_path_factory.mktemp("report")
    disk.save(folder, records.only(records.HOSTILE, *PARTS))
    present.render([disk.load(folder)], folder)
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text("utf-8"))


def decoded(address: str) -> bytes:
    return base64.b64decode(address.partition(";base64,")[2], validate=True)


def test_names_are_text(page: Page, folder: Path) -> None:
    assert page.texts_of("h1") == [records.HOSTILE]
    assert page.texts_of("title") == [f"{records.HOSTILE} – DDPM report"]
    assert len(page.of("img")) == 3
    assert not any(key.startswith("on") for _, attrs in page.elements for key in attrs)
    assert len(page.of("script")) == 1
    assert "<img" not in (folder / "report.md").read_text()


def test_nothing_is_asked_of_the_network(page: Page) -> None:
    addresses = [a[key] for _, a in page.elements for key in ("src", "href", "action") if key in a]
    assert len(addresses) > 5
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not page.of("link")
    style = "".join(page.texts_of("style"))
    assert "url(" not in style
    assert "@import" not in style
    assert "://" not in "".join(text for _, text in page.texts)
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_only_our_script_may_run(page: Page) -> None:
    script = re.search(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.text


def test_the_order_is_verdict_table_bound_samples_training_settings_origin(page: Page) -> None:
    assert page.texts_of("h2") == [
        "Beside the published numbers",
        "Sample quality",
        "Where the bits go",
        "Samples",
        "Training",
        "Settings",
        "Where the numbers come from",
        "Files inside this page",
    ]
    first = page.texts_of("p")[:2]
    assert first[0] == (
        "A denoising diffusion model, 701,345 parameters, step 1,000, averaged (EMA) weights"
    )
    assert first[1].startswith("At most 5.913 ± 0.015 bits/dim on 297 test images of digits.")
    assert "not comparable" in first[1]


def test_a_reader_of_any_kind_is_served(page: Page) -> None:
    assert page.of("html") == [{"lang": "en"}]
    assert any("width=device-width" in a.get("content", "") for a in page.of("meta"))
    assert all(len(image["alt"]) > 10 for image in page.of("img"))
    assert len(page.of("figcaption")) == len(page.of("figure")) == 3
    assert len(page.of("caption")) == len(page.of("table"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))
    names = [a["id"] for _, a in page.elements if "id" in a]
    assert len(set(names)) == len(names)
    assert {a["aria-labelledby"] for a in page.of("section")} <= set(names)


def test_pictures_in_the_page_are_the_pictures_beside_it(page: Page, folder: Path) -> None:
    (grid,) = [a for a in page.of("img") if a["class"] == "images"]
    assert decoded(grid["src"]) == (folder / "figures" / "samples.png").read_bytes()
    for image in page.of("img"):
        width, height = int(image["width"]), int(image["height"])
        if image["class"] == "images":
            assert Image.open(io.BytesIO(decoded(image["src"]))).size == (width, height)
        else:
            svg = decoded(image["src"]).decode()
            assert "prefers-color-scheme:dark" in svg
            assert not re.search(r"<script|xlink:href=\"http", svg)


def test_the_downloads_are_the_files(page: Page, folder: Path) -> None:
    result = {a["download"]: decoded(a["href"]) for a in page.of("a") if "download" in a}
    assert result.keys() == {
        *(f"{name}.{kind}" for name in ("table1", "bits", "training") for kind in ("csv", "tex")),
        "results.json",
    }
    for name, content in result.items():
        assert content == (folder / name).read_bytes()
    assert len(pd.read_csv(io.BytesIO(result["table1.csv"]))) == 17


def test_every_file_is_named_and_there(folder: Path) -> None:
    text = (folder / "report.md").read_text("utf-8")
    links = re.findall(r"\]\(([^)]*)\)", text)
    assert len(links) > 8
    assert all((folder / link).is_file() for link in links)
    figures = {path.name for path in (folder / "figures").iterdir()}
    names = ("samples", "bound-L_t", "training-loss")
    assert figures == {f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")}


def test_another_process_without_torch_writes_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ddpm_eval import present\n"
        "from ddpm_eval.record import disk\n"
        "here, there = map(Path, sys.argv[1:])\n"
        "written = present.render([disk.load(here)], there)\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "print(*(path.relative_to(there) for path in written), sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path)],
        env=os.environ | {"PYTHONHASHSEED": "7", "LC_ALL": "C", "TZ": "Asia/Tokyo"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert names[0] == "report.html"
    assert len(names) == 20
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_what_is_not_measured_is_absent_or_says_how(tmp_path: Path) -> None:
    present.render([records.only("empty", "baselines")], tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert not page.of("img")
    assert "Training" not in page.texts_of("h2")
    assert "Warnings" not in page.texts_of("h2")
    assert "Not measured: run ddpm-eval fid" in page.texts_of("p")
    assert "Not measured: run ddpm-eval sample" in page.texts_of("p")


IMAGES = {"d" * 64: {"file": "png", "images": 1_280}}


def test_images_of_unknown_origin_are_not_called_a_model() -> None:
    images = replace(records.only("png", "quality"), subjects=IMAGES)
    assert document.compose([images]).about == "1,280 images, png"


def test_images_alone_are_not_said_to_lack_what_takes_a_model() -> None:
    images = replace(records.only("png", "quality"), subjects=IMAGES)
    model = records.only("model", "quality")

    def missing(*reports: Record) -> list[str]:
        sections = document.compose(reports).sections
        return [
            section.title for section in sections if any("Not measured" in t for t in section.texts)
        ]

    assert missing(images) == missing(images, images) == []
    assert missing(model) == missing(model, images) == ["Where the bits go", "Samples"]
    assert missing(replace(images, measurements=())) == ["Sample quality"]


def test_a_measurement_from_the_future_is_shown_and_stays_in_its_folder(tmp_path: Path) -> None:
    strange = Measurement(
        measure="../../coverage",
        protocol=Protocol(version=9),
        scores=(Score(metric="cover", value=1.7758, n=9),),
        curves=(Curve(metric="a/b", over="x", x=np.arange(3), y=np.ones(3), n=9),),
    )
    written = present.render([records.only("r", strange)], tmp_path / "in" / "out")
    page = Page(written[0].read_text("utf-8"))
    assert any("coverage" in title for title in page.texts_of("h2"))
    assert "1.78" in page.texts_of("td") and "cover" in page.texts_of("th")
    assert all(path.parent.name in ("out", "figures") for path in written)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == set(written)


@pytest.mark.parametrize(
    ("n", "size", "remark"),
    [
        (12, 80, "Here at 1/2 of their size; all are in figures/samples.png."),
        (200, 90, "Here the first 27 of 200 at 1/2 of their size; all are in"),
        (80, 31, "Here the first 60 of 80; all are in figures/samples.png."),
    ],
)
def test_large_samples_fit_a_page_and_it_is_said(
    tmp_path: Path, n: int, size: int, remark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(document, "WHOLE_PAGE", 180_000)
    present.render([records.only("r", records.samples(n, size, 3))], tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 5e5
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    (caption,) = page.texts_of("figcaption")
    assert remark in caption


def test_samples_of_256_pixels_are_drawn_pixel_for_pixel(tmp_path: Path) -> None:
    drawn = records.samples(6, 256, 3)
    present.render([records.only("r", drawn)], tmp_path)
    shown = np.asarray(Image.open(tmp_path / "figures" / "samples.png"))
    np.testing.assert_array_equal(shown[:256, :256, :3], drawn.grids["samples"].images[0])


def test_several_runs_stand_side_by_side(tmp_path: Path) -> None:
    other = records.counted(records.valued(records.measured("bound"), bits_per_dim=6.5), 99)
    runs = [records.only("first", "bound", "samples"), records.only("second", other)]
    present.render(runs, tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.texts_of("h1") == ["first, second"]
    assert {"5.913", "6.500"} <= set(page.texts_of("td"))
    titles = page.texts_of("h2")
    assert "Samples: first" in titles
    assert any(text.startswith("second: What each term") for text in page.texts_of("figcaption"))
    names = {a.get("download") for a in page.of("a")}
    assert {"results-1.json", "results-2.json"} <= names
    assert (tmp_path / "figures" / "2-bound-L_t.svg").is_file()


def test_what_all_measurements_share_is_said_once(page: Page) -> None:
    assert page.texts_of("dt").count("versions.torch") == 1
    assert "all measurements" in page.texts_of("h3")
    commands = [records.measured(measure).provenance["command"] for measure in PARTS]
    assert len({*commands}) == len(PARTS)
    assert {*commands} <= set(page.texts_of("dd"))


def test_odd_names_do_not_stop_a_report(tmp_path: Path) -> None:
    labels = ["$\\frac{", "<b>", "\n"]
    grid = Grid(np.zeros((3, 4, 4, 3), np.uint8), 3, labels, "a & b")
    name = f"{records.LATEX_SPECIALS}\udc80\n"
    odd = replace(records.measured("samples"), grids={"g": grid})
    present.render([records.only(name, odd)], tmp_path)
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert page.texts_of("h1")[0].startswith("100% a_b & $x$ #1 {c} ~d ^e \\f é")
    assert "a & b Seed 0." in page.texts_of("figcaption")


@pytest.mark.parametrize("measure", ["bound", "samples", "quality", "watch", "rate_distortion"])
def test_a_notebook_shows_a_measurement_with_its_figure(measure: str) -> None:
    measurement = records.measured(measure)
    page = Page(measurement._repr_html_())
    assert page.of("img") and all(image["src"].startswith("data:") for image in page.of("img"))
    for score in measurement.scores[:1]:
        assert score.texts[0] in " ".join(page.texts_of("td"))
    assert not any("Not measured" in text for text in page.texts_of("p"))
    assert (
        page.texts_of("li")[-len(measurement.warnings) :]
        == [" ".join(text.split()) for text in measurement.warnings]
        or not measurement.warnings
    )


def test_a_measurement_of_a_hostile_name_is_text_in_a_notebook() -> None:
    named = records.changed(records.measured("quality"), reference={"dataset": records.HOSTILE})
    page = Page(named._repr_html_())
    assert not any("onerror" in attributes for _, attributes in page.elements)
