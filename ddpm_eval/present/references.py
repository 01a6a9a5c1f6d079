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
NOT_STATED = "not stated"


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a published FID was taken, as far as sources say; None: not stated.

    Attributes:
        source: Where that stands.
        weights: Which weights drew the samples: ``ema``.
        sampler: What drew them: ``ancestral``.
        steps: In how many steps.
        n: Samples.
        split: The part of the data that they are compared with.
        images: How many images of it.
        resize: How images were resized for the network, as ``features.resizing`` calls it.
        rounding: How samples became whole levels: ``rounded`` or ``cut off``.
        extractor: The network: ``inception-2015-12-05`` is TensorFlow's published graph.
    """

    source: str
    weights: str | None = None
    sampler: str | None = None
    steps: int | None = None
    n: int | None = None
    split: str | None = None
    images: int | None = None
    resize: str | None = None
    rounding: str | None = None
    extractor: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a published table; ``note`` stands where there is no number.

    ``columns`` are words that belong to the protocol and have columns of their own; ``setup`` is
    None where no source says how the row was taken.
    """

    name: str
    numbers: Mapping[str, Published]
    protocol: str
    source: str
    block: str = ""
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    setup: Setup | None = None


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
    rows = tuple(_row(shared | row, table.get("setup", {})) for row in table["rows"])
    return ReferenceTable(table["title"], rows)


def _row(row: Mapping[str, Any], setup: Mapping[str, Any]) -> Row:
    texts = {key: value for key, value in row.items() if key in _TEXTS}
    rest = {key: value for key, value in row.items() if key not in (*_TEXTS, "setup")}
    columns = {key: value for key, value in rest.items() if isinstance(value, str)}
    numbers = {key: _number(value) for key, value in rest.items() if key not in columns}
    return Row(
        numbers=MappingProxyType(numbers),
        columns=MappingProxyType(columns),
        setup=_setup(setup, row.get("setup", {})),
        **texts,
    )


def _setup(shared: Mapping[str, Any], own: Mapping[str, Any] | str) -> Setup | None:
    """A row's own facts before its table's; None where nothing is stated."""
    facts = {} if isinstance(own, str) else {**shared, **own}
    return Setup(**facts) if facts else None


def _number(number: Decimal | Mapping[str, Decimal]) -> Published:
    if isinstance(number, Decimal):
        return Published(number)
    if "at_most" in number:
        return Published(number["at_most"], at_most=True)
    return Published(number["value"], number["pm"])
