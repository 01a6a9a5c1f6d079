"""Adam as training uses it: its learning rate at each step, its moments by the names of weights."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import OptimConfig

MOMENTS = ("exp_avg", "exp_avg_sq")  # as torch calls them


def learning_rate(optim: OptimConfig, step: int) -> float:
    """Linear warmup from 0 at step 0; half a cosine down to 0 where ``optim.decay`` says so."""
    lr = optim.lr * min(step / optim.warmup_steps, 1.0) if optim.warmup_steps else optim.lr
    if optim.decay == "cosine":
        lr *= 0.5 * (1 + math.cos(math.pi * min(step / optim.steps, 1.0)))
    return lr


def moments(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, torch.nn.Parameter]
) -> dict[str, Tensor]:
    """Adam's moments by the names of a checkpoint, sharing memory with it."""
    state = optimizer.state
    return {
        f"{moment}/{name}": state[parameter][moment]
        for name, parameter in parameters.items()
        if parameter in state
        for moment in MOMENTS
    }


def restore_moments(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, torch.nn.Parameter],
    resume: Checkpoint,
) -> None:
    """Give Adam the moments of a checkpoint; before the first step there are none."""
    for name, parameter in parameters.items():
        if f"exp_avg/{name}" in resume.optimizer:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(resume.step), device=parameter.device),
                **{
                    moment: torch.empty_like(parameter).copy_(resume.optimizer[f"{moment}/{name}"])
                    for moment in MOMENTS
                },
            }
