"""A command, from its options to the record: check, open, measure, add, show.

Whatever can be refused without the model is refused when a ``Task`` is made, before torch is
imported.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ddpm_eval.commands.checks import check_checkpoint, check_images, plain_name
from ddpm_eval.commands.options import common
from ddpm_eval.commands.recording import Recording, note, runtime_for, settled
from ddpm_eval.settings import EvalSettings
from ddpm_train.errors import FixableError

if TYPE_CHECKING:
    from ddpm_eval.choice import ImageSet
    from ddpm_eval.model import Model


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

    @contextlib.contextmanager
    def opened(self) -> Iterator["Work"]:
        """Join the other processes, load the model and find its record."""
        from ddpm_train import samplers, world

        for config in (self.settings.samples, self.settings.neighbours.sampling):
            samplers.require(config)
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
        from ddpm_eval.loading import load

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


def record_of(checkpoint: Path | None, model: "Model") -> Path:
    """Choose the folder of a model's record."""
    from ddpm_eval.loading import locate
    from ddpm_eval.model import identity

    path = locate(checkpoint)
    if path.parent.name == "checkpoints":
        path = path.parent.parent
    wish = plain_name(common().name) or (path.stem if path.is_file() else path.resolve().name)
    return settled(common().reports / wish, {model.facts.digest: identity(model)})
