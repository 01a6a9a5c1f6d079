"""Who lies near whom among samples and reference images: one pass over all pairs of features.

Precision, recall, density, coverage, the memorised share and authenticity are all counts of it.
Distances are taken block by block in float64: in float32, as torch-fidelity takes them, an image
within a millionth of an edge may be misjudged. Needs torch, which is imported when it is used.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ddpm_eval.metrics.rows import BLOCK, Array, Rows, blocks, require

if TYPE_CHECKING:
    import torch
    from torch import Tensor

MANIFOLD, DENSITY = 3, 5  # Kynkäänniemi et al. 2019; Naeem et al. 2020
_NOISE = 1e-12  # squared distances below this share of the norms are those of equal features


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbours:
    """Which neighbour gives a ball its radius: of precision and recall, of density and coverage."""

    manifold: int = MANIFOLD
    density: int = DENSITY

    @property
    def most(self) -> int:
        """The largest of both."""
        return max(self.manifold, self.density)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhoods:
    """Where n samples lie among m reference images.

    Attributes:
        precise: Whether each sample lies in a ball of the reference, [n].
        recalled: Whether each reference image lies in a ball of the samples, [m].
        density: In how many balls of the reference each sample lies, [n].
        covered: Whether a sample lies in each ball of the reference, [m].
        nearest: Distances of each sample to the two nearest reference images, [n, 2].
        apart: Of that nearest reference image to the nearest other one, [n].
    """

    precise: Array
    recalled: Array
    density: Array
    covered: Array
    nearest: Array
    apart: Array


def neighbourhoods(
    samples: Rows,
    reference: Rows,
    *,
    k: Neighbours | None = None,
    device: "torch.device | str" = "cpu",
) -> Neighbourhoods:
    """Go over all pairs of samples [n, d] and reference images [m, d], in blocks.

    Balls of precision and recall hold their edge, those of density and coverage do not, as
    published.

    Raises:
        FixableError: A set has fewer images than a ball needs.
    """
    import torch

    k = k or Neighbours()
    for source in (samples, reference):
        require(source, k.most + 1, "a ball around each image")
    near = squared_to_nearest(reference, k.most, device)
    wide, narrow = near[:, k.manifold - 1], near[:, k.density - 1]
    own = squared_to_nearest(samples, k.manifold, device)[:, -1]
    recalled, covered = (torch.zeros(len(near), dtype=torch.bool, device=device) for _ in "ab")
    parts = []
    for start, block in _blocks(samples, device):
        radius = own[start : start + len(block), None]
        precise = torch.zeros(len(block), dtype=torch.bool, device=device)
        density = torch.zeros(len(block), dtype=torch.int64, device=device)
        closest = block.new_full((len(block), 2), torch.inf), density.new_zeros(len(block), 2)
        for first, other in _blocks(reference, device):
            part = slice(first, first + len(other))
            squared = _squared(block, other)
            precise |= (squared <= wide[part]).any(1)
            recalled[part] |= (squared <= radius).any(0)
            inside = squared < narrow[part]
            density += inside.sum(1)
            covered[part] |= inside.any(0)
            closest = _closest(closest, squared, first)
        parts.append((precise, density, closest[0].sqrt(), near[closest[1][:, 0], 0].sqrt()))
    precise, density, nearest, apart = (torch.cat(part) for part in zip(*parts, strict=True))
    arrays = precise, recalled, density, covered, nearest, apart
    return Neighbourhoods(*(array.cpu().numpy() for array in arrays))


def squared_to_nearest(source: Rows, k: int, device: "torch.device | str" = "cpu") -> "Tensor":
    """Take the squared distances of each row to its k nearest others, nearest first, [n, k]."""
    import torch

    parts = []
    for _, block in _blocks(source, device):
        nearest = block.new_full((len(block), k + 1), torch.inf)  # the first is the row itself
        for _, other in _blocks(source, device):
            near = torch.cat([nearest, _squared(block, other)], 1)
            nearest = near.topk(k + 1, largest=False, sorted=True).values
        parts.append(nearest[:, 1:])
    return torch.cat(parts)


def _closest(
    closest: "tuple[Tensor, Tensor]", squared: "Tensor", first: int
) -> "tuple[Tensor, Tensor]":
    """Keep the two smallest squared distances of each row and their columns."""
    import torch

    k = min(2, squared.shape[1])
    near, columns = squared.topk(k, largest=False)
    values = torch.cat([closest[0], near], 1)
    indices = torch.cat([closest[1], columns + first], 1)
    values, order = values.topk(2, largest=False, sorted=True)
    return values, indices.gather(1, order)


def _blocks(source: Rows, device: "torch.device | str") -> "Iterator[tuple[int, Tensor]]":
    import torch

    for start, block in blocks(source, BLOCK):
        yield start, torch.from_numpy(block).to(device).double()


def _squared(x: "Tensor", y: "Tensor") -> "Tensor":
    import torch

    norms = x.square().sum(1)[:, None] + y.square().sum(1)
    squared = torch.addmm(norms, x, y.T, alpha=-2)
    return squared.masked_fill_(squared <= _NOISE * norms, 0)
