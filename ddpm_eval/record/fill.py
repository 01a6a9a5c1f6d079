"""The one loop that makes long work: in memory, or in shards that survive a kill and are shared.

A folder of unfinished work is named after all that its result depends on, and has one owner at a
time: the same command beside itself waits, and two different ones never meet.
"""

import contextlib
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ddpm_eval.progress import Track
from ddpm_eval.record.shards import Arrays, key_of, open_shards
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.files import held
from ddpm_train.folders import remove_tree

LOCK = ".lock"
"""The file in a folder of unfinished work whose lock its owner holds."""

Result = TypeVar("Result")
Make = Callable[[range], Generator[None, None, Arrays]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What is made: ``n`` items, ``size`` of them at once and to a shard.

    Attributes:
        name: What the work is called: the beginning of its folder's name.
        facts: All that the result depends on, JSON values.
        n: How many items there are.
        size: How many items are made at once.
        make: Makes the arrays of a range of items, the items on their first axis; yields after
            each evaluation of the network.
        ticks: How often it yields for a range.
        label: What progress is called.
    """

    name: str
    facts: Mapping[str, Any]
    n: int
    size: int
    make: Make
    ticks: Callable[[range], int]
    label: str

    def parts(self) -> list[range]:
        """The ranges of all shards."""
        return [range(i, min(i + self.size, self.n)) for i in range(0, self.n, self.size)]


class Pieces(Protocol):
    """Finished work: arrays by ranges of items."""

    def parts(self) -> list[range]:
        """The ranges of all shards."""

    def part(self, part: range) -> Arrays:
        """The arrays of one range."""

    def read(self) -> Arrays:
        """The arrays of all items, joined."""


@dataclass(frozen=True, slots=True)
class InMemory:
    """Finished work that was never written."""

    pieces: Mapping[range, Arrays]

    def parts(self) -> list[range]:
        """The ranges of all shards."""
        return [*self.pieces]

    def part(self, part: range) -> Arrays:
        """The arrays of one range."""
        return self.pieces[part]

    def read(self) -> Arrays:
        """The arrays of all items, joined."""
        first = next(iter(self.pieces.values()))
        return {
            name: np.concatenate([arrays[name] for arrays in self.pieces.values()])
            for name in first
        }


def fill(work: Work, runtime: Runtime) -> Pieces:
    """Make what is missing of a work; every process gets all of it.

    Raises:
        FixableError: Several processes have no cache to share, or the disk is full.
    """
    if runtime.cache is None:
        return _in_memory(work, runtime)
    world = runtime.world
    folder = runtime.cache / f"{work.name}-{key_of({**work.facts, 'n': work.n})}"
    with owned(folder, runtime):
        shards = open_shards(folder, work.facts, n=work.n, size=work.size, world=world)
        todo = world.share(shards.missing(world))

        def missing() -> Generator[None, None, None]:
            for part in todo:
                arrays = yield from work.make(part)
                shards.write(part, arrays)

        finish(missing(), runtime.track, work.label, sum(work.ticks(part) for part in todo))
        world.barrier()
    runtime.folders.append(folder)
    return shards


def _in_memory(work: Work, runtime: Runtime) -> Pieces:
    if runtime.world.size > 1:
        raise FixableError("cache: several processes share a folder", "name one: cache='work'")

    def whole() -> Generator[None, None, dict[range, Arrays]]:
        pieces = {}
        for part in work.parts():
            pieces[part] = yield from work.make(part)
        return pieces

    total = sum(work.ticks(part) for part in work.parts())
    return InMemory(finish(whole(), runtime.track, work.label, total))


def finish(work: Generator[None, None, Result], track: Track, label: str, total: int) -> Result:
    """Drive work that yields after each of its ``total`` pieces; give back what it returns.

    >>> def add():
    ...     yield
    ...     return 1 + 1
    >>> finish(add(), lambda items, label, total: items, "adding", 1)
    2
    """

    def steps() -> Generator[int, None, None]:
        yield from track(range(total), label, total)

    with contextlib.closing(steps()) as meter:
        while True:
            next(meter, None)
            try:
                next(work)
            except StopIteration as end:
                result: Result = end.value
                return result


@contextlib.contextmanager
def owned(folder: Path, runtime: Runtime) -> Iterator[None]:
    """Hold a folder of unfinished work; wait, aloud, for another job that does.

    The lock dies with its process.
    """
    with contextlib.ExitStack() as stack:
        runtime.world.once(lambda: stack.enter_context(_locked(folder, runtime)))
        yield


@contextlib.contextmanager
def _locked(folder: Path, runtime: Runtime) -> Iterator[None]:
    def wait(owner: str) -> None:
        runtime.notify(f"{folder}: {owner} makes the same; waiting for it")

    with held(folder / LOCK, wait):
        yield


class _BusyError(Exception):
    """Another process holds a folder of unfinished work."""


def clear(folder: Path) -> None:
    """Delete a folder of finished work, unless another process is at the same in it."""

    def leave(_owner: str) -> None:
        raise _BusyError

    with contextlib.suppress(_BusyError):
        if (folder / LOCK).exists():
            with held(folder / LOCK, leave):
                remove_tree(folder)
