"""Every option and every setting of both programs with a value that it cannot have.

Run in a process of its own, where torch cannot be imported: ``python -m tests.wrong_values``. What
commands there are, their options and the types of all settings are read off the programs.
"""

import contextlib
import io
import json
import re
import sys
import typing
from collections.abc import Iterator
from dataclasses import dataclass, is_dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any, Literal

from typer.main import get_command

from ddpm_eval import cli as evaluation
from ddpm_eval.settings import EvalSettings
from ddpm_train import cli as training
from ddpm_train import files, leaves, settings, terminal
from ddpm_train.architectures import ClassifierConfig, UNetConfig
from ddpm_train.classifier_run import ClassifierRun
from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.presets import digits

GROUPS: dict[str, Any] = {
    "ddpm-eval": get_command(evaluation.app),
    "ddpm-train": get_command(training.app),
}
FILE, RUN, NEW = "there.npz", "run", "new.pt"
FREE = {"--out", "--to", "--reports", "--profile", "--name"}
"""Options that may name what is not there yet."""
WORDS = {"target": NEW, "folder": "new", "run": RUN}
"""Arguments that stand for something else than a file that is there."""
NEEDED = {"guidance": ("--classifier", FILE), "fetch": ("inception",)}
"""What a command cannot do without, though its options say so nowhere."""
REGISTRIES = {"--sampler", "--protocols"}
"""Names in registries that import torch: they are refused behind it, before a model is loaded."""
BESIDE = {
    ("sample", "--scale"): ("--classifier", FILE),
    ("interpolate", "--resize"): ("--images", FILE, FILE),
    **{
        (command, "--extractor-weights"): ("--extractor", "inception")
        for command in ("fid", "progressive", "neighbours", "watch")
    },
}
"""Options that mean nothing without another one."""


class TooEarlyError(BaseException):
    """torch was about to be imported."""


class NoTorch(MetaPathFinder):
    """Refuses to import torch."""

    def find_spec(self, name: str, *_: object) -> None:
        """Stop the command."""
        if name.partition(".")[0] == "torch":
            raise TooEarlyError(name)


@dataclass(frozen=True)
class Line:
    """A command line; the option or setting in it that is wrong, and its value."""

    words: tuple[str, ...]
    name: str
    value: str


def commands(group: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command below a group, with the words that call it."""
    for name, command in getattr(group, "commands", {}).items():
        if hasattr(command, "commands"):
            yield from commands(command, *words, name)
        else:
            yield (*words, name), command


def lines(*, thorough: bool) -> Iterator[Line]:
    """Every option of every command, and every setting that a command takes.

    Args:
        thorough: Every value of every setting for every command; else all for one command, and one
            of each group for the others.
    """
    for program in GROUPS:
        group = GROUPS[program]
        seen: set[type] = set()
        for words, command in commands(group, program):
            base = (*words, *_arguments(command), *NEEDED.get(words[-1], ()))
            for owner in (command, group):
                yield from _of_options(base, owner)
            if not any("--set" in param.opts for param in command.params):
                continue
            for tree, more in _trees(words, command):
                whole = thorough or tree not in seen
                seen.add(tree)
                yield from _of_settings((*base, *more), [*_leaves(tree)], whole=whole)


def _arguments(command: Any) -> list[str]:
    """What a command cannot do without."""
    words: list[str] = []
    for param in command.params:
        if param.param_type_name == "argument":
            if param.required or param.name in ("checkpoint", "run"):
                words.append(WORDS.get(param.name, FILE))
        elif param.required:
            words += [param.opts[0], NEW]
    return words


def _of_options(base: tuple[str, ...], owner: Any) -> Iterator[Line]:
    """A line for each value that an option of a command, or of all of them, cannot have."""
    hints = typing.get_type_hints(owner.callback, include_extras=True)
    for param in owner.params:
        name = param.opts[0]
        is_free = name in ("--set", "--help", *FREE) or getattr(param, "is_flag", False)
        is_argument = param.param_type_name == "argument" or param.name not in hints
        if is_argument or is_free or name in REGISTRIES:
            continue
        kind, info = typing.get_args(hints[param.name])
        kinds = [part for part in typing.get_args(kind) if part is not type(None)] or [kind]
        for value in _values_of_option(kinds[0], info):
            more = BESIDE.get((base[1], name), ())
            yield Line((*base, *more, name, *[value] * max(1, param.nargs)), name, value)


def _values_of_option(kind: Any, info: Any) -> list[str]:
    """Values of no such type, or beyond its range."""
    if kind not in (int, float):
        return ["no such thing"]
    beyond = [] if info.min is None else [f"{info.min - 1}"]
    beyond += [] if info.max is None else [f"{info.max + 1}"]
    return ["x", *beyond, *(["nan", "inf"] if kind is float else [])]


def _trees(words: tuple[str, ...], command: Any) -> Iterator[tuple[type, list[str]]]:
    """The trees of settings that a command's ``--set`` takes, and what must stand beside."""
    if words[0] == "ddpm-train":
        yield (ClassifierRun if words[1] == "classifier" else RunConfig), []
        return
    if words[1] not in ("import", "inspect", "export"):
        yield EvalSettings, []
    yield ModelConfig, []
    if any("--classifier" in param.opts for param in command.params):
        yield ClassifierConfig, ["--classifier", FILE]


def _leaves(tree: Any, group: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a tree: its dotted name and its type; of a classifier those of its encoder."""
    if tree is ClassifierConfig:
        tree, group = UNetConfig, "encoder."
    for name, hint in typing.get_type_hints(tree, include_extras=True).items():
        if is_dataclass(hint):
            yield from _leaves(hint, f"{group}{name}.")
        else:
            yield group + name, hint


def _of_settings(
    base: tuple[str, ...], leaves_of: list[tuple[str, Any]], *, whole: bool
) -> Iterator[Line]:
    """A line for each value that a leaf cannot have; of the whole tree, or of one leaf."""
    for name, hint in leaves_of:
        values = [*_values_of(hint)]
        for value in values if whole else values[:1]:
            yield Line((*base, "--set", f"{name}={value}"), name, value)
        if values and not whole:
            return


def _values_of(hint: Any) -> Iterator[str]:
    """Texts that are no values of a leaf: of another type, or beyond its range."""
    hint, limits = leaves._apart(hint)
    inner = leaves._optional(hint)
    if inner is not None:
        yield from _values_of(inner)
    elif typing.get_origin(hint) is Literal:
        yield "no such thing"
    elif typing.get_origin(hint) is tuple:
        member = leaves._members(hint, 1)[0]
        nested = typing.get_origin(leaves._apart(member)[0]) is tuple
        yield from ("[[-1, x]]",) if nested else _values_of(member)
        yield from (",".join(["1"] * (limit.high + 1)) for limit in limits if not nested)
    elif hint is bool:
        yield "maybe"
    elif hint in (int, float):
        yield from ("x", "nan", "inf", "1e400")
        yield from _beyond(limits)


def _beyond(limits: tuple[Any, ...]) -> Iterator[str]:
    for limit in limits:
        ends = limit.low, limit.high, limit.above, limit.below
        low, high, above, below = (None if end is None else float(end) for end in ends)
        yield from (f"{end:.0f}" for end in (above, below) if end is not None)
        if low is not None:
            yield f"{low - 1:.0f}"
        if high is not None:
            yield f"{2 * high + 1:.0f}"


def problem_of(line: Line) -> str:
    """What is wrong with how a program answers a line; empty if it is refused as it should be."""
    said = io.StringIO()
    for console in (terminal.console, terminal.output):
        console.__init__(file=said, width=200, highlight=False, emoji=False)  # type: ignore[misc]
    status: object = 0
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            GROUPS[line.words[0]].main(args=[*line.words[1:]], prog_name=line.words[0])
    except SystemExit as stop:
        status = stop.code
    except TooEarlyError:
        return "torch is imported"
    text = said.getvalue()
    if status != 2:
        return f"status {status}: {text}"
    rows = [row.strip() for row in text.splitlines()]
    errors = [row for row in rows if row.startswith("error:")]
    if len(errors) != 1 or sum(row.startswith("fix:") for row in rows) != 1:
        return f"not one error with one fix: {text}"
    value = rf"(?<![\w.-]){re.escape(line.value)}(?![\w.])"
    is_named = line.name in errors[0] or bool(re.search(value, errors[0]))
    return "" if is_named else f"not named: {text}"


def main() -> None:
    """Try every line; print those that are not refused as they should be."""
    sys.meta_path.insert(0, NoTorch())
    Path(FILE).touch()
    files.write_text(Path(RUN) / "config.json", json.dumps(settings.to_dict(digits())))
    tried = 0
    for line in lines(thorough="--thorough" in sys.argv):
        tried += 1
        problem = problem_of(line)
        if problem:
            print(f"{' '.join(line.words)}: {problem}", file=sys.__stdout__)
    print(f"{tried:,} lines", file=sys.__stdout__)


if __name__ == "__main__":
    main()
