"""A training run in its folder: what is written when, by whom, and how a run goes on.

RUN/config.json               the settings, whole
RUN/log.jsonl                 one line of JSON for each logged step, each step once
RUN/checkpoints/step-N.pt     checkpoint.py's format; the newest that verifies is resumed
RUN/samples/step-N.png        grids of the averaged weights, always the same images
RUN/lock                      held by the process that writes here, released on its death
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ddpm_train import checkpoint
from ddpm_train.checkpoint import RUN, Checkpoint
from ddpm_train.config import LogConfig, OptimConfig
from ddpm_train.errors import FixableError
from ddpm_train.events import Ended, Event, Sampled, Saved, Stepped, Warned
from ddpm_train.files import (
    PARTIAL,
    held,
    remove,
    set_aside,
    write_atomically,
    write_text,
)
from ddpm_train.keeping import Keeper
from ddpm_train.locks import name_of_this_process, refuse
from ddpm_train.log import Log
from ddpm_train.loop import StepResult
from ddpm_train.settings import differences, to_dict
from ddpm_train.world import World

FREE = (
    "log.",
    "optim.steps",
    "compute.device",
    "compute.microbatch",
    "compute.threads",
    "compute.compile",
)
"""Settings that may change between two parts of a run."""

OURS = ("config.json", "log.jsonl", "checkpoints/step-*.pt", "samples/step-*.png")
"""What a run writes; the unfinished copies of these that a kill leaves are ours to delete."""

PLACE = ("data.path:", "data.source:", "run.data:")
"""What names the images, which their digest knows better."""


class Settings(Protocol):
    """The settings that a session looks at."""

    @property
    def log(self) -> LogConfig:
        """What is written along the way."""

    @property
    def optim(self) -> OptimConfig:
        """How many steps there are, and how large."""


class Learner(Protocol):
    """What is trained: ``loop.Trainer``, or ``classifying.Training``."""

    step: int
    world: World

    @property
    def config(self) -> Settings:
        """The settings of the run."""

    def advance(self, *, stopping: Callable[[], bool], measure_loss: bool) -> StepResult | None:
        """Take one step; None if asked to stop."""

    def checkpoint(self) -> Checkpoint:
        """Everything that is needed to go on."""

    def samples(self, count: int, *, stopping: Callable[[], bool]) -> np.ndarray | None:
        """Images of the averaged weights; None where there are none, or if asked to stop."""

    def close(self) -> None:
        """Let go of threads."""


@contextlib.contextmanager
def lock(folder: Path, world: World) -> Iterator[None]:
    """Be the only job that writes a run folder; the system releases the lock on our death.

    The first process of a job holds the lock for all.

    Raises:
        FixableError: Another process writes here; its name is given.
    """
    if world.rank > 0:
        yield
        return
    busy = refuse(folder, "wait for it, or choose another --out")
    with held(folder / "lock", busy) as file:
        with contextlib.suppress(OSError):  # the name is for people alone
            file.truncate(0)
            os.write(file.fileno(), name_of_this_process().encode())
        yield


def check_same(
    config: Settings, facts: dict[str, Any], old: Checkpoint, *, accept_changes: bool
) -> list[str]:
    """Refuse to go on under other settings, data or program than the run began with.

    Raises:
        FixableError: Something that decides the weights differs; each field is named.
    """
    before = old.facts.get(RUN, {}) if old.run is None else to_dict(old.run)
    same = {key: old.facts.get(key) for key in facts}
    changes = [
        change
        for change in differences({**before, "run": same}, {**to_dict(config), "run": facts})
        if not change.startswith(FREE)
    ]
    moved: list[str] = []
    if same.get("data_digest") == facts.get("data_digest"):
        moved = [change for change in changes if change.startswith(PLACE)]
        changes = [change for change in changes if change not in moved]
    notes = [f"the same images at another place: {'; '.join(moved)}"] if moved else []
    if not changes:
        return notes
    if not accept_changes:
        raise FixableError(
            "the run was begun otherwise: " + "; ".join(changes),
            "rerun with the old settings, add --accept-changes, or choose another --out",
        )
    return [*notes, f"going on with changes: {'; '.join(changes)}"]


def save_grid(path: Path, images: np.ndarray, columns: int) -> None:
    """Write uint8 images [N, H, W, C] as one PNG, row by row."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * columns, height, width, channels), 255, np.uint8)
    canvas[:n] = images
    grid = canvas.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = grid.reshape(rows * height, columns * width, channels).squeeze()
    write_atomically(path, lambda file: Image.fromarray(pixels).save(file, "PNG"))


@dataclass(frozen=True, slots=True)
class Begun:
    """A checkpoint that a run goes on from."""

    path: Path
    step: int
    facts: Mapping[str, Any]


class Session:
    """Drives a trainer and keeps its run folder."""

    def __init__(
        self,
        trainer: Learner,
        folder: Path,
        stopping: Callable[[], bool],
        begun: Begun | None = None,
    ) -> None:
        """Prepare to train.

        Args:
            trainer: At the step that training begins at or goes on from.
            folder: The run's folder.
            stopping: Is asked between steps whether to stop.
            begun: The checkpoint that the run goes on from.
        """
        self.trainer, self.folder, self.stopping = trainer, folder, stopping
        self.settings, self.world = trainer.config.log, trainer.world
        self.writes = self.world.rank == 0
        self.begun = begun
        self._keeper = Keeper(folder, self.settings)
        if begun is not None:
            self._keeper.trust(begun.path)
        self._saved_at = time.monotonic()
        self._saved_step = trainer.step

    def run(self) -> Iterator[Event]:
        """Train to the last step or until asked to stop; every process must iterate to the end.

        Raises:
            FixableError: A step failed; what was trained until then is saved.
        """
        steps, trainer = self.trainer.config.optim.steps, self.trainer
        log = self._open() if self.writes else None
        yield from (Warned(text) for text in (log.warnings if log else []))
        before = log.seconds if log else 0.0
        begun = last = time.monotonic()
        last_step = trainer.step
        while trainer.step < steps:
            due = (trainer.step + 1) % self.settings.every == 0 or trainer.step + 1 == steps
            try:
                result = trainer.advance(stopping=self.stopping, measure_loss=due)
            except FixableError:
                with contextlib.suppress(FixableError):  # the first one says what is wrong
                    yield from self._save(log)
                raise
            if result is None:
                break
            if due:
                now = time.monotonic()
                images = (trainer.step - last_step) * trainer.config.optim.batch_size
                rate = images / max(now - last, 1e-9)
                event = Stepped(
                    result.step,
                    result.loss,
                    result.lr,
                    result.grad_norm,
                    round(rate, 2),
                    round(before + now - begun, 3),
                )
                last, last_step = now, trainer.step
                if log:
                    log.write({name: getattr(event, name) for name in event.__slots__})
                yield event
            yield from self._housekeeping(log)
        yield from self._save(log)
        if log:
            log.close()
        yield Ended(trainer.step, complete=trainer.step >= steps)

    def _open(self) -> Log:
        for pattern in OURS:
            for litter in self.folder.glob(pattern + PARTIAL):
                remove(litter)
        config = json.dumps(to_dict(self.trainer.config), indent=2) + "\n"
        write_text(self.folder / "config.json", config)
        mark = None if self.begun is None else self.begun.facts.get("log")
        return Log(self.folder / "log.jsonl", upto=self.trainer.step, mark=mark)

    def _housekeeping(self, log: Log | None) -> Iterator[Event]:
        """Save and sample where the step, or the clock, says so."""
        step, settings = self.trainer.step, self.settings
        late = time.monotonic() - self._saved_at > 60 * settings.checkpoint_minutes
        stays = settings.keep_every and step % settings.keep_every == 0
        if step % settings.checkpoint_every == 0 or stays or self.world.any(self.writes and late):
            yield from self._save(log)
        if settings.sample_every and step % settings.sample_every == 0 and self.writes:
            yield from self._sample()

    def _save(self, log: Log | None) -> Iterator[Event]:
        step, began = self.trainer.step, time.monotonic()
        self._saved_at = began
        path = self.folder / "checkpoints" / f"step-{step:08d}.pt"
        if log is None or (step == self._saved_step and (path.exists() or not step)):
            return
        log.sync()
        aside = set_aside(path)
        if aside is not None:
            yield Warned(f"{path} was no file; it is called {aside.name} now")
        content = self.trainer.checkpoint()
        checkpoint.save(path, replace(content, facts={**content.facts, "log": log.mark}))
        self._saved_step = step
        self._keeper.trust(path)
        yield Saved(step, path, time.monotonic() - began)
        yield from (Warned(text) for text in self._keeper.forget(path))

    def _sample(self) -> Iterator[Event]:
        images = self.trainer.samples(self.settings.samples, stopping=self.stopping)
        if images is not None:
            path = self.folder / "samples" / f"step-{self.trainer.step:08d}.png"
            save_grid(path, images, columns=int(np.ceil(len(images) ** 0.5)))
            yield Sampled(self.trainer.step, path)
