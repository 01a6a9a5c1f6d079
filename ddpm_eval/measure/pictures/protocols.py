"""What all measures of pictures depend on: the protocol's common fields, and a chain's facts."""

from typing import Any
from typing import Protocol as Structure

from ddpm_eval.model import Model
from ddpm_eval.record.protocol import Protocol
from ddpm_train.settings import to_dict


class ChainSettings(Structure):
    """Settings of a measure that walks chains."""

    @property
    def seed(self) -> int:
        """Of all noise."""

    @property
    def clip(self) -> bool:
        """Whether x_0_hat is kept in [-1, 1]."""


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
        settings=to_dict(settings),
        **fields,
    )


def chain_facts(model: Model, settings: ChainSettings) -> dict[str, Any]:
    """What a chain of the paper's sampler depends on, beside the images where it begins."""
    return {
        "checkpoint": model.facts.digest,
        "precision": model.precision,
        "seed": settings.seed,
        "clip": settings.clip,
    }
