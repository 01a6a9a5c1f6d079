"""A command, from its options to the record: check, open, measure, add, show.

Whatever can be refused without the model is refused when a ``Task`` is made, before torch is
imported.
"""

import contextlib
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from ddpm_eval import extractors
from ddpm_eval.commands.options import common, in_options
from ddpm_eval.settings import EvalSettings
from ddpm_train.config import DataConfig
from ddpm_train.errors import FixableError
from ddpm_train.meter import tracker
from ddpm_train.reading import expanded, list_folder
from ddpm_train.terminal import escape, is_first_process, output, say

if TYPE_CHECKING:
    from ddpm_eval.choice import ImageSet
    from ddpm_eval.model import Model
    from ddpm_eval.record.protocol import Protocol
    from ddpm_eval.record.record import Measurement
    from ddpm_eval.runtime import Runtime
    from ddpm_train.world import World


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
        work = Work(task=self, model=model, measure=self.measure, folder=folder)
        work.runtime = runtime_for(work, processes, batch=compute.batch)
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


@dataclass(kw_only=True)
class Work(Recording):
    """A task that is open: its model, its record and its runtime."""

    task: Task
    model: "Model"

    def images(self, split: str, *, labels: bool = False) -> "ImageSet":
        """Open a part of the images: those that are named, or those of the run.

        Args:
            split: ``test`` or ``train``.
            labels: Open their classes too.
        """
        from ddpm_eval.door.images import images

        name, data = self.task.dataset, self.task.data
        if name is None and self.model.facts.run is None:
            raise FixableError(
                "the checkpoint does not say what it was trained on",
                "name the images: --dataset cifar10, or --dataset npz --data FILE",
            )
        resize = self.task.settings.data.resize
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            opened = images(
                name or self.model,
                split=split,
                path=data,
                like=self.model,
                resize=resize,
                labels=labels,
            )
        for remark in remarks:
            note(str(remark.message))
        return opened


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


def record_of(checkpoint: Path | None, model: "Model") -> Path:
    """Choose the folder of a model's record."""
    from ddpm_eval.model import identity, locate

    path = locate(checkpoint)
    if path.parent.name == "checkpoints":
        path = path.parent.parent
    wish = plain_name(common().name) or (path.stem if path.is_file() else path.resolve().name)
    return settled(common().reports / wish, {model.facts.digest: identity(model)})


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
    if not is_there(path):
        raise FixableError(f"{path}: no such checkpoint", "name a .pt file or a run's folder")


def is_there(path: Path) -> bool:
    """Whether something has this name, or it is the prefix of the files of a TensorFlow one."""
    place = expanded(path)
    return place.exists() or (place.parent.is_dir() and any(_parts(place)))


def _parts(prefix: Path) -> Iterator[Path]:
    return (path for path in list_folder(prefix.parent) if path.name.startswith(f"{prefix.name}."))


def check_images(dataset: str | None, data: Path | None, *, option: str = "dataset") -> None:
    """Refuse images that are nowhere.

    Raises:
        FixableError: Names the option.
    """
    names = get_type_hints(DataConfig)["source"].__args__
    if data is not None and not expanded(data).exists():
        raise FixableError(f"{data}: no such file or folder", "check --data")
    if dataset is not None and dataset not in names and not expanded(dataset).exists():
        raise FixableError(
            f"{option}={dataset}: no data set and no path", f"choose {', '.join(names)}, or a path"
        )


def check_extractor(names: Sequence[str], weights: Path | None, accept: str) -> None:
    """Refuse names of no extractor, and a file of weights or their digest where none reads one.

    Raises:
        FixableError: Names the option.
    """
    extractors.check(names)
    options = {"extractor_weights": weights, "accept_weights": accept}
    for name, value in options.items():
        if value and not any(name != "digits-cnn" for name in names):
            extractor = f"with --extractor {names[0]}" if names else "without --extractor"
            raise FixableError(
                f"{name}={value}: of no effect {extractor}",
                f"add --extractor inception, or leave {name} out",
            )


def check_split(split: str) -> str:
    """Refuse what is no split.

    Raises:
        FixableError: Names the choices.
    """
    if split not in ("test", "train"):
        raise FixableError(f"split={split}: not a split", "choose test or train")
    return split
