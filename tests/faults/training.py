"""Attacks on training: kills, signals, damage beside retention, resumption."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from ddpm_train import checkpoint, runs
from ddpm_train.errors import FixableError
from ddpm_train.log import read_log
from tests.faults import server
from tests.faults.material import train
from tests.faults.matrix import Case

STEPS = train("optim.steps=6", "log.keep=2")
CALLS = ((os, "fsync"), (Path, "open"), (Path, "replace"), (Path, "unlink"), (torch, "save"))


def differs(folder: Path, whole: Path) -> str:
    """How a run differs from the uninterrupted one; empty if in nothing."""
    try:
        a, b = (checkpoint.load(runs.checkpoints(run)[0]) for run in (folder, whole))
        logs = [read_log(run / "log.jsonl", last.facts["log"])
                for run, last in ((folder, a), (whole, b))]  # fmt: skip
    except (FixableError, IndexError) as error:
        return f"the run cannot be read: {error}"
    if a.step != b.step:
        return f"step {a.step} instead of {b.step}"
    for group in checkpoint.GROUPS:
        one, two = getattr(a, group), getattr(b, group)
        if one.keys() != two.keys() or not all(torch.equal(one[n], two[n]) for n in one):
            return f"{group} differ"
    one, two = ([(x["step"], x["loss"], x["lr"], x["grad_norm"]) for x in log] for log in logs)
    litter = [path.name for path in folder.rglob("*.partial")]
    return "the logs differ" if one != two else f"litter: {litter}" if litter else ""


def killed_at_call(k: int) -> Callable[[], None]:
    """Make the k-th call that touches the disk the last one."""

    def ready() -> None:
        count = 0

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal count
                count += 1
                if count == k:
                    os._exit(9)
                return function(*arguments, **options)

            return call

        for owner, name in CALLS:
            setattr(owner, name, counted(getattr(owner, name)))

    return ready


def kills(material: Path, share: float) -> Iterator[Case]:
    """Kill training at every disk call, and at random moments; then go on."""

    def at_call(k: int) -> Callable[[Path], str]:
        def attack(folder: Path) -> str:
            server.run(STEPS, folder, ready=killed_at_call(k))
            return _goes_on(folder, material)

        return attack

    def at_moment(seed: int) -> Callable[[Path], str]:
        def attack(folder: Path) -> str:
            draw = random.Random(seed)
            for _ in range(draw.randint(1, 3)):
                pid = server.start(STEPS, folder, output=folder.parent / "killed.out")
                time.sleep(draw.uniform(0, 1.5))
                os.killpg(pid, signal.SIGKILL) if _leads(pid) else os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            return _goes_on(folder, material)

        return attack

    for k in range(1, 60, max(1, round(1 / share))):
        yield Case("kills at disk calls", f"call {k}", at_call(k))
    for seed in range(max(2, round(60 * share))):
        yield Case("kills at random", f"seed {seed}", at_moment(seed))


def _leads(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid
    except ProcessLookupError:
        return False


def _goes_on(folder: Path, material: Path) -> str:
    result = server.run(STEPS, folder)
    if result.status != 0 or result.has_traceback:
        return str(result)
    return differs(folder / "r", material / "r")


def signals(_material: Path, share: float) -> Iterator[Case]:
    """Stop training by signals: it saves, says so, and goes on as if nothing had been."""
    for seed in range(max(1, round(4 * share))):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            yield Case("signals", f"{number.name}, seed {seed}", _stopped(number, seed, 1))
        yield Case("signals", f"two SIGINT, seed {seed}", _stopped(signal.SIGINT, seed, 2))


def _stopped(number: int, seed: int, times: int) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        words = [*STEPS, "--set", "optim.steps=200", "--set", "log.checkpoint_every=1000"]
        output = folder.parent / f"{folder.name}.out"
        pid = server.start(words, folder, output=output)
        _wait_for(folder / "r" / "log.jsonl")
        time.sleep(random.Random(seed).uniform(0, 0.1))
        for _ in range(times):
            os.kill(pid, number)
            time.sleep(0.02)
        status = server.wait(pid, 30)
        text = output.read_text()
        if "Traceback" in text or status not in (128 + number, 130, 0):
            return f"status {status}: {text[-300:]}"
        again = server.run([*words, "--set", "optim.steps=6"], folder)
        return "" if again.status == 0 and not again.has_traceback else str(again)

    return attack


def _wait_for(file: Path, limit: float = 60) -> None:
    """Wait until something stands in a file."""
    end = time.monotonic() + limit
    while not (file.exists() and file.stat().st_size) and time.monotonic() < end:
        time.sleep(0.01)


DAMAGE: dict[str, Callable[[Path, random.Random], object]] = {
    "empty": lambda path, _: path.write_bytes(b""),
    "truncated": lambda path, draw: os.truncate(path, draw.randrange(path.stat().st_size)),
    "flipped": lambda path, draw: flip(path, draw),
    "zeroed": lambda path, draw: zero(path, draw),
    "a folder": lambda path, _: (path.unlink(), path.mkdir()),
    "a link to itself": lambda path, _: (path.unlink(), path.symlink_to(path.name)),
    "a device": lambda path, _: (path.unlink(), path.symlink_to("/dev/zero")),
    "a pipe": lambda path, _: (path.unlink(), os.mkfifo(path)),
    "an older one": lambda path, _: path.write_bytes(
        path.with_name("step-00000002.pt").read_bytes()
    ),
    "text": lambda path, _: path.write_text("<html>not found</html>"),
}


def flip(path: Path, draw: random.Random) -> None:
    """Flip one bit."""
    data = bytearray(path.read_bytes())
    bit = draw.randrange(8 * len(data))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def zero(path: Path, draw: random.Random) -> None:
    """Zero a stretch."""
    data = bytearray(path.read_bytes())
    start = draw.randrange(len(data))
    data[start : start + 2048] = bytes(len(data[start : start + 2048]))
    path.write_bytes(data)


def retention(material: Path, share: float) -> Iterator[Case]:
    """Damage checkpoints, the newest and strangers of higher steps; train on with few kept."""
    cases = [
        (steps, keep) for steps in ((6,), (4, 6), (99,), (6, 9_999_999_999)) for keep in (1, 2)
    ]
    for kind in DAMAGE:
        for steps, keep in cases[:: max(1, round(0.5 / share))]:
            attack = _beside(kind, steps, keep, material)
            yield Case("retention beside damage", f"{kind} at {steps}, keep {keep}", attack)


def _beside(kind: str, steps: tuple[int, ...], keep: int, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        server.fresh(folder / "r", material / "r")
        place = folder / "r" / "checkpoints"
        for step in steps:
            path = place / f"step-{step:08d}.pt"
            if not path.exists():
                path.write_bytes((place / "step-00000002.pt").read_bytes())
            DAMAGE[kind](path, random.Random(step))
        result = server.run(train("optim.steps=8", f"log.keep={keep}"), folder)
        if result.status != 0 or result.has_traceback:
            return str(result)
        whole = whole_steps(folder / "r")
        if 8 not in whole:
            return f"the one just saved is gone: {whole} are whole"
        return "" if len(whole) >= min(keep, 2) else f"only {whole} are whole"

    return attack


def whole_steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints that are what their names say."""
    steps = []
    for path in runs.checkpoints(run):
        with contextlib.suppress(FixableError):
            steps.append(runs.load_numbered(path).step)
    return steps
