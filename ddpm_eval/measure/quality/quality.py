"""The quality of samples against a reference: every metric from one pass over each set's features.

Each extractor and each way of resizing gives a measurement of its own, with its own protocol.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ddpm_eval.choice import ImageSet, choose, permutation
from ddpm_eval.features import Extractor, bank
from ddpm_eval.measure.quality import results, statistics
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.plan import (
    knows_classes,
    load_extractor,
    plan_metrics,
    require_device,
)
from ddpm_eval.measure.quality.reference import Comparison
from ddpm_eval.measure.quality.results import MEASURE, Sets
from ddpm_eval.measure.quality.scan import scan
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.metrics.estimate import Error
from ddpm_eval.metrics.registry import METRICS, Need
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.conditions import labels_of_samples
from ddpm_eval.record.protocol import Json, Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Qualifiers, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.reading import expanded

VERSION = 2


def measure(
    comparison: Comparison, settings: QualitySettings, runtime: Runtime
) -> tuple[Measurement, ...]:
    """Measure the quality of samples, once for each extractor and each way of resizing.

    Where there are several, the mean of their FDr is a measurement too.

    Args:
        comparison: Samples and reference.
        settings: Which metrics, through which networks.
        runtime: How the work is carried out; the metrics are taken by the first process.

    Raises:
        FixableError: Images are broken, too few, or of another size than the reference; or a
            metric is wanted that cannot be had.
    """
    comparison = replace(comparison, samples=_chosen(comparison.samples, settings))
    ways = [(name, way) for name in settings.extractors for way in settings.protocols or ("",)]
    if settings.save and len(ways) > 1:
        raise FixableError(
            f"save={settings.save}: {len(ways)} extractors or protocols, one file",
            "name one of them",
        )
    measured = []
    for name, resize in ways:
        extractor = load_extractor(name, resize, settings, runtime)
        measured.append(_through(extractor, comparison, settings, runtime))
    return (*measured, *_mean_ratio(measured))


def _chosen(samples: ImageSet, settings: QualitySettings) -> ImageSet:
    """The n samples that are scored: of samples in a store the first, of other images drawn."""
    is_drawn_already = Origin.of(samples).sampling is not None
    return choose(samples, settings.n, seed=settings.seed, first=settings.first or is_drawn_already)


def _through(
    extractor: Extractor, comparison: Comparison, settings: QualitySettings, runtime: Runtime
) -> Measurement:
    """Measure through one extractor."""
    samples, reference, world = comparison.samples, comparison.reference, runtime.world
    n, shape = len(samples), samples.read([0]).shape[1:]
    extractor.check(shape)
    labels = _labels(samples) if knows_classes(extractor, comparison.origin) else None
    keys = plan_metrics(extractor, reference, shape[:2], n, settings, knows=labels is not None)
    require_device(keys, world.device)
    held_out = _held_out(comparison, settings) if "fid" in keys else None
    protocol = _protocol(extractor, comparison, keys, held_out)
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    others = None
    if reference.images is not None and _needs(keys, "reference"):
        others = bank.extract(reference.images, len(reference.images), extractor, runtime)
    content = reference.statistics(extractor, runtime, others)
    features = bank.extract(samples, n, extractor, runtime)
    some = _some(n, held_out, settings.seed)
    scanned = scan(features, extractor, world, some=some, labels=labels)
    yardstick = None
    if held_out is not None:
        real = bank.extract(held_out, len(held_out), extractor, runtime)
        yardstick = scan(real, extractor, world).pool, real
    if world.rank:
        return Measurement(measure=MEASURE, protocol=protocol)  # the first process goes on alone
    if settings.save:
        statistics.write(expanded(settings.save), content)
    sets = Sets(comparison, extractor, features, scanned, content, others, yardstick)
    memory.give_back()
    return results.measurement(sets, keys, protocol)


def _labels(samples: ImageSet) -> Array | None:
    """The classes that samples were asked to be of, [n]."""
    facts = getattr(samples.source, "facts", {})
    return labels_of_samples(facts, samples.indices.tolist())


def _needs(keys: Sequence[str], need: Need) -> bool:
    return any(need in METRICS[key].needs for key in keys)


def _held_out(comparison: Comparison, settings: QualitySettings) -> ImageSet | None:
    """As many held-out images as samples, or all where there are fewer."""
    images = comparison.held_out
    if images is None or len(images) < 2:
        return None
    n = min(len(images), len(comparison.samples))
    return choose(images, n, seed=settings.seed, first=settings.first)


def _some(n: int, held_out: ImageSet | None, seed: int) -> Array | None:
    """Mark as many samples as there are held-out images, drawn by the seed, bool [n]."""
    if held_out is None or len(held_out) >= n:
        return None
    marked = np.zeros(n, bool)
    marked[permutation(n, seed)[: len(held_out)]] = True
    return marked


def _protocol(
    extractor: Extractor,
    comparison: Comparison,
    keys: Sequence[str],
    held_out: ImageSet | None,
) -> Protocol:
    samples, origin = comparison.samples, comparison.origin
    facts, sampling = bank.facts_of(samples), origin.sampling
    if sampling is not None:
        sampling = replace(sampling, n=len(samples))
    return Protocol(
        version=VERSION,
        model=origin.model or facts.digest,
        weights=origin.weights,
        images=None if sampling is not None else facts,
        sampling=sampling,
        reference=comparison.reference.facts(extractor),
        extractor=extractor.facts,
        clip=None if sampling is None else sampling.clip,
        precision=origin.precision,
        seed=None if sampling is None else sampling.seed,
        settings={
            "metrics": [*keys],
            "held_out": None if held_out is None else bank.content(held_out),
        },
    )


def _mean_ratio(measured: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """The mean of FDr over extractors, where several were taken: FDr^k of arXiv 2604.28190.

    Of each extractor the first way of resizing counts. The error is at most the mean of theirs,
    which it would be if they erred together.
    """
    first_ways: dict[str, Measurement] = {}
    for item in measured:
        if item.protocol.extractor is not None:
            first_ways.setdefault(item.protocol.extractor.name, item)
    ratios = [(item, item.score("relative_fd")) for item in first_ways.values()]
    pairs = [(item, ratio) for item, ratio in ratios if ratio is not None]
    if len(pairs) < 2:
        return ()
    first = pairs[0][0].protocol
    errors = [ratio.error.size for _, ratio in pairs if ratio.error is not None]
    error = None
    if len(errors) == len(pairs):
        over = "samples and held-out images, at most"
        error = Error(size=float(np.mean(errors)), over=over)
    score = Score(
        metric="relative_fd",
        value=float(np.mean([ratio.value for _, ratio in pairs])),
        n=min(ratio.n for _, ratio in pairs),
        error=error,
        of=Qualifiers(whose="samples", extractor=f"(mean of {len(pairs)})"),
    )
    settings: dict[str, Json] = {"mean_of": [item.protocol.key for item, _ in pairs]}
    protocol = Protocol(
        version=first.version,
        model=first.model,
        weights=first.weights,
        images=first.images,
        sampling=first.sampling,
        reference=first.reference,
        clip=first.clip,
        precision=first.precision,
        seed=first.seed,
        settings=settings,
    )
    return (Measurement(measure=MEASURE, protocol=protocol, scores=(score,)),)
