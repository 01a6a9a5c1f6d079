"""Outputs of other systems' own code, on weights and inputs by an integer rule.

``systems_golden.json`` holds facts that the original classes gave in float64: counts, the shape,
the root mean square, the first four values and the last. The rule fills what was parameter number j
of the names sorted as strings.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

ROWS: dict[str, Any] = json.loads(Path(__file__).with_name("systems_golden.json").read_text())
Shapes = dict[str, tuple[int, ...]]


def fill(j: int, shape: Sequence[int]) -> Tensor:
    """Numbers of mean 0 and variance 1, in float32."""
    k = np.arange(math.prod(shape), dtype=np.int64)
    whole = (k * k * 7919 + k * 104729 + j * 1299709 + 12345) % 65537
    values = math.sqrt(12) * (whole / 65537 - 0.5)
    return torch.from_numpy(values.astype(np.float32)).view(*shape)


def filled(shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
    """Parameters by the rule; buffers are not among the shapes."""
    weights = {}
    for j, name in enumerate(sorted(shapes)):
        values, shape = fill(j, shapes[name]).double(), shapes[name]
        if len(shape) > 1:
            values = values / math.sqrt(math.prod(shape) / shape[0])
        elif name.rpartition(".")[2] in ("weight", "gamma", "alpha"):
            values = 1 + 0.2 * values
        else:
            values = 0.2 * values
        weights[name] = values.float()
    return weights


def images() -> Tensor:
    return fill(1000003, (2, 3, 32, 32)).double()


def assert_row(name: str, output: Tensor, *, tolerance: float = 5e-6) -> None:
    """Compare every fact of a row, relative to the root mean square."""
    row, flat = ROWS[name], output.detach().double().flatten()
    rms = row["rms"]
    assert list(output.shape) == row["shape"]
    assert flat.square().mean().sqrt().item() == pytest.approx(rms, rel=tolerance)
    values = [*flat[:4].tolist(), flat[-1].item()]
    assert values == pytest.approx([*row["first"], row["last"]], abs=tolerance * rms)


def assert_counts(name: str, weights: Mapping[str, Tensor], *, buffers: int = 0) -> None:
    row = ROWS[name]
    assert sum(weight.numel() for weight in weights.values()) == row["parameters"]
    assert len(weights) + buffers == row["tensors"]


def fused(names: list[str]) -> int:
    """How many tensors there are where queries, keys and values are one."""
    parts = sum(name.rpartition(".")[0].endswith((".q", ".k")) for name in names)
    return len(names) - parts
