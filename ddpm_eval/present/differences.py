"""Two runs against each other: what differs, and whether chance explains it.

Errors are paired where both hold the terms of the same images under the same noise: the difference
is then far better known than either number.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ddpm_eval.present import alike, paired, wording
from ddpm_eval.present.alike import Pair
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Error, Score

CHANCE = 2.0
"""So many standard errors may be chance."""
_NAMES = {
    ("bound", "bits_per_dim", "total"): "The bound",
    ("bound", "bits_per_dim", "steps"): "The bound's steps",
    ("bound", "bits_per_dim", "decoder"): "The bound's decoder",
    ("rate_distortion", "rmse", "total"): "RMSE of the last x̂₀",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """The same score of two runs.

    Attributes:
        name: What is compared.
        one: The first run's score.
        other: The second run's.
        gap: The other's minus the one's; without an error where none is known.
        basis: Where the error comes from.
        obstacle: Why the two may not be compared at all.
        settings: Settings that differ beside the model.
    """

    name: str
    one: Score
    other: Score
    gap: Score
    basis: str = ""
    obstacle: str = ""
    settings: tuple[str, ...] = ()

    @property
    def errors(self) -> float | None:
        """How many standard errors the gap is wide, if its error is known."""
        error = self.gap.error
        return abs(self.gap.value) / error.size if error is not None and error.size else None

    def sentence(self, one: str, other: str) -> str:
        """The difference in plain words.

        >>> score = Score(metric="bits_per_dim", value=3.75, n=100)
        >>> gap = Score(metric="bits_per_dim", value=-0.021, n=100, error=Error(size=0.004))
        >>> difference = Difference("The bound", score, score, gap, "paired")
        >>> difference.sentence("A", "B")
        'The bound: B is 0.021 ± 0.004 bits/dim lower than A (5.2 standard errors, paired).'
        >>> fid = replace(difference, name="FID", gap=Score(metric="fid", value=0.12, n=9))
        >>> replace(fid, settings=("steps 1,000 and 20",)).sentence("A", "B")
        'FID: B is 0.120 higher than A; no error is known, so its significance cannot be told. The
        settings differ too: steps 1,000 and 20.'
        """
        if self.obstacle:
            return f"{self.name}: not compared, for {self.obstacle}."
        aside = f" The settings differ too: {'; '.join(self.settings)}." if self.settings else ""
        gap = self.gap
        if gap.value == 0:
            return f"{self.name}: {other} and {one} are equal.{aside}"
        width = str(replace(gap, value=abs(gap.value))).rpartition(" (n=")[0]
        side = "lower" if gap.value < 0 else "higher"
        lead = f"{self.name}: {other} is {width} {side} than {one}"
        if self.errors is None:
            return f"{lead}; no error is known, so its significance cannot be told.{aside}"
        chance = "; that may be chance" if self.errors < CHANCE else ""
        return f"{lead} ({self.errors:.1f} standard errors, {self.basis}{chance}).{aside}"


def between(one: Record, other: Record) -> tuple[Difference, ...]:
    """Every difference between the scores that both have."""
    bounds = alike.pairs(one, other, "bound")
    return tuple(
        difference
        for measure in alike.COMPARED
        for pair in alike.pairs(one, other, measure)
        for difference in _differences(pair, bounds)
    )


def table(one: Record, other: Record, differences: tuple[Difference, ...]) -> Table:
    """The differences as a table."""
    columns = (
        *(Column(one.name), Column(other.name)),
        *(Column("difference"), Column("standard errors")),
    )
    texts = dict.fromkeys(note for item in differences for note in _notes(item))
    notes = tuple(texts)
    rows = tuple(_row(item, notes) for item in differences)
    caption = (
        f"Differences are {other.name} minus {one.name}. Fewer than {CHANCE:g} standard errors may "
        "be chance; with many rows, a few beyond that are expected too."
    )
    return Table("differences", f"{other.name} against {one.name}", columns, rows, notes, caption)


def _notes(difference: Difference) -> tuple[str, ...]:
    if difference.obstacle:
        return (difference.obstacle,)
    settings = "; ".join(difference.settings)
    return (difference.basis, *([f"the settings differ: {settings}"] if settings else []))


def _row(difference: Difference, notes: tuple[str, ...]) -> Row:
    gap, errors = difference.gap, difference.errors
    unit = f" ({gap.definition.unit})" if gap.definition.unit else ""
    marks = tuple(notes.index(note) + 1 for note in _notes(difference))
    sides = tuple(Cell(*item.texts, n=item.n) for item in (difference.one, difference.other))
    if difference.obstacle:
        blank = Cell(notes=marks)
        return Row(f"{difference.name}{unit}", (*sides, blank, Cell()), ours=True)
    number, spread = gap.texts
    sure = errors is not None and errors >= CHANCE
    cell = Cell(f"+{number}" if gap.value > 0 else number.replace("-", "−"), spread, notes=marks)
    count = Cell() if errors is None else Cell(f"{errors:.1f}", bold=sure)
    return Row(f"{difference.name}{unit}", (*sides, replace(cell, bold=sure), count), ours=True)


# ------------------------------------------------------------------------------- one pair


def _differences(pair: Pair, bounds: list[Pair]) -> Iterator[Difference]:
    a, b = pair
    family = alike.family(a.protocol)
    terms = next((item for item in bounds if alike.family(item[0].protocol) == family), None)
    for one in a.scores:
        if tells(a, one):
            other = next((x for x in b.scores if (x.metric, x.of) == (one.metric, one.of)), None)
            if other is not None:
                yield _difference(pair, (one, other), terms)


def tells(measurement: Measurement, score: Score) -> bool:
    """Whether a score tells models from each other: no yardstick, and no other variance."""
    of = score.of
    return (
        bool(score.definition.better)
        and of.whose in ("model", "samples")
        and not of.variance
        and (measurement.measure != "bound" or of.part in paired.PARTS)
        and (measurement.measure != "rate_distortion" or score.metric != "bits_per_dim")
    )


def _difference(pair: Pair, scores: tuple[Score, Score], terms: Pair | None) -> Difference:
    one, other = scores
    gap = Score(metric=one.metric, value=other.value - one.value, n=min(one.n, other.n), of=one.of)
    error, basis = _independent(one, other)
    changes = wording.differing(pair[0].protocol, pair[1].protocol)
    difference = Difference(
        name=name_of(pair[0], one),
        one=one,
        other=other,
        gap=replace(gap, error=error),
        basis=basis,
        obstacle=alike.obstacle(pair),
        settings=tuple(
            f"{wording.setting(key)} {wording.text(a)} and {wording.text(b)}"
            for key, (a, b) in changes.items()
        ),
    )
    exact = None if difference.obstacle or terms is None else paired.gap(one, terms)
    if exact is None or not np.isclose(exact[0], gap.value, rtol=1e-3, atol=1e-4):
        return difference  # the terms are not those of the score
    exactly = replace(gap, error=Error(size=exact[1]))
    return replace(difference, gap=exactly, basis=f"paired over {one.n:,} images")


def name_of(measurement: Measurement, score: Score) -> str:
    """What is compared, with the split or the reference where it is not the usual one."""
    protocol = measurement.protocol
    name = _NAMES.get((measurement.measure, score.metric, score.of.part), score.label)
    if protocol.images is not None and protocol.images.split == "train":
        return f"{name}, training images"
    reference = protocol.reference
    if reference is not None and reference.split != "train":
        return f"{name} against {wording.images(reference)}"
    return name


def _independent(one: Score, other: Score) -> tuple[Error | None, str]:
    """The error of a difference of independent scores, and where it comes from."""
    errors = [item.error for item in (one, other) if item.error is not None]
    sizes = [error.standard for error in errors if error.standard is not None]
    if len(sizes) < 2:
        return None, "no error is known"
    kinds = dict.fromkeys(f", from the spread over {x.over}" for x in errors if x.kind == "spread")
    return Error(size=math.hypot(*sizes)), "independent errors" + "".join(kinds)
