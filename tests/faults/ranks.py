"""Two processes as torchrun starts them, one of which dies: the other ends, and the run goes on."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import server
from tests.faults.material import train
from tests.faults.matrix import Case
from tests.faults.training import whole_steps

SIZE, PATIENCE = 2, 60.0  # seconds that a process may wait for one that is dead
COMMANDS = {
    "train": (train("optim.steps=2000", "log.checkpoint_every=5"), "r/log.jsonl"),
    "nll": (["ddpm-eval", "nll", "r", "-n", "24", "--set", "compute.batch=1"], "reports"),
    "sample": (
        ["ddpm-eval", "sample", "r", "-n", "128", "--out", "s", "--set", "compute.batch=16"], "s"),
}  # fmt: skip


def ranks(material: Path, share: float) -> Iterator[Case]:
    """Kill one of two processes at a random moment of each command."""
    for seed in range(2 if share > 0.5 else 1):
        for number, name in enumerate(COMMANDS):
            rank = (seed + number) % SIZE
            attack = _attack(name, rank, seed, material)
            yield Case("one of two processes killed", f"{name}, {rank}, seed {seed}", attack)


def _attack(name: str, dies: int, seed: int, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        words, sign = COMMANDS[name]
        if name != "train":
            os.system(f"cp -r '{material / 'r'}' '{folder}/'")
        outputs = [folder.parent / f"{folder.name}.{rank}.out" for rank in range(SIZE)]
        port = _free_port()
        pids = [
            server.start(words, folder, output=output, environment=_environment(rank, port))
            for rank, output in enumerate(outputs)
        ]
        end = time.monotonic() + PATIENCE
        while not (folder / sign).exists() and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(0.1 * seed)
        os.kill(pids[dies], signal.SIGKILL)
        statuses = [server.wait(pid, PATIENCE) for pid in pids]
        text = outputs[1 - dies].read_text(errors="backslashreplace")
        for output in outputs:
            output.unlink()
        other = server.Result(tuple(words), statuses[1 - dies], text, 0)
        if other.has_traceback or other.status not in (0, 2):
            return str(other)
        return _goes_on(name, words, folder)

    return attack


def _goes_on(name: str, words: list[str], folder: Path) -> str:
    """Whether what was left can be used by one process alone."""
    if name == "train":
        last = max(whole_steps(folder / "r"), default=0)
        words = [*words, "--set", f"optim.steps={last + 2}"]
    again = server.run(words, folder)
    return str(again) if again.status != 0 or again.has_traceback else ""


def _environment(rank: int, port: int) -> dict[str, str]:
    numbers = {"WORLD_SIZE": SIZE, "RANK": rank, "LOCAL_RANK": rank, "MASTER_PORT": port}
    return {name: str(value) for name, value in numbers.items()} | {"MASTER_ADDR": "127.0.0.1"}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
