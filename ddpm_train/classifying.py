"""Training a classifier of noisy images, which guides samples (Dhariwal and Nichol 2021, App. H).

It minimises -log p(y | x_t) over x_t ~ q(x_t | x_0), t uniform, by AdamW. The draws are those of
training a diffusion model: named by the seed and the position of an image in the training order.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ddpm_train import data, schedule, settings
from ddpm_train.adam import learning_rate, moments, restore_moments
from ddpm_train.batches import Batches
from ddpm_train.checkpoint import RUN, Checkpoint
from ddpm_train.classifier_run import ClassifierRun, digits_classifier
from ddpm_train.config import ModelConfig, RunConfig
from ddpm_train.diffusion import q_sample
from ddpm_train.ema import WeightAverage
from ddpm_train.errors import FixableError
from ddpm_train.formats.classifiers import ClassifierFile
from ddpm_train.loop import StepResult, facts
from ddpm_train.networks.classifier import Classifier
from ddpm_train.noise import Stream, normal
from ddpm_train.weights import load_weights
from ddpm_train.world import World

WEIGHT_DECAY = 0.05  # guided-diffusion's
TIMES = (10, 4, 2)  # accuracy is measured at t = T / each of these
BATCH = 256


def untrained() -> ClassifierFile:
    """Give a classifier of digits with its initial weights."""
    return _file(digits_classifier(), Classifier(digits_classifier().classifier))


class Training:
    """The training of a classifier: what a ``Session`` drives."""

    def __init__(
        self,
        config: ClassifierRun,
        images: data.Images,
        world: World,
        *,
        resume: Checkpoint | None = None,
    ) -> None:
        """Prepare to train, or to go on.

        Raises:
            FixableError: The images have other classes, a setting is out of its range, or there
                are several processes.
        """
        settings.check(config)
        classes = len(data.classes_of(images))
        if classes != config.classifier.classes:
            raise FixableError(
                f"classifier.classes={config.classifier.classes}: the images have {classes} "
                "classes",
                f"set classifier.classes={classes}" if classes else "set data.labels=true",
            )
        if world.size > 1:
            raise FixableError(
                f"a classifier is trained by one process, not by {world.size}",
                "start it without torchrun",
            )
        self.config, self.images, self.world = config, images, world
        self.step = 0 if resume is None else resume.step
        self.process = schedule.build(config.schedule)
        self.network = Classifier(config.classifier, seed=config.seed).to(world.device)
        self.parameters = dict(self.network.named_parameters())
        self.average = WeightAverage(self.parameters, decay=config.optim.ema_decay)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=0.0, weight_decay=WEIGHT_DECAY, fused=True
        )
        if resume is not None:
            load_weights(self.network, resume.weights)
            for name, value in resume.ema.items():
                self.average.shadow[name].copy_(value)
            restore_moments(self.optimizer, self.parameters, resume)
        self.batches = Batches(
            _as_run(config),
            images,
            world,
            dtype=torch.float32,
            dropout_elements=self.network.dropout_elements,
        )

    def advance(self, *, stopping: Callable[[], bool], measure_loss: bool) -> StepResult | None:
        """Take one step, or None if asked to stop. The loss is in nats.

        Raises:
            FixableError: The gradient is NaN or Inf. The weights are as before the step.
        """
        if stopping():
            return None
        batch, optim = self.batches.draw(self.step), self.config.optim
        x_t = q_sample(self.process, batch.x_0, batch.t, batch.eps)
        logits = self.network(x_t, batch.t, batch.keep)
        loss = torch.nn.functional.cross_entropy(logits, cast(Tensor, batch.labels))
        self.optimizer.zero_grad()
        loss.backward()
        parameters = list(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(parameters, optim.grad_clip or math.inf).item()
        if not math.isfinite(norm):
            raise FixableError(
                f"the gradient of step {self.step + 1} is {norm}: stopped before the weights moved",
                "resume from the last checkpoint with a lower optim.lr (--accept-changes)",
            )
        lr = learning_rate(optim, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.average.update(parameters)
        self.step += 1
        return StepResult(self.step, lr, norm, loss.item())

    def checkpoint(self) -> Checkpoint:
        """Everything that is needed to go on, sharing memory with the run."""
        return Checkpoint(
            model=ModelConfig(schedule=self.config.schedule, unet=self.config.classifier.encoder),
            step=self.step,
            weights={name: value.detach() for name, value in self.parameters.items()},
            ema=self.average.shadow,
            optimizer=moments(self.optimizer, self.parameters),
            facts={**facts(self.images), RUN: settings.to_dict(self.config)},
        )

    def samples(self, count: int, *, stopping: Callable[[], bool]) -> np.ndarray | None:
        """There are none."""
        return None

    def close(self) -> None:
        """Nothing stays open."""

    def file(self) -> ClassifierFile:
        """Give the classifier of the averaged weights as it is now."""
        weights = {name: value.cpu() for name, value in self.average.shadow.items()}
        return replace(_file(self.config, self.network), weights=weights)


@torch.inference_mode()
def accuracy(file: ClassifierFile, images: data.Images, seed: int) -> Mapping[int, float]:
    """Measure the share of images that the classifier names at some t, on noise of the seed."""
    labels, network = data.labels_of(images), file.network()
    if labels is None or file.schedule is None:
        return {}
    process, n = schedule.build(file.schedule), len(images)
    shares = {}
    for t in (process.T // part for part in TIMES):
        right = 0
        for part in (range(i, min(n, i + BATCH)) for i in range(0, n, BATCH)):
            x_0 = data.to_model(images.read(part))
            eps = normal(Stream(seed, "nll"), part, x_0.shape[1:], steps=t)
            times = torch.full((len(part),), t)
            logits = network(q_sample(process, x_0, times, eps), times)
            right += int((logits.argmax(1).numpy() == labels[part.start : part.stop]).sum())
        shares[t] = right / n
    return shares


def _as_run(run: ClassifierRun) -> RunConfig:
    """The settings that name the batches."""
    return RunConfig(
        preset="classifier",
        seed=run.seed,
        data=run.data,
        schedule=run.schedule,
        unet=run.classifier.encoder,
        optim=run.optim,
    )


def _file(run: ClassifierRun, network: Classifier) -> ClassifierFile:
    weights = {name: value.detach().cpu() for name, value in network.state_dict().items()}
    return ClassifierFile(config=run.classifier, weights=weights, schedule=run.schedule)
