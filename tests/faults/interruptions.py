"""Commands killed at a call that touches the disk: the same command again gives the same."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults import pairs, server
from tests.faults.matrix import Case
from tests.faults.training import killed_at_call

COMMANDS = ("calibrate", "compress", "archive", "decompress", "guided", "langevin", "fid", "nll")
PLACES = (1, 2, 4, 7, 11, 16)
"""The calls at which a command is killed, counted from its first."""


def interruptions(material: Path, share: float) -> Iterator[Case]:
    """Kill commands that write at calls of the disk, and run them again."""
    cases = [(name, k) for name in COMMANDS for k in PLACES]
    for name, k in cases[:: max(1, round(1 / share))]:
        yield Case("commands killed at disk calls", f"{name}, call {k}", _attack(name, k, material))


def _attack(name: str, k: int, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        expected = pairs.result_of(name, folder, material)
        if isinstance(expected, str):
            return expected
        pairs.prepare((name,), folder, material)
        server.run(pairs.command_line(name), folder, ready=killed_at_call(k))
        again = server.run(pairs.command_line(name), folder)
        if again.status != 0 or again.has_traceback:
            return str(again)
        litter = [path.name for path in folder.rglob("*.ddpm.partial")]
        return pairs.differences(expected, pairs.scores(folder)) or (
            f"litter {litter}" if litter else ""
        )

    return attack
