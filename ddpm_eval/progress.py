"""Progress without a progress bar: measures ask for it, only the CLI draws it."""

import contextlib
from collections.abc import Generator, Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Track(Protocol):
    """Pass items through, perhaps telling someone how far along we are."""

    def __call__(self, items: Iterable[Item], label: str, total: int) -> Iterable[Item]:
        """Yield the same items in the same order; there are ``total`` of them."""


def quiet(items: Iterable[Item], label: str, total: int) -> Iterable[Item]:
    """Draw nothing (the library's default)."""
    return items


def finish(work: Generator[None, None, Result], track: Track, label: str, total: int) -> Result:
    """Drive work that yields after each of its ``total`` pieces; give back what it returns.

    >>> def add():
    ...     yield
    ...     return 1 + 1
    >>> finish(add(), quiet, "adding", 1)
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


def silent(_text: str) -> None:
    """Say nothing (the library's default)."""
