"""Progress for people: a bar on a terminal, a plain line now and then elsewhere."""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ddpm_train.terminal import console, is_first_process, say

Item = TypeVar("Item")
PLAIN_SECONDS = 30.0  # between progress lines where there is no terminal


def duration(seconds: float) -> str:
    """Say how long in two units.

    >>> duration(42.4), duration(3700), duration(200_000)
    ('42 s', '1 h 02 min', '2 d 07 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    return f"{hours // 24} d {hours % 24:02d} h"


class Meter:
    """Progress through a known amount: a bar on a terminal, a plain line every 30 s elsewhere."""

    def __init__(self, label: str, total: int, *, quiet: bool = False, begin: int = 0) -> None:
        self.label, self.total, self._begin, self._done = label, total, begin, begin
        self._began = self._spoke = time.monotonic()
        self._silent = quiet or not is_first_process()
        self._bar: Progress | None = None
        if not self._silent and console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}", markup=False),
                console=console,
            )
            self._task = self._bar.add_task(label, total=total, completed=begin, note="")

    def __enter__(self) -> "Meter":
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar:
            self._bar.stop()

    def move(self, done: int, note: str = "") -> None:
        """Say that ``done`` of the total is behind us."""
        self._done = done
        if self._bar:
            self._bar.update(self._task, completed=done, note=note)
        elif not self._silent and time.monotonic() - self._spoke >= PLAIN_SECONDS:
            self._spoke = time.monotonic()
            say(f"{self.label} {done:,}/{self.total:,} {note} {self.time_left()}")

    def time_left(self) -> str:
        """The time left at the rate so far."""
        moved = self._done - self._begin
        if not moved:
            return ""
        rate = moved / (time.monotonic() - self._began)
        return f"{duration((self.total - self._done) / rate)} left"


@contextlib.contextmanager
def download_meter(*, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """Show the bytes of a download, if there is one: yields a callback (bytes done, in all)."""
    with contextlib.ExitStack() as stack:
        meters: list[Meter] = []

        def track(done: int, total: int) -> None:
            if not meters:
                meters.append(stack.enter_context(Meter("download", total, quiet=quiet)))
            meters[0].move(done)

        yield track


def tracker(*, quiet: bool) -> Callable[..., Iterable[Any]]:
    """A ``Track`` (ddpm_eval.progress) that shows the items going by."""

    def track(items: Iterable[Item], label: str, total: int) -> Iterator[Item]:
        with Meter(label, total, quiet=quiet) as meter:
            for done, item in enumerate(items, 1):
                yield item
                meter.move(done)

    return track
