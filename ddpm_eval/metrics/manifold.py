"""Precision and recall (Kynkäänniemi et al. 2019): whose images lie among the other's.

A set's manifold is the union of balls around its images, each as wide as the distance to its k-th
nearest neighbour. Precision is the share of samples inside the reference's manifold, recall the
share of reference images inside the samples'. Distances are taken block by block in float64: in
float32, as torch-fidelity takes them, an image within a millionth of an edge may be misjudged.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from ddpm_eval.metrics.kernel import Rows

NEIGHBOURS = 3
_BLOCK = 1024  # rows in memory at once, of each set
_NOISE = 1e-12  # squared distances below this share of the norms are those of equal features


def precision_recall(
    samples: Rows, reference: Rows, *, device: torch.device, k: int = NEIGHBOURS
) -> tuple[float, float]:
    """Precision and recall."""
    precision = _inside(samples, reference, radii(reference, k, device), device)
    recall = _inside(reference, samples, radii(samples, k, device), device)
    return precision, recall


def radii(rows: Rows, k: int, device: torch.device) -> Tensor:
    """The squared distance of each row to its k-th nearest neighbour, [n] float64."""
    found = []
    for _, block in _blocks(rows, device):
        nearest = block.new_full((len(block), k + 1), torch.inf)  # the first is the row itself
        for _, other in _blocks(rows, device):
            near = torch.cat([nearest, _squared(block, other)], 1)
            nearest = near.topk(k + 1, largest=False, sorted=True).values
        found.append(nearest[:, k])
    return torch.cat(found)


def _inside(rows: Rows, centres: Rows, radius: Tensor, device: torch.device) -> float:
    """The share of rows that lie inside a ball."""
    inside = 0
    for _, block in _blocks(rows, device):
        hit = torch.zeros(len(block), dtype=torch.bool, device=device)
        for start, other in _blocks(centres, device):
            hit |= (_squared(block, other) <= radius[start : start + len(other)]).any(1)
        inside += int(hit.sum())
    return inside / len(rows)


def _blocks(rows: Rows, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    for start in range(0, len(rows), _BLOCK):
        part = np.arange(start, min(start + _BLOCK, len(rows)))
        yield start, torch.from_numpy(rows.take(part)).to(device).double()


def _squared(x: Tensor, y: Tensor) -> Tensor:
    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    found = torch.addmm(norms, x, y.T, alpha=-2)
    return found.masked_fill_(found <= _NOISE * norms, 0)
