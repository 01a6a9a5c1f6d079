"""The sections of a report, in the order in which they tell the story."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections import bound, files, pictures, quality, slider, training
from ddpm_eval.present.sections.shared import plain
from ddpm_eval.record.record import Measurement

Build: TypeAlias = Callable[[Sequence[Run]], Iterator[Section]]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of the story: what builds it from all runs, and the measures that it is about."""

    measures: tuple[str, ...]
    build: Build


def apart(
    measure: str, builder: Callable[[Measurement, Run], Iterator[Section]] = plain
) -> Chapter:
    """A chapter that writes up each measurement by itself, run by run."""

    def build(runs: Sequence[Run]) -> Iterator[Section]:
        for run in runs:
            for measurement in run.of(measure):
                suffix = _on_split(measurement) + (f": {run.name}" if run.several else "")
                for section in builder(measurement, run):
                    yield replace(section, title=section.title + suffix)

    return Chapter((measure,), build)


def titled(measure: str, title: str) -> Chapter:
    """A chapter that shows all that a measurement holds, below a title."""
    return apart(measure, lambda measurement, run: plain(measurement, run, title))


CHAPTERS = (
    Chapter(("quality",), quality.quality),
    Chapter((), quality.beside_published),
    Chapter(("bound", "baselines"), bound.bits),
    Chapter((), pictures.side_by_side),
    Chapter((), pictures.no_samples),
    apart("samples", pictures.samples),
    titled("comparison", "One model against another"),
    apart("ode", bound.ode),
    apart("strides", bound.strides),
    apart("rate_distortion", bound.rate_distortion),
    apart("files", files.files),
    apart("reconstructions", slider.reconstructions),
    apart("progressive", pictures.progressive),
    apart("interpolation", pictures.interpolation),
    apart("neighbours", pictures.neighbours),
    apart("watch", training.watch),
    apart("training", training.training),
)
"""The one registry of sections. A measure that has no chapter shows all that it holds, at last."""


def build(runs: Sequence[Run]) -> Iterator[Section]:
    """Write up everything that is shown of some runs."""
    for chapter in CHAPTERS:
        yield from chapter.build(runs)
    in_chapters = {measure for chapter in CHAPTERS for measure in chapter.measures}
    rest = sorted({item.measure for run in runs for item in run.shown} - in_chapters)
    for measure in rest:
        yield from apart(measure).build(runs)


def _on_split(measurement: Measurement) -> str:
    images = measurement.protocol.images
    return ", on training images" if images is not None and images.split == "train" else ""
