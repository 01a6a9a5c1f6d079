"""A model that can be measured, and what is known of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import Gaussian, decoder_nll
from ddpm_train.errors import FixableError
from ddpm_train.guidance import Gradient
from ddpm_train.settings import to_dict


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What is known of a model beside its equations; names are for people, the digest decides.

    Attributes:
        digest: SHA-256 of the weights and of the model's settings.
        weights: ``ema``, ``raw``, or what the file says; ``unknown`` where nobody says.
        name: The file or run that it was read from, for people.
        step: The training step, where it is known.
        parameters: How many parameters the network has.
        settings: The model's settings tree as JSON values.
        run: The settings that it was trained with, where they are known.
        file: What the reader of the file says: format, data set and its digest, warnings.
        log: The log of the run that it comes from, where there is one.
        path: Where it was read, for what lies beside it.
    """

    digest: str
    weights: str = "unknown"
    name: str = ""
    step: int | None = None
    parameters: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: RunConfig | None = None
    file: Mapping[str, Any] = field(default_factory=dict)
    log: Path | None = None
    path: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Guide:
    """A classifier of noisy images that guides samples to classes (Dhariwal and Nichol 2021).

    Attributes:
        gradient: Of its log p(y | x_t), times the scale.
        classes: How many it knows.
        digest: SHA-256 of its settings and weights.
    """

    gradient: Gradient
    classes: int
    digest: str

    @property
    def facts(self) -> dict[str, Any]:
        """What samples depend on."""
        return {"classifier": self.digest, "scale": self.gradient.scale}


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained model, ready to be evaluated.

    Attributes:
        denoise: The reverse process p(x_{t-1} | x_t).
        shape: [C, H, W] of an image.
        facts: What names it.
        device: Where its network computes.
        decoder: The discrete decoder of the bound, Eq. 13.
        dtype: In which type the network takes its input.
        precision: Of the network's evaluations.
        config: The settings of its network, where it is one of ours.
        classes: How many class labels it takes; 0: none.
        double: Gives the same model in float64; None: nobody says how.
        guide: What guides its samples, if anything does.
    """

    denoise: Denoiser
    shape: tuple[int, int, int]
    facts: ModelFacts
    device: torch.device
    decoder: Callable[[Tensor, Gaussian], Tensor] = decoder_nll
    dtype: torch.dtype = torch.float32
    precision: str = "float32"
    config: ModelConfig | None = None
    classes: int = 0
    double: Callable[[], "Model"] | None = None
    guide: Guide | None = None

    @property
    def sample_classes(self) -> int:
        """Of how many classes its samples may be; 0: they have none."""
        return self.classes if self.guide is None else self.guide.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes that samples are of, or their numbers where nobody says."""
        names, classes = self.facts.file.get("classes") or (), self.sample_classes
        return tuple(names) if len(names) == classes else tuple(map(str, range(classes)))

    @property
    def variance(self) -> str:
        """Which variance of p the model itself has."""
        return self.denoise.objective.variance

    def __str__(self) -> str:
        """Say in one line what it is."""
        C, H, W = self.shape
        step = "" if self.facts.step is None else f", step {self.facts.step:,}"
        classes = f"{self.classes:,} classes, " if self.classes else ""
        return (
            f"{self.facts.name or 'model'}{step}: {self.facts.weights} weights, "
            f"{self.facts.parameters:,} parameters, {H}x{W}x{C} images, {classes}"
            f"T = {self.denoise.schedule.T:,}, {self.variance}, on {self.device}"
        )


def is_score(model: Model) -> bool:
    """Whether a model is a score network (NCSN)."""
    return model.denoise.objective.prediction == "score"


def require_bound(model: Model, what: str) -> None:
    """Refuse a score network where p(x_{t-1} | x_t) is needed, which it has not.

    Args:
        model: The model.
        what: What needs it, for the message.

    Raises:
        FixableError: The model is a score network.
    """
    if is_score(model):
        raise FixableError(
            f"{what}: a score network (NCSN) has no p(x_{{t-1}} | x_t), and so no bound",
            "draw its samples with sampler=langevin, and measure those",
        )


def public(run: RunConfig) -> dict[str, Any]:
    """The settings of a run without the folders of who ran it.

    A run without labels has the settings that it had before there was a choice.
    """
    plain = to_dict(replace(run, data=replace(run.data, path=Path(run.data.path).name)))
    if not run.data.labels:
        del plain["data"]["labels"]
    return plain


def identity(model: Model) -> dict[str, Any]:
    """What a record says of the model that it is about."""
    facts = model.facts
    return {
        "checkpoint": facts.digest,
        "file": facts.name,
        "step": facts.step,
        "weights": facts.weights,
        "parameters": facts.parameters,
        "model": dict(facts.settings),
        "run": None if facts.run is None else public(facts.run),
        "facts": dict(facts.file),
    }
