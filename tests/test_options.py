"""Every option that a message, a docstring or the documentation names is one of the commands'."""

import ast
import re
from pathlib import Path

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from ddpm_eval.cli import app as evaluate
from ddpm_train.cli import app as train

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
OTHERS = {"--help", "--option", "--upgrade", "--force-reinstall", "--cache"}
"""Options of click, a placeholder, of pip twice, and of a benchmark."""
NAMED = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def options(command: click.Command) -> set[str]:
    names = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    below = getattr(command, "commands", {}).values()
    return names.union(*map(options, below))


def texts(path: Path) -> list[str]:
    nodes = ast.walk(ast.parse(path.read_text()))
    return [str(node.value) for node in nodes if isinstance(node, ast.Constant)]


def prose(page: Path) -> str:
    """A page without its blocks of commands, which are parsed elsewhere, and other programs."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    lines = [line for line in text.splitlines() if not line.startswith("    ")]
    return "\n".join(line for line in lines if "tests.benchmarks" not in line)


@pytest.mark.parametrize("page", ["README.md", *sorted(path.name for path in DOCS.glob("*.md"))])
def test_no_page_names_an_option_that_is_gone(page: str) -> None:
    options_of_both = options(get_command(evaluate)) | options(get_command(train)) | OTHERS
    place = ROOT / page if page == "README.md" else DOCS / page
    assert set(NAMED.findall(prose(place))) <= options_of_both


@pytest.mark.parametrize("package", ["ddpm_train", "ddpm_eval"])
def test_no_message_names_an_option_that_is_gone(package: str) -> None:
    options_of_both = options(get_command(evaluate)) | options(get_command(train)) | OTHERS
    gone = {
        (path.name, name)
        for path in (ROOT / package).rglob("*.py")
        for text in texts(path)
        for name in NAMED.findall(text)
        if name not in options_of_both
    }
    assert not gone and "--weights" in options_of_both and "--raw" not in options_of_both


@pytest.mark.parametrize(
    ("line", "change"),
    [
        ("nll", "quality.n=5"),
        ("nll", "ode.probes=2"),
        ("nll", "strides.counts=[5]"),
        ("rate-distortion", "files.effort=14"),
        ("baselines", "bound.n=5"),
        ("sample", "bound.n=5"),
        ("fid", "bound.n=5"),
        ("watch", "archive.stride=1"),
        ("progressive", "samples.steps=5"),
        ("training", "compute.batch=5"),
        ("calibrate", "compute.precision=bf16"),
        ("compress there.npz", "compute.compile=true"),
    ],
)
def test_a_setting_that_has_no_effect_is_refused(
    line: str, change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.npz").touch()
    result = CliRunner().invoke(evaluate, [*line.split(), "--set", change])
    assert result.exit_code == 2
    assert f"{change}: of no effect here" in " ".join(result.output.split())
