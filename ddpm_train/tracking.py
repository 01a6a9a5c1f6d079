"""Trackers: optional followers of a run's events. log.jsonl stays the truth."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ddpm_train.data.pictures import opened
from ddpm_train.errors import FixableError
from ddpm_train.events import Event, Sampled, Stepped
from ddpm_train.files import writing
from ddpm_train.reading import read_bytes

Tracker = Callable[[Event], None]


def tensorboard(folder: Path, *, step: int) -> Tracker:
    """Follow a run with TensorBoard: scalars and sample grids in ``folder``.

    A tracker cannot stop a run: what it fails to write is lost to it alone.

    Args:
        folder: Where the event files go.
        step: The step that the run begins at; later ones of an earlier part are hidden.

    Raises:
        FixableError: TensorBoard is not installed, or cannot write there.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise FixableError(
            "log.tensorboard needs TensorBoard, which is not installed",
            "pip install 'ddpm-eval[tensorboard]', or leave the setting out",
        ) from error
    with writing(folder):
        board = SummaryWriter(folder, purge_step=step + 1)

    def follow(event: Event) -> None:
        with contextlib.suppress(Exception):  # whatever its writing thread met
            if isinstance(event, Stepped):
                for name in ("loss", "lr", "grad_norm", "images_per_second"):
                    board.add_scalar(name, getattr(event, name), event.step)
            elif isinstance(event, Sampled):
                with opened(read_bytes(event.path), str(event.path)) as picture:
                    pixels = np.atleast_3d(np.asarray(picture))
                board.add_image("samples", pixels, event.step, dataformats="HWC")
                board.flush()

    return follow
