"""How good the samples are: IS, FID and their kin."""

from collections.abc import Iterator, Sequence

from ddpm_eval.present import contents, figures
from ddpm_eval.present.parts import Section
from ddpm_eval.present.sections.shared import Place, seeded
from ddpm_eval.record.schema1 import Report

TITLE = "Sample quality"


def belongs(name: str) -> bool:
    """Whether a measurement is one of quality: against any reference.

    >>> [belongs(name) for name in ("quality", "quality-test", "qualitative")]
    [True, True, False]
    """
    return name == "quality" or name.startswith("quality-")


def quality(reports: Sequence[Report], places: Sequence[Place]) -> Iterator[Section]:
    """The metrics of every run and reference, and how they depend on n."""
    pictures = []
    for report, place in zip(reports, places, strict=True):
        lead = f"{report.name}: " if len(reports) > 1 else ""
        for name, found in sorted(report.measurements.items()):
            for key, curve in sorted(found.curves.items()) if belongs(name) else ():
                text = (
                    f"{lead}{curve.y_name} over {curve.x_name}, against "
                    f"{contents.reference(found)}: it is biased "
                    "upwards where n is small, so only equal n may be compared."
                )
                pictures.append(figures.curve(place.key(name, key), curve, seeded(text, found)))
    tables = tuple(contents.quality(reports))
    if tables or pictures:
        yield Section(TITLE, tables=tables, pictures=tuple(pictures))
    else:
        yield Section(TITLE, ("Not measured: run ddpm-eval fid",))
