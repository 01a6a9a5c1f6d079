"""Training (Algorithm 1): everything that decides the weights, and nothing else.

Every random draw is named by the seed and the position of an image in the training order, so the
state is the weights, their average, Adam's moments and the step: a resumed run, another number of
processes or another microbatch draws the same images, times, noise and dropout.
"""

import contextlib
import copy
import math
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

import ddpm_train
from ddpm_train import data, schedule, settings
from ddpm_train.adam import learning_rate, moments, restore_moments
from ddpm_train.batches import Batch, Batches
from ddpm_train.chain import chain, prior
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import RunConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.ema import WeightAverage
from ddpm_train.errors import FixableError
from ddpm_train.fast import prepare as inference
from ddpm_train.noise import Stream
from ddpm_train.objective import Objective
from ddpm_train.running_errors import RunningErrors
from ddpm_train.samplers import usual
from ddpm_train.weights import build_network, load_weights
from ddpm_train.world import World

DTYPES = {"float32": torch.float32, "bf16": torch.float32, "float64": torch.float64}


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step did. ``loss`` is the mean over the global batch, NaN where not asked for."""

    step: int  # 1 after the first
    lr: float
    grad_norm: float  # before clipping
    loss: float


class Trainer:
    """The state of a training run and the one step that moves it."""

    def __init__(
        self,
        config: RunConfig,
        images: data.Images,
        world: World,
        *,
        resume: Checkpoint | None = None,
    ) -> None:
        settings.check(config)
        if config.optim.batch_size < world.size:
            raise FixableError(
                f"optim.batch_size={config.optim.batch_size} images for {world.size} processes",
                "start fewer processes or raise optim.batch_size",
            )
        _check_classes(config, images)
        self.config, self.images, self.world = config, images, world
        self.step = 0 if resume is None else resume.step
        self.dtype = DTYPES[config.compute.precision]
        process = schedule.build(config.schedule)
        network = build_network(config.model, seed=config.seed)
        self.network = network.to(world.device, self.dtype).to(memory_format=torch.channels_last)
        self.running = RunningErrors(process) if config.objective.tracks_errors else None
        errors = None if self.running is None else self.running.errors
        self.denoise = Denoiser(self.network, process, config.objective, errors)
        self.objective = Objective(config.objective, self.denoise)
        self.parameters = dict(self.network.named_parameters())
        # The learning rate is set at every step.
        self.optimizer = torch.optim.Adam(self.parameters.values(), lr=0.0, fused=True)
        self.average = WeightAverage(self.parameters, decay=config.optim.ema_decay)
        if resume is not None:
            self._restore(resume)
        self.model = self._parallel()
        self.batches = Batches(
            config,
            images,
            world,
            dtype=self.dtype,
            dropout_elements=self.network.dropout_elements,
        )
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: Future[Batch] = self._reader.submit(self.batches.draw, self.step)

    def advance(self, *, stopping: Callable[[], bool], measure_loss: bool) -> StepResult | None:
        """Take one step, or None if asked to stop before it was complete; then nothing moved.

        Raises:
            FixableError: The gradient is NaN or Inf. The weights are as before the step.
        """
        batch = self.batches.timed(
            self._next.result(), self.step, self.denoise.schedule, self.denoise.errors
        )
        following = self._reader.submit(self.batches.draw, self.step + 1)
        parts = self._microbatches(len(batch.x_0))
        total = torch.zeros((), dtype=self.dtype, device=self.world.device)
        errors = []
        for number, part in enumerate(batch.split(parts), 1):
            if self.world.any(stopping()) if number == 1 else self.world.size == 1 and stopping():
                self.optimizer.zero_grad()
                following.cancel()
                return None
            with self._synchronised(last=number == parts):
                loss, squared_errors = self._loss(part)
                # DDP averages over processes: together they are the mean over the global batch.
                with self.world.together():
                    (loss * self.world.size).backward()
            total += loss.detach()
            errors.append(squared_errors)
        # All that needs the other processes comes before the weights move: who loses them now
        # can still save a whole step.
        loss_value = self.world.sum(total).item() if measure_loss else float("nan")
        draws = self._draws(batch.t, torch.cat(errors))
        norm = self._update()
        self._learn(draws)
        self._next = following
        return StepResult(
            self.step, learning_rate(self.config.optim, self.step - 1), norm, loss_value
        )

    def checkpoint(self) -> Checkpoint:
        """Everything that is needed to go on, sharing memory with the run."""
        return Checkpoint(
            model=self.config.model,
            step=self.step,
            weights={name: value.detach() for name, value in self.parameters.items()},
            ema=self.average.shadow,
            optimizer=moments(self.optimizer, self.parameters),
            tables={} if self.running is None else self.running.state(),
            run=self.config,
            facts=facts(self.images),
        )

    def samples(self, count: int, *, stopping: Callable[[], bool]) -> np.ndarray | None:
        """Images 0..count-1 of the averaged weights, uint8 [count, H, W, C]; None if stopped.

        The classes follow each other in turn.
        """
        network = copy.deepcopy(self.network).eval()
        load_weights(network, self.average.shadow)
        process = self.denoise.schedule
        fast = self.dtype == torch.float32
        prepared = inference.prepare(network, process.T, use_up=True) if fast else network
        denoise = Denoiser(prepared, process, self.config.objective, self.denoise.errors)
        stream, indices = Stream(self.config.seed, "sample"), range(count)
        unet = self.config.net
        shape = (unet.channels, unet.image_size, unet.image_size)
        x = prior(stream, indices, shape).to(self.world.device, self.dtype)
        labels = torch.arange(count) % unet.classes if unet.classes else None
        for frame in chain(usual(denoise), x, indices, stream, condition=labels):
            if stopping():
                return None
            x = frame.x_0_hat
        return data.to_uint8(x)

    def close(self) -> None:
        """Let the reading thread go."""
        self._reader.shutdown(cancel_futures=True)

    def _draws(self, t: Tensor, errors: Tensor) -> Tensor:
        """The times of the global batch and their errors [2, B]; empty where nobody learns them."""
        if self.running is None:
            return torch.empty(2, 0)
        size = self.config.optim.batch_size
        every = torch.zeros(2, size, dtype=torch.float64)
        every[:, [*self.world.share(range(size))]] = torch.stack([t, errors.cpu()]).double()
        return self.world.sum(every).cpu()

    def _learn(self, draws: Tensor) -> None:
        """Take the errors of the global batch into the running ones."""
        if self.running is None:
            return
        self.running.update(self.step - 1, draws[0].long(), draws[1])
        self.denoise.calibrate(self.running.errors)

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """This part's share of the mean loss over the global batch, and its errors of x_0_hat."""
        x_t = self.objective.noisy(batch.x_0, batch.t, batch.eps)
        bf16 = self.config.compute.precision == "bf16"
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=bf16):
            t = batch.t.to(self.world.device)
            x = self.denoise.prediction.scaled(self.denoise.schedule, x_t, batch.t)
            output = self.model(x, t, condition=batch.labels, keep=batch.keep)
        losses = self.objective.loss(output, batch.x_0, x_t, batch.t, batch.eps)
        loss = (batch.weights * losses).sum() / self.config.optim.batch_size
        return loss, self._errors(output.detach(), batch.x_0, x_t, batch.t)

    def _errors(self, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """The mean squared error of x_0_hat of each image, clipped as in evaluation, [B]."""
        if self.running is None:
            return torch.zeros(len(t))
        x_0_hat = self.denoise.x_0_hat(output, x_t, t, clip=True)
        return (x_0 - x_0_hat).square().flatten(1).mean(1)

    def _update(self) -> float:
        """Clip, step and average; the step counts up."""
        parameters = list(self.parameters.values())
        most = self.config.optim.grad_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(parameters, most).item()
        if not np.isfinite(norm):
            self.optimizer.zero_grad()
            raise FixableError(
                f"the gradient of step {self.step + 1} is {norm}: stopped before the weights moved",
                "resume from the last checkpoint with a lower optim.lr (--accept-changes)",
            )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optim, self.step)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.average.update(parameters)
        self.step += 1
        return norm

    def _microbatches(self, images: int) -> int:
        """How many passes a local batch takes.

        On a CPU a pass is about 16 images of 32x32, so that a stop is seen within seconds.
        """
        size = self.config.compute.microbatch
        if size == 0:
            pixels = self.config.net.image_size**2
            size = images if self.world.device.type != "cpu" else max(1, 16 * 1024 // pixels)
        return -(-images // size)

    def _parallel(self) -> torch.nn.Module:
        model: torch.nn.Module = self.network
        if self.config.compute.compile:
            model = torch.compile(model)  # type: ignore[assignment]
        if self.world.size > 1:
            with self.world.together():
                model = DistributedDataParallel(model, gradient_as_bucket_view=True)
        return model

    def _synchronised(self, *, last: bool) -> contextlib.AbstractContextManager[None]:
        """Exchange gradients once a step, after the last microbatch."""
        if isinstance(self.model, DistributedDataParallel) and not last:
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _restore(self, resume: Checkpoint) -> None:
        load_weights(self.network, resume.weights)
        if self.running is not None and resume.tables:
            self.running.restore(resume.tables)
            self.denoise.calibrate(self.running.errors)
        for name, value in resume.ema.items():
            self.average.shadow[name].copy_(value)
        restore_moments(self.optimizer, self.parameters, resume)


def _check_classes(config: RunConfig, images: data.Images) -> None:
    """Refuse a network with other classes than the images have.

    Raises:
        FixableError: Names both.
    """
    wanted, classes = config.net.classes, data.classes_of(images)
    if wanted and not classes:
        raise FixableError(
            f"unet.classes={wanted}: the images have no labels",
            "set data.labels=true, or unet.classes=0",
        )
    if wanted != len(classes):
        raise FixableError(
            f"unet.classes={wanted}: the images have {len(classes):,} classes",
            f"set unet.classes={len(classes)}",
        )


def facts(images: data.Images) -> dict[str, object]:
    """What a resumed run must share with the one before, beside its settings."""
    classes = data.classes_of(images)
    return {
        **({"classes": list(classes)} if classes else {}),
        "data": images.name,
        "data_digest": images.digest,
        "data_n": len(images),
        "program": ddpm_train.__version__,
    }
