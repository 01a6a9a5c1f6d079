"""Training a classifier of noisy images, which guides samples (Dhariwal and Nichol 2021, App. H).

It minimises -log p(y | x_t) over x_t ~ q(x_t | x_0), t uniform, by AdamW. The draws are those of
training a diffusion model: named by the seed and the position of an image in the training order.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor

from ddpm_train import data, schedule, settings
from ddpm_train.batches import Batches
from ddpm_train.config import (
    ClassifierConfig,
    ComputeConfig,
    DataConfig,
    OptimConfig,
    RunConfig,
    ScheduleConfig,
)
from ddpm_train.diffusion import q_sample
from ddpm_train.errors import FixableError
from ddpm_train.formats.classifiers import ClassifierFile
from ddpm_train.leaves import Seed
from ddpm_train.networks.classifier import Classifier
from ddpm_train.noise import Stream, normal
from ddpm_train.presets import digits
from ddpm_train.world import World

WEIGHT_DECAY = 0.05  # guided-diffusion's
TIMES = (10, 4, 2)  # accuracy is measured at t = T / each of these
BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRun:
    """Every setting of a classifier's training. The process is that of the model it is to guide."""

    seed: Seed = 0
    data: DataConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)


def digits_classifier() -> ClassifierRun:
    """The settings of a classifier of noisy digits, for the presets of digits: a minute."""
    run = digits()
    encoder = replace(run.unet, norm_eps=1e-5, pad_down="both")
    return ClassifierRun(
        data=replace(run.data, labels=True),
        schedule=run.schedule,
        classifier=ClassifierConfig(encoder=encoder, classes=10),
        optim=replace(run.optim, lr=1e-3, warmup_steps=0, steps=400),
        compute=run.compute,
    )


def untrained() -> ClassifierFile:
    """Give a classifier of digits with its initial weights."""
    return _file(digits_classifier(), Classifier(digits_classifier().classifier))


UNUSED = (
    *("optim.warmup_steps", "optim.decay", "optim.grad_clip", "optim.ema_decay"),
    *("compute.device", "compute.precision", "compute.microbatch", "compute.compile"),
)
"""Settings that runs of diffusion models have, and this training does not look at."""


def refuse_unused(changes: Iterable[str]) -> None:
    """Refuse changes of settings that have no effect here.

    Raises:
        FixableError: Names the first.
    """
    for change in changes:
        if change.partition("=")[0] in UNUSED:
            raise FixableError(f"{change}: of no effect on a classifier", "leave it out")


class Training:
    """The training of a classifier."""

    def __init__(self, run: ClassifierRun, images: data.Images, device: torch.device) -> None:
        """Prepare to train.

        Raises:
            FixableError: The images have other classes, or a setting is out of its range.
        """
        settings.check(run)
        classes = len(data.classes_of(images))
        if classes != run.classifier.classes:
            raise FixableError(
                f"classifier.classes={run.classifier.classes}: the images have {classes} classes",
                f"set classifier.classes={classes}" if classes else "set data.labels=true",
            )
        self.run, self.process = run, schedule.build(run.schedule)
        self.network = Classifier(run.classifier, seed=run.seed).to(device)
        self.batches = Batches(
            _as_run(run),
            images,
            World(device),
            dtype=torch.float32,
            dropout_elements=self.network.dropout_elements,
        )

    def steps(self) -> Iterator[float]:
        """Take every step, yielding its loss in nats."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.run.optim.lr, weight_decay=WEIGHT_DECAY, fused=True
        )
        for step in range(self.run.optim.steps):
            batch = self.batches.draw(step)
            x_t = q_sample(self.process, batch.x_0, batch.t, batch.eps)
            logits = self.network(x_t, batch.t, batch.keep)
            loss = torch.nn.functional.cross_entropy(logits, cast(Tensor, batch.labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()

    def file(self) -> ClassifierFile:
        """Give the classifier as it is now."""
        return _file(self.run, self.network)


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
