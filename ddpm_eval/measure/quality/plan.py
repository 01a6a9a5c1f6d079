"""Which metrics are taken of a comparison; what cannot be measured is refused before any work."""

from collections.abc import Sequence

import torch

from ddpm_eval.features import Description, Extractor, find, open_extractor
from ddpm_eval.measure.quality import statistics
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.reference import Reference, check_data
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.metrics.names import named, quality_metrics
from ddpm_eval.metrics.registry import METRICS, Metric, Need
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.reading import expanded
from ddpm_train.world import require_float64

LEAST = 2  # images: fewer have no covariance
_LACKS: dict[Need, tuple[str, str]] = {  # what is lacking, and what to do beside leaving it out
    "logits": ("{extractor} gives no logits", "choose extractor=inception"),
    "labels": (
        "the samples have no classes that {extractor} knows",
        "draw samples of classes, and choose an extractor of these classes",
    ),
    "spatial": (
        "the extractor or the reference has no spatial features",
        "choose extractor=inception, and images or ADM's statistics as the reference",
    ),
    "reference": (
        "the reference has statistics only, no images",
        "name the images themselves as the reference",
    ),
}


def choose(
    names: Sequence[str],
    extractor: Description,
    counts: Sequence[int],
    lacking: set[Need],
    *,
    strict: bool = True,
) -> list[str]:
    """Choose the metrics to take, in the registry's order.

    Args:
        names: What was asked for; empty: all that can be had.
        extractor: The network.
        counts: How many samples there are, and reference images where that is known.
        lacking: What the reference does not have.
        strict: Refuse a metric that was asked for and cannot be had; else leave it out, as where
            another of several extractors has it.

    Raises:
        FixableError: One that was asked for cannot be had; the reason is named.
    """
    lacking = lacking | ({"logits"} if not extractor.logits else set())
    lacking = lacking | ({"spatial"} if not extractor.spatial else set())
    wanted = named(names)
    chosen = []
    for key, metric in quality_metrics().items():
        problem = _problem(metric, extractor, counts, lacking)
        if strict and key in wanted and problem:
            text, fix = problem
            raise FixableError(f"metrics={metric.title}: {text}", f"{fix}, or leave it out")
        if not problem and (key in wanted or not wanted):
            chosen.append(key)
    return chosen


def _problem(
    metric: Metric, extractor: Description, counts: Sequence[int], lacking: set[Need]
) -> tuple[str, str] | None:
    """Say why a metric cannot be had, and what to do about it."""
    if metric.only and extractor.name not in metric.only:
        names = " or ".join(sorted(metric.only))
        return f"it is defined through {names}", f"choose extractor={names}"
    for need in sorted(metric.needs & lacking):
        text, fix = _LACKS[need]
        return text.format(extractor=extractor.name), fix
    if min(counts) < metric.least:
        text = f"it takes {metric.least:,} images, and there are {min(counts):,}"
        return text, f"take {metric.least:,} or more"
    return None


def require_device(wanted: Sequence[str], device: torch.device) -> None:
    """Refuse a device that cannot take distances in float64.

    Raises:
        FixableError: It is one of Apple's GPUs; the metrics are named.
    """
    exact = [METRICS[key].title for key in wanted if "float64" in METRICS[key].needs]
    if exact:
        rest = ",".join(METRICS[key].title for key in wanted if METRICS[key].title not in exact)
        fix = "use device=cpu" + f", or leave them out: metrics={rest}" * bool(rest)
        require_float64(device, " and ".join(exact), fix=fix)


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
        extractor = load_extractor(name, (*settings.protocols, "")[0], settings, runtime)
        extractor.check(shape)
        knows = knows_classes(extractor, origin)
        keys = plan_metrics(extractor, reference, shape[:2], n, settings, knows=knows)
        require_device(keys, runtime.world.device)
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


def load_extractor(
    name: str, resize: str, settings: QualitySettings, runtime: Runtime
) -> Extractor:
    """Open an extractor with the weights that the settings name."""
    file = settings.extractor_weights
    return open_extractor(
        name,
        path=expanded(file) if file else None,
        device=runtime.world.device,
        accept=settings.accept_weights,
        resize=resize,
    )


def plan_metrics(
    extractor: Extractor,
    reference: Reference,
    size: tuple[int, int],
    n: int,
    settings: QualitySettings,
    *,
    knows: bool,
) -> list[str]:
    """Choose the metrics that will be taken, by key.

    Raises:
        FixableError: There is none, the reference is of another size, or one that was asked for
            cannot be had.
    """
    content = None if reference.file is None else statistics.read(reference.file, extractor)
    reference.check_size(size, content)
    lacking: set[Need] = set() if reference.images is not None else {"reference"}
    if content is not None and content.spatial is None:
        lacking.add("spatial")
    if not knows:
        lacking.add("labels")
    counts = [n, *([len(reference.images)] if reference.images is not None else [])]
    keys = choose(
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


def knows_classes(extractor: Extractor, origin: Origin) -> bool:
    """Whether an extractor tells the classes that samples are of."""
    return bool(origin.classes) and origin.classes == extractor.description.classes
