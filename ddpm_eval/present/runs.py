"""A record on its way into a report: what is shown of it, and how its files are called."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.ranking import groups, strongest
from ddpm_eval.record.record import Measurement, Record

WHOLE_PAGE = 2_000_000
"""What all images together may need uncompressed, so that a page stays below 5 MB."""


@dataclass(frozen=True)
class Run:
    """One record of a report.

    Attributes:
        record: What was measured.
        prefix: What the names of its files begin with: its number where there are several.
        image_bytes: What each of its pictures may need in the page, uncompressed.
        several: Whether it stands beside others.
    """

    record: Record
    prefix: str = ""
    image_bytes: int = WHOLE_PAGE
    several: bool = False

    @property
    def name(self) -> str:
        """The record's name."""
        return self.record.name

    @property
    def lead(self) -> str:
        """What a caption begins with where several runs stand side by side."""
        return f"{self.name}: " if self.several else ""

    @cached_property
    def shown(self) -> list[Measurement]:
        """The strongest answer to each question, the training set's reference first."""
        return sorted(strongest(self.record), key=lambda item: (item.measure, _rank(item.protocol)))

    def of(self, measure: str) -> list[Measurement]:
        """What is shown of a measure."""
        return [item for item in self.shown if item.measure == measure]

    def others(self) -> list[tuple[Measurement, Measurement]]:
        """What is listed only, each with the stronger measurement that is shown in its place."""
        measures = dict.fromkeys(item.measure for item in self.shown)
        return [
            (item, group[0])
            for measure in measures
            for group in groups(self.record, measure)
            for item in group[1:]
        ]

    def key(self, measurement: Measurement, name: str = "") -> str:
        """The name of a file of a measurement.

        >>> one = Measurement(measure="bound", protocol=Protocol(version=1))
        >>> Run(Record(name="r", measurements=(one,))).key(one, "L_t")
        'bound-L_t'
        """
        return f"{self.prefix}{file_name(self._slugs[measurement.key], name)}"

    @cached_property
    def _slugs(self) -> dict[tuple[str, str], str]:
        slugs: dict[tuple[str, str], str] = {}
        for item in self.shown:
            choices = (_slug(item), _slug(item, more=True), f"{_slug(item)}-{item.protocol.key}")
            slugs[item.key] = next(slug for slug in choices if slug not in slugs.values())
        return slugs


def file_name(slug: str, name: str = "") -> str:
    """A file's name from names in the record, whatever they are.

    >>> file_name("bound", "terms"), file_name("samples", "samples"), file_name("../x", "a/b")
    ('bound-terms', 'samples', 'x-a-b')
    """
    text = name if name == slug else f"{slug}-{name}"
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def has_model(runs: Sequence[Run]) -> bool:
    """Whether any record is of a model, which can draw and be measured: not of images alone.

    >>> has_model([Run(Record(name="pngs", subjects={"d": {"file": "pngs", "images": 1_280}}))])
    False
    """
    subjects = [item for run in runs for item in run.record.subjects.values()]
    return not subjects or any("images" not in item for item in subjects)


def _rank(protocol: Protocol) -> tuple[bool, bool, str]:
    """The order of answers to different questions: the published ones first."""
    images, reference, extractor = protocol.images, protocol.reference, protocol.extractor
    return (
        reference is not None and reference.split != "train",
        images is not None and images.split == "train",
        "" if extractor is None else extractor.name,
    )


def _slug(measurement: Measurement, *, more: bool = False) -> str:
    """The measure, with the split and the reference where they are not the usual ones."""
    protocol = measurement.protocol
    images, reference, extractor = protocol.images, protocol.reference, protocol.extractor
    parts = [measurement.measure]
    if images is not None and images.split != "test":
        parts.append(images.split)
    if reference is not None and reference.split != "train":
        parts.append(reference.split or reference.dataset)
    if more:
        parts.append("" if extractor is None else extractor.name)
    return "-".join(part for part in parts if part)
