"""What was tried, what held and what failed, by kind."""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """One case of a kind: it held, or why not."""

    kind: str
    name: str
    problem: str = ""


@dataclass(frozen=True)
class Case:
    """One attack: a name, and what carries it out in a folder of its own."""

    kind: str
    name: str
    attack: Callable[[Path], str]  # what is wrong; empty if it held


def carry_out(cases: Sequence[Case], root: Path, workers: int) -> Iterator[Outcome]:
    """Carry out all cases, dealt to so many processes; yield the outcomes as they come."""
    files = [root / f"worker-{rank}.jsonl" for rank in range(workers)]
    pids = []
    for rank, file in enumerate(files):
        file.write_text("")
        pid = os.fork()
        if not pid:
            try:
                _work(cases[rank::workers], root / f"worker-{rank}", file)
                os._exit(0)
            finally:
                os._exit(1)
        pids.append(pid)
    places = [0] * workers
    running = set(pids)
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


def _work(cases: Sequence[Case], folder: Path, file: Path) -> None:
    for number, case in enumerate(cases):
        place = folder / f"{number}"
        place.mkdir(parents=True)
        try:
            problem = case.attack(place)
        except Exception as error:  # noqa: BLE001
            problem = f"the attack itself failed: {type(error).__name__}: {error}"
        with file.open("a") as out:
            out.write(json.dumps(asdict(Outcome(case.kind, case.name, problem))) + "\n")
        os.system(f"chmod -R u+rwX '{place}' 2>/dev/null; rm -rf '{place}' '{place}.out'")


def table(outcomes: Sequence[Outcome], seconds: float) -> str:
    """The matrix as text."""
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    rows = [("kind", "tried", "held", "failed")]
    for kind in [*kinds, "all"]:
        mine = [x for x in outcomes if kind in (x.kind, "all")]
        failed = sum(bool(x.problem) for x in mine)
        rows.append((kind, f"{len(mine):,}", f"{len(mine) - failed:,}", f"{failed:,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [
        "  ".join(
            [row[0].ljust(widths[0]), *(text.rjust(widths[i]) for i, text in enumerate(row[1:], 1))]
        )
        for row in rows
    ]
    return "\n".join([*lines, f"{seconds:.0f} s"])
