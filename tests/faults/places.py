"""Odd places: no home, nothing may be written, odd names, no locks, pipes and poor terminals."""

import errno
import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import server
from tests.faults.material import train
from tests.faults.matrix import Case

NOBODY = 12345
COMMANDS = {
    "train": train("optim.steps=2"),
    "resume": ["ddpm-train", "resume", "r"],
    "nll": ["ddpm-eval", "nll", "r", "-n", "2", "--quiet"],
    "inspect": ["ddpm-eval", "inspect", "r"],
    "sample": ["ddpm-eval", "sample", "r", "-n", "4", "--batch", "4", "--out", "s", "--quiet"],
    "fid": ["ddpm-eval", "fid", "store", "--reference", "images.npz", "--extractor", "digits-cnn",
            "--metrics", "FID"],
    "export": ["ddpm-eval", "export", "r", "out"],
    "inception": ["ddpm-eval", "fid", "images.npz", "--reference", "images.npz"],
    "compress": ["ddpm-eval", "compress", "field.png", "--model", "c"],
    "guided samples": ["ddpm-eval", "sample", "r", "-n", "4", "--batch", "4", "--classifier",
                       "guide.pt"],
}  # fmt: skip


def _nobody() -> None:
    os.environ.pop("HOME", None)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def _no_locks() -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    fcntl.flock = refuse  # type: ignore[assignment]
    fcntl.lockf = refuse  # type: ignore[assignment]


def _closed_output() -> None:
    os.close(1)
    sys.stdout = None  # type: ignore[assignment]


def _gone() -> None:
    Path("gone").mkdir()
    os.chdir("gone")
    Path("../gone").rmdir()


def _stale_torchrun() -> None:
    os.environ |= {"WORLD_SIZE": "2", "RANK": "0"}


def _ascii() -> None:
    os.environ |= {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="ascii")  # type: ignore[union-attr]


def _set(**values: str) -> Callable[[], None]:
    return lambda: os.environ.update(values)


PLACES: dict[str, tuple[Callable[[], None] | None, str]] = {
    "no home and nobody's folder": (_nobody, "open"),
    "nothing may be written": (_nobody, "closed"),
    "no locks": (_no_locks, "open"),
    "no standard output": (_closed_output, "open"),
    "a folder that is gone": (_gone, "open"),
    "a stale WORLD_SIZE": (_stale_torchrun, "open"),
    "odd ranks": (_set(WORLD_SIZE="two", LOCAL_RANK="x"), "open"),
    "an ascii terminal": (_ascii, "open"),
    "a cache that is a file": (_set(DDPM_CACHE="images.npz", DDPM_DATA="images.npz"), "open"),
    "a name of bytes": (None, "bytes"),
    "a name of brackets": (None, "[bold]a:x: b"),
    "a name with an escape": (None, "\x1b[31m"),
    "a long path": (None, "d" * 200),
    "no umask": (lambda: os.umask(0o777), "open"),
}


def places(material: Path, share: float) -> Iterator[Case]:
    """Every command in every place: it works, or says in one sentence why not."""
    cases = [(place, name) for place in PLACES for name in COMMANDS]
    for place, name in cases[:: max(1, round(0.5 / share))]:
        yield Case("odd places", f"{name}: {place}", _attack(place, name, material))


def _attack(place: str, name: str, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        ready, kind = PLACES[place]
        inside = os.fsdecode(b"\xff\xfe") if kind == "bytes" else kind
        target = folder / inside
        target.mkdir()
        for part in ("r", "store", "images.npz", "c", "field.png", "guide.pt"):
            os.system(f"cp -r '{material / part}' '{folder}/copy-{part}'")
            (folder / f"copy-{part}").rename(target / part)
        for path in (folder, *folder.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o555 if kind == "closed" and path.is_dir() else 0o777)
        output = folder.parent / f"{folder.name}.out"
        output.touch()
        output.chmod(0o666)
        folder.parent.chmod(0o777)
        result = _run(COMMANDS[name], target, output, ready)
        if result.has_traceback or result.status not in (0, 2, 141):
            return str(result)
        if (
            result.status == 2
            and result.text.count("error:") != 1
            and place != "no standard output"
        ):
            return f"no error: {result}"
        return ""

    return attack


def _run(
    words: list[str], folder: Path, output: Path, ready: Callable[[], None] | None
) -> server.Result:
    pid = server.start(words, folder, output=output, after=ready)
    status = server.wait(pid, 60)
    text = output.read_bytes().decode("utf-8", "backslashreplace")
    return server.Result(tuple(words), status, text, 0)
