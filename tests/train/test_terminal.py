"""A stranger's text is shown as it is written and steers nothing."""

import io
import random
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ddpm_train.cli import app
from ddpm_train.errors import FixableError, printable
from ddpm_train.terminal import _at_home, escape, say


def printed(text: str, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    say(text, to=Console(file=file, emoji=False, highlight=False, width=200))
    file.flush()
    return file.buffer.getvalue().decode(encoding)[:-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07\x1b[2J\x1b[31mred", r"\x1b]0;title\x07\x1b[2J\x1b[31mred"),
        ("runs/a:x:b/:warning:.pt", "runs/a:x:b/:warning:.pt"),
        ("a[bold]b[/]c", "a[bold]b[/]c"),
        ("a\\", "a\\"),
        ("\\\\[red]\\[/red]", "\\\\[red]\\[/red]"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("two\rone", r"two\rone"),
        ("naïve", "naïve"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_stranger_wrote(text: str, shown: str) -> None:
    assert printed(
        f"[red]error:[/] {escape(text)}[/]\n  [green]fix:[/] x".replace("[/]\n", "\n")
    ) == (f"error: {shown}\n  fix: x")
    assert str(FixableError(text, "x")) == f"{shown}\n  fix: x"


def test_a_strangers_long_value_is_not_printed_whole() -> None:
    error = FixableError(f"schedule: {'x' * 3000} is no number", "name one")
    assert len(error.problem) < 1001
    assert error.problem.startswith("schedule: x")
    assert error.problem.endswith("x is no number")


def test_any_text_is_shown_as_it_is() -> None:
    draw = random.Random(1)
    for _ in range(3000):
        texts = ["".join(draw.choices("[]\\/abold:=#@ \x1b", k=draw.randint(0, 9))) for _ in "ab"]
        line = printed(f"[red]{escape(texts[0])}[/] and {escape(texts[1])}")
        assert line == f"{printable(texts[0])} and {printable(texts[1])}"


def test_terminals_that_lack_a_sign() -> None:
    assert printed(escape("naïve ✓"), "ascii") == r"na\xefve \u2713"


def test_the_home_folder_in_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert _at_home("--out=~/x") == "--out=/home/me/x" and _at_home("~/x") == "/home/me/x"
    assert _at_home("--set=data.path=~/x") == "--set=data.path=~/x"  # expanded where it is read


def test_no_folder_is_named_after_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    settings = ["optim.steps=1", "schedule.T=20", "schedule.beta_end=0.5", "log.sample_every=0"]
    words = [word for setting in settings for word in ("--set", setting)]
    result = CliRunner().invoke(app, ["digits", "--out=~/run", "--quiet", *words])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "home/run/config.json").exists() and not (tmp_path / "~").exists()
