"""Randomness that belongs to an image, not to a batch.

Every draw is named by (seed, stream, index, step): image 7 gets the same noise in a batch of 8 or
of 512, on any number of workers and processes. The name becomes the 128-bit key of a counter-based
generator, so two names never share a sequence. (A ``torch.Generator`` on the CPU keeps 32 bits of
its seed, too few: among ten million draws some eleven thousand pairs would be equal.)
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ddpm_train.errors import FixableError

STREAMS = (
    *("init", "order", "train", "dropout", "sample", "nll", "encode", "bootstrap"),
    *("calibrate", "design", "continue", "choice", "ode", "probe", "label"),
)
"""What randomness is for. A stream's place in this list is part of its key: only append."""

_MASK = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Stream:
    """The random draws of one seed for one purpose.

    >>> int(Stream(0, "train").generator(7).integers(100))
    35
    """

    seed: int
    name: str

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= _MASK:
            raise FixableError(f"seed={self.seed}: out of range", f"choose 0 to {_MASK:,}")

    def generator(self, index: int, step: int = 0) -> np.random.Generator:
        """The generator of one (index, step), both in 0 .. 2^32 - 1.

        Raises:
            FixableError: One of them is not.
        """
        if (index | step) >> 32:
            raise FixableError(
                f"index {index:,}, step {step:,}: there is randomness for 2^32 of each",
                "choose fewer images, or fewer training steps",
            )
        high = splitmix64(splitmix64(self.seed) + STREAMS.index(self.name))
        low = (index << 32) | step
        return np.random.Generator(np.random.Philox(key=(high << 64) | low))


def splitmix64(x: int) -> int:
    """Mix 64 bits (Steele, Lea, Flood 2014).

    >>> hex(splitmix64(0))
    '0xe220a8397b1dcdaf'
    """
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


def normal(
    stream: Stream, indices: Iterable[int], shape: Sequence[int], *, steps: Iterable[int] | int = 0
) -> Tensor:
    """Standard normal noise, one row for each index, [len(indices), *shape] float32 on the CPU.

    Args:
        stream: Seed and purpose.
        indices: Image indices (or positions in the training order).
        shape: The shape of one row.
        steps: One step for all rows, or one for each.

    >>> nll = Stream(0, "nll")
    >>> torch.equal(normal(nll, [5, 7], [3], steps=9)[1], normal(nll, [7], [3], steps=9)[0])
    True
    """
    indices = list(indices)
    steps = [steps] * len(indices) if isinstance(steps, int) else list(steps)
    out = np.empty((len(indices), *shape), np.float32)
    for row, index, step in zip(out, indices, steps, strict=True):
        stream.generator(index, step).standard_normal(out=row, dtype=np.float32)
    return torch.from_numpy(out)


def keep_mask(
    stream: Stream, indices: Iterable[int], elements: int, *, drop: float, device: torch.device
) -> Tensor:
    """Which activations dropout keeps, one row for each index, [len(indices), elements] bool.

    On the CPU the drop probability is exact to 1/65536. An accelerator draws with its own
    generator, which keeps 64 bits of the key: other masks than the CPU's, but its own again.

    >>> mask = keep_mask(Stream(0, "dropout"), [3], 100_000, drop=0.1, device=torch.device("cpu"))
    >>> f"{mask.float().mean():.2f}"
    '0.90'
    """
    indices = list(indices)
    if device.type != "cpu":
        return torch.stack([_keep_row(stream, i, elements, drop, device) for i in indices])
    out = np.empty((len(indices), elements), np.bool_)
    threshold = round(drop * 65536)
    for row, index in zip(out, indices, strict=True):
        words = stream.generator(index).bit_generator.random_raw(-(-elements // 4))
        np.greater_equal(words.view(np.uint16)[:elements], threshold, out=row)
    return torch.from_numpy(out)


def _keep_row(
    stream: Stream, index: int, elements: int, drop: float, device: torch.device
) -> Tensor:
    seed = int(stream.generator(index).integers(1 << 63))
    generator = torch.Generator(device).manual_seed(seed)
    return torch.rand(elements, generator=generator, device=device) >= drop
