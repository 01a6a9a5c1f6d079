"""Disks that are really full: a limit on the size of files, and small file systems in memory."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ddpm_train import runs
from ddpm_train.errors import FixableError
from tests.faults import server
from tests.faults.material import ENCODER, PROCESS, train, with_settings
from tests.faults.matrix import Case

COMMANDS = {
    "train": (train("optim.steps=4"), ()),
    "train on": (train("optim.steps=12", "log.keep=1"), ("r",)),
    "nll": (["ddpm-eval", "nll", "r", "-n", "2", "--quiet"], ("r",)),
    "sample": (
        ["ddpm-eval", "sample", "r", "-n", "16", "--batch", "8", "--out", "s", "--quiet"], ("r",)),
    "import": (
        ["ddpm-eval", "import", "legacy.ckpt", "o.pt", "--weights", "ema"], ("legacy.ckpt",)),
    "export": (["ddpm-eval", "export", "r", "out"], ("r",)),
    "export the average": (
        ["ddpm-train", "export", "r/checkpoints/step-00000006.pt", "o.pt"], ("r",)),
    "store export": (["ddpm-eval", "store", "export", "store", "pngs"], ("store",)),
    "store export npz": (["ddpm-eval", "store", "export", "store", "a.npz"], ("store",)),
    "report": (["ddpm-eval", "report", "r"], ("reports",)),
    "calibrate": (
        ["ddpm-eval", "calibrate", "c", "-n", "24", "--set", "calibration.rows=12"],
        ("c", "fields.npz")),
    "compress": (["ddpm-eval", "compress", "some", "--model", "c", "--out", "z"], ("c", "some")),
    "archive": (
        ["ddpm-eval", "archive", "some", "--model", "c", "--out", "a.archive"], ("c", "some")),
    "decompress": (
        ["ddpm-eval", "decompress", "some.archive", "--model", "c", "--out", "back"],
        ("c", "some.archive")),
    "guided samples": (
        ["ddpm-eval", "sample", "r", "-n", "8", "--batch", "4", "--classifier", "guide.pt",
         "--quiet"],
        ("r", "guide.pt")),
    "train a classifier": (with_settings(
        ["ddpm-train", "classifier", "--out", "k.pt"], *ENCODER, *PROCESS, "optim.steps=1"), ()),
}  # fmt: skip
LIMITS = (0, 100, 5_000, 600_000, 2_600_000)


def disks(material: Path, share: float) -> Iterator[Case]:
    """Every command that writes, where nothing or not enough can be written."""
    cases = [(name, limit) for name in COMMANDS for limit in LIMITS]
    for name, limit in cases[:: max(1, round(0.7 / share))]:
        yield Case(
            "full disks", f"{name}, files of {limit:,} bytes", _limited(name, limit, material)
        )
    if _can_mount():
        sizes = ("4k", "64k", "3m") if share > 0.5 else ("64k",)
        for name in COMMANDS:
            for size in sizes:
                yield Case("full disks", f"{name}, tmpfs of {size}", _mounted(name, size, material))


def _prepare(name: str, folder: Path, material: Path) -> list[str]:
    words, needs = COMMANDS[name]
    for need in needs:
        os.system(f"cp -r '{material / need}' '{folder}/'")
    return list(words)


def _judge(result: server.Result, folder: Path, before: set[str]) -> str:
    if result.has_traceback or result.status not in (0, 2):
        return str(result)
    if result.status == 2 and "error:" not in result.text:
        return f"no error: {result}"
    litter = {path.name for path in folder.rglob("*.partial")} - before
    if litter:
        return f"litter {litter}: {result}"
    for path in runs.checkpoints(folder / "r"):
        with suppress(FixableError):
            runs.load_numbered(path)
            return ""
    return "no whole checkpoint is left" if "r/checkpoints" in before else ""


def _limited(name: str, limit: int, material: Path) -> Callable[[Path], str]:
    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    def attack(folder: Path) -> str:
        words = _prepare(name, folder, material)
        # What a child prints must not meet the limit: it goes through a pipe.
        pid_out = folder.parent / f"{folder.name}.out"
        os.mkfifo(pid_out)
        reader = subprocess.Popen(["cat", str(pid_out)], stdout=subprocess.PIPE)
        pid = server.start(words, folder, output=pid_out, ready=small_files)
        status = server.wait(pid)
        text = reader.communicate(timeout=30)[0].decode("utf-8", "backslashreplace")
        pid_out.unlink()
        before = (
            {"r/checkpoints"} if (material / "r").exists() and "r" in COMMANDS[name][1] else set()
        )
        return _judge(server.Result(tuple(words), status, text, 0), folder, before)

    return attack


def _can_mount() -> bool:
    return os.geteuid() == 0 and subprocess.run(
        ["unshare", "-m", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, check=False
    ).returncode == 0  # fmt: skip


def _mounted(name: str, size: str, material: Path) -> Callable[[Path], str]:
    """In a small file system: what the command needs lies outside, linked into it."""

    def attack(folder: Path) -> str:
        small = folder / "small"
        small.mkdir()
        words = _prepare(name, folder, material)

        def mount() -> None:
            libc = __import__("ctypes").CDLL(None, use_errno=True)
            unshared = libc.unshare(0x00020000) == 0  # CLONE_NEWNS
            if not unshared or os.system(f"mount -t tmpfs -o size={size} none '{small}'"):
                os._exit(0)  # not possible: nothing is tried
            for path in folder.iterdir():
                if path.name != "small":
                    (small / path.name).symlink_to(path)
            os.chdir(small)

        def ready() -> None:
            os.chdir(folder)
            mount()

        output = folder.parent / f"{folder.name}.out"
        pid = server.start(words, small, output=output, ready=ready)
        status = server.wait(pid)
        text = output.read_bytes().decode("utf-8", "backslashreplace")
        return _judge(server.Result(tuple(words), status, text, 0), folder, set())

    return attack
