"""What all measures of pictures depend on: the protocol's common fields, and a chain's facts."""

from collections.abc import Sequence
from typing import Any
from typing import Protocol as Structure

import torch
from torch import Tensor

from ddpm_eval.measure.pictures.settings import InterpolationSettings
from ddpm_eval.model import Model
from ddpm_eval.record.conditions import condition_facts, labels_of_samples
from ddpm_eval.record.protocol import Protocol
from ddpm_train.config import SamplerConfig
from ddpm_train.guidance import guided
from ddpm_train.samplers import SAMPLERS, Sampler
from ddpm_train.settings import to_dict


class ChainSettings(Structure):
    """Settings of a measure that walks chains."""

    @property
    def seed(self) -> int:
        """Of all noise."""

    @property
    def clip(self) -> bool:
        """Whether x_0_hat is kept in [-1, 1]."""


class SampleSettings(ChainSettings, Structure):
    """Settings of a measure that draws samples."""

    @property
    def classes(self) -> tuple[int, ...]:
        """That samples are of in turn; empty: each is drawn."""


def protocol_of(version: int, model: Model, settings: ChainSettings, **fields: Any) -> Protocol:
    """Everything that the results of a measure depend on.

    Args:
        version: Of the measure.
        model: What walks the chain.
        settings: The measure's own.
        **fields: Fields of the protocol that not every measure has: ``images``, ``sampling``, ...
    """
    return Protocol(
        version=version,
        model=model.facts.digest,
        weights=model.facts.weights,
        variance=model.variance,
        clip=settings.clip,
        precision=model.precision,
        seed=settings.seed,
        settings=settings_of(settings),
        **fields,
    )


def settings_of(settings: Any) -> dict[str, Any]:
    """The whole settings; those of later versions are left out where they have no effect."""
    plain = to_dict(settings)
    for group in (plain, plain.get("sampling", {})):
        for name, value in _LATER.items():
            if name in group and group[name] == value:
                del group[name]
    if isinstance(settings, InterpolationSettings):
        for name in SAMPLERS["langevin"].options:
            if plain[name] == getattr(InterpolationSettings(), name):
                del plain[name]
    return plain


_HEUN = SAMPLERS["heun"].options
_LATER: dict[str, Any] = {"classes": [], **{name: getattr(SamplerConfig(), name) for name in _HEUN}}
"""Settings that measures had no choice of at first, and the value that all of them have."""


def classes_of(model: Model, settings: SampleSettings) -> dict[str, Any]:
    """Name the classes that a model's samples are of: see ``labels_of_samples``.

    Raises:
        FixableError: The model has no such classes.
    """
    return condition_facts(model.sample_classes, settings.classes)


def condition_of(model: Model, settings: SampleSettings, indices: Sequence[int]) -> Tensor | None:
    """Give the classes of samples, [B]; None for a model without classes."""
    facts = {"seed": settings.seed, **classes_of(model, settings)}
    labels = labels_of_samples(facts, indices)
    return None if labels is None else torch.from_numpy(labels)


def steered(model: Model, sampler: Sampler) -> Sampler:
    """Guide a sampler, where something guides the model.

    Raises:
        FixableError: Nobody has said how this sampler is guided.
    """
    if model.guide is None:
        return sampler
    return guided(sampler, model.guide.gradient, conditional=bool(model.classes))


def chain_facts(model: Model, settings: ChainSettings) -> dict[str, Any]:
    """What a chain of the paper's sampler depends on, beside the images where it begins."""
    return {
        "checkpoint": model.facts.digest,
        "precision": model.precision,
        "seed": settings.seed,
        "clip": settings.clip,
        **({} if model.guide is None else model.guide.facts),
    }
