"""What happens in a training run, for whoever follows it."""

from dataclasses import dataclass
from pathlib import Path


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
