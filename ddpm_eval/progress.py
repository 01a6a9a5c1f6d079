"""Progress without a progress bar: measures ask for it, only the CLI draws it."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Track(Protocol):
    """Pass items through, perhaps telling someone how far along we are."""

    def __call__(self, items: Iterable[Item], label: str, total: int) -> Iterable[Item]:
        """Yield the same items in the same order; there are ``total`` of them."""


def quiet(items: Iterable[Item], label: str, total: int) -> Iterable[Item]:
    """Draw nothing (the library's default)."""
    return items


def silent(_text: str) -> None:
    """Say nothing (the library's default)."""
