"""Two commands at once: the record holds what one after the other gives, or one of them waits."""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ddpm_eval.record import disk
from ddpm_train.errors import FixableError
from tests.faults import server
from tests.faults.matrix import Case

CNN = ("--extractor", "digits-cnn")
MEASURES: dict[str, tuple[str, ...]] = {
    "nll": ("nll", "r", "-n", "6"),
    "estimate": ("nll", "r", "-n", "64", "--budget", "300"),
    "train split": ("nll", "r", "-n", "6", "--split", "train"),
    "rate-distortion": ("rate-distortion", "r", "-n", "4"),
    "baselines": ("baselines", "r", "-n", "4"),
    "sample": ("sample", "r", "-n", "80"),
    "fid": ("fid", "r", "-n", "80", *CNN, "--metrics", "FID,KID"),
    "fid of test": ("fid", "r", "-n", "80", "--reference", "test", *CNN, "--metrics", "FID,KID"),
    "progressive": ("progressive", "r", "-n", "4"),
    "reconstruct": ("reconstruct", "r", "-n", "2"),
    "interpolate": ("interpolate", "r", "--t", "5"),
    "neighbours": ("neighbours", "r", "-n", "4", *CNN),
    "training": ("training", "r"),
}


def pairs(material: Path, share: float) -> Iterator[Case]:
    """Every measure beside itself and beside each other."""
    chosen = list(itertools.combinations_with_replacement(MEASURES, 2))
    for one, two in chosen[:: max(1, round(1 / share))]:
        yield Case("two commands at once", f"{one} and {two}", _attack(one, two, material))


_alone: dict[str, dict[str, Any]] = {}


def _attack(one: str, two: str, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        expected: dict[str, Any] = {}
        for name in {one, two}:
            if name not in _alone:
                _prepare(folder, material)
                result = _run(name, folder)
                if result.status != 0:
                    return f"alone: {result}"
                _alone[name] = _scores(folder)
                server.fresh(folder)
            expected |= _alone[name]
        _prepare(folder, material)
        problem = _settle((one, two), _at_once((one, two), folder), folder)
        return problem or _differences(expected, _scores(folder))

    return attack


def _settle(names: tuple[str, str], results: list[server.Result], folder: Path) -> str:
    """Run again what was refused, in words that say so; what is wrong with that."""
    if all(result.status == 2 for result in results):
        return f"both are refused: {results[0]}"
    for name, result in zip(names, results, strict=True):
        if result.has_traceback or result.status not in (0, 2):
            return str(result)
        again = _run(name, folder) if result.status == 2 else result
        if again.status != 0:
            return f"refused, and then: {again}"
    return ""


def _run(name: str, folder: Path) -> server.Result:
    return server.run(("ddpm-eval", *MEASURES[name], "--quiet"), folder)


def _prepare(folder: Path, material: Path) -> None:
    os.system(f"cp -r '{material / 'r'}' '{folder}/'")


def _at_once(names: tuple[str, str], folder: Path) -> list[server.Result]:
    outputs = [folder.parent / f"{folder.name}.{i}.out" for i in range(2)]
    lines = [("ddpm-eval", *MEASURES[name], "--quiet") for name in names]
    pids = [
        server.start(words, folder, output=out) for words, out in zip(lines, outputs, strict=True)
    ]
    results = []
    for pid, words, out in zip(pids, lines, outputs, strict=True):
        status = server.wait(pid)
        results.append(server.Result(words, status, out.read_text(errors="backslashreplace"), 0))
        out.unlink()
    return results


def _scores(folder: Path) -> dict[str, Any]:
    """Every number of the record by its measure, its protocol and its name."""
    try:
        record = disk.load(folder / "reports" / "r")
    except FixableError as error:
        return {"the record": error.problem}
    numbers = {}
    for measurement in record.measurements:
        key = f"{measurement.measure} {measurement.protocol.key}"
        scores = [(score.metric, repr(score.of), score.value) for score in measurement.scores]
        numbers[key] = json.dumps(sorted(scores, key=str))
    return numbers


def _differences(expected: dict[str, Any], numbers: dict[str, Any]) -> str:
    missing = sorted(expected.keys() - numbers.keys())
    wrong = [key for key in expected.keys() & numbers.keys() if expected[key] != numbers[key]]
    if missing:
        return f"not in the record: {missing}"
    return (
        f"other numbers: {wrong[0]}: {numbers[wrong[0]]} for {expected[wrong[0]]}" if wrong else ""
    )
