"""What is being measured: a reverse process and the facts that name it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
class Subject:
    """A trained model, ready to be evaluated."""

    denoise: Denoiser
    model: ModelConfig
    run: RunConfig | None  # the settings it was trained with, where they are known
    identity: Mapping[str, Any]  # JSON: weights digest, which weights, step, ...
    device: torch.device
    decoder: Callable[[Tensor, Gaussian], Tensor] = decoder_nll
    dtype: torch.dtype = torch.float32

    @property
    def shape(self) -> tuple[int, int, int]:
        """[C, H, W] of an image."""
        unet = self.model.unet
        return unet.channels, unet.image_size, unet.image_size


def open_checkpoint(
    path: Path, *, device: torch.device, ema: bool = True, compute: ComputeConfig | None = None
) -> Subject:
    """Load a checkpoint, ours or foreign, with its averaged weights unless told otherwise.

    Raises:
        FixableError: The file is missing, damaged or unknown, or holds no such weights, or the
            device cannot compute as asked.
    """
    compute = compute or ComputeConfig()
    found = formats.load_any(path)
    process = schedule.build(found.model.schedule)
    network = inference.prepare(
        checkpoint.network(found, ema=ema).to(device),
        process.T,
        precision=compute.precision,
        compiled=compute.compile,
        use_up=True,
    )
    weights = found.ema if ema else found.weights
    identity = {
        "checkpoint": checkpoint.weights_digest(weights, found.model),
        "file": path.name,
        "step": found.step or None,  # few foreign files tell it
        "weights": found.facts.get("weights", "ema") if ema else "raw",
        "parameters": sum(value.numel() for value in weights.values()),
        "model": to_dict(found.model),
        "run": None if found.run is None else public(found.run),
        "facts": dict(found.facts),
    }
    if compute.precision != "float32":
        identity["precision"] = compute.precision
    return Subject(
        denoise=Denoiser(network, process, found.model.objective),
        model=found.model,
        run=found.run,
        identity=identity,
        device=device,
    )


def public(run: RunConfig) -> dict[str, Any]:
    """The settings of the run without the folders of who ran it."""
    return to_dict(replace(run, data=replace(run.data, path=Path(run.data.path).name)))
