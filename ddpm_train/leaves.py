"""The leaves of settings trees: a type, a range, and a message for each value that has neither.

    lr: Annotated[float, Range(above=0)] = 2e-4
    channel_mult: Annotated[tuple[Annotated[int, Range(1)], ...], Length(1)] = (1, 2, 2, 2)

Types are numbers, texts, flags, choices (``Literal``), tuples of them, and each of these or None.
``read`` takes a JSON value; ``parse`` takes a text, as people write it or as the tool prints it.
"""

import ast
import contextlib
import math
import numbers
import types
import typing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ddpm_train.errors import FixableError


@dataclass(frozen=True, slots=True)
class Range:
    """The numbers from ``low`` to ``high``; ``above`` and ``below`` leave the end itself out.

    >>> print(Range(1), "|", Range(0, below=1), "|", Range(above=0), "|", Range(0, 1))
    1 or more | 0 or more and below 1 | above 0 | 0 to 1
    >>> 1 in Range(0, below=1), 0 in Range(0, below=1)
    (False, True)
    """

    low: float | None = None
    high: float | None = None
    above: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        return (
            low <= value <= high
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:,} to {self.high:,}"
        ends = {
            "{:,} or more": self.low,
            "above {:,}": self.above,
            "{:,} at most": self.high,
            "below {:,}": self.below,
        }
        return " and ".join(text.format(end) for text, end in ends.items() if end is not None)


@dataclass(frozen=True, slots=True)
class Length:
    """How many members a tuple may have."""

    low: int = 0
    high: int = 64

    def __contains__(self, value: tuple[object, ...]) -> bool:
        return self.low <= len(value) <= self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high} values"


Count = Annotated[int, Range(0)]
Number = Annotated[int, Range(1)]
Size = Annotated[float, Range(above=0)]
Seed = Annotated[int, Range(0, 2**64 - 1)]
"""What names all randomness: the generators take 64 bits of it."""

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def read(hint: Any, value: Any, key: str) -> Any:
    """Check a JSON value against the type and the range of its leaf; return it as that type.

    Raises:
        FixableError: It has another type, or lies outside the range.

    >>> read(Annotated[float, Range(above=0)], 1, "optim.lr")
    1.0
    >>> read(Annotated[float, Range(above=0)], -1, "optim.lr")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: optim.lr=-1: out of range
      fix: choose optim.lr above 0
    """
    hint, limits = _apart(hint)
    typed = _typed(hint, value, key)
    for limit in limits:
        if typed is not None and typed not in limit:
            raise FixableError(
                f"{key}={_brief(value)}: out of range", f"choose {key} {_within(limit)}"
            )
    return typed


def parse(hint: Any, text: str, key: str) -> Any:
    """Read a text by the type of its leaf.

    Raises:
        FixableError: It has another type, or lies outside the range.

    >>> parse(tuple[int, ...], "[1, 2]", "unet.channel_mult")
    (1, 2)
    >>> parse(bool, "True", "data.flip"), parse(str, '"a b"', "data.path")
    (True, 'a b')
    """
    return read(hint, _value(hint, text.strip(), key), key)


def _apart(hint: Any) -> tuple[Any, tuple[Range | Length, ...]]:
    """A type and its limits."""
    if typing.get_origin(hint) is Annotated:
        hint, *limits = typing.get_args(hint)
        return hint, tuple(limit for limit in limits if isinstance(limit, Range | Length))
    return hint, ()


def _within(limit: Range | Length) -> str:
    text = str(limit)
    if isinstance(limit, Range) and " to " in text:
        return f"from {text}"
    return text if text.startswith(("above", "below")) else f"of {text}"


def _optional(hint: Any) -> Any:
    """The type X of a leaf ``X | None``; None for any other leaf."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (inner,) = (part for part in typing.get_args(hint) if part is not type(None))
        return inner
    return None


def _members(hint: Any, count: int) -> list[Any]:
    """The type of each of so many members of a tuple."""
    parts = typing.get_args(hint)
    return [parts[0]] * count if parts[-1] is ... else list(parts)


def _typed(hint: Any, value: Any, key: str) -> Any:
    """A value as the type of its leaf, the ranges of its members checked."""
    if (inner := _optional(hint)) is not None:
        return None if value is None else read(inner, value, key)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if isinstance(value, bool | int | float | str) and value in choices:
            return value
        names = ", ".join(map(str, choices))
        raise FixableError(f"{key}={_brief(value)}: not a choice", f"choose one of {names}")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise _wrong(key, value, "a list of values", "write them with commas between")
        members = _members(hint, len(value))
        if len(members) != len(value):
            raise _wrong(key, value, f"{len(members)} values", "write them with commas between")
        return tuple(read(part, member, key) for part, member in zip(members, value, strict=True))
    return _scalar(hint, value, key)


def _scalar(hint: Any, value: Any, key: str) -> Any:
    """A number, a text or a flag as its type."""
    if isinstance(value, bool | str):
        if type(value) is hint:
            return value
    elif hint is int and (isinstance(value, numbers.Integral) or _is_whole(value)):
        return int(value)
    elif hint is float and isinstance(value, numbers.Real):
        with contextlib.suppress(OverflowError):
            if math.isfinite(number := float(value)):
                return number
        raise _wrong(key, value, "a finite number")
    raise _wrong(key, value, _KINDS[hint])


def _is_whole(value: object) -> bool:
    return isinstance(value, float) and value.is_integer()


def _value(hint: Any, text: str, key: str) -> Any:
    """The JSON value that a text stands for where a leaf of this type is meant."""
    hint, _ = _apart(hint)
    if (inner := _optional(hint)) is not None:
        return None if text.lower() in ("none", "null", "") else _value(inner, text, key)
    if typing.get_origin(hint) is tuple:
        return _values(hint, text, key)
    if typing.get_origin(hint) is Literal:
        return next((c for c in typing.get_args(hint) if str(c) == _bare(text)), _bare(text))
    if hint is str:
        return _bare(text)
    try:
        if hint is bool:
            return _WORDS[_bare(text).lower()]
        return int(_bare(text).replace("_", "")) if hint is int else float(_bare(text))
    except (ValueError, KeyError):
        raise _wrong(key, text, _KINDS[hint]) from None


def _values(hint: Any, text: str, key: str) -> Any:
    """The members of a tuple: with or without brackets, quotes and spaces; nested with brackets."""
    body = text[1:-1] if text[:1] + text[-1:] in ("[]", "()") else text
    if typing.get_origin(_apart(_members(hint, 1)[0])[0]) is tuple:
        try:
            return ast.literal_eval(text) if text else []
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise _wrong(key, text, "a list of lists", "write [[0, 1], [2, 3]]") from None
    parts = [part.strip() for part in body.split(",") if part.strip()]
    members = _members(hint, len(parts))
    if len(members) != len(parts):
        raise _wrong(key, text, f"{len(members)} values", "write them with commas between")
    return [_value(part, member, key) for part, member in zip(members, parts, strict=True)]


def _bare(text: str) -> str:
    """A text without the quotes around it."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _brief(value: object) -> str:
    """A value on one line of a message."""
    text = " ".join(str(value).split())
    return text if len(text) < 60 else f"{text[:57]}..."


def _wrong(key: str, value: object, kind: str, fix: str = "") -> FixableError:
    return FixableError(f"{key}={_brief(value)}: not {kind}", fix or f"set {key} to {kind}")
