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
PROBE = ("--set", "ode.probes=1")
EIGHT = ("--set", "compute.batch=8")  # a batch is drawn whole, and shards are many
GUIDANCE = ("--classifier", "guide.pt")
MEASURES: dict[str, tuple[str, ...]] = {
    "nll": ("nll", "r", "-n", "6"),
    "estimate": ("nll", "r", "-n", "64", "--budget", "300"),
    "train split": ("nll", "r", "-n", "6", "--split", "train"),
    "rate-distortion": ("rate-distortion", "r", "-n", "4"),
    "baselines": ("baselines", "r", "-n", "4"),
    "sample": ("sample", "r", "-n", "20", "--batch", "8"),
    "fid": ("fid", "r", "-n", "20", *CNN, "--metrics", "FID,KID", *EIGHT),
    "fid of test": (
        *("fid", "r", "-n", "20", "--reference", "test", *CNN, "--metrics", "FID,KID"),
        *EIGHT,
    ),
    "progressive": ("progressive", "r", "-n", "4", *EIGHT),
    "reconstruct": ("reconstruct", "r", "-n", "2"),
    "interpolate": ("interpolate", "r", "--t", "5", "--lambdas", "0.5"),
    "neighbours": ("neighbours", "r", "-n", "4", *CNN, *EIGHT),
    "training": ("training", "r"),
    "ode": ("nll", "r", "-n", "2", "--ode", "--set", "ode.tolerance=0.01", *PROBE),
    "strides": ("nll", "r", "-n", "4", "--strides", "3,5"),
    "guided": ("sample", "r", "-n", "12", "--batch", "8", *GUIDANCE, "--scale", "2"),
    "langevin": (
        *("sample", "n", "-n", "6", "--batch", "4", "--sampler", "langevin"),
        *("--set", "samples.level_steps=1"),
    ),
    "calibrate": ("calibrate", "c", "-n", "24", "--set", "calibration.rows=12"),
    "compress": ("compress", "some", "--model", "c", "--out", "z"),
    "archive": ("archive", "some", "--model", "c", "--out", "a.archive", "--replace"),
    "decompress": ("decompress", "some.archive", "--model", "c", "--out", "back", "--replace"),
    "files": ("rate-distortion", "c", "--files", "--split", "train", "-n", "2"),
    "guidance": ("guidance", "r", *GUIDANCE, "--scales", "0,2", "-n", "8", *CNN, *EIGHT),
}
NEIGHBOURS = {
    "files": ("files", "guidance", "calibrate", "compress", "nll", "rate-distortion"),
    "guidance": ("guidance", "guided", "fid", "sample", "progressive"),
}
"""What the slowest are set beside; the others are set beside each other."""
NEEDS = {
    **{"langevin": "n", "guided": "guide.pt", "guidance": "guide.pt"},
    **{"decompress": "some.archive", "calibrate": "fields.npz", "files": "fields.npz"},
} | dict.fromkeys(("compress", "archive"), "some")
"""What else of the material a command reads."""
WRITTEN = ("z/*.ddpm", "*.archive", "back/*.png", "c/checkpoints/*.profile.json")


def pairs(material: Path, share: float) -> Iterator[Case]:
    """Every measure beside itself and each other; the slowest beside their ``NEIGHBOURS``."""
    others = [name for name in MEASURES if name not in NEIGHBOURS]
    chosen = list(itertools.combinations_with_replacement(others, 2))
    chosen += [(one, two) for one, beside in NEIGHBOURS.items() for two in beside]
    for one, two in chosen[:: max(1, round(1 / share))]:
        yield Case("two commands at once", f"{one} and {two}", _attack(one, two, material))


_results: dict[str, dict[str, Any]] = {}


def result_of(name: str, folder: Path, material: Path) -> dict[str, Any] | str:
    """What a command alone gives, once for each worker; or what is wrong. The folder is empty."""
    if name not in _results:
        prepare((name,), folder, material)
        result = _run(name, folder)
        if result.status != 0:
            return f"alone: {result}"
        _results[name] = scores(folder)
        server.fresh(folder)
    return _results[name]


def command_line(name: str) -> tuple[str, ...]:
    """The command line of a measure."""
    return ("ddpm-eval", *MEASURES[name], "--quiet")


def _attack(one: str, two: str, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        expected: dict[str, Any] = {}
        for name in {one, two}:
            numbers = result_of(name, folder, material)
            if isinstance(numbers, str):
                return numbers
            expected |= numbers
        prepare((one, two), folder, material)
        problem = _settle((one, two), _at_once((one, two), folder), folder)
        return problem or differences(expected, scores(folder))

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
    return server.run(command_line(name), folder)


def prepare(names: tuple[str, ...], folder: Path, material: Path) -> None:
    """Copy what the commands need."""
    parts = {word for name in names for word in MEASURES[name] if word in ("r", "c")}
    for part in parts | {NEEDS[name] for name in names if name in NEEDS}:
        os.system(f"cp -r '{material / part}' '{folder}/'")


def _at_once(names: tuple[str, str], folder: Path) -> list[server.Result]:
    outputs = [folder.parent / f"{folder.name}.{i}.out" for i in range(2)]
    lines = [command_line(name) for name in names]
    pids = [
        server.start(line, folder, output=out) for line, out in zip(lines, outputs, strict=True)
    ]
    results = []
    for pid, line, out in zip(pids, lines, outputs, strict=True):
        status = server.wait(pid)
        results.append(server.Result(line, status, out.read_text(errors="backslashreplace"), 0))
        out.unlink()
    return results


def scores(folder: Path) -> dict[str, Any]:
    """Every number of every record by its measure, its protocol and its name; digests of files."""
    numbers = {
        str(file.relative_to(folder)): server.sha256_of(file)
        for pattern in WRITTEN
        for file in folder.glob(pattern)
    }
    for place in (folder / "reports").glob("*"):
        try:
            record = disk.load(place)
        except FixableError as error:
            return {place.name: error.problem}
        for measurement in record.measurements:
            key = f"{place.name} {measurement.measure} {measurement.protocol.key}"
            scores = [(score.metric, repr(score.of), score.value) for score in measurement.scores]
            numbers[key] = json.dumps(sorted(scores, key=str))
    return numbers


def differences(expected: dict[str, Any], numbers: dict[str, Any]) -> str:
    """What is not as expected; empty if nothing."""
    missing = sorted(expected.keys() - numbers.keys())
    wrong = [key for key in expected.keys() & numbers.keys() if expected[key] != numbers[key]]
    if missing:
        return f"not in the record: {missing}"
    return (
        f"other numbers: {wrong[0]}: {numbers[wrong[0]]} for {expected[wrong[0]]}" if wrong else ""
    )
