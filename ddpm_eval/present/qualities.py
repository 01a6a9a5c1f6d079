"""The tables of sample quality: one for each network of features, never two in one."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.metrics.registry import METRICS, definition
from ddpm_eval.present import wording
from ddpm_eval.present.contents import cell
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Column, Row, Table
from ddpm_eval.present.wording import listed
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.ranking import size
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score


def tables(runs: Sequence[Run]) -> Iterator[Table]:
    """The metrics of samples, one table for each feature network: never two in one."""
    measured = [(run.name, item) for run in runs for item in run.of("quality")]
    extractors = {score.of.extractor for _, item in measured for score in item.scores}
    for extractor in sorted(extractors):
        lines = [line for name, item in measured for line in _lines(name, item, extractor)]
        used = dict.fromkeys(metric for _, scores in lines for metric in scores)
        metrics = [metric for metric in METRICS if metric in used]
        metrics += [metric for metric in used if metric not in METRICS]
        rows = [
            replace(row, cells=tuple(cell(scores.get(metric)) for metric in metrics))
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
