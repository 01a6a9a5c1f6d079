"""What every measure is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ddpm_eval.config import EvalConfig, Split
from ddpm_eval.progress import Track, quiet
from ddpm_eval.subject import Subject
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.world import World


@dataclass(frozen=True, kw_only=True)
class Job:
    """One measurement to make."""

    subject: Subject
    config: EvalConfig
    images: Callable[[Split], Images]
    world: World
    work: Path  # a folder of this measure's own for unfinished work
    log: Path | None = None  # the log of the run that the subject comes from
    track: Track = quiet


def count(n: int, images: Images) -> int:
    """How many images to take; 0 asks for all.

    Raises:
        FixableError: There are fewer.
    """
    if n > len(images):
        raise FixableError(
            f"--n {n:,}: {images.name} has {len(images):,} images", "choose fewer, or 0 for all"
        )
    return n or len(images)
