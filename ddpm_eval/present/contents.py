"""The rows of tables that hold our numbers alone."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.metrics.registry import METRICS, definition
from ddpm_eval.present import wording
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.present.wording import listed
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.ranking import size
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
        "Total with σ² = β̃ (fixedsmall)",
        "bits_per_dim",
        {"part": "total", "variance": "fixedsmall"},
    ),
    ("Total with the best isotropic σ²", "bits_per_dim", {"part": "total", "variance": "optimal"}),
    (
        "of which σ² = β costs a perfect mean",
        "variance_mismatch",
        {"variance": "fixedlarge"},
    ),
)


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
            yield text, score
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


# ------------------------------------------------------------------------------- sample quality


def quality(runs: Sequence[Run]) -> Iterator[Table]:
    """The metrics of samples, one table for each feature network: never two in one."""
    measured = [(run.name, item) for run in runs for item in run.of("quality")]
    extractors = {score.of.extractor for _, item in measured for score in item.scores}
    for extractor in sorted(extractors):
        lines = [line for name, item in measured for line in _lines(name, item, extractor)]
        used = dict.fromkeys(metric for _, scores in lines for metric in scores)
        metrics = [metric for metric in METRICS if metric in used]
        metrics += [metric for metric in used if metric not in METRICS]
        rows = [
            replace(row, cells=tuple(_cell(scores.get(metric)) for metric in metrics))
            for row, scores in lines
        ]
        order = list(dict.fromkeys(row.block for row in rows))
        rows.sort(key=lambda row: (order.index(row.block), not row.ours))
        network = _network(measured, extractor)
        yield Table(
            "-".join(["quality", *re.findall(r"[A-Za-z0-9_]+", extractor)]),
            f"Quality of samples, by {network}",
            tuple(_column(metric, extractor) for metric in metrics),
            tuple(dict.fromkeys(rows)),
            (),
            _caption(network, extractor, [measurement for _, measurement in measured]),
        )


def _lines(
    run: str, measurement: Measurement, extractor: str
) -> Iterator[tuple[Row, Mapping[str, Score]]]:
    """A run against one reference, then its yardsticks: rows without cells, and their scores."""
    reference = measurement.protocol.reference
    block = f"against {wording.images(reference)}"
    block += f", {reference.n:,} images" if reference is not None and reference.n else ""
    for whose in dict.fromkeys(score.of.whose for score in measurement.scores):
        scores = {
            score.metric: score
            for score in measurement.scores
            if (score.of.extractor, score.of.whose) == (extractor, whose)
        }
        ours = whose == "samples"
        if scores:
            yield Row(run if ours else whose, (), block, ours=ours), scores


def _column(metric: str, extractor: str) -> Column:
    entry = definition(metric)
    return Column(entry.title_through(extractor), entry.better)


def _network(measured: Sequence[tuple[str, Measurement]], extractor: str) -> str:
    """The network behind scores with this suffix."""
    for _, item in measured:
        facts = item.protocol.extractor
        if facts is not None and any(score.of.extractor == extractor for score in item.scores):
            return {"inception-v3": "Inception-v3"}.get(facts.name, facts.name)
    return "an unnamed network"


def _through(measurement: Measurement, extractor: str) -> list[Score]:
    """The scores of the samples through one extractor, by the suffix of its name."""
    return [
        score
        for score in measurement.scores
        if (score.of.extractor, score.of.whose) == (extractor, "samples")
    ]


def _caption(network: str, extractor: str, measurements: Sequence[Measurement]) -> str:
    """What n counts, what stands behind each ±, and what may be compared."""
    scores = [score for item in measurements for score in _through(item, extractor)]
    others = dict.fromkeys(
        score.definition.title
        for item in measurements
        for score in _through(item, extractor)
        if _counts_reference(score, item.protocol)
    )
    counts = "n counts samples" + f", of {listed([*others])} reference images" * bool(others)
    text = "; ".join([f"Features of {network}", counts, *_errors(scores)]) + "."
    mine = [item.protocol for item in measurements if _through(item, extractor)]
    text = " ".join([text, *dict.fromkeys(filter(None, map(wording.preparation, mine)))])
    if extractor:
        text += (
            f" Distances through {network} are no FID: they may be compared with their own kind "
            "alone, at the same n. Held-out images are the yardstick: about what a perfect model "
            "would get with as many images."
        )
    return text


def _counts_reference(score: Score, protocol: Protocol) -> bool:
    reference = protocol.reference
    return reference is not None and score.n == reference.n != size(protocol)


def _errors(scores: Sequence[Score]) -> Iterator[str]:
    """What stands behind each ±: ``± is the spread over 10 parts for IS``."""
    kinds: dict[str, dict[str, None]] = {}
    for score in scores:
        if score.error is not None:
            article = "the " if score.error.kind == "spread" else "a "
            interval = "half of a 95% interval" if score.error.kind == "interval" else ""
            kind = f"{interval or article + score.error.kind} over {score.error.over}"
            kinds.setdefault(kind, {})[score.definition.title_through(score.of.extractor)] = None
    for i, (kind, titles) in enumerate(kinds.items()):
        yield f"{'± is ' * (i == 0)}{kind} for {listed([*titles])}"


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
        rows.append(Row(f"{name}: {difference}", (_cell(score, n=False), count), title(weaker)))
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


def _cell(score: Score | None, *, n: bool = True) -> Cell:
    return Cell() if score is None else Cell(*score.texts, n=score.n if n else None)
