"""A measurement in a notebook: its scores, curves and pictures."""

from ddpm_eval.present import page, sections
from ddpm_eval.present.runs import Run
from ddpm_eval.record.record import Measurement, Record


def html(measurement: Measurement) -> str:
    """Write a measurement as a fragment of HTML, as its section in a report."""
    run = Run(Record(name=measurement.measure, measurements=(measurement,)))
    shown = [part for part in sections.build([run]) if part.tables or part.pictures]
    return page.fragment(shown, measurement.warnings)
