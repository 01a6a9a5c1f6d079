"""From the types of today to schema 1, for readers that still look numbers up by their names."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.metrics.clinging import Verdict
from ddpm_eval.metrics.registry import METRICS
from ddpm_eval.record import arrays, disk, schema1
from ddpm_eval.record.protocol import ImagesFacts, Json, Protocol, plain
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Qualifiers

_PARTS = {"total": "total", "these images": "total of these images", "prior": "prior"}
_PARTS |= {"steps": "kl", "decoder": "decoder"}
_SHORT = {"inception_score": "IS", "precision": "precision", "recall": "recall", "loss": "loss"}
_SHORT |= {"training_steps": "steps", "images": "images", "seconds": "time", "rmse": "RMSE"}
_SHORT |= {"evaluations": "evaluations", "pairing_gain": "gain in error by pairing"}
_SHORT |= {"copies": "copies of training images", "repeats": "repeats of other samples"}
_BASELINES = {
    "untrained network": "untrained network",
    "histograms": "independent-pixel histograms",
}
_WHOSE = {"model": "model", "other model": "against", "difference": "difference"}


def lower(record: Record) -> schema1.Report:
    """Turn a record into one of schema 1: the strongest of each measure and question."""
    from ddpm_eval.record.ranking import groups

    measures = dict.fromkeys(item.measure for item in record.measurements)
    strongest = [group[0] for measure in measures for group in groups(record, measure)]
    model = next(iter(record.subjects), "")
    subject = {"checkpoint": model, **record.subjects.get(model, {})}
    old = [measurement(item) for item in reversed(strongest)]
    return schema1.Report(record.name, subject, {item.name: item for item in old})


def measurement(new: Measurement) -> schema1.Measurement:
    """Turn a measurement into one of schema 1."""
    settings = _settings(new)
    return schema1.Measurement(
        name=_name(new),
        quantities={
            _title(new.measure, item.metric, item.of): schema1.Quantity(
                item.value,
                _unit(item.metric, item.of),
                item.n,
                None if item.error is None else item.error.size,
            )
            for item in new.scores
        },
        curves={_curve_name(new.measure, item): _curve(item) for item in new.curves},
        grids=new.grids,
        arrays=new.arrays,
        settings=settings,
        warnings=new.warnings,
        provenance=new.provenance,
    )


def _name(new: Measurement) -> str:
    name = "nll" if new.measure == "bound" else new.measure
    images, reference = new.protocol.images, new.protocol.reference
    if new.measure == "quality" and reference is not None and reference.split != "train":
        return f"quality-{reference.split or reference.dataset}"
    split = new.measure in ("bound", "comparison", "rate_distortion", "reconstructions")
    return f"{name}-train" if split and images is not None and images.split == "train" else name


def _title(measure: str, metric: str, of: Qualifiers) -> str:  # noqa: C901
    suffix = f" ({of.variance})" if of.variance else ""
    if measure == "comparison" and metric == "bits_per_dim":
        return _WHOSE[of.whose]
    if of.whose in _BASELINES:
        return _BASELINES[of.whose]
    if of.whose == "full bound":
        return "evaluations of the full bound"
    if metric == "bits_per_dim" and measure == "watch":
        title = "bits/dim"
    elif metric == "bits_per_dim" and measure == "rate_distortion":
        title = "distortion" + suffix
    elif metric == "bits_per_dim":
        title = _PARTS[of.part] + suffix
    elif metric in ("rate", "variance_mismatch"):
        title = {"rate": "rate", "variance_mismatch": "variance mismatch"}[metric] + suffix
    elif metric == "median_distance":
        title = f"median distance of {of.whose} ({of.space})"
    elif metric == "close_share":
        title = f"as close as 1.0% of held-out images ({of.space})"
    else:
        title = _SHORT.get(metric, METRICS[metric].title_through(of.extractor))
        title += of.extractor if metric in ("inception_score", "precision", "recall") else ""
        if of.whose == "held-out images":
            title += " of held-out images"
    if of.at is not None and measure == "watch":
        return f"best {title}"
    return title if of.at is None else f"{title} after {of.at[1]:,g} steps"


def _unit(metric: str, of: Qualifiers) -> str:
    if metric == "median_distance":
        return "grey levels" if of.space == "pixels" else ""
    return {"training_steps": "steps", "images": "images"}.get(metric, METRICS[metric].unit)


def _curve_name(measure: str, curve: Curve) -> str:
    if curve.metric == "bound_term":
        return "terms"
    if curve.metric == "rate":
        return f"rate ({curve.of.variance})"
    if measure == "rate_distortion":
        return "distortion" + " (mean of each image's RMSE)" * (curve.metric == "mean_rmse")
    title = _title(measure, curve.metric, curve.of)
    return f"{title} over n" if measure == "quality" else title


def _curve(curve: Curve) -> schema1.Curve:
    x_name = {"reverse_steps": "reverse steps (T − t + 1)", "images": "n images", "t": "t"}
    y_name = {"bound_term": "L_t (bits/dim)", "rate": "rate (bits/dim)", "rmse": "RMSE (0-255)"}
    return schema1.Curve(
        curve.x,
        curve.y,
        x_name.get(curve.over, "training step"),
        y_name.get(curve.metric, _title("watch", curve.metric, curve.of)),
        curve.n,
        curve.error,
        curve.log,
    )


def _settings(new: Measurement) -> dict[str, Json]:
    protocol = new.protocol
    told: dict[str, Any] = {
        "weights": protocol.weights,
        "seed": protocol.seed,
        "clip": protocol.clip,
        "variance": protocol.variance,
        "precision": None if protocol.precision == "float32" else protocol.precision,
        **_images(new.measure, protocol.images),
        **_sampling(protocol),
        **_reference(protocol.reference),
    }
    if protocol.extractor is not None:
        told["extractor"] = protocol.extractor.name
        told["extractor_digest"] = protocol.extractor.digest
    if protocol.estimator is not None:
        told["estimator"] = plain(protocol)["estimator"]
    if new.measure == "training":
        told = {}
    kept = {name: value for name, value in told.items() if value not in (None, "")}
    return {**protocol.settings, **kept, **new.facts, **_verdicts(new)}


def _verdicts(new: Measurement) -> Mapping[str, str]:
    """What is said of memorisation, in words."""
    verdicts: Any = new.facts.get("verdicts", {})
    names = {"pixels": "verdict", "features": "verdict (features)"}
    return {names[space]: str(Verdict(**facts)) for space, facts in verdicts.items()}


def _images(measure: str, images: ImagesFacts | None) -> Mapping[str, Any]:
    if images is None:
        return {}
    facts = {"dataset": images.dataset, "split": images.split, "data_digest": images.digest}
    return {**facts, "n": images.n} if measure in ("quality", "reconstructions") else facts


def _sampling(protocol: Protocol) -> Mapping[str, Any]:
    sampling = protocol.sampling
    if sampling is None:
        return {}
    return {
        **{"sampler": sampling.sampler, "steps": sampling.steps, "T": sampling.T or None},
        **{"n": sampling.n or None, "batch": sampling.batch, "eta": sampling.eta},
        **{"samples_digest": sampling.digest, "checkpoint": protocol.model},
    }


def _reference(reference: ImagesFacts | None) -> Mapping[str, Any]:
    if reference is None:
        return {}
    return {
        "reference": reference.split or reference.dataset,
        **({"dataset": reference.dataset} if reference.dataset else {}),
        "reference_n": reference.n or None,
        "reference_digest": reference.digest,
    }


def to_json(report: schema1.Report) -> str:
    """The text of a record of schema 1."""
    body = {"schema": schema1.SCHEMA, "name": report.name, "subject": _values(report.subject, "")}
    body["measurements"] = {name: _values(item, name) for name, item in report.measurements.items()}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"))
    digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
    whole = body | {"digest": digest}
    return json.dumps(whole, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _values(value: Any, place: str) -> Any:
    if isinstance(value, np.ndarray):
        return {"array": arrays.key(place, value)}
    if dataclasses.is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _values(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_values(item, f"{place}.{i}") for i, item in enumerate(value)]
    return value


def load(folder: Path) -> schema1.Report:
    """Read a record as one of schema 1."""
    return lower(disk.load(folder))
