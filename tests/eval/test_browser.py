"""The page in a browser, from a file: at two widths, light and dark, with scripts and without."""

import itertools
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import pytest

from ddpm_eval import present
from tests.eval import records

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--no-first-run"),
)
OTHER = ("quality", "bound", "samples")
GRAVE = ("serious", "critical")
LOOKS = [(1280, "light"), (390, "light"), (1280, "dark"), (390, "dark")]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    *(
        pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed")
        for name in ("playwright", "axe_playwright_python")
    ),
]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two runs side by side, with everything that a record may hold, and a hostile name."""
    folder = tmp_path_factory.mktemp("page")
    runs = [
        records.digits(records.HOSTILE),
        records.only("other", *OTHER),
    ]
    present.render(runs, folder, compare=True)
    return (folder / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        opened = play.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


class Visit:
    """An open page, and everything that went wrong on it."""

    def __init__(self, browser: Any, address: str, width: int, scheme: str, scripts: bool) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            java_script_enabled=scripts,
        )
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address)
        self.address = address

    def __enter__(self) -> Any:
        return self.page

    def __exit__(self, *raised: object) -> None:
        self.context.close()
        if raised[0] is None:
            assert self.wrong == []
            outside = [url for url in self.asked if not url.startswith("data:")]
            assert outside == [self.address]


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_the_page_is_whole_at_every_width_and_in_every_light(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    with Visit(browser, address, width, scheme, True) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "[...document.images].filter(i => !(i.complete && i.naturalWidth)).length"
        assert page.evaluate(broken) == 0
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        answer = Axe().run(page).response
        assert len(answer["passes"]) > 20
        result = answer["violations"]
        serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in result if v["impact"] in GRAVE]
        assert serious == []


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_without_scripts_everything_is_there_but_the_sliders(
    browser: Any, address: str, width: int, scheme: str
) -> None:
    with Visit(browser, address, width, scheme, False) as page:
        assert page.locator("figure.frames").count() >= 3
        assert not any(item.is_visible() for item in page.locator("figure.frames").all())
        shown = page.locator("figure:not(.frames) img")
        assert shown.count() > 10
        assert all(item.is_visible() for item in shown.all())
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def state(figure: Any) -> tuple[str, list[int]]:
    """What the words say, and which pictures are to be seen."""
    pictures = figure.locator(".stage img").all()
    seen = [
        i
        for i, item in enumerate(pictures)
        if item.evaluate("e => getComputedStyle(e).visibility") == "visible"
    ]
    return figure.locator("output").inner_text(), seen


def reconstructions(page: Any) -> Any:
    """The figure whose slider goes through lossy reconstructions."""
    return page.locator("figure.frames", has=page.get_by_role("slider", name="Bits received"))


def test_the_slider_drags_all_reconstructions_and_the_point(browser: Any, address: str) -> None:
    with Visit(browser, address, 1280, "light", True) as page:
        figure = reconstructions(page)
        slider, point = figure.locator("input"), figure.locator(".here")
        slider.focus()
        text, seen = state(figure)
        assert re.fullmatch(r"0\.00\d+ bits/dim, RMSE \d+\.\d, after \d+ reverse steps", text)
        assert seen == [0]
        places = []
        for i in range(10):
            assert state(figure)[1] == [i]
            places.append([float(point.get_attribute(side)) for side in ("cx", "cy")])
            page.keyboard.press("ArrowRight")
        assert all(a[0] < b[0] for a, b in itertools.pairwise(places))  # the rate rises
        assert places[0][1] < places[-1][1]  # and the error falls, if not at every step
        assert state(figure) == ("the originals", [10])
        assert not point.is_visible()
        page.keyboard.press("ArrowLeft")
        assert point.is_visible()
        assert slider.get_attribute("aria-valuetext") == state(figure)[0]


def test_space_flickers_between_a_picture_and_the_last(browser: Any, address: str) -> None:
    with Visit(browser, address, 1280, "light", True) as page:
        figure = reconstructions(page)
        figure.locator("input").focus()
        for _ in range(3):
            page.keyboard.press("ArrowRight")
        top = page.evaluate("scrollY")
        seen = []
        for _ in range(4):
            page.keyboard.press(" ")
            seen.append(state(figure)[1])
        assert seen == [[10], [3], [10], [3]]
        assert page.evaluate("scrollY") == top
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert state(figure)[1] == [10]
        assert figure.locator("button").get_attribute("aria-pressed") == "true"


def test_two_runs_flicker_in_the_same_place(browser: Any, address: str) -> None:
    with Visit(browser, address, 390, "dark", True) as page:
        section = page.locator("section", has=page.get_by_text("Samples, run against run"))
        figure = section.locator("figure.frames")
        boxes = [item.bounding_box() for item in figure.locator(".stage img").all()]
        assert boxes[0] == boxes[1]
        figure.locator("input").focus()
        assert state(figure) == (records.HOSTILE, [0])
        page.keyboard.press(" ")
        assert state(figure) == ("other", [1])


def test_the_focus_is_seen_wherever_it_goes(browser: Any, address: str) -> None:
    with Visit(browser, address, 1280, "dark", True) as page:
        seen = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            tag, width, style = page.evaluate(
                "(e => [e.tagName, parseFloat(getComputedStyle(e).outlineWidth),"
                " getComputedStyle(e).outlineStyle])(document.activeElement)"
            )
            if tag == "BODY":
                break
            seen.add(tag)
            assert width >= 2, tag
            assert style != "none", tag
        assert {"A", "DIV", "BUTTON", "INPUT"} <= seen


def test_a_picture_is_enlarged_and_let_go_by_keyboard(browser: Any, address: str) -> None:
    with Visit(browser, address, 1280, "light", True) as page:
        button = page.locator("button.zoom").first
        button.focus()
        page.keyboard.press("Enter")
        assert page.locator("dialog[open] img").is_visible()
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        assert button.evaluate("e => e === document.activeElement")
