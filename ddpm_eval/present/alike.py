"""Like with like: which measurements of two records are compared, and which settings differ."""

from collections.abc import Iterator
from typing import TypeAlias

from ddpm_eval.present import wording
from ddpm_eval.present.parts import Facts
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.ranking import size
from ddpm_eval.record.record import Measurement, Record

COMPARED = ("bound", "ode", "rate_distortion", "quality")
"""Measures whose scores tell models from each other."""
_MUST_AGREE = (
    *("images.dataset", "images.split", "images.digest", "reference.dataset", "reference.split"),
    *("reference.digest", "extractor.name", "extractor.digest", "extractor.preprocessing"),
)
"""Settings without which two numbers say nothing of each other."""

Pair: TypeAlias = tuple[Measurement, Measurement]
"""The same measure in two records."""


def pairs(one: Record, other: Record, measure: str) -> list[Pair]:
    """Pair measurements of one family in two records, those whose protocols differ least."""
    alike: dict[tuple[str, ...], Pair] = {}
    candidates = [
        (a, b)
        for a in one.of(measure)
        for b in other.of(measure)
        if _is_one_family(a.protocol, b.protocol)
    ]
    for a, b in candidates:  # the strongest first
        key = family(a.protocol)
        if key not in alike or _distance((a, b)) < _distance(alike[key]):
            alike[key] = (a, b)
    return list(alike.values())


def family(protocol: Protocol) -> tuple[str, ...]:
    """Name what a measurement is of: the split, the reference and the extractor."""
    images, reference, extractor = protocol.images, protocol.reference, protocol.extractor
    return (
        "" if images is None else images.split,
        "" if reference is None else reference.split or reference.dataset,
        *(("", "") if extractor is None else (extractor.name, extractor.preprocessing)),
    )


def _is_one_family(one: Protocol, other: Protocol) -> bool:
    """Whether two measurements are of one thing; a reference is known by its digest."""
    a, b = family(one), family(other)
    digests = [item.reference.digest if item.reference else "" for item in (one, other)]
    splits = [item.reference.split if item.reference else "" for item in (one, other)]
    if digests[0] == digests[1] != "" and splits[0] == splits[1]:
        return (a[0], *a[2:]) == (b[0], *b[2:])
    return a == b


def _distance(pair: Pair) -> int:
    return len(wording.differing(pair[0].protocol, pair[1].protocol))


def obstacle(pair: Pair) -> str:
    """Why the numbers of two measurements cannot be compared, if they cannot."""
    a, b = (item.protocol for item in pair)
    changes = wording.differing(a, b)
    for key in _MUST_AGREE:
        if key in changes:
            name = wording.setting(key)
            return f"the {name} differ" if name.split()[0].endswith("s") else f"the {name} differs"
    if pair[0].measure == "quality" and size(a) != size(b):
        return f"they are on {size(a):,} and {size(b):,} samples"
    return ""


def facts(one: Record, other: Record) -> list[tuple[str, Facts]]:
    """Every setting that differs, measure by measure."""
    groups = []
    for measure in COMPARED:
        for pair in pairs(one, other, measure):
            name = " ".join(filter(None, family(pair[0].protocol)))
            title = f"{measure.replace('_', ' ')} ({name}), {one.name} / {other.name}"
            groups.append((title, tuple(_lines((one, other), pair))))
    return [(title, lines) for title, lines in groups if lines]


def _lines(records: tuple[Record, Record], pair: Pair) -> Iterator[tuple[str, str]]:
    """The settings that differ between two measurements, the model first."""
    models = [item.protocol.model for item in pair]
    if models[0] != models[1]:
        yield "model", " / ".join(map(wording.model, records, models))
    for name, values in wording.differing(pair[0].protocol, pair[1].protocol).items():
        yield wording.setting(name), " / ".join(map(wording.text, values))
