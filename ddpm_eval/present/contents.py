"""The rows of tables that hold our numbers alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.present import wording
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Score

_TERMS: tuple[tuple[str, str, Mapping[str, str]], ...] = (  # text, metric, what it is of
    ("Prior (what x_T still says)", "bits_per_dim", {"part": "prior", "variance": ""}),
    ("Steps (sum of their KL terms)", "bits_per_dim", {"part": "steps", "variance": ""}),
    ("Decoder (the last step, to pixels)", "bits_per_dim", {"part": "decoder", "variance": ""}),
    ("Total bound", "bits_per_dim", {"part": "total", "variance": ""}),
    (
        "Total bound of these images (the error is the estimate's alone)",
        "bits_per_dim",
        {"part": "these images", "variance": ""},
    ),
    (
        "Total with σ² = β (fixedlarge)",
        "bits_per_dim",
        {"part": "total", "variance": "fixedlarge"},
    ),
    (
        "of which σ² = β costs a perfect mean",
        "variance_mismatch",
        {"variance": "fixedlarge"},
    ),
    (
        "Total with σ² = β̃ (fixedsmall)",
        "bits_per_dim",
        {"part": "total", "variance": "fixedsmall"},
    ),
    ("Total with the best isotropic σ²", "bits_per_dim", {"part": "total", "variance": "optimal"}),
    (
        "Total with the isotropic σ² of some training images (calibrated)",
        "bits_per_dim",
        {"part": "total", "variance": "calibrated"},
    ),
)
_OWN_TABLE = "Total with the isotropic σ² that training learned (optimal)"


def bits(runs: Sequence[Run]) -> Table | None:
    """Where the bits of the bound go, and what trivial models need; None if nothing is measured."""
    rows: list[Row] = []
    for run in runs:
        for bound in run.of("bound"):
            block = f"{run.lead}The bound{_on_split(bound)}"
            for text, score in _terms(bound):
                rows.append(_row(text, score, block, bold=text == "Total bound"))
        scores = [score for item in run.of("baselines") for score in item.scores]
        scores.sort(key=lambda score: (score.value, score.of.whose))
        rows += [_row(_baseline(score), score, f"{run.lead}For scale") for score in scores]
    if not rows:
        return None
    caption = (
        "± is a standard error over images. Prior, steps and decoder are the paper's L_T, the sum "
        "of L_1 to L_T−1, and L_0; they add up to the total."
    )
    columns = (Column("bits/dim", "lower"), Column("images"))
    return Table("bits", "Bits/dim", columns, tuple(dict.fromkeys(rows)), (), caption)


def _terms(bound: Measurement) -> Iterator[tuple[str, Score]]:
    """The parts of the bound, then its total under each variance, with their texts."""
    variances = {of["variance"] for _, metric, of in _TERMS if metric == "bits_per_dim"}
    for text, metric, of in _TERMS:
        score = bound.score(metric, whose="model", **of)
        if score is not None:
            is_own = of["variance"] == bound.protocol.variance == "optimal"
            yield _OWN_TABLE if is_own else text, score
    for score in bound.scores:
        variance, is_total = score.of.variance, score.of.part == "total"
        ours = score.metric == "bits_per_dim" and score.of.whose == "model"
        if ours and is_total and variance not in variances:
            yield f"Total with the {variance} σ²", score


def _baseline(score: Score) -> str:
    return {"histograms": "independent-pixel histograms"}.get(score.of.whose, score.of.whose)


def _on_split(measurement: Measurement) -> str:
    images = measurement.protocol.images
    return " on training images" if images is not None and images.split == "train" else ""


# ------------------------------------------------------------------------------ rate, distortion


def rates(measurement: Measurement) -> dict[str, Curve]:
    """The rates over the reverse steps by variance, the model's own first."""
    curves = {
        curve.of.variance or measurement.protocol.variance: curve
        for curve in measurement.curves
        if curve.metric == "rate"
    }
    own = measurement.protocol.variance
    return dict(sorted(curves.items(), key=lambda item: item[0] != own))


def decomposition(measurement: Measurement) -> str:
    """Rate and distortion as the paper quotes them, for the model's own variance."""
    rate = measurement.score("rate", variance="")
    left = measurement.score("bits_per_dim", part="decoder", variance="")
    rmse = measurement.score("rmse")
    if rate is None or left is None or rmse is None:
        return ""
    return (
        f"The bound is {_plain(rate)} bits/dim of rate and {_plain(left)} bits/dim of distortion, "
        f"the latter at an RMSE of {_plain(rmse)} grey levels. The paper's model on CIFAR-10: "
        "1.78 and 1.97 at 0.95."
    )


def _plain(score: Score) -> str:
    return " ± ".join(text for text in score.texts if text)


# -------------------------------------------------------------------------------- everything else


def scores(key: str, measurement: Measurement) -> Table:
    """Every score of a measurement that has no table of its own."""
    rows = tuple(
        _row(wording.axis(score.metric, score.label), score, "") for score in measurement.scores
    )
    columns: tuple[Column, ...] = (Column("value"), Column("n"))
    if all(score.n == 1 for score in measurement.scores):  # n says nothing then
        rows, columns = tuple(replace(row, cells=row.cells[:1]) for row in rows), columns[:1]
    return Table(key, "In numbers", columns, rows)


def others(run: Run) -> Table | None:
    """What is recorded beside the measurements that are shown; None if there is nothing."""
    rows = []
    for weaker, stronger in run.others():
        difference = wording.apart(run.record, weaker.protocol, stronger.protocol)
        score = next(iter(weaker.scores), None)
        name = title(weaker) if score is None else wording.axis(score.metric, score.label)
        count = Cell() if score is None else Cell(f"{score.n:,}")
        rows.append(Row(f"{name}: {difference}", (cell(score, n=False), count), title(weaker)))
    if not rows:
        return None
    return Table(f"{run.prefix}others", "Also measured", (Column("value"), Column("n")), (*rows,))


def title(measurement: Measurement) -> str:
    """The name of a measure in a heading.

    >>> from ddpm_eval.record.protocol import Protocol
    >>> title(Measurement(measure="rate_distortion", protocol=Protocol(version=1)))
    'Rate distortion'
    """
    return measurement.measure.replace("_", " ").capitalize()


def _row(name: str, score: Score, block: str, *, bold: bool = False) -> Row:
    return Row(name, (Cell(*score.texts, bold=bold), Cell(f"{score.n:,}")), block)


def cell(score: Score | None, *, n: bool = True) -> Cell:
    """A score in a table; n stands beside it unless it has its own column."""
    return Cell() if score is None else Cell(*score.texts, n=score.n if n else None)
