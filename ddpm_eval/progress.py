"""Progress without a progress bar: measures ask for it, only the CLI draws it."""

from collections.abc import Generator, Iterable, Iterator
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
    results = []

    def pieces() -> Iterator[None]:
        results.append((yield from work))

    for _ in track(pieces(), label, total):
        pass
    return results[0]


def silent(_text: str) -> None:
    """Say nothing (the library's default)."""
