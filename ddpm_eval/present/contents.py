"""The rows of tables that hold our numbers alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity, Report

_TERMS = {
    "prior": "Prior (what x_T still says)",
    "kl": "Steps (sum of their KL terms)",
    "decoder": "Decoder (the last step, to pixels)",
    "total": "Total bound",
    "total of these images": "Total bound of these images (the error is the estimate's alone)",
    "total (fixedlarge)": "Total with σ² = β (fixedlarge)",
    "total (fixedsmall)": "Total with σ² = β̃ (fixedsmall)",
    "total (optimal)": "Total with the best isotropic σ²",
    "variance mismatch (fixedlarge)": "of which σ² = β costs a perfect mean",
}


_METRICS: Mapping[str, Literal["", "higher", "lower"]] = {
    **{"IS": "higher", "FID": "lower", "FD": "lower", "FID-infinity": "lower"},
    **{"FD-infinity": "lower", "sFID": "lower", "sFD": "lower", "KID": "lower", "KD": "lower"},
    **{"precision": "higher", "recall": "higher"},
}
_PLAIN = ("KD", "precision", "recall")
"""Metrics whose column needs no network in its name: the table's title has it."""
HELD_OUT = " of held-out images"
"""How the name of a yardstick ends."""


def bits(reports: Sequence[Report]) -> Table | None:
    """Where the bits of the bound go, and what trivial models need; None if nothing is measured."""
    rows: list[Row] = []
    for report in reports:
        run = f"{report.name}: " if len(reports) > 1 else ""
        scale = report.measurements.get("baselines")
        for name, block in (("nll", "The bound"), ("nll-train", "The bound on training images")):
            nll = report.measurements.get(name)
            if nll is not None:
                found = nll.quantities
                terms = {text: found[key] for key, text in _TERMS.items() if key in found}
                rows += [_measured_row(t, q, f"{run}{block}") for t, q in terms.items()]
        if scale is not None:
            ordered = sorted(scale.quantities.items(), key=lambda item: (item[1].value, item[0]))
            rows += [_measured_row(t, q, f"{run}For scale") for t, q in ordered]
    if not rows:
        return None
    caption = (
        "± is a standard error over images. Prior, steps and decoder are the paper's L_T, the sum "
        "of L_1 to L_T−1, and L_0; they add up to the total."
    )
    columns = (Column("bits/dim", "lower"), Column("images"))
    return Table("bits", "Bits/dim", columns, tuple(dict.fromkeys(rows)), (), caption)


def quality(reports: Sequence[Report]) -> Iterator[Table]:
    """The metrics of samples, one table for each feature network: never two in one."""
    measured = [
        (report.name, found)
        for report in reports
        for name, found in sorted(report.measurements.items())
        if name == "quality" or name.startswith("quality-")
    ]
    suffixes = dict.fromkeys(_suffix(q) for _, found in measured for q in found.quantities)
    for suffix in sorted(suffixes):
        lines = [line for name, found in measured for line in _metrics(name, found, suffix)]
        known = [*_METRICS]
        names = sorted(
            {name for _, cells in lines for name in cells},
            key=lambda name: (known.index(name) if name in known else len(known), name),
        )
        columns = tuple(
            Column(name if name in _PLAIN else f"{name}{suffix}", _METRICS.get(name, ""))
            for name in names
        )
        rows = [
            replace(row, cells=tuple(cells.get(name, Cell()) for name in names))
            for row, cells in lines
        ]
        order = list(dict.fromkeys(row.block for row in rows))
        rows.sort(key=lambda row: (order.index(row.block), not row.ours))
        network = suffix.strip("()") or "Inception-v3"
        of_recall = ", and for recall reference images" * ("recall" in names)
        caption = (
            f"Features of {network}; n counts samples{of_recall}; ± is the spread over parts for "
            "IS and over subsets for the kernel distance, as published, and a standard error "
            "elsewhere."
        )
        if suffix:
            caption += (
                " A Fréchet distance of this network is no FID: it may be compared with its own "
                "kind alone, at the same n. Held-out images are the yardstick: about what a "
                "perfect model would get with as many images."
            )
        key = "-".join(["quality", *re.findall(r"[A-Za-z0-9_]+", suffix)])
        yield Table(
            key,
            f"Quality of samples, by {network}",
            columns,
            tuple(dict.fromkeys(rows)),
            (),
            caption,
        )


def _suffix(name: str) -> str:
    """The network in the name of a metric, if it is not Inception.

    >>> _suffix("FD(digits-cnn) of held-out images"), _suffix("FID")
    ('(digits-cnn)', '')
    """
    found = re.search(r"\([^()]*\)", name)
    return found[0] if found else ""


def reference(found: Measurement) -> str:
    """What samples are compared with.

    >>> reference(Measurement("m", settings={"dataset": "digits", "reference": "train"}))
    'digits train'
    """
    name = str(found.settings.get("reference", "unnamed images"))
    dataset = found.settings.get("dataset")
    return f"{dataset} {name}" if dataset and name in ("train", "test") else name


def _metrics(run: str, found: Measurement, suffix: str) -> Iterator[tuple[Row, Mapping[str, Cell]]]:
    """A run against one reference, then the yardstick: a row without cells, and its cells."""
    n = found.settings.get("reference_n")
    block = f"against {reference(found)}"
    block += f", {n:,} images" if isinstance(n, int) else ""
    for held_out in (False, True):
        cells = {
            name.removesuffix(HELD_OUT).replace(suffix, ""): Cell(*each.texts, n=each.n)
            for name, each in found.quantities.items()
            if _suffix(name) == suffix and name.endswith(HELD_OUT) == held_out
        }
        if cells:
            yield Row("held-out images" if held_out else run, (), block, ours=not held_out), cells


def rates(measured: Measurement) -> dict[str, Curve]:
    """The rates over the reverse steps by variance, the model's own first.

    >>> curve = Curve([1], [1], "x", "y", 1)
    >>> found = {"rate (fixedlarge)": curve, "rate (fixedsmall)": curve, "distortion": curve}
    >>> list(rates(Measurement("m", curves=found, settings={"variance": "fixedsmall"})))
    ['fixedsmall', 'fixedlarge']
    """
    found = {
        name.removeprefix("rate (").removesuffix(")"): curve
        for name, curve in measured.curves.items()
        if name.startswith("rate (")
    }
    own = measured.settings.get("variance")
    return dict(sorted(found.items(), key=lambda item: item[0] != own))


def decomposition(measured: Measurement) -> str:
    """Rate and distortion as the paper quotes them, for the model's own variance.

    >>> found = {"rate": Quantity(1.78, "bits/dim", 9), "distortion": Quantity(1.97, "bits/dim", 9),
    ...          "RMSE": Quantity(0.95, "grey levels", 9)}
    >>> print(decomposition(Measurement("rate_distortion", found)))
    The bound is 1.780 bits/dim of rate and 1.970 bits/dim of distortion, the latter at an RMSE of
    0.950 grey levels. The paper's model on CIFAR-10: 1.78 and 1.97 at 0.95.
    """
    rate, left, rmse = (measured.quantities[name] for name in ("rate", "distortion", "RMSE"))
    return (
        f"The bound is {_plain(rate)} bits/dim of rate and {_plain(left)} bits/dim of distortion, "
        f"the latter at an RMSE of {_plain(rmse)} grey levels. The paper's model on CIFAR-10: "
        "1.78 and 1.97 at 0.95."
    )


def _plain(quantity: Quantity) -> str:
    return " ± ".join(text for text in quantity.texts if text)


def quantities(measurement: Measurement) -> Table:
    """Every quantity of a measurement that has no table of its own."""
    rows = tuple(
        _measured_row(name if found.unit in ("", name) else f"{name} ({found.unit})", found, "")
        for name, found in sorted(measurement.quantities.items())
    )
    columns: tuple[Column, ...] = (Column("value"), Column("n"))
    if all(found.n == 1 for found in measurement.quantities.values()):  # n says nothing then
        rows, columns = tuple(replace(row, cells=row.cells[:1]) for row in rows), columns[:1]
    return Table(measurement.name, "In numbers", columns, rows)


def _measured_row(name: str, quantity: Quantity, block: str) -> Row:
    cell = Cell(*quantity.texts, bold=name == _TERMS["total"])
    return Row(name, (cell, Cell(f"{quantity.n:,}")), block)
