"""How work is carried out: processes, unfinished work, progress, words. No number depends on it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ddpm_eval.progress import Track, quiet, silent
from ddpm_eval.record.protocol import Protocol
from ddpm_train.world import World

if TYPE_CHECKING:
    from ddpm_eval.record.record import Measurement


def alone() -> World:
    """One process on the CPU."""
    return World(torch.device("cpu"))


def nothing(_measure: str, _protocol: Protocol) -> "Measurement | None":
    """Remember nothing (the library's default)."""
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """What every measure is handed beside the model, the images and its settings.

    Attributes:
        world: The processes that share the work.
        cache: The folder of unfinished work, which a kill leaves and the next call goes on with;
            None keeps everything in memory and writes nothing.
        batch: Images in one evaluation of the network; changes results by rounding alone.
        stores: The folder of sample stores, which stay; None: inside the cache, if there is one.
        features: The folder of the features of images, which stay for whoever asks again; None:
            inside the cache, if there is one.
        track: Shows progress.
        notify: Says what must be said before the work is done.
        recorded: The finished measurement of a measure and a protocol, if there is one: it is
            given back in place of measuring again.
        command: The command line that runs, if one does.
        folders: The folders of unfinished work that this runtime began, to be cleared away once
            the measurement is recorded.
    """

    world: World = field(default_factory=alone)
    cache: Path | None = None
    batch: int = 64
    stores: Path | None = None
    features: Path | None = None
    track: Track = quiet
    notify: Callable[[str], None] = silent
    recorded: Callable[[str, Protocol], "Measurement | None"] = nothing
    command: tuple[str, ...] = ()
    folders: list[Path] = field(default_factory=list)

    def inside(self, name: str) -> "Runtime":
        """The same with a folder of its own inside the cache."""
        return self if self.cache is None else replace(self, cache=self.cache / name)
