"""Pure metrics: arrays in, numbers out. Usable alone: no model, no record, no files.

    from ddpm_eval import metrics
    metrics.frechet_distance(samples, reference)     # features [n, d] and [m, d]

Each docstring says which published setup it equals. Nothing is imported before it is used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ddpm_eval.metrics.clip_mmd import cmmd
    from ddpm_eval.metrics.estimate import Error, Estimate
    from ddpm_eval.metrics.extrapolation import fid_infinity
    from ddpm_eval.metrics.frechet import frechet_distance, relative_distance
    from ddpm_eval.metrics.inception import inception_score
    from ddpm_eval.metrics.kernel import kernel_distance
    from ddpm_eval.metrics.manifold import density_coverage, precision_recall
    from ddpm_eval.metrics.memorisation import authenticity, memorised_share
    from ddpm_eval.metrics.monge import mind
    from ddpm_eval.metrics.recognition import recognised_share
    from ddpm_eval.metrics.vendi import vendi_score

__all__ = [
    "Error",
    "Estimate",
    "authenticity",
    "cmmd",
    "density_coverage",
    "fid_infinity",
    "frechet_distance",
    "inception_score",
    "kernel_distance",
    "memorised_share",
    "mind",
    "precision_recall",
    "recognised_share",
    "relative_distance",
    "vendi_score",
]

_HOMES = {
    "authenticity": "memorisation",
    "cmmd": "clip_mmd",
    "density_coverage": "manifold",
    "Error": "estimate",
    "Estimate": "estimate",
    "fid_infinity": "extrapolation",
    "frechet_distance": "frechet",
    "inception_score": "inception",
    "kernel_distance": "kernel",
    "memorised_share": "memorisation",
    "mind": "monge",
    "precision_recall": "manifold",
    "recognised_share": "recognition",
    "relative_distance": "frechet",
    "vendi_score": "vendi",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
