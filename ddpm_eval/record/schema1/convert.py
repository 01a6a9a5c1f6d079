"""From a record of schema 1 to one of today."""

from collections.abc import Mapping

from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.schema1 import names, types
from ddpm_eval.record.schema1.settings import Settings

MEASURES: Mapping[str, str] = {
    **{name: name for name in ("comparison", "rate_distortion", "reconstructions")},
    **{name: name for name in ("baselines", "samples", "quality", "progressive", "watch")},
    **{name: name for name in ("interpolation", "neighbours", "training")},
    "nll": "bound",
}
"""Measures of today by the names of schema 1, which may end in ``-train`` or ``-REFERENCE``."""


def convert(report: types.Report) -> Record:
    """Turn a record of schema 1 into one of today.

    Raises:
        FixableError: It holds a measurement that no version wrote.
    """
    subject = {name: value for name, value in report.subject.items() if name != "checkpoint"}
    model = str(report.subject.get("checkpoint", ""))
    return Record(
        name=report.name,
        subjects={model: subject},
        measurements=tuple(
            measurement(item, model, subject) for item in report.measurements.values()
        ),
    )


def measurement(
    old: types.Measurement, model: str, subject: Mapping[str, Json] | None = None
) -> Measurement:
    """Turn a measurement of schema 1 into one of today.

    Args:
        old: What schema 1 says.
        model: The digest of the model, or of the images that it is of.
        subject: What is known of it.

    Raises:
        FixableError: No version measured what it says.
    """
    measure = MEASURES.get(old.name) or MEASURES.get(old.name.partition("-")[0])
    if measure is None:
        raise names.unknown(old.name)
    subject = subject or {}
    settings = Settings(old, _steps(subject))
    if measure == "watch":
        model = ""  # of the whole run
    weights = str(settings.take("weights") or subject.get("weights", ""))
    return Measurement(
        measure=measure,
        scores=tuple(names.score(measure, name, old) for name in names.ordered(measure, old)),
        curves=tuple(names.curve(measure, name, old) for name in sorted(old.curves)),
        grids=old.grids,
        arrays=old.arrays,
        facts=settings.facts(),
        protocol=settings.protocol(measure, model, weights),
        warnings=tuple(old.warnings),
        provenance=old.provenance,
    )


def _steps(subject: Mapping[str, Json]) -> int:
    """T of a model; 0 where its settings are not known."""
    model = subject.get("model")
    schedule = model.get("schedule") if isinstance(model, Mapping) else None
    T = schedule.get("T") if isinstance(schedule, Mapping) else None
    return T if isinstance(T, int) else 0
