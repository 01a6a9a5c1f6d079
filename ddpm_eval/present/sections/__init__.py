"""The sections of a report, in the order in which they tell the story."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TypeAlias

from ddpm_eval.present.parts import Section
from ddpm_eval.present.sections import bound, pictures, quality, training
from ddpm_eval.present.sections.shared import Place, plain
from ddpm_eval.record.schema1 import Measurement

Builder: TypeAlias = Callable[[Measurement, Place], Iterator[Section]]

BUILDERS: Mapping[str, Builder] = MappingProxyType(
    {
        "samples": pictures.samples,
        "rate_distortion": bound.rate_distortion,
        "reconstructions": pictures.reconstructions,
        "progressive": pictures.progressive,
        "interpolation": pictures.interpolation,
        "neighbours": pictures.neighbours,
        "watch": training.watch,
        "training": training.training,
    }
)
"""What writes up a measurement of this name, or of ``NAME-train``."""


def apart(name: str) -> bool:
    """Whether a measurement has sections of its own: not those whose tables all runs share."""
    return name not in bound.NAMES and not quality.belongs(name)


def order(name: str) -> tuple[int, str]:
    """The place of a measurement in the story; unknown ones come last."""
    known = [*BUILDERS]
    base = name.removesuffix("-train")
    return (known.index(base) if base in known else len(known), name)


def build(found: Measurement, place: Place) -> Iterator[Section]:
    """Write up a measurement; one that is not known shows all that it holds."""
    base = found.name.removesuffix("-train")
    for section in BUILDERS.get(base, plain)(found, place):
        where = ", on training images" if base in BUILDERS and base != found.name else ""
        yield replace(section, title=section.title + where)
