"""From features to a measurement: scores, the curve over n, the terms of FD, and warnings."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ddpm_eval.features import Extractor
from ddpm_eval.features.bank import Bank
from ddpm_eval.measure.quality import sanity
from ddpm_eval.measure.quality.reference import Comparison
from ddpm_eval.measure.quality.scan import Scanned
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.metrics import extrapolation
from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.evidence import Evidence, FeatureSet
from ddpm_eval.metrics.frechet import Gaussian, distance_of, relative_distance
from ddpm_eval.metrics.moments import Moments
from ddpm_eval.metrics.registry import METRICS
from ddpm_eval.record.protocol import Json, Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Qualifiers, Score
from ddpm_train.data.labels import without_labels
from ddpm_train.data.pictures import Pictures

MEASURE = "quality"
HELD_OUT = "held-out images"


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """Everything that was extracted for one measurement.

    Attributes:
        comparison: What was compared.
        extractor: Through which network.
        features: Of the samples.
        scanned: Sums over them.
        content: Statistics of the reference.
        others: Features of the reference, where they are wanted.
        yardstick: Moments and features of held-out images, where there are some.
    """

    comparison: Comparison
    extractor: Extractor
    features: Bank
    scanned: Scanned
    content: Statistics
    others: Bank | None
    yardstick: tuple[Moments, Bank] | None

    def evidence(self) -> Evidence:
        """What metrics are computed from."""
        spatial = self.scanned.spatial
        return Evidence(
            samples=FeatureSet(
                pool=Gaussian.of(self.scanned.pool),
                rows=self.features.rows(),
                spatial=None if spatial is None else Gaussian.of(spatial),
                score=self.scanned.score,
                recognition=self.scanned.recognition,
            ),
            reference=FeatureSet(
                pool=self.content.pool,
                rows=None if self.others is None else self.others.rows(),
                spatial=self.content.spatial,
            ),
            device=self.extractor.device,
        )


def measurement(sets: Sets, keys: Sequence[str], protocol: Protocol) -> Measurement:
    """Take the metrics of these keys, and say what a reader has to know."""
    evidence = sets.evidence()
    estimates: dict[str, Estimate] = {}
    for key in keys:
        compute = METRICS[key].compute
        if compute is not None:
            estimates[key] = compute(evidence)
    yardstick = _yardstick(sets, evidence) if "fid" in keys else {}
    scores = [*_scores(estimates, "samples", sets), *_scores(yardstick, HELD_OUT, sets)]
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=tuple(scores),
        curves=tuple(_curves(evidence, keys, sets)),
        facts=_facts(sets, evidence, protocol, keys),
        warnings=tuple(_warnings(sets, evidence, protocol, estimates | yardstick)),
    )


def _scores(estimates: Mapping[str, Estimate], whose: str, sets: Sets) -> Iterator[Score]:
    for key, estimate in estimates.items():
        yield Score(
            metric=key,
            value=estimate.value,
            n=estimate.n,
            error=estimate.error,
            of=Qualifiers(
                whose="samples" if key == "relative_fd" else whose,
                extractor=sets.extractor.suffix,
            ),
        )


def _yardstick(sets: Sets, evidence: Evidence) -> dict[str, Estimate]:
    """The distance of held-out images, and that of as many samples over it."""
    if sets.yardstick is None:
        return {}
    moments, features = sets.yardstick
    real = distance_of(Gaussian.of(moments), evidence.reference.pool, features.rows())
    ours = evidence.distance
    if sets.scanned.some.n:  # fewer held-out images than samples
        some = Gaussian.of(sets.scanned.some)
        ours = distance_of(some, evidence.reference.pool, None)
        ours = Estimate(value=ours.value, n=some.n, error=_wider(evidence.distance, some.n))
    return {"fid": real, "relative_fd": relative_distance(ours, real)}


def _wider(distance: Estimate, n: int) -> Error | None:
    """The error of a distance on fewer images: it falls with the root of their number."""
    if distance.error is None:
        return None
    size = distance.error.size * (distance.n / n) ** 0.5
    return Error(size=size, over=distance.error.over)


def _curves(evidence: Evidence, keys: Sequence[str], sets: Sets) -> Iterator[Curve]:
    """FD over the number of samples, and the recognised share over the classes."""
    few = evidence.n < extrapolation.LEAST_IMAGES
    sizes = extrapolation.sizes(evidence.n, sets.extractor.sizes[0])
    if "fid" in keys and len(sizes) > 1 and (few or "fid_infinity" in keys):
        growth = evidence.growth
        yield Curve(
            metric="fid",
            over="images",
            x=growth.sizes,
            y=growth.distances,
            n=evidence.n,
            of=Qualifiers(whose="samples", extractor=sets.extractor.suffix),
        )
    recognition = sets.scanned.recognition
    if "recognised_share" in keys and recognition is not None:
        classes, share, error = recognition.by_class()
        yield Curve(
            metric="recognised_share",
            over="class",
            x=classes,
            y=share,
            n=int(recognition.sums[classes, 0].min()),
            error=error,
            of=Qualifiers(whose="samples", extractor=sets.extractor.suffix),
        )


def _facts(
    sets: Sets, evidence: Evidence, protocol: Protocol, keys: Sequence[str]
) -> dict[str, Json]:
    facts: dict[str, Json] = {
        "label": _label(sets, protocol),
        "samples": sets.comparison.samples.name,
        "lossy": _lossy(sets),
    }
    if "fid" in keys:
        terms: dict[str, Json] = {"samples": evidence.terms._asdict()}
        if sets.yardstick is not None:
            real = Gaussian.of(sets.yardstick[0])
            terms[HELD_OUT] = evidence.reference.pool.terms(real)._asdict()
        facts["terms"] = terms
    return facts


def short(n: int) -> str:
    """How n is written behind a dash: rounded only where nothing is lost.

    >>> [f"FID-{short(n)}" for n in (50_000, 49_984, 2_500, 512)]
    ['FID-50k', 'FID-49,984', 'FID-2.5k', 'FID-512']
    """
    return f"{n / 1000:g}k" if n >= 1000 and n % 100 == 0 else f"{n:,}"


def _label(sets: Sets, protocol: Protocol) -> str:
    """What was compared with what: ``FID-50k against CIFAR-10 train (50,000 images)``."""
    reference = protocol.reference
    n = sets.content.pool.n
    name = "" if reference is None else f"{reference.dataset} {reference.split}".strip()
    title = METRICS["fid"].title_through(sets.extractor.suffix)
    count = f"{n:,} images" if n else "statistics of a file"
    return f"{title}-{short(len(sets.comparison.samples))} against {name} ({count})"


def _lossy(sets: Sets) -> int:
    """How many of all images are JPEG files."""
    reference = sets.comparison.reference.images
    sides = sets.comparison.samples, *([reference] if reference is not None else [])
    sources = [without_labels(images.source) for images in sides]
    return sum(source.lossy for source in sources if isinstance(source, Pictures))


def _warnings(
    sets: Sets, evidence: Evidence, protocol: Protocol, estimates: Mapping[str, Estimate]
) -> Iterator[str]:
    reference, extractor = sets.comparison.reference, sets.extractor
    name = "" if protocol.reference is None else protocol.reference.dataset
    if reference.file is not None and not sets.content.about:
        yield (
            f"{name} does not say which network its statistics are of, nor how images were "
            f"resized; they are taken to be {extractor.name}'s, {extractor.resize or 'as they are'}"
        )
    if reference.images is None:
        yield f"{name} holds statistics only: no KID, precision, recall"
    score = sets.scanned.score
    yield from sanity.warnings(
        sanity.Facts(
            n=evidence.n,
            dim=extractor.sizes[0],
            name=METRICS["fid"].title_through(extractor.suffix),
            suffix=extractor.suffix,
            split="" if protocol.reference is None else protocol.reference.split,
            samples_pixels=sets.scanned.pixels,
            reference_pixels=sets.content.pixels,
            distance=evidence.distance.value if "fid" in estimates else None,
            bias=sets.content.pool.bias(evidence.n) if "fid" in estimates else None,
            ratio=estimates.get("relative_fd"),
            memorised=estimates.get("memorised_share"),
            score=estimates.get("inception_score"),
            score_limit=None if score is None else score.limit,
            lossy=_lossy(sets),
            origin=sets.comparison.origin,
        )
    )
