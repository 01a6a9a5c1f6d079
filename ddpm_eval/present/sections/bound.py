"""The bound: where its bits go, and rate against distortion."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ddpm_eval.present import contents, figures, references, steps
from ddpm_eval.present.canvas import Picture
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


def ode(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Bits/dim by the probability-flow ODE, and what the bound costs more."""
    text = (
        "The same network as an ordinary differential equation, whose density needs no Gaussian "
        "steps. Both routes begin with the same noise and end in the same decoder: the bound "
        f"minus the ODE is what the steps and Jensen's inequality cost. {_sentence(measurement)}"
    )
    for section in plain(measurement, run):
        yield replace(section, title="Bits/dim by the probability-flow ODE", texts=(text,))


def _sentence(measurement: Measurement) -> str:
    time = str(measurement.facts.get("time", ""))
    return f"{time[:1].upper()}{time[1:]}." if time else ""


def strides(measurement: Measurement, run: Run) -> Iterator[Section]:
    """The bound of fewer steps, by where they are."""
    key, curves = run.key(measurement), [*steps.placements(measurement).values()]
    fitted = measurement.facts.get("variance fitted to", "")
    text = f"The variance of every stride is fitted to the errors of {fitted}." if fitted else ""
    caption = "Bits/dim of a chain over the number of its steps, by where these are."
    pictures = (steps.figure(f"{key}-curve", curves, caption),) if curves else ()
    table = steps.table(key, measurement)
    yield Section(
        "The bound of fewer steps", (text,) if text else (), tables=(table,), pictures=pictures
    )


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
