"""How samples were made, as far as anyone knows: by which model, and how they were drawn."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ddpm_eval.choice import ImageSet
from ddpm_eval.model import Model
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_eval.record.store import sampling_facts
from ddpm_train.data import Images


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where samples come from.

    Attributes:
        model: The digest of the model; empty: nobody says.
        weights: ``ema``, ``raw``, or ``unknown``.
        precision: Of the network's evaluations.
        sampling: How they were drawn.
        step: The training step of the model.
        ema_decay: Of the averaged weights.
        trained_on: The name of the training images.
        classes: The names of the classes that samples are of, where they are of any.
    """

    model: str = ""
    weights: str = ""
    precision: str = "float32"
    sampling: SamplingFacts | None = None
    step: int | None = None
    ema_decay: float | None = None
    trained_on: str = ""
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, images: Images | ImageSet) -> "Origin":
        """Read what a store of samples says; of other images nothing is known."""
        source = images.source if isinstance(images, ImageSet) else images
        facts: Any = getattr(source, "facts", None)
        if not isinstance(facts, Mapping) or "sampler" not in facts:
            return cls()
        return cls(
            model=facts["checkpoint"],
            weights=facts["weights"],
            precision=facts["precision"],
            sampling=sampling_facts(facts, len(images)),
            classes=tuple(getattr(source, "class_names", ())),
        )

    def by(self, model: Model) -> "Origin":
        """Add what the model itself says."""
        facts = model.facts
        decay = None if facts.run is None else facts.run.optim.ema_decay
        trained_on = str(facts.file.get("data") or "")
        classes = model.class_names or self.classes
        return replace(
            self, step=facts.step, ema_decay=decay, trained_on=trained_on, classes=classes
        )
