"""How good the samples are: IS, FID and their kin."""

from collections.abc import Iterator, Mapping, Sequence

from ddpm_eval.present import beside, figures, qualities, wording
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections.shared import curve_text, seeded
from ddpm_eval.record.record import Measurement


def quality(runs: Sequence[Run]) -> Iterator[Section]:
    """The metrics of every run and reference, and how they depend on n."""
    pictures = []
    for run in runs:
        for measurement in run.of("quality"):
            for curve in measurement.curves:
                text = run.lead + curve_text(curve)
                if curve.over == "images":
                    text = (
                        f"{text[:-1]}, against "
                        f"{wording.images(measurement.protocol.reference)}: it is biased upwards "
                        "where n is small, so only equal n may be compared."
                    )
                key = run.key(measurement, f"{curve.label}-over-{curve.over}")
                pictures.append(figures.curve(key, curve, seeded(text, measurement)))
    tables = tuple(qualities.tables(runs))
    if tables or pictures:
        lines = tuple(
            run.lead + line for run in runs for item in run.of("quality") for line in terms(item)
        )
        yield Section("Sample quality", lines, tables=tables, pictures=tuple(pictures))
    else:
        yield Section("Sample quality", ("Not measured: run ddpm-eval fid",))


def terms(measurement: Measurement) -> Iterator[str]:
    """Write the terms of each Fréchet distance as a line: means, traces, cross term.

    >>> from ddpm_eval.record.protocol import Protocol
    >>> from ddpm_eval.record.scores import Qualifiers, Score
    >>> score = Score(metric="fid", value=3.0, n=9, of=Qualifiers(whose="samples"))
    >>> facts = {"samples": {"mean": 1.0, "trace": 6.0, "reference_trace": 4.0, "cross": 8.0}}
    >>> print(*terms(Measurement(measure="quality", protocol=Protocol(version=2), scores=(score,),
    ...                          facts={"terms": facts})))
    FID: 3.00 = 1.000 (means) + 6.000 + 4.000 (traces) − 8.000 (cross term).
    """
    recorded = measurement.facts.get("terms")
    for whose, parts in (recorded if isinstance(recorded, Mapping) else {}).items():
        score = measurement.score("fid", whose=whose)
        if score is None or not isinstance(parts, Mapping):
            continue
        number = score.texts[0]
        decimals = len(number.partition(".")[2]) + 1
        mean, trace, reference, cross = (
            f"{parts[name]:,.{decimals}f}" for name in ("mean", "trace", "reference_trace", "cross")
        )
        yield (
            f"{score.label}: {number} = {mean} (means) + {trace} + {reference} (traces) − {cross} "
            "(cross term)."
        )


def beside_published(runs: Sequence[Run]) -> Iterator[Section]:
    """What each run's Fréchet distance may stand beside, and what keeps it from other rows."""
    tables = tuple(beside.tables(runs))
    if tables:
        yield Section(beside.TITLE, tuple(beside.sentences(runs)), tables=tables)
