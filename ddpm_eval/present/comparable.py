"""Which of our numbers may stand beside the paper's Table 1, and why the others may not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ddpm_eval.results import Json, Measurement, Quantity, Report

DATASET = "CIFAR-10"
LEAST_IMAGES = {"test": 9_984, "train": 49_920}  # the paper drops the last incomplete batch
SAMPLES = 50_000
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
    quality = report.measurements.get("quality")
    if quality is not None:
        for column, name in (("is", "IS"), ("fid", "FID")):
            if name in quality.quantities:
                found[column] = _quality(quality, name)
    return found


def verdict(report: Report) -> str:
    """Say in one or two sentences what was found and whether it may be compared.

    >>> nll = Measurement("nll", {"total": Quantity(2.4, "bits/dim", n=360, stderr=0.02)},
    ...                   settings={"dataset": "digits", "split": "test"})
    >>> print(verdict(Report("mine", {}, {"nll": nll})))
    At most 2.400 ± 0.020 bits/dim on 360 test images of digits. This is not comparable with the
    paper's Table 1: measured on digits, not CIFAR-10; 360 images, not 10,000.
    """
    found = standings(report)
    if not found:
        return "Neither bits/dim nor sample quality is measured: nothing to compare yet."
    lead = _lead(report, found)
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
    if isinstance(settings.get("estimator"), Mapping):
        remarks.append("the bound is estimated from some of its terms; ± counts that too")
    return Standing(quantity, tuple(obstacles), tuple(remarks))


def _quality(measured: Measurement, name: str) -> Standing:
    settings, quantity = measured.settings, measured.quantities[name]
    obstacles = _dataset(settings)
    if quantity.n < SAMPLES:
        obstacles.append(f"{name} on {quantity.n:,} samples, not {SAMPLES:,}")
    if name == "FID" and settings.get("reference", "train") != "train":
        obstacles.append(f"FID against {settings['reference']}, not the training set")
    return Standing(quantity, tuple(obstacles), tuple(_weights(settings)))


def _dataset(settings: Mapping[str, Json]) -> list[str]:
    dataset = settings.get("dataset", "unnamed data")
    return [] if dataset == DATASET else [f"measured on {dataset}, not {DATASET}"]


def _weights(settings: Mapping[str, Json]) -> list[str]:
    reasons = {
        "raw": ["the weights are raw, not averaged"],
        "as given": ["the file does not say whether the weights are averaged"],
    }
    return reasons.get(str(settings.get("weights")), [])


def _distinct(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))
