"""What README and docs say is run or looked up, so that it stays true."""

import importlib
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.cli import app as evaluate
from ddpm_eval.features import EXTRACTORS
from ddpm_eval.metrics import registry
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train import presets, settings
from ddpm_train.cli import app as train

ROOT = Path(__file__).parent.parent
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}
TEXT = "\n".join(PAGES.values())


def commands() -> list[str]:
    """Every command line in console blocks, joined over line ends."""
    blocks = re.findall(r"```console\n(.*?)```", TEXT, re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line.split(" #")[0].strip() for line in lines if line.strip()]


def program(line: str) -> tuple[str, list[str]] | None:
    words = shlex.split(line)
    if "-m" in words and words[0] == "torchrun":
        words = [words[words.index("-m") + 1].replace("_", "-"), *words[words.index("-m") + 2 :]]
    return (words[0], words[1:]) if words[0] in ("ddpm-train", "ddpm-eval") else None


@pytest.mark.parametrize("line", [line for line in commands() if program(line)])
def test_every_command_parses(line: str) -> None:
    """Options and arguments are those of the real commands, and every setting exists."""
    called = program(line)
    assert called is not None
    group: Any = get_command({"ddpm-train": train, "ddpm-eval": evaluate}[called[0]])
    words = group.in_order(called[1])  # the options of every command first
    place = next(i for i, word in enumerate(words) if word in group.commands)
    shared, name, arguments = words[:place], words[place], words[place + 1 :]
    group.make_context(called[0], [*shared, name], resilient_parsing=True)
    group.commands[name].make_context(name, arguments)
    changes = [b for a, b in itertools.pairwise(arguments) if a == "--set"]
    if called[0] == "ddpm-train":
        settings.override(presets.cifar10(), changes)
    else:
        _, of_model = changed(EvalSettings(), changes, [item.name for item in fields(EvalSettings)])
        settings.override(presets.cifar10().model, of_model)


def test_the_laptop_command_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word for word, but for three steps instead of a thousand."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", train=pixels)
    (line,) = (line for line in commands() if "images.npz" in line)
    arguments = [*shlex.split(line)[1:], "--set", "optim.steps=3", "--quiet"]
    result = CliRunner().invoke(train, arguments)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "runs/small/checkpoints/step-00000003.pt").exists()


def test_every_setting_in_prose_exists() -> None:
    changes = re.findall(r"\b((?:objective|compute|optim|unet|data)\.\w+=[\w.-]+)", TEXT)
    assert len(changes) > 10
    for change in changes:
        settings.override(presets.cifar10(), [change])


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = [line.split()[1] for line in commands() if line.startswith("make ")]
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_function_of_the_table_of_equations_exists() -> None:
    section = TEXT.split("## From the paper's equations to the code")[1].split("\n\n")[0]
    rows = [line.split("|")[2] for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 8
    for row in rows:
        module = importlib.import_module("ddpm_train.diffusion")
        for name in re.findall(r"`([\w.]+)`", row):
            path = name.split(".")
            if path[0] in ("ddpm_train", "ddpm_eval"):
                importlib.import_module(name)
                continue
            if len(path) == 2:
                module = importlib.import_module(f"ddpm_train.{path[0]}")
            assert hasattr(module, path[-1]), name


def test_every_public_function_and_its_command_are_listed() -> None:
    lines = [line for line in PAGES["docs/python.md"].splitlines() if line.startswith("| `")]
    listed = {name for line in lines for name in re.findall(r"`([\w]+)`", line.split("|")[1])}
    assert listed == {name for name in de.__all__ if callable(getattr(de, name))}
    group: Any = get_command(evaluate)
    named = {name for line in lines for name in re.findall(r"`([a-z-]+)`", line.split("|")[3])}
    assert {name for name in named if not name.startswith("--")} <= set(group.commands)


def test_every_file_that_is_named_exists() -> None:
    for text in (TEXT, (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        for name in re.findall(r"`((?:ddpm_train|ddpm_eval|tests|docs)/[\w/.]+)`", text):
            assert (ROOT / name).exists(), name


def test_the_table_of_places_has_every_file() -> None:
    """Each file is named, or a folder that holds it; bare names stand in the folder before them."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = text.split("## Where things are")[1].split("## Words")[0].splitlines()
    places, folder = set(), ROOT
    for name in re.findall(r"`([\w/.]+(?:/|\.pyi?))`", "\n".join(rows)):
        whole = ROOT / name if name.startswith(("ddpm_", "tests/")) else folder / name
        folder = whole if name.endswith("/") and name.startswith("ddpm_") else folder
        folder = whole.parent if name.startswith("ddpm_") and whole.suffix else folder
        assert whole.exists(), name
        places.add(whole)
    missing = [
        path.relative_to(ROOT).as_posix()
        for package in ("ddpm_train", "ddpm_eval")
        for path in (ROOT / package).rglob("*.py")
        if not path.name.startswith("__") and places.isdisjoint({path, *path.parents} - {ROOT})
    ]
    assert not missing


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", PAGES[page]):
        assert (ROOT / page).parent.joinpath(target).exists(), target


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which runs/digits and runs/other are runs, of three steps each."""
    folder = tmp_path_factory.mktemp("docs")
    short = ["--set", "optim.steps=3", "--set", "schedule.T=20", "--quiet"]
    for name, seed in (("digits", 0), ("other", 1)):
        out = ["--out", str(folder / "runs" / name), "--set", f"seed={seed}"]
        outcome = CliRunner().invoke(train, ["digits", *out, *short])
        assert outcome.exit_code == 0, outcome.output
    return folder


@pytest.fixture
def registries() -> Iterator[None]:
    """What a page adds to the registries is gone after it."""
    tables: list[dict[str, Any]] = [registry._METRICS, EXTRACTORS]
    before = [dict(table) for table in tables]
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("page", [page for page, text in PAGES.items() if "```python" in text])
def test_every_python_block_runs(
    page: str, trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The blocks of a page run in order, in one namespace, as a reader would paste them."""
    monkeypatch.chdir(trained)
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGES[page], re.S):
        exec(compile(block, page, "exec"), names)
    assert capsys.readouterr().out
