"""What the names of schema 1 said of numbers and curves, as fields."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ddpm_eval.record.schema1.types import Measurement
from ddpm_eval.record.scores import Curve, Error, Qualifiers, Score
from ddpm_train.errors import FixableError

_VARIANCE = r"(?: \((?P<variance>\w+)\))?"
_EXTRACTOR = r"(?P<extractor>\([^()]*\))?"
_SPACE = r" \((?P<space>\w+)\)"

_Row = tuple[str, str, dict[str, Any]]
_OF_MEASURE: Mapping[str, tuple[_Row, ...]] = {  # pattern of a name, metric, what it is of
    "bound": (
        (r"total", "bits_per_dim", {}),
        (r"total of these images", "bits_per_dim", {"part": "these images"}),
        (r"prior", "bits_per_dim", {"part": "prior"}),
        (f"kl{_VARIANCE}", "bits_per_dim", {"part": "steps"}),
        (f"decoder{_VARIANCE}", "bits_per_dim", {"part": "decoder"}),
        (f"total{_VARIANCE}", "bits_per_dim", {}),
        (f"variance mismatch{_VARIANCE}", "variance_mismatch", {}),
        (r"terms", "bound_term", {}),
    ),
    "comparison": (
        (r"model", "bits_per_dim", {}),
        (r"against", "bits_per_dim", {"whose": "other model"}),
        (r"difference", "bits_per_dim", {"whose": "difference"}),
        (r"gain in error by pairing", "pairing_gain", {}),
    ),
    "rate_distortion": (
        (f"rate{_VARIANCE}", "rate", {}),
        (f"distortion{_VARIANCE}", "bits_per_dim", {"part": "decoder"}),
        (r"distortion \(mean of each image's RMSE\)", "mean_rmse", {}),
    ),
    "baselines": (
        (r"untrained network", "bits_per_dim", {"whose": "untrained network"}),
        (r"independent-pixel histograms", "bits_per_dim", {"whose": "histograms"}),
    ),
    "quality": (
        (rf"IS{_EXTRACTOR}", "inception_score", {"whose": "samples"}),
        (rf"FI?D{_EXTRACTOR}(?: over n)?", "fid", {"whose": "samples"}),
        (rf"FI?D{_EXTRACTOR} of held-out images", "fid", {"whose": "held-out images"}),
        (rf"sFI?D{_EXTRACTOR}", "sfid", {"whose": "samples"}),
        (rf"KI?D{_EXTRACTOR}", "kid", {"whose": "samples"}),
        (rf"precision{_EXTRACTOR}", "precision", {"whose": "samples"}),
        (rf"recall{_EXTRACTOR}", "recall", {"whose": "samples"}),
        (rf"FI?D-infinity{_EXTRACTOR}", "fid_infinity", {"whose": "samples"}),
    ),
    "neighbours": (
        (rf"median distance of (?P<whose>samples|held-out images){_SPACE}", "median_distance", {}),
        (rf"as close as .* of held-out images{_SPACE}", "close_share", {"whose": "samples"}),
        (r"copies of training images", "copies", {"whose": "samples"}),
        (r"repeats of other samples", "repeats", {"whose": "samples"}),
    ),
    "training": (
        (r"steps", "training_steps", {}),
        (r"images", "images", {}),
        (r"time", "seconds", {}),
        (r"loss", "loss", {}),
    ),
}
_ANYWHERE: tuple[_Row, ...] = (
    (r"evaluations", "evaluations", {}),
    (r"evaluations of the full bound", "evaluations", {"whose": "full bound"}),
    (r"RMSE after (?P<at>[\d,]+) of [\d,]+ steps", "rmse", {"whose": "samples"}),
    (r"RMSE", "rmse", {}),
    (r"bits/dim", "bits_per_dim", {}),
)
_OVER: Mapping[str, str] = {  # the axis of a measure's curves
    **{"bound": "t", "rate_distortion": "reverse_steps", "quality": "images"},
    **{"progressive": "reverse_steps", "training": "training_steps", "watch": "training_steps"},
}


def ordered(measure: str, old: Measurement) -> list[str]:
    """The names of all quantities, the headline first: files of schema 1 sort them."""
    patterns = [pattern for pattern, _, _ in _rows(measure)]

    def place(name: str) -> tuple[int, str]:
        bare = name.removeprefix("best ")
        matches = (i for i, pattern in enumerate(patterns) if re.fullmatch(pattern, bare))
        return next(matches, len(patterns)), name

    return sorted(old.quantities, key=place)


def score(measure: str, name: str, old: Measurement) -> Score:
    """Turn a quantity into a score."""
    quantity = old.quantities[name]
    metric, of = _identify(measure, name.removeprefix("best "), old)
    best = old.settings.get("best")
    if measure == "watch" and isinstance(best, Mapping):
        of["at"] = ("training_steps", best["step"])
    error = None if quantity.stderr is None else _error(metric, quantity.stderr, old)
    return Score(
        metric=metric, value=quantity.value, n=quantity.n, error=error, of=Qualifiers(**of)
    )


def curve(measure: str, name: str, old: Measurement) -> Curve:
    """Turn a curve into one of today."""
    curve = old.curves[name]
    metric, of = _identify(measure, name, old)
    if measure == "rate_distortion" and name == "distortion":  # in grey levels, as a curve
        metric, of = "rmse", {}
    return Curve(
        metric=metric,
        over=_OVER[measure],
        x=curve.x,
        y=curve.y,
        n=curve.n,
        error=curve.stderr,
        error_kind="spread" if metric == "inception_score" else "standard error",
        of=Qualifiers(**of),
        log=curve.log,
    )


def _identify(measure: str, name: str, old: Measurement) -> tuple[str, dict[str, Any]]:
    """The metric of a name, and what it is of."""
    for pattern, metric, of in _rows(measure):
        match = re.fullmatch(pattern, name)
        if match is not None:
            groups = {key: value for key, value in match.groupdict().items() if value}
            if "at" in groups:
                groups["at"] = ("reverse_steps", int(groups["at"].replace(",", "")))
            whose = {"whose": "samples"} if measure == "progressive" else {}
            return metric, {**whose, **of, **groups}
    raise unknown(f"{old.name}: {name}")


def _rows(measure: str) -> Iterator[_Row]:
    through = ("progressive", "watch")  # which measure quality on the way
    yield from _OF_MEASURE.get(measure, ())
    if measure in through:
        yield from _OF_MEASURE["quality"]
    yield from _ANYWHERE


def _error(metric: str, size: float, old: Measurement) -> Error:
    if metric in ("inception_score", "kid"):
        disjoint = metric == "inception_score"
        over = "10 parts" if disjoint else "100 subsets"
        return Error(size=size, kind="spread", over=over, parts=10 * disjoint)
    interval = old.settings.get("infinity_interval")
    if metric == "fid_infinity" and isinstance(interval, list):
        low, high = interval
        return Error(size=size, over="the regression", low=low, high=high)
    counted = {"recall": "reference images", "fid": "samples", "precision": "samples"}
    return Error(size=size, over=counted.get(metric, "images"))


def unknown(what: str) -> FixableError:
    """Refuse what no version measured."""
    return FixableError(
        f"{what}: no measurement that this version knows",
        "measure again, into a record of another name",
    )
