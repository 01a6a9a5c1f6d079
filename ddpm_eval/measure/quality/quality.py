"""The quality of samples against a reference: every metric from one pass over each set's features.

Each extractor and each way of resizing gives a measurement of its own, with its own protocol.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ddpm_eval.choice import ImageSet, choose, permutation
from ddpm_eval.features import Extractor, bank, find, open_extractor
from ddpm_eval.measure.quality import results, statistics, wanted
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.reference import Reference, check_data
from ddpm_eval.measure.quality.results import MEASURE, Sets
from ddpm_eval.measure.quality.scan import scan
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.metrics.registry import METRICS, Need
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.conditions import labels_of_samples
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.fast import memory
from ddpm_train.reading import expanded

VERSION = 2
LEAST = 2  # images: fewer have no covariance


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Samples and what they are compared with.

    Attributes:
        samples: The images that are scored.
        reference: What they are compared with.
        held_out: Other real images, which show what is good here; None: none.
        origin: How the samples were made.
    """

    samples: ImageSet
    reference: Reference
    held_out: ImageSet | None = None
    origin: Origin = field(default_factory=Origin)


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
        extractor = opened(name, resize, settings, runtime)
        measured.append(_through(extractor, comparison, settings, runtime))
    return (*measured, *results.mean_ratio(measured))


def require(
    reference: Reference,
    shape: tuple[int, int, int],
    n: int,
    settings: QualitySettings,
    runtime: Runtime,
    *,
    origin: Origin,
) -> None:
    """Refuse before n samples of [H, W, C] are drawn what cannot be measured afterwards.

    Raises:
        FixableError: The extractor, its weights, the reference or the metrics do not fit.
    """
    for name in settings.extractors:
        extractor = opened(name, (*settings.protocols, "")[0], settings, runtime)
        extractor.check(shape)
        knows = knows_classes(extractor, origin)
        plan = _plan(extractor, reference, shape[:2], n, settings, knows=knows)
        wanted.require_device(plan, runtime.world.device)
        if reference.file is not None:
            check_data(statistics.read(reference.file, extractor), origin.trained_on)


def require_files(settings: QualitySettings) -> None:
    """Refuse weights that are missing, damaged or others, and statistics that cannot be written.

    Raises:
        FixableError: Names the file, or where it was looked for.
    """
    if settings.save:
        statistics.require_writable(expanded(settings.save))
    path = expanded(settings.extractor_weights) if settings.extractor_weights else None
    for name in settings.extractors:
        weights = find(name).weights
        if weights is not None:
            weights.verified(path, settings.accept_weights)


def opened(name: str, resize: str, settings: QualitySettings, runtime: Runtime) -> Extractor:
    """Open an extractor with the weights that the settings name."""
    file = settings.extractor_weights
    return open_extractor(
        name,
        path=expanded(file) if file else None,
        device=runtime.world.device,
        accept=settings.accept_weights,
        resize=resize,
    )


def _chosen(samples: ImageSet, settings: QualitySettings) -> ImageSet:
    """The n samples that are scored: of samples in a store the first, of other images drawn."""
    is_drawn_already = Origin.of(samples).sampling is not None
    return choose(samples, settings.n, seed=settings.seed, first=settings.first or is_drawn_already)


def _plan(
    extractor: Extractor,
    reference: Reference,
    size: tuple[int, int],
    n: int,
    settings: QualitySettings,
    *,
    knows: bool,
) -> list[str]:
    """The metrics that will be taken, by key."""
    content = None if reference.file is None else statistics.read(reference.file, extractor)
    reference.check_size(size, content)
    lacking: set[Need] = set() if reference.images is not None else {"reference"}
    if content is not None and content.spatial is None:
        lacking.add("spatial")
    if not knows:
        lacking.add("labels")
    counts = [n, *([len(reference.images)] if reference.images is not None else [])]
    keys = wanted.choose(
        settings.metrics,
        extractor.description,
        counts,
        lacking,
        strict=len(settings.extractors) == 1,
    )
    if not keys or min(counts) < LEAST:
        raise FixableError(
            f"n={min(counts)}: no metric works on so few images", "take more, 50,000 if you can"
        )
    return keys


def _through(
    extractor: Extractor, comparison: Comparison, settings: QualitySettings, runtime: Runtime
) -> Measurement:
    """Measure through one extractor."""
    samples, reference, world = comparison.samples, comparison.reference, runtime.world
    n, shape = len(samples), samples.read([0]).shape[1:]
    extractor.check(shape)
    labels = _labels(samples) if knows_classes(extractor, comparison.origin) else None
    keys = _plan(extractor, reference, shape[:2], n, settings, knows=labels is not None)
    wanted.require_device(keys, world.device)
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


def knows_classes(extractor: Extractor, origin: Origin) -> bool:
    """Whether an extractor tells the classes that samples are of."""
    return bool(origin.classes) and origin.classes == extractor.description.classes


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
