"""The bound: where its bits go, and rate against distortion."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ddpm_eval.present import contents, figures, published, references
from ddpm_eval.present.figures import Picture
from ddpm_eval.present.parts import Section
from ddpm_eval.present.sections.shared import Place, a_model, curve_caption, plain
from ddpm_eval.record.schema1 import Measurement, Report

NAMES = ("nll", "nll-train", "baselines")

_DECOMPOSED = {"rate", "distortion", "RMSE"}
_TERMS = (
    "What each term adds to the bound: L_0, the decoder's, at t = 0; the reverse steps' in "
    "between; L_T, the prior's, at t = T."
)


def bits(reports: Sequence[Report], places: Sequence[Place]) -> Iterator[Section]:
    """The terms of the bound of every run."""
    table = contents.bits(reports)
    pictures: list[Picture] = []
    for report, place in zip(reports, places, strict=True):
        for name in ("nll", "nll-train"):
            found = report.measurements.get(name)
            for key, curve in sorted(found.curves.items()) if found else ():
                lead = f"{report.name}: " if len(reports) > 1 else ""
                text = lead + (_TERMS if key == "terms" else f"{curve.y_name} over {curve.x_name}.")
                pictures.append(
                    figures.curve(place.key(name, key), curve, curve_caption(text, curve))
                )
    if table is not None:
        yield Section("Where the bits go", tables=(table,), pictures=tuple(pictures))
    elif a_model(reports):
        yield Section("Where the bits go", ("Not measured: run ddpm-eval nll",))


def rate_distortion(found: Measurement, place: Place) -> Iterator[Section]:
    """The paper's Table 4 and Figure 5, with its decomposition of the bound."""
    whole = contents.rates(found) and "distortion" in found.curves
    if not whole or not found.quantities.keys() >= _DECOMPOSED:
        yield from plain(found, place)
        return
    key = place.key(found.name)
    paper = [
        (int(row.name), float(row.numbers["rate"].value), float(row.numbers["rmse"].value))
        for row in references.tables()["rate_distortion"].rows
    ]
    caption = (
        "Distortion and rate over the reverse steps, and distortion over rate (the paper's "
        "Figure 5). Bands are one standard error over images; points are the paper's Table 4, of "
        "CIFAR-10."
    )
    table = replace(contents.quantities(found), key=f"{key}-quantities")
    yield Section(
        "Rate and distortion",
        (contents.decomposition(found),),
        pictures=(
            figures.rate_distortion(
                key, found.curves["distortion"], contents.rates(found), paper, caption
            ),
        ),
    )
    tables = (published.table_4(f"{key}-table4", found), table)
    yield Section("Rate and distortion in numbers", tables=tables)
