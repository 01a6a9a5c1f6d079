"""A training run in its folder: what is written when, by whom, and how a run goes on.

RUN/config.json               the settings, whole
RUN/log.jsonl                 one line of JSON for each logged step, each step once
RUN/checkpoints/step-N.pt     checkpoint.py's format; the newest that verifies is resumed
RUN/samples/step-N.png        grids of the averaged weights, always the same images
RUN/lock                      held by the process that writes here, released on its death
"""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ddpm_train import checkpoint
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import PARTIAL, explain, write_atomically, write_text
from ddpm_train.loop import Trainer
from ddpm_train.runs import checkpoints, read_log
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


@dataclass(frozen=True, slots=True)
class Stepped:
    """A logged step, as it stands in log.jsonl."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    images_per_second: float
    seconds: float  # of training so far, over all parts of the run


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run goes on from a checkpoint."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the user should know."""

    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is on the disk."""

    step: int
    path: Path
    seconds: float


@dataclass(frozen=True, slots=True)
class Sampled:
    """A sample grid is on the disk."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is complete, or was asked to stop and saved."""

    step: int
    complete: bool


Event = Stepped | Resumed | Warned | Saved | Sampled | Ended


@contextlib.contextmanager
def lock(folder: Path, world: World) -> Iterator[None]:
    """Be the only job that writes a run folder; the system releases the lock on our death.

    The first process of a job holds the lock for all.

    Raises:
        FixableError: Another process writes here; its name is given.
    """
    path = folder / "lock"
    if world.rank > 0:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
    except OSError as error:
        raise explain(error, folder) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            owner = file.read().strip() or "another process"
            raise FixableError(
                f"{folder}: {owner} is writing to this run", "wait for it, or choose another --out"
            ) from error
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {time.strftime('%Y-%m-%d %H:%M:%S')},")
        file.flush()
        yield


def _free(config: RunConfig) -> tuple[str, ...]:
    """The settings that may change; the number of steps decides a learning rate that decays."""
    return tuple(key for key in FREE if config.optim.decay == "none" or key != "optim.steps")


def check_same(
    config: RunConfig, facts: dict[str, Any], old: Checkpoint, *, accept_changes: bool
) -> list[str]:
    """Refuse to go on under other settings, data or program than the run began with.

    Raises:
        FixableError: Something that decides the weights differs; each field is named.
    """
    before = {} if old.run is None else to_dict(old.run)
    changes = [
        change
        for change in differences(
            {**before, "run": dict(old.facts)}, {**to_dict(config), "run": facts}
        )
        if not change.startswith(_free(config))
    ]
    if not changes:
        return []
    if not accept_changes:
        raise FixableError(
            "the run was begun otherwise: " + "; ".join(changes),
            "rerun with the old settings, add --accept-changes, or choose another --out",
        )
    return [f"going on with changes: {'; '.join(changes)}"]


class Log:
    """log.jsonl: append-only, cut back to the checkpoint when a run is resumed."""

    def __init__(self, path: Path, *, upto: int) -> None:
        self.path = path
        lines = [line for line in read_log(path) if line["step"] <= upto]
        self.seconds = float(lines[-1]["seconds"]) if lines else 0.0
        write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = path.open("a", encoding="utf-8")

    def write(self, event: Stepped) -> None:
        """Append a line; a full disk stops the run with a sentence."""
        try:
            line = {name: getattr(event, name) for name in event.__slots__}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise explain(error, self.path) from error

    def sync(self) -> None:
        """Make the lines survive a power cut: before a checkpoint that counts on them."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def save_grid(path: Path, images: np.ndarray, columns: int) -> None:
    """Write uint8 images [N, H, W, C] as one PNG, row by row."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * columns, height, width, channels), 255, np.uint8)
    canvas[:n] = images
    grid = canvas.reshape(rows, columns, height, width, channels).swapaxes(1, 2)
    pixels = grid.reshape(rows * height, columns * width, channels).squeeze()
    write_atomically(path, lambda file: Image.fromarray(pixels).save(file, "PNG"))


class Session:
    """Drives a trainer and keeps its run folder."""

    def __init__(self, trainer: Trainer, folder: Path, stopping: Callable[[], bool]) -> None:
        self.trainer, self.folder, self.stopping = trainer, folder, stopping
        self.settings, self.world = trainer.config.log, trainer.world
        self.writes = self.world.rank == 0
        self._saved_at = time.monotonic()
        self._saved_step = trainer.step

    def run(self) -> Iterator[Event]:
        """Train to the last step or until asked to stop; every process must iterate to the end."""
        steps, trainer = self.trainer.config.optim.steps, self.trainer
        log = self._open() if self.writes else None
        before = log.seconds if log else 0.0
        begun = last = time.monotonic()
        last_step = trainer.step
        while trainer.step < steps:
            due = (trainer.step + 1) % self.settings.every == 0 or trainer.step + 1 == steps
            result = trainer.advance(stopping=self.stopping, measure_loss=due)
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
                    log.write(event)
                yield event
            yield from self._housekeeping(log)
        yield from self._save(log)
        if log:
            log.close()
        yield Ended(trainer.step, complete=trainer.step >= steps)

    def _open(self) -> Log:
        for litter in self.folder.rglob(f"*{PARTIAL}"):
            litter.unlink(missing_ok=True)
        config = json.dumps(to_dict(self.trainer.config), indent=2) + "\n"
        write_text(self.folder / "config.json", config)
        return Log(self.folder / "log.jsonl", upto=self.trainer.step)

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
        if log is None or (step == self._saved_step and path.exists()):
            return
        log.sync()
        checkpoint.save(path, self.trainer.checkpoint())
        self._saved_step = step
        self._forget()
        yield Saved(step, path, time.monotonic() - began)

    def _forget(self) -> None:
        """Delete checkpoints beyond the newest few, once a newer one is safe."""
        keep, every = self.settings.keep, self.settings.keep_every
        for path in checkpoints(self.folder)[keep:] if keep else []:
            if not (every and int(path.stem.removeprefix("step-")) % every == 0):
                path.unlink(missing_ok=True)

    def _sample(self) -> Iterator[Event]:
        images = self.trainer.samples(self.settings.samples, stopping=self.stopping)
        if images is not None:
            path = self.folder / "samples" / f"step-{self.trainer.step:08d}.png"
            save_grid(path, images, columns=int(np.ceil(len(images) ** 0.5)))
            yield Sampled(self.trainer.step, path)
