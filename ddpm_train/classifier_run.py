"""Every setting of a classifier's training: one frozen tree, as a run's. Imports no torch."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ddpm_train.architectures import ClassifierConfig, UNetConfig
from ddpm_train.config import (
    ComputeConfig,
    DataConfig,
    LogConfig,
    OptimConfig,
    ScheduleConfig,
)
from ddpm_train.errors import FixableError
from ddpm_train.leaves import Seed
from ddpm_train.presets import digits


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRun:
    """Every setting of a classifier's training. The process is that of the model it is to guide."""

    preset: str = "classifier"
    seed: Seed = 0
    data: DataConfig
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    log: LogConfig = field(default_factory=lambda: LogConfig(sample_every=0, checkpoint_every=200))

    @property
    def net(self) -> UNetConfig:
        """The settings that have the size of the images."""
        return self.classifier.encoder


def digits_classifier() -> ClassifierRun:
    """The settings of a classifier of noisy digits, for the presets of digits: a minute."""
    run = digits()
    encoder = replace(run.unet, norm_eps=1e-5, pad_down="both")
    return ClassifierRun(
        data=replace(run.data, labels=True),
        schedule=run.schedule,
        classifier=ClassifierConfig(encoder=encoder, classes=10),
        optim=replace(run.optim, lr=1e-3, warmup_steps=0, steps=400, grad_clip=0.0),
        compute=run.compute,
    )


UNUSED = (
    *("compute.precision", "compute.microbatch", "compute.compile"),
    *("log.sample_every", "log.samples"),
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
