"""The bound: where its bits go, and rate against distortion."""

from collections.abc import Iterator, Sequence

from ddpm_eval.present import contents, figures, references
from ddpm_eval.present.figures import Picture
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run, has_model
from ddpm_eval.present.sections.shared import curve_caption, curve_text, plain
from ddpm_eval.present.table4 import table_4
from ddpm_eval.record.record import Measurement

_TERMS = (
    "What each term adds to the bound: L_0, the decoder's, at t = 0; the reverse steps' in "
    "between; L_T, the prior's, at t = T."
)


def bits(runs: Sequence[Run]) -> Iterator[Section]:
    """The terms of the bound of every run."""
    table = contents.bits(runs)
    pictures: list[Picture] = []
    for run in runs:
        for measurement in run.of("bound"):
            for curve in measurement.curves:
                text = _TERMS if curve.metric == "bound_term" else curve_text(curve)
                caption = curve_caption(run.lead + text, curve)
                key = run.key(measurement, curve.label)
                pictures.append(figures.curve(key, curve, caption))
    if table is not None:
        yield Section("Where the bits go", tables=(table,), pictures=tuple(pictures))
    elif has_model(runs):
        yield Section("Where the bits go", ("Not measured: run ddpm-eval nll",))


def rate_distortion(measurement: Measurement, run: Run) -> Iterator[Section]:
    """The paper's Table 4 and Figure 5, with its decomposition of the bound."""
    distortion, rates = measurement.curve("rmse"), contents.rates(measurement)
    if distortion is None or not rates:
        yield from plain(measurement, run)
        return
    key = run.key(measurement)
    paper = [
        (int(row.name), float(row.numbers["rate"].value), float(row.numbers["rmse"].value))
        for row in references.tables()["rate_distortion"].rows
    ]
    caption = (
        "Distortion and rate over the reverse steps, and distortion over rate (the paper's "
        "Figure 5). Bands are one standard error over images; points are the paper's Table 4, of "
        "CIFAR-10."
    )
    text = contents.decomposition(measurement)
    yield Section(
        "Rate and distortion",
        (text,) if text else (),
        pictures=(figures.rate_distortion(key, distortion, rates, paper, caption),),
    )
    tables = (
        table_4(f"{key}-table4", measurement),
        contents.scores(f"{key}-scores", measurement),
    )
    yield Section("Rate and distortion in numbers", tables=tables)
