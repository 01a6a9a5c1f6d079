"""Published numbers, each with its protocol and its source (``references.toml``)."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

_TEXTS = ("name", "block", "note", "protocol", "source")


@dataclass(frozen=True, slots=True)
class Published:
    """A number as it was printed, to its last digit.

    Attributes:
        value: The number.
        spread: What follows its ±, if anything does.
        at_most: The number is an upper bound on what it names.

    >>> print(Published(Decimal("3.70"), at_most=True), "and", Published(Decimal("4.90")))
    ≤ 3.70 and 4.90
    """

    value: Decimal
    spread: Decimal | None = None
    at_most: bool = False

    def __str__(self) -> str:
        spread = "" if self.spread is None else f" ± {self.spread}"
        return f"{'≤ ' if self.at_most else ''}{self.value}{spread}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a published table; ``note`` stands where there is no number.

    ``columns`` are words that belong to the protocol and have columns of their own.
    """

    name: str
    numbers: Mapping[str, Published]
    protocol: str
    source: str
    block: str = ""
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReferenceTable:
    """A published table."""

    title: str
    rows: tuple[Row, ...]


@cache
def tables() -> Mapping[str, ReferenceTable]:
    """Every published table by its key: cifar10, ablation, lsun, likelihood, strides, ...

    >>> print(tables()["cifar10"].rows[-1].name, tables()["cifar10"].rows[-1].numbers["fid"])
    DDPM (L_simple) 3.17
    """
    text = resources.files("ddpm_eval.present").joinpath("references.toml").read_text("utf-8")
    contents = tomllib.loads(text, parse_float=Decimal)
    return MappingProxyType({key: _table(table) for key, table in contents.items()})


def _table(table: Mapping[str, Any]) -> ReferenceTable:
    shared = {"protocol": table["protocol"], "source": table["source"]}
    return ReferenceTable(table["title"], tuple(_row(shared | row) for row in table["rows"]))


def _row(row: Mapping[str, Any]) -> Row:
    texts = {key: value for key, value in row.items() if key in _TEXTS}
    rest = {key: value for key, value in row.items() if key not in _TEXTS}
    columns = {key: value for key, value in rest.items() if isinstance(value, str)}
    numbers = {key: _number(value) for key, value in rest.items() if key not in columns}
    return Row(numbers=MappingProxyType(numbers), columns=MappingProxyType(columns), **texts)


def _number(number: Decimal | Mapping[str, Decimal]) -> Published:
    if isinstance(number, Decimal):
        return Published(number)
    if "at_most" in number:
        return Published(number["at_most"], at_most=True)
    return Published(number["value"], number["pm"])
