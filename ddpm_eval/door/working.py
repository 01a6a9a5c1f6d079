"""What the public functions share: checked settings, a runtime, and the origin of a result."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ddpm_eval.choice import ImageSet
from ddpm_eval.door.images import AnyImages, checked, images
from ddpm_eval.door.labels import require_labels
from ddpm_eval.model import Model, identity
from ddpm_eval.paths import expanded
from ddpm_eval.record import provenance
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_eval.settings import ComputeSettings
from ddpm_train import world
from ddpm_train.errors import FixableError
from ddpm_train.settings import from_dict
from ddpm_train.world import World

Settings = TypeVar("Settings")


def typed(kind: type[Settings], **values: Any) -> Settings:
    """Read settings, each by its type.

    Raises:
        FixableError: A value is of another type; the setting is named.
    """
    return from_dict(kind, values)


def model_of(model: Any) -> Model:
    """Take a model, and nothing else.

    Raises:
        FixableError: It is something else.
    """
    if not isinstance(model, Model):
        raise FixableError(
            f"model={type(model).__name__}: not a model", "make one: load(path) or wrap(net, ...)"
        )
    return model


def images_of(model: Model, what: AnyImages | None, *, split: str = "test") -> ImageSet:
    """Open images for a model; None takes those of its run."""
    return checked(images(model if what is None else what, split=_split(what, split)), model)


def scored_images(
    model: Model, what: AnyImages | None, *, split: str = "test", other: Model | None = None
) -> ImageSet:
    """Open images that a model is evaluated on: with their classes where it, or ``other``, has any.

    Raises:
        FixableError: As ``images_of``, or the classes are not those that the model takes.
    """
    models = [model] if other is None else [model, other]
    if any(scored.guide is not None for scored in models):
        raise FixableError(
            "model: guidance steers samples; the bound and its pictures are of the model alone",
            "measure the model without its classifier",
        )
    if isinstance(what, ImageSet | Model) or what is None:
        return require_labels(models, images_of(model, what, split=split))
    labels = True if any(scored.classes for scored in models) else None
    return require_labels(models, checked(images(what, labels=labels), model))


def _split(what: AnyImages | None, split: str) -> str:
    return split if what is None or isinstance(what, Model) else ""


def runtime_of(
    model: Model | None,
    runtime: Runtime | None,
    *,
    batch: int = 64,
    cache: str | Path | None = None,
) -> Runtime:
    """Prepare a runtime: in memory and alone, or in a cache that processes share.

    Args:
        model: Its device is where the work is done; without one, the CPU.
        runtime: One that is ready, of the command line; the rest is then not used.
        batch: Images in one evaluation of the network.
        cache: The folder of unfinished work; None writes nothing.
    """
    if runtime is not None:
        return runtime
    batch = typed(ComputeSettings, batch=batch).batch
    device = torch.device("cpu") if model is None else model.device
    if cache is None:
        return Runtime(world=World(device), batch=batch)
    return Runtime(world=world.join(str(device)), batch=batch, cache=expanded(cache, "cache"))


class Provenance:
    """Where results come from: begun before the work, written into each result after it."""

    def __init__(
        self,
        models: Sequence[Model],
        runtime: Runtime,
        *,
        images: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Start the clock.

        Args:
            models: Those that are measured.
            runtime: How the work is carried out.
            images: What is known of images that are measured without a model, by their digest.
        """
        self.models, self.runtime, self.images = models, runtime, images or {}
        self._began = time.monotonic()

    def sign(self, measurement: Measurement) -> Measurement:
        """Say where a result comes from, unless it was recorded before."""
        if measurement.provenance:
            return measurement
        origin = provenance.gather(
            self.runtime.command,
            seconds=time.monotonic() - self._began,
            device=self.runtime.world.device,
            size=self.runtime.world.size,
        )
        subjects = {model.facts.digest: identity(model) for model in self.models}
        return replace(measurement, provenance={**origin, "models": subjects | dict(self.images)})
