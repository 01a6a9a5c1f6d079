"""The report that is committed is what its record gives."""

import re
from pathlib import Path

import pytest

from ddpm_eval import present
from ddpm_eval.present.page import GENERATOR
from ddpm_eval.record import disk

FOLDER = Path(__file__).parents[2] / "reports" / "digits"
DRAWN = re.compile(r'data:image/[a-z+]+;base64,[^"]*|<meta name="generator" [^>]*>')
TEXTS = ("html", "md", "csv", "tex")


def drawn_with(page: str) -> str:
    result = re.search(r'<meta name="generator" content="([^"]*)">', page)
    return result[1] if result else ""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What the record gives now, by name."""
    folder = tmp_path_factory.mktemp("digits")
    paths = present.render([disk.load(FOLDER)], folder)
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def committed() -> dict[str, bytes]:
    """What lies there: the record itself and the store of samples aside."""
    paths = [path for path in (*FOLDER.glob("*.*"), *FOLDER.glob("figures/*")) if path.is_file()]
    record = (disk.RECORD, disk.ARRAYS, ".lock")
    return {str(p.relative_to(FOLDER)): p.read_bytes() for p in paths if p.name not in record}


def test_the_same_files_are_there(committed: dict[str, bytes], written: dict[str, bytes]) -> None:
    assert committed.keys() == written.keys()


def test_the_texts_are_the_same(committed: dict[str, bytes], written: dict[str, bytes]) -> None:
    for name in written:
        if name.endswith(TEXTS):
            theirs, ours = (DRAWN.sub("", item[name].decode()) for item in (committed, written))
            assert theirs == ours, f"{name}: run ddpm-eval report digits"


def test_the_figures_are_the_same_bytes(
    committed: dict[str, bytes], written: dict[str, bytes]
) -> None:
    theirs = drawn_with(committed["report.html"].decode())
    assert theirs, "report.html does not say what drew it: run ddpm-eval report digits"
    if theirs != GENERATOR:
        pytest.skip(f"drawn with {theirs}; here is {GENERATOR}")
    for name, content in written.items():
        assert committed[name] == content, name


def test_what_is_left_out_is_what_is_drawn_and_no_more(written: dict[str, bytes]) -> None:
    page = written["report.html"].decode()
    left = DRAWN.sub("", page)
    assert drawn_with(page) == GENERATOR
    assert "data:image" not in left
    assert "data:text/csv" in left
    bound = disk.load(FOLDER).strongest("bound")
    assert bound is not None and bound.scores[0].texts[0] in left
