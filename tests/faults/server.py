"""A fork server: everything is imported once, and each command runs in a process of its own.

A child runs the real ``main`` of a command in a folder of its own; what it prints, its exit status
and its time are the result. Seconds of imports are paid once for hundreds of commands.
"""

import gc
import hashlib
import importlib
import os
import pkgutil
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LAZY = (
    *("typer._adapters", "typer._coercion", "pydantic.plugin._loader", "torch.utils.serialization"),
    *("matplotlib.pyplot", "matplotlib.backends.backend_svg", "matplotlib.backends.backend_pdf"),
    *("sklearn.datasets", "pandas", "jinja2", "safetensors.torch", "torch._dynamo"),
    "encodings.cp437",  # of names in zips; nobody may read Python's own files
)
"""What commands import when they need it."""

LIMIT = 120.0  # seconds that a command may take
MEMORY = 12 << 30  # bytes that a child may map: a bomb must not take the machine


@dataclass(frozen=True)
class Result:
    """What a command did."""

    words: tuple[str, ...]
    status: int  # -9: killed, 124: too slow
    text: str  # standard output and error
    seconds: float

    @property
    def has_traceback(self) -> bool:
        """Whether Python's own words came, which are for programmers."""
        return "Traceback (most recent call last)" in self.text

    def __str__(self) -> str:
        end = " | ".join(self.text.strip().splitlines()[-3:])
        return f"$ {' '.join(map(ascii, self.words))} -> {self.status}: {end[-400:]}"


def warm() -> None:
    """Import what commands import, and touch what they touch, before any fork."""
    import torch

    torch.set_num_threads(1)
    for package in ("ddpm_train", "ddpm_eval"):
        module = importlib.import_module(package)
        for info in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not info.name.endswith(("__main__", "train_digits_cnn")):
                importlib.import_module(info.name)
    for name in LAZY:
        importlib.import_module(name)
    from PIL import Image

    from ddpm_train import data
    from ddpm_train.config import DataConfig

    data.load(DataConfig(source="digits"), image_size=8, channels=1)
    Image.init()
    gc.collect()
    gc.freeze()  # no child goes through what is imported, nor copies its memory


def fork(work: Callable[[], object], output: Path, *, ready: Callable[[], object] | None) -> int:
    """Run ``work`` in a child as Python runs a program; its output goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        null = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((null, 0), (file, 1), (file, 2)):
            os.dup2(source, target)
        sys.stdout = os.fdopen(1, "w", closefd=False)  # with no memory of the parent's
        sys.stderr = os.fdopen(2, "w", closefd=False, buffering=1)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        if ready is not None:
            ready()
        work()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:  # noqa: BLE001
        with suppress(BaseException):
            traceback.print_exc()
    with suppress(BaseException):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(status % 256)


def start(
    words: Sequence[str],
    folder: Path,
    *,
    output: Path,
    ready: Callable[[], object] | None = None,
    after: Callable[[], object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Start a command in a folder; the process id.

    ``ready`` is called before the folder is entered, ``after`` in it.
    """

    def work() -> None:
        os.environ.update(environment or {})
        os.chdir(folder)
        if after is not None:
            after()
        sys.argv = list(words)
        import rich.console

        from ddpm_train import terminal

        terminal.console.__init__(stderr=True, highlight=False, emoji=False, width=200)  # type: ignore[misc]
        terminal.output.__init__(highlight=False, soft_wrap=True, emoji=False)  # type: ignore[misc]
        assert rich.console
        name = {"ddpm-train": "ddpm_train.cli", "ddpm-eval": "ddpm_eval.cli"}[words[0]]
        importlib.import_module(name).main()

    return fork(work, output, ready=ready)


def wait(pid: int, limit: float = LIMIT) -> int:
    """Wait for a child; kill its whole session when it takes too long."""
    descriptor = os.pidfd_open(pid)
    ended, _, _ = select.select([descriptor], [], [], limit)
    os.close(descriptor)
    if ended:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 124


def run(
    words: Sequence[str],
    folder: Path,
    *,
    ready: Callable[[], object] | None = None,
    environment: Mapping[str, str] | None = None,
    limit: float = LIMIT,
) -> Result:
    """Run a command to its end."""
    output = folder.parent / f"{folder.name}.out"
    began = time.monotonic()
    status = wait(start(words, folder, output=output, ready=ready, environment=environment), limit)
    text = output.read_bytes().decode("utf-8", "backslashreplace")
    return Result(tuple(map(str, words)), status, text, time.monotonic() - began)


def fresh(folder: Path, source: Path | None = None) -> Path:
    """An empty folder, or a copy of another."""
    shutil.rmtree(folder, ignore_errors=True)
    if source is None:
        folder.mkdir(parents=True)
    else:
        shutil.copytree(source, folder, symlinks=True)
    return folder


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
