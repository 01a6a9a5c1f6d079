"""log.jsonl: one line of JSON for each logged step, each guarded by a digest of all before it.

A line ends in ``"digest"``: SHA-256 of the digest before and of the line without its own. So a
line that was changed, is missing, or is of another run does not pass; a checkpoint holds the
digest of the last line before it, so that a log that was cut off is noticed too.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddpm_train.errors import FixableError
from ddpm_train.files import append_to, write_atomically, writing
from ddpm_train.reading import read_bytes

_DIGEST = re.compile(rb', "digest": "([0-9a-f]{16})"}$')
_AGAIN = "copy the run's folder again from where it was trained"

Line = dict[str, Any]


@dataclass(frozen=True)
class Lines:
    """The whole lines at the beginning of a log.

    Attributes:
        lines: What they say.
        digests: The digest of each; empty for a log of an earlier version.
        problem: What is wrong behind them; empty if nothing is.
    """

    lines: Sequence[Line] = ()
    digests: Sequence[str] = ()
    problem: str = ""

    def upto(self, step: int) -> "Lines":
        """The lines up to a step."""
        count = sum(line["step"] <= step for line in self.lines)
        return Lines(self.lines[:count], self.digests[:count], self.problem)

    def holds(self, mark: Mapping[str, Any]) -> bool:
        """Whether the line is there that a checkpoint says is its last."""
        return not mark.get("digest") or mark["digest"] in self.digests


def read_log(path: Path, mark: Mapping[str, Any] | None = None) -> list[Line]:
    """Read the lines of a log; a last line that a crash cut off is left out.

    Args:
        path: The file; no lines if it is missing.
        mark: What a checkpoint of the run says of it (``facts["log"]``).

    Raises:
        FixableError: It is damaged, or lines that the checkpoint counts on are missing.
    """
    content = scan(path)
    problem = content.problem
    if not problem and mark is not None and not content.holds(mark):
        problem = f"it lacks the line of step {mark.get('step')}, which the checkpoint counts on"
    if problem:
        raise FixableError(f"{path}: damaged ({problem})", _AGAIN)
    return list(content.lines)


def scan(path: Path) -> Lines:
    """Read the whole lines at the beginning of a log, and say what is wrong behind them."""
    if not path.exists():
        return Lines()
    texts = read_bytes(path, fix=_AGAIN).split(b"\n")
    guarded = _DIGEST.search(texts[0]) is not None
    lines: list[Line] = []
    digests: list[str] = []
    for number, text in enumerate(texts, 1):
        last = number == len(texts)
        if last and not text:
            break
        line = _parsed(text, digests[-1] if digests else "", guarded=guarded)
        if line is None or (lines and line["step"] <= lines[-1]["step"]):
            cut_off = last  # without its line break: a crash, or the log was cut there
            return Lines(lines, digests, "" if cut_off else f"line {number} of {len(texts) - 1}")
        if guarded:
            digests.append(line.pop("digest"))
        lines.append(line)
    return Lines(lines, digests)


def _parsed(text: bytes, before: str, *, guarded: bool) -> Line | None:
    """A line if it is whole."""
    if guarded:
        end = _DIGEST.search(text)
        if end is None or end[1].decode() != _digest(before, text[: end.start()] + b"}"):
            return None
    try:
        line = json.loads(text)
        numbers = [line["step"], line["seconds"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return line if all(isinstance(number, int | float) for number in numbers) else None


def _digest(before: str, text: bytes) -> str:
    return hashlib.sha256(before.encode() + text).hexdigest()[:16]


def _written(lines: Iterable[Line], before: str) -> tuple[bytes, str]:
    """The text of lines, and the digest of the last."""
    texts = []
    for line in lines:
        text = json.dumps(line)
        before = _digest(before, text.encode())
        texts.append(f'{text[:-1]}, "digest": "{before}"}}\n')
    return "".join(texts).encode(), before


class Log:
    """log.jsonl while a run is trained: cut back to the checkpoint, then append-only."""

    def __init__(self, path: Path, *, upto: int, mark: Mapping[str, Any] | None = None) -> None:
        """Open the log at a step.

        Args:
            path: The file.
            upto: The step that training goes on from; later lines are dropped.
            mark: What the checkpoint says of the log, its ``facts["log"]``.
        """
        self.path, self.warnings = path, list[str]()
        mark = mark or {}
        content = scan(path)
        whole = content.upto(upto)
        if not whole.holds(mark) or (content.problem and not mark):
            self.warnings.append(self._set_aside(content.problem))
        before = whole.lines[-1]["seconds"] if whole.lines else 0.0
        self.seconds = float(mark.get("seconds", before))
        text, self._digest = _written(whole.lines, "")
        self._step = whole.lines[-1]["step"] if whole.lines else 0
        write_atomically(path, lambda file: file.write(text))
        self._file = append_to(path)

    @property
    def mark(self) -> dict[str, object]:
        """What a checkpoint says of the log, to notice lines that are missing."""
        return {"step": self._step, "digest": self._digest, "seconds": self.seconds}

    def write(self, line: Line) -> None:
        """Append a line.

        Raises:
            FixableError: The disk is full.
        """
        text, self._digest = _written([line], self._digest)
        self._step, self.seconds = line["step"], line["seconds"]
        with writing(self.path):
            self._file.write(text)
            self._file.flush()

    def sync(self) -> None:
        """Make the lines survive a power cut: before a checkpoint that counts on them."""
        with writing(self.path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        with writing(self.path):
            self._file.close()

    def _set_aside(self, problem: str) -> str:
        """Keep a damaged log beside, and say so."""
        if not self.path.exists():
            return f"{self.path}: is gone; the steps before are in no log"
        content = read_bytes(self.path)
        number = 1
        while (aside := self.path.with_name(f"log.damaged-{number}.jsonl")).exists():
            number += 1
        write_atomically(aside, lambda file: file.write(content))
        why = problem or "lines that the checkpoint counts on are missing"
        return (
            f"{self.path}: damaged ({why}); it goes on from its whole lines, and {aside.name} stays"
        )
