"""The types of schema 1 and their reader. Numbers were told apart by names."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ddpm_eval.record.arrays import Array
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.scores import Grid

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number that travels with its unit, its sample size and, where there is one, its error.

    Attributes:
        value: The number; an ``int`` is a count and is shown whole.
        unit: Its unit; empty where it has none.
        n: How many images (or other independent things) it was measured on.
        stderr: The standard error of ``value``, in the same unit.

    >>> print(Quantity(3.7512, "bits/dim", n=10_000, stderr=0.0041))
    3.751 ± 0.004 bits/dim (n=10,000)
    >>> print(Quantity(9.4612, "", n=50_000, stderr=0.112))
    9.46 ± 0.11 (n=50,000)
    >>> print(Quantity(3.1712, "", n=50_000), Quantity(0.95136, "grey levels", n=9_984))
    3.17 (n=50,000) 0.951 grey levels (n=9,984)
    >>> print(Quantity(35_746_307, "parameters", n=1))
    35,746,307 parameters (n=1)
    """

    value: float
    unit: str
    n: int
    stderr: float | None = None

    @property
    def texts(self) -> tuple[str, str]:
        """The number and its error (empty where there is none), down to the same digit.

        That is the error's first digit, or its second after a 1; bits/dim have three decimals at
        least. Numbers below 1e-4 have an exponent.

        >>> [Quantity(12.3456, "", n=9, stderr=e).texts for e in (3, 0.3, 0.1)]
        [('12', '3'), ('12.3', '0.3'), ('12.35', '0.10')]
        >>> Quantity(3.1e-5, "bits/dim", n=9, stderr=2e-7).texts
        ('3.10e-05', '0.02e-05')
        """
        size = max(abs(self.value), self.stderr or 0)
        if 0 < size < 1e-4:
            power = math.floor(math.log10(size))
            error = None if self.stderr is None else self.stderr / 10.0**power
            number, spread = Quantity(self.value / 10.0**power, "", self.n, error).texts
            return f"{number}e{power:03}", f"{spread}e{power:03}" if spread else ""
        spread = "" if self.stderr is None else f"{self.stderr:,.{self._decimals}f}"
        return f"{self.value:,.{self._decimals}f}", spread

    @property
    def _decimals(self) -> int:
        least = 3 if self.unit == "bits/dim" else 0
        if self.stderr:
            first = math.floor(math.log10(self.stderr))
            return max(least, -first + (self.stderr < 1.95 * 10.0**first))
        if isinstance(self.value, int):
            return 0
        return max(least, 2, 2 - math.floor(math.log10(abs(self.value) or 1)))

    def __str__(self) -> str:
        number, spread = self.texts
        pieces = [number, f"± {spread}" if spread else "", self.unit, f"(n={self.n:,})"]
        return " ".join(piece for piece in pieces if piece)


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """y over x, both [K] and kept in float64; names carry their units, as in ``rate (bits/dim)``.

    ``n`` counts what each point is a mean over; ``stderr`` [K] is each mean's standard error.
    ``log`` names the axes that are drawn logarithmically.
    """

    x: Array
    y: Array
    x_name: str
    y_name: str
    n: int
    stderr: Array | None = None
    log: Literal["", "x", "y", "xy"] = ""

    def __post_init__(self) -> None:
        for name in ("x", "y", "stderr"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, np.asarray(getattr(self, name), np.float64))
        shapes = {
            self.x.shape,
            self.y.shape,
            self.y.shape if self.stderr is None else self.stderr.shape,
        }
        if len(shapes) > 1 or self.y.ndim != 1 or not self.y.size:
            raise ValueError(f"a curve of shapes {shapes}")


@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """What one measure found, the settings it was found with, and where it comes from."""

    name: str
    quantities: Mapping[str, Quantity] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    grids: Mapping[str, Grid] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    settings: Mapping[str, Json] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    provenance: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Every measurement of one checkpoint.

    ``subject["checkpoint"]`` is the checkpoint's digest; measurements of another checkpoint never
    share a report.
    """

    name: str
    subject: Mapping[str, Json]
    measurements: Mapping[str, Measurement] = field(default_factory=dict)


def decode(plain: Mapping[str, Any], array: Callable[[str], Array]) -> Report:
    """Read the JSON values of a record; ``array`` reads an array by its key."""

    def revive(value: Any) -> Any:
        if isinstance(value, Mapping):
            return array(value["array"]) if value.keys() == {"array"} else value
        return value

    def fields(values: Mapping[str, Any]) -> dict[str, Any]:
        return {key: revive(value) for key, value in values.items()}

    def measurement(values: Mapping[str, Any]) -> Measurement:
        return Measurement(
            values["name"],
            {key: Quantity(**value) for key, value in values["quantities"].items()},
            {key: Curve(**fields(value)) for key, value in values["curves"].items()},
            {key: Grid(**fields(value)) for key, value in values["grids"].items()},
            fields(values["arrays"]),
            values["settings"],
            tuple(values["warnings"]),
            values["provenance"],
        )

    measurements = {key: measurement(value) for key, value in plain["measurements"].items()}
    return Report(plain["name"], plain["subject"], measurements)
