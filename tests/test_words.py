"""Names are nouns and verbs: no adverb, participle or pronoun is assigned or taken."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VAGUE = {
    *("found", "how", "under", "here", "made", "given", "told", "known", "kept", "each", "both"),
    *("there", "said"),
}


def names(code: str) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to a variable, an argument, a function or a class."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)):
                yield node.lineno, name


@pytest.mark.parametrize("package", ["ddpm_train", "ddpm_eval"])
def test_no_name_is_vague(package: str) -> None:
    vague = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in names(path.read_text(encoding="utf-8"))
        if name.strip("_") in VAGUE
    ]
    assert not vague


def test_a_vague_name_is_seen() -> None:
    code = "def f(how): \n for each in x: pass\n try: pass\n except OSError as found: pass"
    assert sorted(name for _, name in names(code)) == ["each", "f", "found", "how"]
