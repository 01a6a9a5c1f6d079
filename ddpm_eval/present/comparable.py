"""Which of our numbers may stand beside published ones, and why the others may not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ddpm_eval.metrics.registry import METRICS
from ddpm_eval.present import wording
from ddpm_eval.present.runs import Run
from ddpm_eval.record.protocol import ImagesFacts, Json, Protocol, SamplingFacts
from ddpm_eval.record.ranking import size
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score

DATASET, PIXELS = "CIFAR-10", 32
LEAST_IMAGES = {"test": 9_984, "train": 49_920}  # the paper drops the last incomplete batch
WHOLE = {"test": 10_000, "train": 50_000}
SAMPLES = 50_000
INCEPTION = "inception-v3"
LANGEVIN = "langevin"  # the sampler of score networks, which take no other
TABLE_1 = {"is": "inception_score", "fid": "fid"}
"""The metrics of samples in the paper's Table 1, by column."""
_BOUNDS = {"nll_test": "bits/dim", "nll_train": "training bits/dim"}
_WEIGHTS = {
    "raw": "the weights are raw, not averaged",
    "unknown": "it is not known whether the weights are averaged",
    "as given": "the file does not say whether the weights are averaged",
}


@dataclass(frozen=True, slots=True)
class Standing:
    """One of our numbers beside published ones.

    ``obstacles`` say why the two may not be compared; without any they may. ``remarks`` are what a
    reader must know all the same.
    """

    score: Score
    obstacles: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def standings(run: Run) -> dict[str, Standing]:
    """Our entries of Table 1 by column: is, fid, nll_test, nll_train, as far as measured."""
    bounds: dict[str, Standing] = {}
    for bound in run.of("bound"):
        total = bound.score("bits_per_dim", whose="model", part="total", variance="")
        images = bound.protocol.images
        if total is not None and images is not None:
            column = "nll_train" if images.split == "train" else "nll_test"
            bounds.setdefault(column, of_bound(run, bound, total))
    return bounds | sampled(run, TABLE_1, DATASET)


def of_bound(run: Run, measurement: Measurement, score: Score) -> Standing:
    """Bits/dim of a measurement beside published ones of CIFAR-10."""
    protocol = measurement.protocol
    images = protocol.images or ImagesFacts(digest="", n=score.n)
    obstacles = (*_of_pixels(run, protocol), *_bound_obstacles(score, images))
    return Standing(score, obstacles, (*_bound_remarks(measurement),))


def sampled(run: Run, metrics: Mapping[str, str], dataset: str) -> dict[str, Standing]:
    """Metrics of samples beside those that are published for a data set.

    They are taken from the measurement against the training set, which the paper uses, else from
    the first that has them: greyed then.

    Args:
        run: What was measured.
        metrics: The metric of each column.
        dataset: What the published numbers were measured on.
    """
    standing: dict[str, Standing] = {}
    for measurement in run.of("quality"):
        for column, metric in metrics.items():
            score = measurement.score(metric, whose="samples", extractor="")
            if score is not None and column not in standing:
                obstacles = (*_of_pixels(run, measurement.protocol, dataset),)
                obstacles += tuple(_quality_obstacles(measurement.protocol, score, dataset))
                remarks = tuple(_quality_remarks(measurement.protocol))
                standing[column] = Standing(score, obstacles, remarks)
    return standing


def dataset(run: Run) -> str:
    """The data set that the samples are compared with."""
    for measurement in run.of("quality"):
        if measurement.protocol.reference is not None:
            return measurement.protocol.reference.dataset
    return ""


def block(run: Run) -> str:
    """The block of Table 1 that a run belongs to: whether its model was told classes."""
    bounds = [item.protocol.images for item in run.of("bound")]
    samples = [item.protocol.sampling for item in run.of("quality")]
    has_labels = any(images is not None and images.labels for images in bounds)
    has_classes = any(sampling is not None and sampling.condition for sampling in samples)
    return "Conditional" if has_labels or has_classes else "Unconditional"


def image_size(run: Run, digest: str = "") -> Json:
    """How many pixels wide the images of a model are, where its settings are known."""
    subjects = run.record.subjects
    subject = subjects.get(digest) or next(iter(subjects.values()), {})
    settings = subject.get("model")
    kind = settings.get("network", "unet") if isinstance(settings, Mapping) else None
    network = settings.get(str(kind)) if isinstance(settings, Mapping) else None
    return network.get("image_size") if isinstance(network, Mapping) else None


def verdict(run: Run) -> str:
    """Say in one or two sentences what was measured and whether it may be compared."""
    standing = standings(run)
    lead = _lead(run, standing)
    if not standing:
        nothing = "Neither bits/dim nor IS and FID are measured: nothing to compare yet."
        return f"{lead} {nothing}".strip()
    apart = {_name(column): item for column, item in standing.items() if item.obstacles}
    reasons = _distinct(reason for item in apart.values() for reason in item.obstacles)
    if len(apart) == len(standing):
        return f"{lead} This is not comparable with the paper's Table 1: {reasons}."
    if apart:
        lead += f" Not comparable with the paper's Table 1: {', '.join(apart)} ({reasons})."
    rest = "The rest" if apart else "This"
    remarks = _distinct(remark for item in standing.values() for remark in item.remarks)
    mind = f" Mind that {remarks}." if remarks else ""
    return f"{lead} {rest} is comparable with the paper's Table 1.{mind}"


def _name(column: str) -> str:
    return _BOUNDS.get(column) or METRICS[TABLE_1[column]].title


def _lead(run: Run, standing: Mapping[str, Standing]) -> str:
    """The headline numbers as sentences."""
    parts = []
    bound = standing.get("nll_test")
    if bound is not None:
        number = str(bound.score).rpartition(" (n=")[0]
        images = next(item.protocol.images for item in run.of("bound"))
        dataset = "unnamed data" if images is None else images.dataset or "unnamed data"
        split = "" if images is None else images.split
        parts.append(f"At most {number} on {bound.score.n:,} {split} images of {dataset}.")
    parts += [
        f"{_name(column)} {standing[column].score}." for column in TABLE_1 if column in standing
    ]
    for measurement in run.of("quality"):
        parts += _other_distances(measurement)
    return " ".join(parts)


def _other_distances(measurement: Measurement) -> Iterator[str]:
    """The Fréchet distance through another network, beside that of real images."""
    score = measurement.score("fid", whose="samples")
    if score is None or not score.of.extractor:
        return
    real = measurement.score("fid", whose="held-out images", extractor=score.of.extractor)
    scale = "" if real is None else f"; held-out images have {real}"
    yield f"{score.label} {score}{scale}. Not measured through Inception: not an FID."


# --------------------------------------------------------------------------- obstacles and remarks


def _bound_obstacles(total: Score, images: ImagesFacts) -> Iterator[str]:
    yield from _dataset(images, DATASET)
    split = "train" if images.split == "train" else "test"
    if images.split != split:
        yield f"{images.split or 'unnamed'} images, not test images"
    if total.n < LEAST_IMAGES[split]:
        yield f"{total.n:,} images, not {WHOLE[split]:,}"


def _bound_remarks(bound: Measurement) -> Iterator[str]:
    protocol = bound.protocol
    yield from _weights(protocol)
    if protocol.images is not None and protocol.images.labels:
        yield "the bound is given the class of each image"
    if protocol.clip is False:
        yield "x̂₀ is not clipped; the paper clips it"
    if protocol.variance not in ("", "fixedlarge"):
        yield f"the variance is {protocol.variance}; the paper's is fixedlarge for L_simple"
    if protocol.precision != "float32":
        yield f"evaluated in {protocol.precision}"
    if protocol.estimator is not None:
        yield "the bound is estimated from some of its terms; ± counts that too"


def _quality_obstacles(protocol: Protocol, score: Score, dataset: str) -> Iterator[str]:
    title, n = METRICS[score.metric].title, size(protocol)
    reference, extractor = protocol.reference, protocol.extractor
    yield from _dataset(reference, dataset)
    if n < SAMPLES:
        yield f"{title} on {n:,} samples, not {SAMPLES:,}"
    if extractor is None or extractor.name != INCEPTION:
        name = "an unnamed network" if extractor is None else extractor.name
        yield f"features of {name}, not Inception-v3"
    if score.metric != "inception_score":  # which needs no reference
        yield from _reference(reference, dataset)
    yield from _sampler(protocol.sampling)


def _reference(reference: ImagesFacts | None, dataset: str) -> Iterator[str]:
    """What is wrong with the images that samples are compared with."""
    if reference is None or reference.split != "train":
        yield f"FID against {wording.images(reference)}, not the training set"
    elif dataset == DATASET and reference.n not in (0, SAMPLES):
        yield f"FID against {reference.n:,} training images, not {SAMPLES:,}"


def _sampler(sampling: SamplingFacts | None) -> Iterator[str]:
    """How the samples were drawn, if not by all of Algorithm 2, or of NCSN's for its networks."""
    if sampling is None or not sampling.T:
        yield "the record does not say how the samples were made"
    elif sampling.sampler not in ("ancestral", LANGEVIN):
        yield f"sampled by {sampling.sampler}, not by the ancestral chain"
    elif sampling.steps < sampling.T:
        yield f"sampled in {sampling.steps:,} steps, not {sampling.T:,}"


def _quality_remarks(protocol: Protocol) -> Iterator[str]:
    yield from _weights(protocol)
    sampling = protocol.sampling
    if sampling is not None and sampling.condition:
        yield f"the samples are of {sampling.condition}"
    if sampling is not None and sampling.guidance:
        yield f"they are {sampling.guidance}"
    if sampling is not None and sampling.sampler == LANGEVIN:
        yield "sampled by annealed Langevin dynamics, as NCSN and NCSNv2 are"
    if protocol.precision != "float32":
        yield f"sampled in {protocol.precision}"


def _dataset(images: ImagesFacts | None, wanted: str) -> Iterator[str]:
    name = "" if images is None else images.dataset
    if name != wanted:
        yield f"measured on {name or 'unnamed data'}, not {wanted}"


def _of_pixels(run: Run, protocol: Protocol, dataset: str = DATASET) -> Iterator[str]:
    """Images that are called CIFAR-10 and have another size are not CIFAR-10."""
    pixels = image_size(run, protocol.model)
    if dataset == DATASET and isinstance(pixels, int) and pixels != PIXELS:
        images = protocol.images or protocol.reference
        if images is not None and images.dataset == DATASET:
            yield f"images of {pixels} pixels, not {PIXELS}"


def _weights(protocol: Protocol) -> Iterator[str]:
    if protocol.weights in _WEIGHTS:
        yield _WEIGHTS[protocol.weights]


def _distinct(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
