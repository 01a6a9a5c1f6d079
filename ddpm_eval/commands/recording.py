"""Where a command's results go: into the record that is theirs, and to whoever reads along."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm_eval.commands.options import common, in_options
from ddpm_train.meter import tracker
from ddpm_train.terminal import escape, is_first_process, output, say

if TYPE_CHECKING:
    from ddpm_eval.record.protocol import Protocol
    from ddpm_eval.record.record import Measurement
    from ddpm_eval.runtime import Runtime
    from ddpm_train.world import World


@dataclass(kw_only=True)
class Recording:
    """Where results go.

    Attributes:
        measure: The measure that was asked for.
        folder: Of the record.
        hits: Finished measurements that were given back in place of measuring.
        runtime: How the work is carried out.
    """

    measure: str
    folder: Path
    hits: list["Measurement"] = field(default_factory=list)
    runtime: "Runtime" = field(init=False)

    def recorded(self, measure: str, protocol: "Protocol") -> "Measurement | None":
        """Look a finished measurement up, unless it is to be replaced."""
        from ddpm_eval.record import disk

        if (common().replace and measure == self.measure) or not disk.exists(self.folder):
            return None
        hit = disk.load(self.folder).find(measure, protocol)
        self.hits += [hit] if hit is not None else []
        return hit

    def finish(self, measurement: "Measurement") -> None:
        """Add a measurement to the record, clear unfinished work away and show the result."""
        self.runtime.world.barrier()  # others may still read the shards
        if self.runtime.world.rank:
            return
        from ddpm_eval.record.fill import clear

        is_new = all(measurement is not hit for hit in self.hits)
        if is_new:
            from ddpm_eval.door.reports import models_of

            self.keep(measurement, models_of(measurement))
        for folder in self.runtime.folders:
            clear(folder)
        if not common().quiet:
            show(measurement, self.folder, is_new=is_new)

    def keep(self, measurement: "Measurement", subjects: Mapping[str, Mapping[str, Any]]) -> None:
        """Add a measurement to the record."""
        from ddpm_eval.door.reports import without_models
        from ddpm_eval.record import disk

        fresh = without_models(measurement)
        for warning in disk.add(self.folder, fresh, subjects, replace=common().replace):
            say(f"[yellow]warning:[/] {escape(warning)}")


def runtime_for(
    recording: Recording, world: "World | None" = None, *, batch: int = 64
) -> "Runtime":
    """Prepare a command's runtime: unfinished work beside its record, features in the cache."""
    from ddpm_eval.features import bank
    from ddpm_eval.runtime import Runtime
    from ddpm_train.world import join

    options = common()
    return Runtime(
        world=world or join(options.device, threads=options.threads),
        cache=recording.folder / "unfinished",
        stores=recording.folder / "store",
        features=bank.cache() / "features",
        batch=batch,
        track=tracker(quiet=options.quiet),
        notify=note,
        recorded=recording.recorded,
        command=tuple(sys.argv),
    )


def settled(folder: Path, subjects: Mapping[str, Mapping[str, Any]]) -> Path:
    """Choose the folder of a record: a free one where it is taken by something else."""
    from ddpm_eval.record import disk

    free = disk.place(folder.parent, folder.name, subjects)
    if free != folder.name:
        note(f"{folder} is a record of something else; this one is called {free}")
    return folder.parent / free


def show(measurement: "Measurement", folder: Path, *, is_new: bool) -> None:
    """Print a result, what it concludes, and its warnings by number."""
    from ddpm_eval.present import verdicts

    if "label" in measurement.facts:
        say(escape(str(measurement.facts["label"])), to=output)
    for line in str(replace(measurement, warnings=())).splitlines():
        say(escape(line), to=output)
    for text in verdicts.sentences(measurement):
        say(escape(text), to=output)
    for number, warning in enumerate(measurement.warnings, 1):
        say(f"[yellow]warning {number}:[/] {escape(in_options(warning))}")
    words = ["ddpm-eval", "report", folder.name]
    if folder.parent != Path("reports"):
        words += ["--reports", str(folder.parent)]
    state = "recorded" if is_new else "not measured again (--replace does): recorded"
    say(f"{state} in {escape(str(folder))}; write it up with: {escape(shlex.join(words))}")


def note(text: str) -> None:
    """Say something that is no error, once for all processes."""
    if is_first_process() and not common().quiet:
        say(f"[yellow]note:[/] {escape(in_options(text))}")
