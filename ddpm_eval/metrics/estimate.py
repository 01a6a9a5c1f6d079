"""An estimate: a metric's value, what it was measured on, and its error."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

ErrorKind: TypeAlias = Literal["standard error", "spread", "interval"]


NORMAL_95 = 1.96
"""Half of a normal 95% interval, in standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Error:
    """What stands behind ±.

    Attributes:
        size: In the unit of the value; of an interval, half its width.
        kind: A standard error of the value, a spread over parts of the data (which is no standard
            error of the value), or the 95% interval ``low`` .. ``high``.
        over: What varies: ``images``, ``samples``, ``samples and reference``, ``10 parts``,
            ``seeds``. What is not named was held fixed.
        low: The lower end of an interval.
        high: The upper end of an interval.
        parts: Of a spread over disjoint parts, how many they are: their mean is known to
            ``size / sqrt(parts - 1)``. 0 where the parts overlap, which tells no error.
    """

    size: float
    kind: ErrorKind = "standard error"
    over: str = "images"
    low: float | None = None
    high: float | None = None
    parts: int = 0

    @property
    def standard(self) -> float | None:
        """The standard error that this amounts to; None where it tells none.

        >>> Error(size=0.12, kind="spread", over="10 parts", parts=10).standard
        0.04
        >>> Error(size=0.12, kind="spread", over="100 subsets").standard is None
        True
        """
        if self.kind == "spread":
            return self.size / (self.parts - 1) ** 0.5 if self.parts > 1 else None
        return self.size / NORMAL_95 if self.kind == "interval" else self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A metric's value on ``n`` images, with its error where one is known.

    >>> float(Estimate(value=3.5, n=100))
    3.5
    """

    value: float
    n: int
    error: Error | None = None

    def __float__(self) -> float:
        return self.value
