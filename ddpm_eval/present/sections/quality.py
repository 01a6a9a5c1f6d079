"""How good the samples are: IS, FID and their kin."""

from collections.abc import Iterator, Sequence

from ddpm_eval.present import contents, figures, wording
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections.shared import curve_text, seeded


def quality(runs: Sequence[Run]) -> Iterator[Section]:
    """The metrics of every run and reference, and how they depend on n."""
    pictures = []
    for run in runs:
        for measurement in run.of("quality"):
            for curve in measurement.curves:
                text = (
                    f"{run.lead}{curve_text(curve)[:-1]}, against "
                    f"{wording.images(measurement.protocol.reference)}: it is biased upwards where "
                    "n is small, so only equal n may be compared."
                )
                key = run.key(measurement, f"{curve.label}-over-{curve.over}")
                pictures.append(figures.curve(key, curve, seeded(text, measurement)))
    tables = tuple(contents.quality(runs))
    if tables or pictures:
        yield Section("Sample quality", tables=tables, pictures=tuple(pictures))
    else:
        yield Section("Sample quality", ("Not measured: run ddpm-eval fid",))
