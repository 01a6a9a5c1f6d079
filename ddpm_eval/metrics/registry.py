"""Every number that this toolkit reports, one entry each: title, unit, direction, error.

A score names its metric by the key of this registry; tables, figures and pages look the rest up
here. Needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

Better = Literal["", "higher", "lower"]


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
    """

    title: str
    unit: str = ""
    better: Better = ""
    decimals: int = 0
    other_title: str = ""
    plain: bool = False

    def title_through(self, suffix: str) -> str:
        """Name the metric through an extractor: only the published Inception measures FID.

        >>> METRICS["fid"].title_through(""), METRICS["fid"].title_through("(digits-cnn)")
        ('FID', 'FD(digits-cnn)')
        >>> METRICS["recall"].title_through("(digits-cnn)")
        'Recall'
        """
        if self.plain:
            return self.title
        return f"{self.other_title or self.title}{suffix}" if suffix else self.title


_METRICS: dict[str, Metric] = {
    "bits_per_dim": Metric(title="Bits/dim", unit="bits/dim", better="lower", decimals=3),
    "variance_mismatch": Metric(title="Cost of the variance", unit="bits/dim", decimals=3),
    "rate": Metric(title="Rate", unit="bits/dim", decimals=3),
    "rmse": Metric(title="RMSE", unit="grey levels", better="lower"),
    "bound_term": Metric(title="L_t", unit="bits/dim", better="lower", decimals=3),
    "mean_rmse": Metric(title="Mean of each image's RMSE", unit="grey levels", better="lower"),
    "evaluations": Metric(title="Network evaluations", unit="evaluations"),
    "pairing_gain": Metric(title="Gain in error by pairing", unit="times"),
    "inception_score": Metric(title="IS", better="higher"),
    "fid": Metric(title="FID", better="lower", other_title="FD"),
    "sfid": Metric(title="sFID", better="lower", other_title="sFD"),
    "kid": Metric(title="KID", better="lower", other_title="KD"),
    "precision": Metric(title="Precision", better="higher", plain=True),
    "recall": Metric(title="Recall", better="higher", plain=True),
    "fid_infinity": Metric(title="FID-infinity", better="lower", other_title="FD-infinity"),
    "median_distance": Metric(title="Median distance to the nearest training image"),
    "close_share": Metric(title="As close as the closest held-out images", unit="%"),
    "copies": Metric(title="Copies of training images", unit="samples", better="lower"),
    "repeats": Metric(title="Repeats of other samples", unit="samples", better="lower"),
    "loss": Metric(title="Training loss", better="lower"),
    "images_per_second": Metric(title="Training speed", unit="images/s", better="higher"),
    "seconds": Metric(title="Time", unit="s", better="lower"),
    "t": Metric(title="t"),
    "reverse_steps": Metric(title="Reverse steps (T − t + 1)"),
    "images": Metric(title="Images"),
    "training_steps": Metric(title="Training steps"),
}
METRICS: Mapping[str, Metric] = MappingProxyType(_METRICS)
"""The one registry of metrics. A new metric is one entry here and one file beside this one."""


def register(key: str, metric: Metric) -> None:
    """Add a metric of another package: tables, figures and comparisons show it like ours.

    Raises:
        ValueError: The key is taken by another metric.
    """
    if _METRICS.get(key, metric) != metric:
        raise ValueError(f"{key} is another metric: {_METRICS[key]}")
    _METRICS[key] = metric
