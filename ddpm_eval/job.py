"""What every measure is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ddpm_eval.config import EvalConfig, Split
from ddpm_eval.model import Model
from ddpm_eval.progress import Track, quiet
from ddpm_eval.record.schema1 import Measurement
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.world import World


def _silent(_text: str) -> None:
    """Say nothing (the library's default)."""


def _nothing(_name: str) -> Measurement | None:
    """Remember nothing (the library's default)."""
    return None


@dataclass(frozen=True, kw_only=True)
class Job:
    """One measurement to make."""

    subject: Model
    config: EvalConfig
    images: Callable[[Split], Images]
    world: World
    work: Path  # a folder of this measure's own for unfinished work
    stores: Path | None = None  # the folder of sample stores; None: inside ``work``
    log: Path | None = None  # the log of the run that the subject comes from
    against: Model | None = None  # a second model to compare with
    recorded: Callable[[str], Measurement | None] = _nothing  # what the record already holds
    track: Track = quiet
    notify: Callable[[str], None] = _silent  # for what must be said before the work is done


def count(n: int, images: Images, *, drop_remainder: int = 0, option: str = "--n") -> int:
    """How many images to take; 0 asks for all.

    Args:
        n: The wish.
        images: What there is.
        drop_remainder: Keep whole batches of so many images only; 0 keeps all.
        option: Where the wish was written.

    Raises:
        FixableError: There are fewer, or not one whole batch.
    """
    if n > len(images):
        raise FixableError(
            f"{option} {n:,}: {images.name} has {len(images):,} images",
            "choose fewer" + ", or 0 for all" * (option == "--n"),
        )
    n = n or len(images)
    if not drop_remainder:
        return n
    if n < drop_remainder:
        raise FixableError(
            f"--drop-remainder {drop_remainder:,}: {n:,} images are not one whole batch",
            "leave it out, or take more images",
        )
    return n // drop_remainder * drop_remainder
