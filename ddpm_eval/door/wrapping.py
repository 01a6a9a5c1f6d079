"""Anyone's network as a model: what it predicts, from which process, and how it counts time."""

import contextlib
import copy
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from ddpm_eval.model import Model, ModelFacts
from ddpm_train import schedule as schedules
from ddpm_train.config import ObjectiveConfig, ScheduleConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.predictions import PREDICTIONS
from ddpm_train.schedule import NoiseSchedule
from ddpm_train.settings import from_dict, to_dict
from ddpm_train.weights import tensor_digest

Schedule: TypeAlias = NoiseSchedule | ScheduleConfig | Tensor | Sequence[float]
Times: TypeAlias = Literal["paper", "index"]


def wrap(
    net: nn.Module,
    *,
    schedule: Schedule,
    predicts: str = "eps",
    variance: str = "fixedlarge",
    image_shape: Sequence[int] = (3, 32, 32),
    times: Times = "paper",
    classes: int = 0,
    weights: str = "unknown",
    name: str = "",
) -> Model:
    """Make a model of a network: any module that maps (x_t, t) to a prediction.

    The network stays where it is and as it is. It is known by its weights, which are read now: wrap
    it again after training it further.

    Args:
        net: Maps x_t [B, C, H, W] and t [B] to [B, C, H, W], or [B, 2C, H, W] where it learned the
            variance too; an output with the attribute ``sample`` (diffusers) is fine.
        schedule: The forward process: beta_1..beta_T, a ``ScheduleConfig``, or a ``NoiseSchedule``.
        predicts: ``eps``, ``x_0``, ``v`` or ``mu_tilde`` (``ddpm_train.predictions``).
        variance: Of p: ``fixedlarge``, ``fixedsmall``, ``learned`` or ``learned_range``.
        image_shape: (C, H, W) of an image.
        times: What the network counts: ``paper`` for t = 1..T, ``index`` for 0..T-1.
        classes: How many class labels it takes, as a third argument, [B] int64; 0: none.
        weights: ``ema``, ``raw``, or ``unknown``: for the record.
        name: For people; the class of the network if it is empty.

    Raises:
        FixableError: The network is no module, or a setting has a wrong value.

    >>> import torch
    >>> class Nothing(torch.nn.Module):
    ...     def forward(self, x, t):
    ...         return torch.zeros_like(x)
    >>> betas = torch.linspace(1e-4, 0.02, 1000)
    >>> print(wrap(Nothing(), schedule=betas, image_shape=(1, 8, 8)))
    Nothing: unknown weights, 0 parameters, 8x8x1 images, T = 1,000, fixedlarge, on cpu
    """
    if not isinstance(net, nn.Module):
        raise FixableError(
            f"net={type(net).__name__}: not a torch.nn.Module, so it has no weights to know it by",
            "write a small module whose forward(x, t) calls it",
        )
    process = _process(schedule)
    objective = _objective(predicts, variance)
    if times not in ("paper", "index"):
        raise FixableError(f"times={times}: not a choice", "choose paper (1..T) or index (0..T-1)")
    shape = _shape(image_shape)
    if classes < 0:
        raise FixableError(f"classes={classes}: not a number of classes", "choose 0 or more")
    channels = shape[0] * (2 if objective.learns_variance else 1)
    tensors = dict(net.state_dict())
    first = next((value for value in net.parameters()), torch.zeros(()))
    settings = {
        "network": f"{type(net).__module__}.{type(net).__qualname__}",
        "objective": to_dict(objective),
        "T": process.T,
        "betas": tensor_digest(process.betas),
        "image_shape": list(shape),
        "times": times,
        **({"classes": classes} if classes else {}),
    }
    model = Model(
        denoise=Denoiser(_Network(net, times, channels), process, objective),
        shape=shape,
        facts=ModelFacts(
            digest=_digest(net, settings, tensors),
            weights=weights,
            name=name or type(net).__name__,
            parameters=sum(value.numel() for value in net.parameters()),
            settings=settings,
        ),
        device=first.device,
        dtype=first.dtype,
        precision=str(first.dtype).removeprefix("torch."),
        classes=classes,
    )
    return replace(model, double=partial(_in_double, model, net, times, channels))


def _in_double(model: Model, net: nn.Module, times: Times, channels: int) -> Model:
    """The same model with a copy of its network in float64."""
    network = _Network(copy.deepcopy(net).double(), times, channels)
    denoise = Denoiser(network, model.denoise.schedule, model.denoise.objective)
    return replace(model, denoise=denoise, dtype=torch.float64, precision="float64")


class _Network:
    """The network as the paper counts time, evaluated as if ``net.eval()`` had been called."""

    def __init__(self, net: nn.Module, times: Times, channels: int) -> None:
        self.net, self.shift, self.channels = net, int(times == "index"), channels

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate."""
        labels = () if condition is None else (condition.to(x.device),)
        with _evaluating(self.net):
            output: Any = self.net(x, t.to(x.device) - self.shift, *labels)
        output = getattr(output, "sample", output)
        wanted = [len(x), self.channels, *x.shape[2:]]
        if not isinstance(output, Tensor) or list(output.shape) != wanted:
            what = list(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise FixableError(
                f"net: gives {what} for images {list(x.shape)}; {wanted} expected",
                "set image_shape and variance as it was trained (a learned one has 2C channels)",
            )
        return output


@contextlib.contextmanager
def _evaluating(net: nn.Module) -> Iterator[None]:
    """Take dropout and batch statistics out while the block runs, then leave all as it was."""
    training = [module for module in net.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _process(schedule: Schedule) -> NoiseSchedule:
    if isinstance(schedule, NoiseSchedule):
        return schedule
    if isinstance(schedule, ScheduleConfig):
        return schedules.build(schedule)
    try:
        betas = torch.as_tensor(schedule, dtype=torch.float64).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise FixableError(
            f"schedule={type(schedule).__name__}: no forward process",
            "give beta_1..beta_T, a ScheduleConfig or a NoiseSchedule",
        ) from error
    if betas.ndim != 1 or not len(betas):
        raise FixableError(f"schedule: betas of shape {list(betas.shape)}", "give beta_1..beta_T")
    return schedules.from_betas(betas)


def _objective(predicts: str, variance: str) -> ObjectiveConfig:
    if predicts not in PREDICTIONS:
        raise FixableError(f"predicts={predicts}: not a choice", f"choose {', '.join(PREDICTIONS)}")
    plain = {"prediction": predicts, "variance": variance, "loss": "L"}
    return from_dict(ObjectiveConfig, plain)


def _shape(shape: Sequence[int]) -> tuple[int, int, int]:
    try:
        C, H, W = (int(size) for size in shape)
    except (TypeError, ValueError) as error:
        raise FixableError(f"image_shape={shape}: not (C, H, W)", "write (3, 32, 32)") from error
    if min(C, H, W) < 1:
        raise FixableError(f"image_shape={shape}: a size below 1", "write (3, 32, 32)")
    return C, H, W


def _digest(net: nn.Module, settings: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 of the settings, of the network as it prints itself, and of all of its tensors."""
    sha = hashlib.sha256(json.dumps([settings, str(net)], sort_keys=True).encode())
    for name in sorted(tensors):
        sha.update(f"{name} {tensor_digest(tensors[name])} ".encode())
    return sha.hexdigest()
