"""What was tried, what held and what failed, by kind."""

import json
import os
import resource
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """One case of a kind: it held, or why not; the seconds of a processor that it took."""

    kind: str
    name: str
    problem: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Case:
    """One attack: a name, and what carries it out in a folder of its own."""

    kind: str
    name: str
    attack: Callable[[Path], str]  # what is wrong; empty if it held


_NUMBER = struct.Struct("i")
_MOST = 65_536 // _NUMBER.size  # numbers that fit into a pipe


def carry_out(cases: Sequence[Case], root: Path, workers: int) -> Iterator[Outcome]:
    """Carry out all cases by so many processes; yield the outcomes as they come.

    The numbers of the cases wait in a pipe, from which whoever is free takes the next.
    """
    if len(cases) > _MOST:
        raise ValueError(f"{len(cases):,} cases; a pipe holds {_MOST:,}")
    source, target = os.pipe()
    os.write(target, b"".join(_NUMBER.pack(number) for number in range(len(cases))))
    files = [root / f"worker-{rank}.jsonl" for rank in range(workers)]
    running = set()
    for rank, file in enumerate(files):
        file.write_text("")
        pid = os.fork()
        if not pid:
            os.close(target)
            try:
                _work(cases, source, root / f"worker-{rank}", file)
                os._exit(0)
            finally:
                os._exit(1)
        running.add(pid)
    os.close(source)
    os.close(target)
    places = [0] * workers
    while True:
        alive = {pid for pid in running if os.waitpid(pid, os.WNOHANG)[0] == 0}
        for rank, file in enumerate(files):
            with file.open("rb") as stream:
                stream.seek(places[rank])
                content = stream.read()
            whole = content[: content.rfind(b"\n") + 1]
            places[rank] += len(whole)
            yield from (Outcome(**json.loads(line)) for line in whole.splitlines())
        if not alive:
            return
        running = alive
        time.sleep(0.1)


def _work(cases: Sequence[Case], numbers: int, folder: Path, file: Path) -> None:
    """Carry out the cases whose numbers come, one after the other."""
    while number := os.read(numbers, _NUMBER.size):
        case = cases[_NUMBER.unpack(number)[0]]
        place = folder / f"{_NUMBER.unpack(number)[0]}"
        place.mkdir(parents=True)
        began = _processor_time()
        try:
            problem = case.attack(place)
        except Exception as error:  # noqa: BLE001
            problem = f"the attack itself failed: {type(error).__name__}: {error}"
        os.system(f"chmod -R u+rwX '{place}' 2>/dev/null; rm -rf '{place}' '{place}.out'")
        outcome = Outcome(case.kind, case.name, problem, _processor_time() - began)
        with file.open("a") as out:
            out.write(json.dumps(asdict(outcome)) + "\n")


def _processor_time() -> float:
    """Seconds that this process and its ended children computed."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The matrix as text."""
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    rows = [("kind", "tried", "held", "failed", "processor")]
    for kind in [*kinds, "all"]:
        mine = [x for x in outcomes if kind in (x.kind, "all")]
        failed = sum(bool(x.problem) for x in mine)
        seconds_of_all = sum(x.seconds for x in mine)
        counts = (f"{count:,}" for count in (len(mine), len(mine) - failed, failed))
        rows.append((kind, *counts, f"{seconds_of_all:.0f} s"))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(widths[i]) for i, text in enumerate(row[1:], 1))]
        )
        for row in rows
    ]
    return "\n".join([*lines, f"{seconds:.0f} s"])
