"""What the settings of schema 1 said, as a protocol."""

from collections.abc import Mapping
from typing import Any

from ddpm_eval.record.protocol import (
    EstimatorFacts,
    ExtractorFacts,
    ImagesFacts,
    Json,
    Protocol,
    SamplingFacts,
)
from ddpm_eval.record.schema1.types import Measurement

_FACTS = (
    *("verdict", "verdict (features)", "memorised", "memorised (features)", "frames", "label"),
    *("best", "best_steps", "checkpoints", "units", "ema_decay", "step", "keys"),
)
_DESCRIBED = ("is_spread", "kid_spread", "infinity_interval", "samples", "checkpoint", "indices")
"""What is said by fields of scores or by the protocol."""


class Settings:
    """The settings of a measurement of schema 1, taken apart one by one."""

    def __init__(self, old: Measurement, T: int) -> None:
        self.old, self.T = old, T
        self.rest: dict[str, Any] = {
            name: value for name, value in old.settings.items() if name not in _DESCRIBED
        }

    def take(self, name: str) -> Any:
        """Take a setting out; None if it is not there."""
        return self.rest.pop(name, None)

    def facts(self) -> dict[str, Json]:
        """Take out what is no setting but a result."""
        return {name: self.rest.pop(name) for name in _FACTS if name in self.rest}

    def protocol(self, measure: str, model: str, weights: str) -> Protocol:
        """Make the protocol of all that is left."""
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
