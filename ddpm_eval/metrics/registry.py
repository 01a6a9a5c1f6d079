"""Every number that this toolkit reports, one entry each: title, unit, direction, computation.

A score names its metric by the key of this registry; tables, figures and pages look the rest up
here. A metric of quality says what it needs and how it is computed as well. Imports no torch.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ddpm_eval.metrics import extrapolation, inception, kernel
from ddpm_eval.metrics.clip_mmd import cmmd
from ddpm_eval.metrics.estimate import Estimate
from ddpm_eval.metrics.evidence import Evidence
from ddpm_eval.metrics.kernel import kernel_distance
from ddpm_eval.metrics.memorisation import authentic, memorised
from ddpm_eval.metrics.monge import mind
from ddpm_eval.metrics.neighbourhoods import Neighbours
from ddpm_eval.metrics.vendi import vendi_score

Better = Literal["", "higher", "lower"]
Need = Literal["moments", "samples", "reference", "logits", "labels", "spatial", "float64"]
"""Moments of both sets; features of the samples, of the reference; a classifier's logits; spatial
features of both; float64 on the device; the samples' classes, which the extractor knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What a number is.

    Attributes:
        title: Its name in tables; of a metric of features, through the published Inception.
        unit: Its unit; empty where it has none.
        better: Which values are good.
        decimals: The fewest decimals that are shown.
        other_title: Its name through any other network, before ``(extractor)``; empty where the
            title is the same.
        plain: Whether its title goes without the extractor's name.
        compute: Of a metric of quality: computes it from two sets of features.
        needs: What it is computed from.
        least: On how many samples and reference images it can be computed at all.
        only: The extractors that it is defined through; empty: any.
    """

    title: str
    unit: str = ""
    better: Better = ""
    decimals: int = 0
    other_title: str = ""
    plain: bool = False
    compute: Callable[[Evidence], Estimate] | None = None
    needs: frozenset[Need] = frozenset()
    least: int = 2
    only: frozenset[str] = frozenset()

    def title_through(self, suffix: str) -> str:
        """Name the metric through an extractor: only the published Inception measures FID.

        >>> METRICS["fid"].title_through(""), METRICS["fid"].title_through("(digits-cnn)")
        ('FID', 'FD(digits-cnn)')
        >>> METRICS["fid"].title_through("[clean]")
        'FID[clean]'
        >>> METRICS["recall"].title_through("(digits-cnn)")
        'Recall'
        """
        if self.plain:
            return self.title
        other = suffix.startswith("(")  # "[clean]" is Inception with another resizing
        return f"{self.other_title if other and self.other_title else self.title}{suffix}"


_MOMENTS: frozenset[Need] = frozenset({"moments"})
_BOTH: frozenset[Need] = frozenset({"samples", "reference"})
_PAIRS: frozenset[Need] = _BOTH | {"float64"}
_BALL = Neighbours().most + 1

_METRICS: dict[str, Metric] = {
    "bits_per_dim": Metric(title="Bits/dim", unit="bits/dim", better="lower", decimals=3),
    "variance_mismatch": Metric(title="Cost of the variance", unit="bits/dim", decimals=3),
    "rate": Metric(title="Rate", unit="bits/dim", decimals=3),
    "rmse": Metric(title="RMSE", unit="grey levels", better="lower"),
    "bound_term": Metric(title="L_t", unit="bits/dim", better="lower", decimals=3),
    "mean_rmse": Metric(title="Mean of each image's RMSE", unit="grey levels", better="lower"),
    "psnr": Metric(title="PSNR", unit="dB", better="higher", decimals=1),
    "file_bits_per_dim": Metric(
        title="Bits/dim of files, all bytes", unit="bits/dim", better="lower", decimals=3
    ),
    "file_over_bound": Metric(title="Files over their bound", better="lower", decimals=3),
    "size_ratio": Metric(title="Size beside JPEG XL's", better="lower", decimals=3),
    "exact_files": Metric(title="Files that decode exactly", unit="files", better="higher"),
    "ode_bits_per_dim": Metric(
        title="Bits/dim, probability-flow ODE", unit="bits/dim", better="lower", decimals=3
    ),
    "ode_gap": Metric(title="Bound minus ODE", unit="bits/dim", decimals=3),
    "ode_error": Metric(title="Error of the ODE's bits/dim", unit="bits/dim", decimals=3),
    "ode_change": Metric(title="Change under half the tolerance", unit="bits/dim", decimals=4),
    "evaluations": Metric(title="Network evaluations", unit="evaluations"),
    "pairing_gain": Metric(title="Gain in error by pairing", unit="times"),
    "inception_score": Metric(
        title="IS",
        better="higher",
        needs=frozenset({"logits"}),
        least=inception.SPLITS,
        compute=lambda evidence: evidence.score,
    ),
    "fid": Metric(
        title="FID",
        better="lower",
        other_title="FD",
        needs=_MOMENTS,
        compute=lambda evidence: evidence.distance,
    ),
    "relative_fd": Metric(title="FDr", better="lower"),
    "sfid": Metric(
        title="sFID",
        better="lower",
        other_title="sFD",
        needs=frozenset({"spatial"}),
        compute=lambda evidence: evidence.spatial_distance,
    ),
    "kid": Metric(
        title="KID",
        better="lower",
        other_title="KD",
        needs=_BOTH,
        least=kernel.LEAST,
        compute=lambda evidence: kernel_distance(*evidence.features),
    ),
    "precision": Metric(
        title="Precision",
        better="higher",
        plain=True,
        needs=_PAIRS,
        least=_BALL,
        compute=lambda evidence: evidence.manifold.precision,
    ),
    "recall": Metric(
        title="Recall",
        better="higher",
        plain=True,
        needs=_PAIRS,
        least=_BALL,
        compute=lambda evidence: evidence.manifold.recall,
    ),
    "density": Metric(
        title="Density",
        better="higher",
        plain=True,
        needs=_PAIRS,
        least=_BALL,
        compute=lambda evidence: evidence.manifold.density,
    ),
    "coverage": Metric(
        title="Coverage",
        better="higher",
        plain=True,
        needs=_PAIRS,
        least=_BALL,
        compute=lambda evidence: evidence.manifold.coverage,
    ),
    "mind": Metric(
        title="MIND",
        better="lower",
        needs=_BOTH,
        compute=lambda evidence: mind(*evidence.features),
    ),
    "cmmd": Metric(
        title="CMMD",
        better="lower",
        needs=_BOTH,
        only=frozenset({"clip-l14-336"}),
        compute=lambda evidence: cmmd(*evidence.features),
    ),
    "memorised_share": Metric(
        title="Memorised share",
        better="lower",
        plain=True,
        needs=_PAIRS,
        least=_BALL,
        compute=lambda evidence: memorised(evidence.neighbourhoods.nearest),
    ),
    "authenticity": Metric(
        title="AuthPct",
        unit="%",
        better="higher",
        plain=True,
        needs=_PAIRS,
        least=_BALL,
        compute=lambda evidence: authentic(evidence.neighbourhoods),
    ),
    "vendi_score": Metric(
        title="Vendi score",
        better="higher",
        needs=frozenset({"samples"}),
        compute=lambda evidence: vendi_score(evidence.samples.required()),
    ),
    "recognised_share": Metric(
        title="Recognised share",
        unit="%",
        better="higher",
        needs=frozenset({"labels"}),
        compute=lambda evidence: evidence.recognised,
    ),
    "fid_infinity": Metric(
        title="FID-infinity",
        better="lower",
        other_title="FD-infinity",
        needs=_MOMENTS | {"samples"},
        least=extrapolation.LEAST_IMAGES,
        compute=lambda evidence: evidence.limit,
    ),
    "median_distance": Metric(title="Median distance to the nearest training image"),
    "close_share": Metric(title="As close as the closest held-out images", unit="%"),
    "copies": Metric(title="Copies of training images", unit="samples", better="lower"),
    "repeats": Metric(title="Repeats of other samples", unit="samples", better="lower"),
    "loss": Metric(title="Training loss", better="lower"),
    "images_per_second": Metric(title="Training speed", unit="images/s", better="higher"),
    "seconds": Metric(title="Time", unit="s", better="lower"),
    "t": Metric(title="t"),
    "steps": Metric(title="Steps (K)"),
    "draws": Metric(title="Draws of each image (K)"),
    "reverse_steps": Metric(title="Reverse steps (T − t + 1)"),
    "images": Metric(title="Images"),
    "class": Metric(title="Class"),
    "guidance_scale": Metric(title="Guidance scale"),
    "training_steps": Metric(title="Training steps"),
}
METRICS: Mapping[str, Metric] = MappingProxyType(_METRICS)
"""The one registry of metrics. A new metric is one entry here and one file beside this one."""


def definition(key: str) -> Metric:
    """The entry of a metric; of one that is not registered here, its key as the title.

    >>> definition("fid").title, definition("coverage of 2030").title
    ('FID', 'coverage of 2030')
    """
    return METRICS.get(key) or Metric(title=key)


def register(key: str, metric: Metric) -> None:
    """Add a metric of another package: tables, figures and comparisons show it like ours.

    Raises:
        ValueError: The key is taken by another metric.
    """
    if _METRICS.get(key, metric) != metric:
        raise ValueError(f"{key} is another metric: {_METRICS[key]}")
    _METRICS[key] = metric
