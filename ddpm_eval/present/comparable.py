"""Which of our numbers may stand beside published ones, and why the others may not."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Measurement, Quantity, Report

DATASET = "CIFAR-10"
LEAST_IMAGES = {"test": 9_984, "train": 49_920}  # the paper drops the last incomplete batch
SAMPLES = 50_000
INCEPTION = "inception-v3"
_ANCESTRAL = ("ancestral", "ddpm")
_LABELS = {"is": "IS", "fid": "FID", "nll_test": "bits/dim", "nll_train": "training bits/dim"}


@dataclass(frozen=True, slots=True)
class Standing:
    """One of our numbers beside published ones.

    ``obstacles`` say why the two may not be compared; without any they may. ``remarks`` are what a
    reader must know all the same.
    """

    quantity: Quantity
    obstacles: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def standings(report: Report) -> dict[str, Standing]:
    """Our entries of Table 1 by column: is, fid, nll_test, nll_train, as far as measured."""
    found: dict[str, Standing] = {}
    for name in ("nll", "nll-train"):
        nll = report.measurements.get(name)
        if nll is not None and "total" in nll.quantities:
            split = "train" if nll.settings.get("split") == "train" else "test"
            found[f"nll_{split}"] = _likelihood(nll, nll.quantities["total"], split)
    return found | sampled(report, {"is": "IS", "fid": "FID"}, DATASET)


def sampled(report: Report, names: Mapping[str, str], dataset: str) -> dict[str, Standing]:
    """Metrics of samples beside those that are published for a data set.

    They are taken from the measurement against the training set, which the paper uses, else from
    the first that has them: greyed then.

    Args:
        report: What was measured.
        names: The name of each quantity by its column.
        dataset: What the published numbers were measured on.
    """
    found: dict[str, Standing] = {}
    for name, measured in sorted(report.measurements.items()):
        if name == "quality" or name.startswith("quality-"):
            for column, wanted in names.items():
                if column not in found and wanted in measured.quantities:
                    found[column] = _quality(measured, wanted, dataset)
    return found


def dataset(report: Report) -> str:
    """The images that the samples are compared with.

    >>> m = Measurement("quality", settings={"dataset": "church train"})
    >>> dataset(Report("mine", {}, {"quality": m}))
    'church'
    """
    quality = report.measurements.get("quality")
    return "" if quality is None else _plain_dataset(quality.settings)


def samples(measured: Measurement, quantity: Quantity) -> int:
    """How many samples a metric was measured on, whatever it counts: recall, reference images.

    >>> m = Measurement("quality", {"recall": Quantity(0.6, "", 50_000)}, settings={"n": 1_000})
    >>> samples(m, m.quantities["recall"])
    1000
    """
    n = measured.settings.get("n")
    return n if isinstance(n, int) else quantity.n


def verdict(report: Report) -> str:
    """Say in one or two sentences what was found and whether it may be compared.

    >>> nll = Measurement("nll", {"total": Quantity(2.4, "bits/dim", n=360, stderr=0.02)},
    ...                   settings={"dataset": "digits", "split": "test"})
    >>> print(verdict(Report("mine", {}, {"nll": nll})))
    At most 2.400 ± 0.020 bits/dim on 360 test images of digits. This is not comparable with the
    paper's Table 1: measured on digits, not CIFAR-10; 360 images, not 10,000.
    """
    found = standings(report)
    lead = _lead(report, found)
    if not found:
        nothing = "Neither bits/dim nor IS and FID are measured: nothing to compare yet."
        return f"{lead} {nothing}".strip()
    apart = {_LABELS[c]: standing for c, standing in found.items() if standing.obstacles}
    reasons = _distinct(reason for standing in apart.values() for reason in standing.obstacles)
    if len(apart) == len(found):
        return f"{lead} This is not comparable with the paper's Table 1: {reasons}."
    if apart:
        lead += f" Not comparable with the paper's Table 1: {', '.join(apart)} ({reasons})."
    rest = "The rest" if apart else "This"
    remarks = _distinct(remark for standing in found.values() for remark in standing.remarks)
    mind = f" Mind that {remarks}." if remarks else ""
    return f"{lead} {rest} is comparable with the paper's Table 1.{mind}"


def _lead(report: Report, found: Mapping[str, Standing]) -> str:
    """The headline numbers as sentences."""
    parts = []
    nll = report.measurements.get("nll")
    if nll is not None and "total" in nll.quantities:
        quantity, settings = nll.quantities["total"], nll.settings
        number = str(quantity).rpartition(" (n=")[0]
        where = f"{settings.get('split', '')} images of {settings.get('dataset', 'unnamed data')}"
        parts.append(f"At most {number} on {quantity.n:,} {where}.")
    for column, name in (("is", "IS"), ("fid", "FID")):
        if column in found:
            parts.append(f"{name} {found[column].quantity}.")
    quality = report.measurements.get("quality")
    other = {} if quality is None else quality.quantities
    for name, quantity in other.items():
        if name.startswith("FD("):
            held_out = other.get(f"{name} of held-out images")
            scale = "" if held_out is None else f"; held-out images have {held_out}"
            if " of " not in name:
                parts.append(f"{name} {quantity}{scale}: by a network of ours, so no FID.")
    return " ".join(parts)


def _likelihood(measured: Measurement, quantity: Quantity, split: str) -> Standing:
    settings = measured.settings
    obstacles = _dataset(settings)
    if split == "test" and settings.get("split", split) != split:
        obstacles.append(f"{settings['split']} images, not test images")
    if quantity.n < LEAST_IMAGES[split]:
        whole = {"test": 10_000, "train": 50_000}[split]
        obstacles.append(f"{quantity.n:,} images, not {whole:,}")
    remarks = _weights(settings)
    if settings.get("clip") is False:
        remarks.append("x̂₀ is not clipped; the paper clips it")
    variance = settings.get("variance", "fixedlarge")
    if variance != "fixedlarge":
        remarks.append(f"the variance is {variance}; the paper's is fixedlarge for L_simple")
    if settings.get("precision", "float32") != "float32":
        remarks.append(f"evaluated in {settings['precision']}")
    if isinstance(settings.get("estimator"), Mapping):
        remarks.append("the bound is estimated from some of its terms; ± counts that too")
    return Standing(quantity, tuple(obstacles), tuple(remarks))


def _quality(measured: Measurement, name: str, dataset: str) -> Standing:
    settings, quantity = measured.settings, measured.quantities[name]
    obstacles = _dataset(settings, dataset)
    n = samples(measured, quantity)
    if n < SAMPLES:
        obstacles.append(f"{name} on {n:,} samples, not {SAMPLES:,}")
    extractor = settings.get("extractor")
    if extractor != INCEPTION:
        obstacles.append(f"features of {extractor or 'an unnamed network'}, not Inception-v3")
    if name != "IS":  # which needs none
        obstacles += _reference(settings, dataset)
    obstacles += _sampler(settings)
    remarks = _weights(settings)
    if settings.get("precision", "float32") != "float32":
        remarks.append(f"sampled in {settings['precision']}")
    return Standing(quantity, tuple(obstacles), tuple(remarks))


def _reference(settings: Mapping[str, Json], dataset: str) -> Iterator[str]:
    """What is wrong with the images that samples are compared with."""
    reference, n = str(settings.get("reference", "unnamed images")), settings.get("reference_n")
    if reference not in ("train", f"{dataset} train"):
        yield f"FID against {reference}, not the training set"
    elif dataset == DATASET and isinstance(n, int) and n != SAMPLES:
        yield f"FID against {n:,} training images, not {SAMPLES:,}"


def _sampler(settings: Mapping[str, Json]) -> Iterator[str]:
    """How the samples were made, if not by all of Algorithm 2."""
    sampler, steps, T = (settings.get(key) for key in ("sampler", "steps", "T"))
    if not (sampler and isinstance(steps, int) and isinstance(T, int)):
        yield "the record does not say how the samples were made"
    elif sampler not in _ANCESTRAL:
        yield f"sampled by {sampler}, not by the ancestral chain"
    elif steps < T:
        yield f"sampled in {steps:,} steps, not {T:,}"


def _dataset(settings: Mapping[str, Json], wanted: str = DATASET) -> list[str]:
    dataset = _plain_dataset(settings)
    return [] if dataset == wanted else [f"measured on {dataset}, not {wanted}"]


def _plain_dataset(settings: Mapping[str, Json]) -> str:
    name = str(settings.get("dataset", "unnamed data"))
    return name.removesuffix(" train").removesuffix(" test")


def _weights(settings: Mapping[str, Json]) -> list[str]:
    reasons = {
        "raw": ["the weights are raw, not averaged"],
        "unknown": ["it is not known whether the weights are averaged"],
        "as given": ["the file does not say whether the weights are averaged"],
    }
    return reasons.get(str(settings.get("weights")), [])


def _distinct(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
