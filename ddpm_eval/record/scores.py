"""Scores: numbers that carry their facts as fields, so that nobody has to parse a name."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from ddpm_eval.metrics.estimate import Error as Error
from ddpm_eval.metrics.estimate import ErrorKind
from ddpm_eval.metrics.registry import Metric, definition
from ddpm_eval.record.arrays import Array

Part: TypeAlias = Literal["total", "these images", "prior", "steps", "decoder"]
"""Parts of the bound; ``these images`` is the total with the error of the estimate alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualifiers:
    """What a number or a curve is of, beside its metric.

    Attributes:
        whose: ``model``, ``samples``, ``held-out images``, or a baseline's name: ``untrained
            network``, ``histograms``, ``other model``, ``difference``.
        part: Which part of the bound.
        variance: Under which variance of p: ``fixedlarge``, ``fixedsmall``, ``optimal``, ...;
            empty: the model's own, or it does not matter.
        extractor: The suffix of another extractor than the published Inception: ``(digits-cnn)``.
        space: Where distances are taken: ``pixels`` or ``features``.
        at: A place on an axis of the registry, as in ``("reverse_steps", 500)``.
    """

    whose: str = "model"
    part: Part = "total"
    variance: str = ""
    extractor: str = ""
    space: str = ""
    at: tuple[str, float] | None = None

    def label(self, metric: str) -> str:
        """Name a number for people: the metric's title, then what it is of.

        >>> Qualifiers(part="decoder", variance="fixedsmall").label("bits_per_dim")
        'Bits/dim, decoder (fixedsmall)'
        >>> Qualifiers(whose="held-out images", extractor="(digits-cnn)").label("fid")
        'FD(digits-cnn), held-out images'
        >>> Qualifiers(whose="samples", at=("reverse_steps", 100)).label("rmse")
        'RMSE, at 100 reverse steps'
        >>> Qualifiers(whose="PNG", at=("rmse", 10)).label("rate")
        'Rate, PNG, at 10 RMSE'
        """
        title = definition(metric).title_through(self.extractor)
        parts = [
            title if self.part == "total" else f"{title}, {self.part}",
            f"({self.variance})" if self.variance else "",
        ]
        named = [
            " ".join(part for part in parts if part),
            "" if self.whose in ("model", "samples") else self.whose,
            f"in {self.space}" if self.space else "",
        ]
        if self.at is not None:
            axis = definition(self.at[0]).title.partition(" (")[0]
            name = axis if axis[:2].isupper() else axis[:1].lower() + axis[1:]
            named.append(f"at {self.at[1]:,g} {name}")
        return ", ".join(part for part in named if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number: which metric, its value, n, its error, and what it is of.

    Attributes:
        metric: A key of ``METRICS``.
        value: The number; an ``int`` is a count and is shown whole.
        n: How many images (or other independent things) it was measured on.
        error: What stands behind ±, where there is one.
        of: What the number is of.

    >>> print(Score(metric="bits_per_dim", value=3.7512, n=10_000, error=Error(size=0.0041)))
    3.751 ± 0.004 bits/dim (n=10,000)
    >>> print(Score(metric="inception_score", value=9.4612, n=50_000, error=Error(size=0.112)))
    9.46 ± 0.11 (n=50,000)
    >>> print(Score(metric="evaluations", value=35_746_307, n=1))
    35,746,307 evaluations (n=1)
    """

    metric: str
    value: float
    n: int
    error: Error | None = None
    of: Qualifiers = field(default_factory=Qualifiers)

    @property
    def definition(self) -> Metric:
        """The metric's entry in the registry."""
        return definition(self.metric)

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.of.label(self.metric)

    @property
    def texts(self) -> tuple[str, str]:
        """The number and its error (empty where there is none), down to the same digit."""
        size = None if self.error is None else self.error.size
        return number_texts(self.value, size, least=self.definition.decimals)

    def __str__(self) -> str:
        number, error = self.texts
        pieces = [number, f"± {error}" if error else "", self.definition.unit, f"(n={self.n:,})"]
        return " ".join(piece for piece in pieces if piece)


def number_texts(value: float, error: float | None, *, least: int = 0) -> tuple[str, str]:
    """Write a number and its error (empty where there is none) down to the same digit.

    That is the error's first digit, or its second after a 1; ``least`` decimals at least. Numbers
    below 1e-4 have an exponent. An error of 0 is written: it is exact.

    >>> [number_texts(12.3456, error) for error in (3, 0.3, 0.1)]
    [('12', '3'), ('12.3', '0.3'), ('12.35', '0.10')]
    >>> number_texts(3.1e-5, 2e-7, least=3)
    ('3.10e-05', '0.02e-05')
    >>> number_texts(-0.001, None), number_texts(3.1712, None), number_texts(0.95136, None)
    (('-0.00100', ''), ('3.17', ''), ('0.951', ''))
    >>> number_texts(-0.004, 0.2)  # not -0.0
    ('0.0', '0.2')
    """
    size = max(abs(value), error or 0)
    if 0 < size < 1e-4:
        power = math.floor(math.log10(size))
        scaled = None if error is None else error / 10.0**power
        number, spread = number_texts(value / 10.0**power, scaled)
        return f"{number}e{power:03}", f"{spread}e{power:03}" if spread else ""
    decimals = _decimals(value, error, least)
    number = f"{value:,.{decimals}f}"
    if float(number.replace(",", "")) == 0:
        number = number.removeprefix("-")
    return number, "" if error is None else f"{error:,.{decimals}f}"


def _decimals(value: float, error: float | None, least: int) -> int:
    if error:
        first = math.floor(math.log10(error))
        return max(least, -first + (error < 1.95 * 10.0**first))
    if isinstance(value, int):
        return 0
    return max(least, 2, 2 - math.floor(math.log10(abs(value) or 1)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A metric over another one, both [K] float64.

    Attributes:
        metric: The key of what is drawn upwards.
        over: The key of what is drawn sideways.
        x: Values of ``over``.
        y: Values of ``metric``.
        n: How many images each point is a mean over; 1 where it is no mean.
        error: The size of each point's error, [K]; of a single image, whose 0 is none, None.
        error_kind: What these errors are.
        of: What the curve is of.
        log: Which axes are logarithmic.
    """

    metric: str
    over: str
    x: Array
    y: Array
    n: int
    error: Array | None = None
    error_kind: ErrorKind = "standard error"
    of: Qualifiers = field(default_factory=Qualifiers)
    log: Literal["", "x", "y", "xy"] = ""

    def __post_init__(self) -> None:
        for name in ("x", "y", "error"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        if self.n == 1 and self.error is not None and not self.error.any():
            object.__setattr__(self, "error", None)
        shapes = {self.x.shape, self.y.shape, (self.y if self.error is None else self.error).shape}
        if len(shapes) > 1 or self.y.ndim != 1 or not self.y.size:
            raise ValueError(f"a curve of shapes {shapes}")

    @property
    def label(self) -> str:
        """Its name for people."""
        return self.of.label(self.metric)


Scored = TypeVar("Scored", Score, Curve)


def pick(items: Sequence[Scored], metric: str, of: Mapping[str, object]) -> Scored | None:
    """The first score or curve of a metric whose qualifiers are these."""
    for item in items:
        if item.metric == metric and all(
            getattr(item.of, name) == value for name, value in of.items()
        ):
            return item
    return None


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """Images uint8 [N, H, W, C] in rows of ``columns``; C is 1 or 3.

    ``labels`` has one text for each image, or none; ``caption`` says what the images are.
    """

    images: Array
    columns: int
    labels: Sequence[str] = ()
    caption: str = ""

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) != 4 or shape[3] not in (1, 3):
            raise ValueError(f"a grid of {self.images.dtype} {shape}, not uint8 [N, H, W, 1 or 3]")
        if 0 in shape or self.columns < 1:
            raise ValueError(f"a grid of shape {shape} in {self.columns} columns")
        if self.labels and len(self.labels) != len(self.images):
            raise ValueError(f"{len(self.labels)} labels for {len(self.images)} images")
