"""Two runs against each other: what differs, and whether chance explains it.

Errors are paired where both records hold the terms of the same images under the same noise: the
difference is then far better known than either number. Otherwise they are independent.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ddpm_eval.present.comparable import samples
from ddpm_eval.present.contents import HELD_OUT
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.schema1 import Measurement, Quantity, Report

CHANCE = 2.0
"""So many standard errors may be chance."""
_GREY_LEVELS = 127.5
_PARTS_OF_IS = 10
_SAME: Mapping[str, str] = {  # a setting that must agree, and what it is called
    **{"dataset": "data set", "split": "split", "data_digest": "images"},
    **{"reference": "reference", "reference_digest": "reference images"},
    **{"extractor": "feature network", "extractor_digest": "weights of the feature network"},
}
_PARTS: Mapping[str, Callable[[Array], Array]] = {  # of the terms [n, T+1]
    "total": lambda terms: terms.sum(1),
    "kl": lambda terms: terms[:, 1:-1].sum(1),
    "decoder": lambda terms: terms[:, 0],
}
_NAMES = {
    ("nll", "total"): "The bound",
    ("nll", "kl"): "The bound's steps",
    ("nll", "decoder"): "The bound's decoder",
    ("rate_distortion", "RMSE"): "RMSE of the last x̂₀",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """The same quantity of two runs.

    ``gap`` is the other's minus the one's; its error is None where none is known. ``how`` says
    where the error comes from, and ``obstacle`` why the two may not be compared at all.
    """

    name: str
    one: Quantity
    other: Quantity
    gap: Quantity
    how: str = ""
    obstacle: str = ""

    @property
    def errors(self) -> float | None:
        """How many standard errors the gap is wide, if its error is known."""
        return abs(self.gap.value) / self.gap.stderr if self.gap.stderr else None

    def sentence(self, one: str, other: str) -> str:
        """The difference in plain words.

        >>> q = Quantity(3.75, "bits/dim", 100)
        >>> gap = Quantity(-0.021, "bits/dim", 100, 0.004)
        >>> found = Difference("The bound", q, q, gap, "paired")
        >>> found.sentence("A", "B")
        'The bound: B is 0.021 ± 0.004 bits/dim lower than A (5.2 standard errors, paired).'
        >>> replace(found, name="FID", gap=Quantity(0.12, "", 9)).sentence("A", "B")
        'FID: B is 0.120 higher than A; no error is known, so its significance cannot be told.'
        """
        if self.obstacle:
            return f"{self.name}: not compared, for {self.obstacle}."
        gap = self.gap
        if gap.value == 0:
            return f"{self.name}: {other} and {one} are equal."
        size = str(replace(gap, value=abs(gap.value))).rpartition(" (n=")[0]
        lead = f"{self.name}: {other} is {size} {'lower' if gap.value < 0 else 'higher'} than {one}"
        if self.errors is None:
            return f"{lead}; no error is known, so its significance cannot be told."
        chance = "; that may be chance" if self.errors < CHANCE else ""
        return f"{lead} ({self.errors:.1f} standard errors, {self.how}{chance})."


def between(one: Report, other: Report) -> tuple[Difference, ...]:
    """Every difference between the measurements that both have."""
    shared = [name for name in one.measurements if name in other.measurements]
    return tuple(
        found
        for name in sorted(shared, key=_order)
        for found in _measured(name, one.measurements, other.measurements)
    )


def table(one: Report, other: Report, found: tuple[Difference, ...]) -> Table:
    """The differences as a table."""
    columns = (
        *(Column(one.name), Column(other.name)),
        *(Column("difference"), Column("standard errors")),
    )
    notes = tuple(dict.fromkeys(each.obstacle or each.how for each in found))
    rows = tuple(_row(each, notes) for each in found)
    caption = (
        f"Differences are {other.name} minus {one.name}. Fewer than {CHANCE:g} standard errors may "
        "be chance; with many rows, a few beyond that are expected too."
    )
    return Table("differences", f"{other.name} against {one.name}", columns, rows, notes, caption)


def _row(found: Difference, notes: tuple[str, ...]) -> Row:
    unit = f" ({found.gap.unit})" if found.gap.unit else ""
    marks = (notes.index(found.obstacle or found.how) + 1,)
    pair = tuple(Cell(*each.texts, n=each.n) for each in (found.one, found.other))
    if found.obstacle:
        return Row(f"{found.name}{unit}", (*pair, Cell(), Cell()), ours=True)
    gap, errors = found.gap, found.errors
    number, spread = gap.texts
    sure = errors is not None and errors >= CHANCE
    cell = Cell(f"+{number}" if gap.value > 0 else number.replace("-", "−"), spread, notes=marks)
    count = Cell() if errors is None else Cell(f"{errors:.1f}", bold=sure)
    return Row(f"{found.name}{unit}", (*pair, replace(cell, bold=sure), count), ours=True)


def _order(name: str) -> tuple[int, str]:
    heads = ("nll", "rate_distortion", "quality")
    return next((i for i, head in enumerate(heads) if name.startswith(head)), len(heads)), name


def _measured(
    name: str, one: Mapping[str, Measurement], other: Mapping[str, Measurement]
) -> Iterator[Difference]:
    a, b = one[name], other[name]
    base = name.removesuffix("-train")
    if base == "nll":
        names = [part for part in _PARTS if part in a.quantities]
    elif base == "rate_distortion":
        names = ["RMSE"]
    elif name.startswith("quality"):
        names = [key for key in a.quantities if not key.endswith(HELD_OUT)]
    else:
        return
    bound = f"nll{name.removeprefix(base)}"
    terms = (one.get(bound), other.get(bound))
    for key in names:
        if key in b.quantities:
            yield _difference(name, key, (a, b), terms)


def _difference(
    name: str,
    key: str,
    pair: tuple[Measurement, Measurement],
    terms: tuple[Measurement | None, Measurement | None],
) -> Difference:
    one, other = (each.quantities[key] for each in pair)
    base = name.removesuffix("-train")
    where = {"nll-train": ", training images", "rate_distortion-train": ", training images"}
    against = pair[0].settings.get("reference")
    suffix = where.get(name, f" against {against}" if against and name != "quality" else "")
    label = f"{_NAMES.get((base, key), key)}{suffix}"
    errors = [_error(key, each) for each in (one, other)]
    gap = Quantity(other.value - one.value, one.unit, min(one.n, other.n), _independent(errors))
    how = "no error is known" if gap.stderr is None else "independent errors"
    if key.startswith("IS") and gap.stderr is not None:
        how = f"{how}, from the spread over {_PARTS_OF_IS} parts"
    found = Difference(label, one, other, gap, how, _obstacle(*pair, one, other))
    paired = None if found.obstacle else _paired(key, *terms)
    if paired is None or not np.isclose(paired[0], gap.value, rtol=1e-3, atol=1e-4):
        return found  # the terms are not those of the quantity
    exact = replace(gap, stderr=paired[1])
    return replace(found, gap=exact, how=f"paired over {one.n:,} images")


def _error(name: str, found: Quantity) -> float | None:
    """The standard error of a quantity: what is published beside some is another spread.

    That of IS is the deviation of its parts, which share no sample, so their mean is known better;
    that of a kernel distance is over subsets, which do, and tells no error.

    >>> [_error(name, Quantity(9.4, "", 50_000, 0.12)) for name in ("IS", "KD(x)", "FID")]
    [0.04, None, 0.12]
    """
    if found.stderr is None or name.startswith(("KID", "KD")):
        return None
    return found.stderr / (_PARTS_OF_IS - 1) ** 0.5 if name.startswith("IS") else found.stderr


def _independent(errors: list[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return math.hypot(*known) if len(known) == 2 else None


def _obstacle(a: Measurement, b: Measurement, one: Quantity, other: Quantity) -> str:
    """Why two numbers cannot be compared, if they cannot."""
    for key, name in _SAME.items():
        if a.settings.get(key) != b.settings.get(key):
            return f"the {name} differ" if name.endswith("s") else f"the {name} differs"
    counts = samples(a, one), samples(b, other)
    if a.name.startswith("quality") and counts[0] != counts[1]:
        return f"they are on {counts[0]:,} and {counts[1]:,} samples"
    return ""


def _paired(key: str, a: Measurement | None, b: Measurement | None) -> tuple[float, float] | None:
    """The gap and its error, image by image, if both saw the same images and noise."""
    if a is None or b is None or not _same_noise(a, b):
        return None
    if key == "RMSE":
        one, other = (_linear_rmse(each.arrays.get("mse")) for each in (a, b))
    elif key in _PARTS:
        one, other = (_each(key, measured.arrays.get("terms")) for measured in (a, b))
    else:
        return None
    if one is None or other is None or one.shape != other.shape or len(one) < 2:
        return None
    gap = other - one
    return float(gap.mean()), float(gap.std(ddof=1) / len(gap) ** 0.5)


def _same_noise(a: Measurement, b: Measurement) -> bool:
    """Whether every image of both had the same noise."""

    def named(found: Measurement) -> list[Any]:
        return [found.settings.get(key) for key in ("data_digest", "split", "seed", "T")]

    return named(a) == named(b) and None not in named(a)


def _each(key: str, terms: Array | None) -> Array | None:
    return None if terms is None else _PARTS[key](terms.astype(np.float64))


def _linear_rmse(mse: Array | None) -> Array | None:
    """What each image adds to the root of the mean: the delta method, exact in the mean."""
    if mse is None:
        return None
    last = mse[:, 1].astype(np.float64)
    root = np.sqrt(max(last.mean(), 1e-24))
    found: Array = _GREY_LEVELS * (root + (last - last.mean()) / (2 * root))
    return found
