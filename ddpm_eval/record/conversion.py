"""From schema 1 to the types of today: what its names and settings said becomes fields."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ddpm_eval.record import schema1
from ddpm_eval.record.protocol import (
    EstimatorFacts,
    ExtractorFacts,
    ImagesFacts,
    Json,
    Protocol,
    SamplingFacts,
)
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Error, Qualifiers, Score
from ddpm_train.errors import FixableError

MEASURES: Mapping[str, str] = {
    **{name: name for name in ("comparison", "rate_distortion", "reconstructions")},
    **{name: name for name in ("baselines", "samples", "quality", "progressive", "watch")},
    **{name: name for name in ("interpolation", "neighbours", "training")},
    "nll": "bound",
}
"""Measures of today by the names of schema 1, which may end in ``-train`` or ``-REFERENCE``."""

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


def convert(report: schema1.Report) -> Record:
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
    old: schema1.Measurement, model: str, subject: Mapping[str, Json] | None = None
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
        raise _unknown(old.name)
    subject = subject or {}
    settings = _Settings(old, _steps(subject))
    if measure == "watch":
        model = ""  # of the whole run
    weights = str(settings.take("weights") or subject.get("weights", ""))
    return Measurement(
        measure=measure,
        scores=tuple(_score(measure, name, old) for name in _ordered(measure, old)),
        curves=tuple(_curve(measure, name, old) for name in sorted(old.curves)),
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


# ----------------------------------------------------------------------------- scores and curves


def _ordered(measure: str, old: schema1.Measurement) -> list[str]:
    """The names of all quantities, the headline first: files of schema 1 sort them."""
    patterns = [pattern for pattern, _, _ in _rows(measure)]

    def place(name: str) -> tuple[int, str]:
        bare = name.removeprefix("best ")
        matches = (i for i, pattern in enumerate(patterns) if re.fullmatch(pattern, bare))
        return next(matches, len(patterns)), name

    return sorted(old.quantities, key=place)


def _score(measure: str, name: str, old: schema1.Measurement) -> Score:
    quantity = old.quantities[name]
    metric, of = _identify(measure, name.removeprefix("best "), old)
    best = old.settings.get("best")
    if measure == "watch" and isinstance(best, Mapping):
        of["at"] = ("training_steps", best["step"])
    error = None if quantity.stderr is None else _error(metric, quantity.stderr, old)
    return Score(
        metric=metric, value=quantity.value, n=quantity.n, error=error, of=Qualifiers(**of)
    )


def _curve(measure: str, name: str, old: schema1.Measurement) -> Curve:
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


def _identify(measure: str, name: str, old: schema1.Measurement) -> tuple[str, dict[str, Any]]:
    """The metric of a name, and what it is of."""
    for pattern, metric, of in _rows(measure):
        match = re.fullmatch(pattern, name)
        if match is not None:
            groups = {key: value for key, value in match.groupdict().items() if value}
            if "at" in groups:
                groups["at"] = ("reverse_steps", int(groups["at"].replace(",", "")))
            whose = {"whose": "samples"} if measure == "progressive" else {}
            return metric, {**whose, **of, **groups}
    raise _unknown(f"{old.name}: {name}")


def _rows(measure: str) -> Iterator[_Row]:
    through = ("progressive", "watch")  # which measure quality on the way
    yield from _OF_MEASURE.get(measure, ())
    if measure in through:
        yield from _OF_MEASURE["quality"]
    yield from _ANYWHERE


def _error(metric: str, size: float, old: schema1.Measurement) -> Error:
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


def _unknown(what: str) -> FixableError:
    return FixableError(
        f"{what}: no measurement that this version knows",
        "measure again, into a record of another name",
    )


# ------------------------------------------------------------------------------- the protocol

_FACTS = (
    *("verdict", "verdict (features)", "memorised", "memorised (features)", "frames", "label"),
    *("best", "best_steps", "checkpoints", "units", "ema_decay", "step", "keys"),
)
_DESCRIBED = ("is_spread", "kid_spread", "infinity_interval", "samples", "checkpoint", "indices")
"""What is said by fields of scores or by the protocol."""


class _Settings:
    """The settings of a measurement of schema 1, taken apart one by one."""

    def __init__(self, old: schema1.Measurement, T: int) -> None:
        self.old, self.T = old, T
        self.rest: dict[str, Any] = {
            name: value for name, value in old.settings.items() if name not in _DESCRIBED
        }

    def take(self, name: str) -> Any:
        return self.rest.pop(name, None)

    def facts(self) -> dict[str, Json]:
        return {name: self.rest.pop(name) for name in _FACTS if name in self.rest}

    def protocol(self, measure: str, model: str, weights: str) -> Protocol:
        if measure == "training":
            return Protocol(version=1, model=model, weights=weights, settings=self.rest)
        against = self.take("against")
        reference, sampling = self._reference(), self._sampling()
        extractor, estimator = self._extractor(), self._estimator()
        return Protocol(
            version=1,
            model=model,
            weights=weights,
            images=self._images(measure),
            sampling=sampling,
            reference=reference,
            extractor=extractor,
            estimator=estimator,
            other_model=str(against["checkpoint"]) if isinstance(against, Mapping) else "",
            variance=self.take("variance") or "",
            clip=self.take("clip"),
            precision=self.take("precision") or "float32",
            seed=self.take("seed"),
            settings=self.rest,
        )

    def _reference(self) -> ImagesFacts | None:
        if "reference" not in self.rest:
            return None
        dataset = _dataset(str(self.take("dataset") or ""))[0]
        named = str(self.take("reference"))
        name, split = ("", named) if named in ("train", "test") else _dataset(named)
        if self.old.name.startswith("quality"):
            self.take("split")  # of the reference
        return ImagesFacts(
            digest=self.take("reference_digest") or "",
            n=self.take("reference_n") or 0,
            dataset=dataset or name,
            split=split,
        )

    def _sampling(self) -> SamplingFacts | None:
        sampled = ("samples", "quality", "neighbours", "progressive", "watch")
        if not self.old.name.startswith(sampled) or "steps" not in self.rest:
            return None
        steps = self.take("steps")
        return SamplingFacts(
            sampler=self.take("sampler") or "ancestral",
            steps=steps,
            T=self.take("T") or self.T,
            seed=self.rest.get("seed", 0),
            n=self.take("n") or 0,
            eta=self.take("eta"),
            clip=self.rest.get("clip", True),
            batch=self.take("batch"),
            digest=str(self.old.settings.get("samples_digest") or ""),
        )

    def _extractor(self) -> ExtractorFacts | None:
        name, digest = self.take("extractor"), self.take("extractor_digest")
        return None if name is None else ExtractorFacts(name=name, digest=digest or "")

    def _estimator(self) -> EstimatorFacts | None:
        goal = self.take("estimator")
        if not isinstance(goal, Mapping):
            return None
        return EstimatorFacts(
            target_stderr=goal.get("target_stderr", 0.0), budget=goal.get("budget", 0)
        )

    def _images(self, measure: str) -> ImagesFacts | None:
        digest = self.take("data_digest") or ""
        dataset, split = self.take("dataset"), self.take("split")
        compared = self.take("samples_digest")
        if dataset is None and compared and "T" not in self.old.settings:  # a folder of images
            n = self.take("n") or 0
            return ImagesFacts(digest=compared, n=n, dataset=str(self.old.settings.get("samples")))
        if dataset is None and split is None:
            return None
        name, end = _dataset(str(dataset or ""))
        counts = [item.n for item in self.old.quantities.values() if item.unit == "bits/dim"]
        counts += [curve.n for name, curve in self.old.curves.items() if name == "bits/dim"]
        paired = 2 * len(self.rest.get("pairs", ()))
        n = self.take("n") or max(counts, default=paired)
        return ImagesFacts(digest=digest, n=n, choice="first", dataset=name, split=split or end)


def _dataset(name: str) -> tuple[str, str]:
    """Take a name of images apart.

    >>> _dataset("digits train"), _dataset("church")
    (('digits', 'train'), ('church', ''))
    """
    for split in ("train", "test"):
        if name.endswith(f" {split}"):
            return name.removesuffix(f" {split}"), split
    return name, ""
