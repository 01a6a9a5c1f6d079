"""The protocol: everything that a number depends on, typed. Its digest is half of a record's key.

Names of files and folders are for people and never decide: content does, by its digest.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from ddpm_train.settings import flatten

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
Choice: TypeAlias = Literal["all", "drawn", "first", "chosen", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagesFacts:
    """Which images: known by their content.

    Attributes:
        digest: SHA-256 of the content of the whole set; of images that the caller has chosen, of
            their indices too.
        n: How many of them are used.
        choice: ``all`` of the set, ``drawn`` by the seed, the ``first`` n, or ``chosen`` by the
            caller.
        dataset: What people call the set: ``cifar10``, ``digits``, a folder's name.
        split: ``train``, ``test``, or empty where it is neither.
        seed: The seed of a drawn choice.
        labels: Whether the model is told their classes.
    """

    digest: str
    n: int
    choice: Choice = "all"
    dataset: str = ""
    split: str = ""
    seed: int | None = None
    labels: bool = False

    @property
    def plain(self) -> dict[str, Json]:
        """The fields as JSON values; ``labels`` only where it is true, as in older records."""
        values = dataclasses.asdict(self)
        if not self.labels:
            del values["labels"]
        return values


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingFacts:
    """How samples are drawn: all that image i depends on beside the weights."""

    sampler: str
    steps: int
    T: int
    seed: int
    n: int
    eta: float | None = None
    clip: bool = True
    spacing: str = "even"
    condition: str = ""
    guidance: str = ""
    heun: str = ""
    batch: int | None = None
    digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractorFacts:
    """The network that features come from: its name, the digest of its weights, what it does."""

    name: str
    digest: str
    preprocessing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimatorFacts:
    """The goal of an estimate: none of both computes every term."""

    target_stderr: float = 0.0
    budget: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """Everything that the numbers of one measurement depend on.

    Attributes:
        version: Of the measure; it rises when its numbers move.
        model: The digest of the weights and the model's settings; of images alone, theirs.
        weights: ``ema``, ``raw``, or ``unknown`` where the file does not say and nobody did.
        images: The images that are scored, if any.
        sampling: How samples are drawn, if any are.
        reference: What samples are compared with, if they are.
        extractor: The network of features, if one is used.
        estimator: The goal, where a number is estimated.
        other_model: The digest of a second model that is compared with.
        variance: The variance of p that the model itself has.
        clip: Whether x_0_hat is kept in [-1, 1].
        precision: Of the network's evaluations.
        seed: Of all noise.
        settings: The measure's whole settings tree, as ``settings.to_dict`` gives it.
    """

    version: int
    model: str = ""
    weights: str = ""
    images: ImagesFacts | None = None
    sampling: SamplingFacts | None = None
    reference: ImagesFacts | None = None
    extractor: ExtractorFacts | None = None
    estimator: EstimatorFacts | None = None
    other_model: str = ""
    variance: str = ""
    clip: bool | None = None
    precision: str = "float32"
    seed: int | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of the whole protocol: equal exactly where everything is equal.

        >>> Protocol(version=1).key == Protocol(version=1, seed=None).key
        True
        >>> Protocol(version=1).key == Protocol(version=2).key
        False
        """
        text = json.dumps(plain(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(protocol: Protocol) -> dict[str, Any]:
    """The protocol as JSON values, without what is as by default.

    So a field that is added later, with a default that means what was done before, changes no key.
    """
    return {
        name: stated(value) if dataclasses.is_dataclass(value) else value
        for name, value in stated(protocol).items()
    }


def stated(item: Any) -> dict[str, Any]:
    """The fields of a dataclass that are not as by default."""
    values = {}
    for entry in dataclasses.fields(item):
        value = getattr(item, entry.name)
        factory = entry.default_factory
        default = entry.default if factory is dataclasses.MISSING else factory()
        if hasattr(value, "dtype") or value != default:
            values[entry.name] = value
    return values


_GROUPS = {
    "images": ImagesFacts,
    "sampling": SamplingFacts,
    "reference": ImagesFacts,
    "extractor": ExtractorFacts,
    "estimator": EstimatorFacts,
}


def read(values: Mapping[str, Any]) -> Protocol:
    """Read a protocol from JSON values: the inverse of ``plain``.

    >>> protocol = Protocol(version=1, images=ImagesFacts(digest="d", n=9), clip=True)
    >>> read(plain(protocol)) == protocol
    True
    """
    groups = {name: kind(**values[name]) for name, kind in _GROUPS.items() if name in values}
    return Protocol(**{**values, **groups})


def changes(one: Protocol, other: Protocol) -> dict[str, tuple[Json, Json]]:
    """Every setting that differs between two protocols, by its dotted name.

    >>> changes(Protocol(version=1, seed=0), Protocol(version=1, seed=3, clip=True))
    {'clip': (None, True), 'seed': (0, 3)}
    """
    first, second = (flatten(dataclasses.asdict(item)) for item in (one, other))
    pairs = {name: (first.get(name), second.get(name)) for name in sorted({*first, *second})}
    return {name: (a, b) for name, (a, b) in pairs.items() if a != b and (a, b) not in _NOTHING}


_NOTHING = [(None, 0.0), (0.0, None), (None, ""), ("", None), (None, ()), ((), None)]
"""Pairs of what is not set: a group that is absent, and one whose field is empty."""
