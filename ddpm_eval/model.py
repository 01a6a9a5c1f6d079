"""A model that can be measured: a reverse process and the facts that name it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_eval.config import ComputeConfig
from ddpm_train import checkpoint, formats, schedule
from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.diffusion import Gaussian, decoder_nll
from ddpm_train.fast import prepare as inference
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
    """

    digest: str
    weights: str = "unknown"
    name: str = ""
    step: int | None = None
    parameters: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    run: RunConfig | None = None
    file: Mapping[str, Any] = field(default_factory=dict)


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
    """

    denoise: Denoiser
    shape: tuple[int, int, int]
    facts: ModelFacts
    device: torch.device
    decoder: Callable[[Tensor, Gaussian], Tensor] = decoder_nll
    dtype: torch.dtype = torch.float32
    precision: str = "float32"
    config: ModelConfig | None = None

    @property
    def variance(self) -> str:
        """Which variance of p the model itself has."""
        return self.denoise.objective.variance


def open_checkpoint(
    path: Path,
    *,
    device: torch.device,
    ema: bool = True,
    compute: ComputeConfig | None = None,
    changes: Iterable[str] = (),
) -> Model:
    """Load a checkpoint, ours or foreign, with its averaged weights unless the raw are wanted.

    Raises:
        FixableError: The file is missing, damaged or unknown, or holds no such weights, or the
            device cannot compute as asked.
    """
    compute = compute or ComputeConfig()
    content = formats.load_any(path, changes=changes)
    process = schedule.build(content.model.schedule)
    network = inference.prepare(
        checkpoint.network(content, ema=ema).to(device),
        process.T,
        precision=compute.precision,
        compiled=compute.compile,
        use_up=True,
    )
    weights = content.ema if ema else content.weights
    unet = content.model.unet
    return Model(
        denoise=Denoiser(network, process, content.model.objective),
        shape=(unet.channels, unet.image_size, unet.image_size),
        facts=ModelFacts(
            digest=checkpoint.weights_digest(weights, content.model),
            weights=str(content.facts.get("weights", "ema")) if ema else "raw",
            name=path.name,
            step=content.step or None,  # few foreign files say it
            parameters=sum(value.numel() for value in weights.values()),
            settings=to_dict(content.model),
            run=content.run,
            file=dict(content.facts),
        ),
        device=device,
        precision=compute.precision,
        config=content.model,
    )


def public(run: RunConfig) -> dict[str, Any]:
    """The settings of a run without the folders of who ran it."""
    return to_dict(replace(run, data=replace(run.data, path=Path(run.data.path).name)))


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
