"""A command, from its options to the record: check, open, measure, add, show.

Whatever can be refused without the model is refused when a ``Task`` is made, before torch is
imported.
"""

import contextlib
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ddpm_eval.commands.options import common, in_options
from ddpm_eval.settings import EvalSettings
from ddpm_train.config import DataConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import remove_tree
from ddpm_train.reading import list_folder
from ddpm_train.terminal import escape, is_first_process, output, say, tracker

if TYPE_CHECKING:
    from ddpm_eval.choice import ImageSet
    from ddpm_eval.model import Model
    from ddpm_eval.record.protocol import Protocol
    from ddpm_eval.record.record import Measurement
    from ddpm_eval.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Task:
    """What the options of a measuring command say.

    Attributes:
        measure: The measure whose result is recorded.
        checkpoint: A checkpoint or a run's folder; None: the newest run.
        settings: All settings, ``--set`` applied.
        of_model: Settings of the model that its file does not store.
        dataset: The images, where they are not those of the run.
        data: Where the images lie, if they were moved.
        needs_float64: Whether the measure computes in float64 on the device.
    """

    measure: str
    checkpoint: Path | None
    settings: EvalSettings
    of_model: list[str] = field(default_factory=list)
    dataset: str | None = None
    data: Path | None = None
    needs_float64: bool = True

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        check_images(self.dataset, self.data)
        plain_name(common().name)
        if common().weights not in ("", "ema", "raw"):
            raise FixableError(f"weights={common().weights}: not a choice", "choose ema or raw")

    @contextlib.contextmanager
    def opened(self) -> Iterator["Work"]:
        """Join the other processes, load the model and find its record."""
        from ddpm_eval.runtime import Runtime
        from ddpm_train import world

        options = common()
        processes = world.join(options.device, threads=options.threads)
        if self.needs_float64:
            world.require_float64(processes.device, self.measure.replace("_", "-"))
        model = self.load(self.checkpoint)
        for warning in model.facts.file.get("warnings", []):
            note(warning)
        folder = record_of(self.checkpoint, model)
        compute = self.settings.compute
        if compute.compile and model.device.type == "cpu":
            note("compile=true: on CPUs the prepared network is faster than the compiled one")
        work = Work(task=self, model=model, folder=folder)
        work.runtime = Runtime(
            world=processes,
            cache=folder / "unfinished",
            stores=folder / "store",
            batch=compute.batch,
            track=tracker(quiet=options.quiet),
            notify=note,
            recorded=work.recorded,
            command=tuple(sys.argv),
        )
        yield work
        world.leave()

    def load(self, checkpoint: Path | None) -> "Model":
        """Load a model as the options say."""
        from ddpm_eval.model import load

        compute, options = self.settings.compute, common()
        weights: Any = options.weights or None
        return load(
            checkpoint,
            weights=weights,
            settings=self.of_model,
            device=options.device,
            precision=compute.precision,
            compile=compute.compile,
        )


@dataclass(kw_only=True)
class Work:
    """A task that is open: its model, its record and its runtime."""

    task: Task
    model: "Model"
    folder: Path
    hits: list["Measurement"] = field(default_factory=list)
    runtime: "Runtime" = field(init=False)

    def images(self, split: str) -> "ImageSet":
        """Open a part of the images: those that are named, or those of the run."""
        from ddpm_eval.door.images import images

        name, data = self.task.dataset, self.task.data
        if name is None and self.model.facts.run is None:
            raise FixableError(
                "the checkpoint does not say what it was trained on",
                "name the images: --dataset cifar10, or --dataset npz --data FILE",
            )
        return images(name or self.model, split=split, path=data, like=self.model)

    def recorded(self, measure: str, protocol: "Protocol") -> "Measurement | None":
        """Look a finished measurement up, unless it is to be replaced."""
        from ddpm_eval.record import disk

        if (common().replace and measure == self.task.measure) or not disk.exists(self.folder):
            return None
        hit = disk.load(self.folder).find(measure, protocol)
        self.hits += [hit] if hit is not None else []
        return hit

    def finish(self, measurement: "Measurement") -> None:
        """Add a measurement to the record, clear unfinished work away and show the result."""
        self.runtime.world.barrier()  # others may still read the shards
        if self.runtime.world.rank:
            return
        is_new = all(measurement is not hit for hit in self.hits)
        if is_new:
            self._add(measurement)
        for folder in self.runtime.folders:
            remove_tree(folder)
        if not common().quiet:
            show(measurement, self.folder, is_new=is_new)

    def _add(self, measurement: "Measurement") -> None:
        from ddpm_eval.door.reports import models_of, without_models
        from ddpm_eval.record import disk

        fresh, models = without_models(measurement), models_of(measurement)
        for warning in disk.add(self.folder, fresh, models, replace=common().replace):
            say(f"[yellow]warning:[/] {escape(warning)}")


def record_of(checkpoint: Path | None, model: "Model") -> Path:
    """Choose the folder of a model's record: a free one where its name is taken."""
    from ddpm_eval.model import identity, locate
    from ddpm_eval.record import disk

    path = locate(checkpoint)
    if path.parent.name == "checkpoints":
        path = path.parent.parent
    wish = plain_name(common().name) or (path.stem if path.is_file() else path.resolve().name)
    reports = common().reports
    free = disk.place(reports, wish, {model.facts.digest: identity(model)})
    if free != wish:
        note(f"{reports / wish} is a record of something else; this one is called {free}")
    return reports / free


def show(measurement: "Measurement", folder: Path, *, is_new: bool) -> None:
    """Print a result, what it concludes, and its warnings by number."""
    from ddpm_eval.present import verdicts

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


def plain_name(name: str) -> str:
    """Check the name of a record, if one is given: below the folder of all records, not elsewhere.

    Raises:
        FixableError: It is a path.
    """
    if name and (Path(name).name != name or name == ".."):
        raise FixableError(
            f"--name {name}: not a plain name", "write a name, and its folder as --reports"
        )
    return name


def check_checkpoint(path: Path | None) -> None:
    """Refuse a checkpoint that is nowhere; a TensorFlow one is named by the prefix of its files.

    Raises:
        FixableError: Nothing is there.
    """
    if path is None:
        if not any(Path("runs").glob("*/checkpoints/step-*.pt")):
            raise FixableError(
                "no run with a checkpoint in runs/", "name a checkpoint, or ddpm-train digits"
            )
        return
    place = path.expanduser()
    if place.exists() or (place.parent.is_dir() and any(_parts(place))):
        return
    raise FixableError(f"{path}: no such checkpoint", "name a .pt file or a run's folder")


def _parts(prefix: Path) -> Iterator[Path]:
    return (path for path in list_folder(prefix.parent) if path.name.startswith(f"{prefix.name}."))


def check_images(dataset: str | None, data: Path | None) -> None:
    """Refuse images that are nowhere.

    Raises:
        FixableError: Names the option.
    """
    names = get_type_hints(DataConfig)["source"].__args__
    if data is not None and not data.expanduser().exists():
        raise FixableError(f"{data}: no such file or folder", "check --data")
    if dataset is not None and dataset not in names and not Path(dataset).expanduser().exists():
        raise FixableError(
            f"dataset={dataset}: no data set and no path", f"choose {', '.join(names)}, or a path"
        )


def check_split(split: str) -> str:
    """Refuse what is no split.

    Raises:
        FixableError: Names the choices.
    """
    if split not in ("test", "train"):
        raise FixableError(f"split={split}: not a split", "choose test or train")
    return split
