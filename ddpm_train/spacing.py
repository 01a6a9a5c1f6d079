"""Which of the times 1..T a walk visits: one entry each in ``SPACINGS``, and respacing strings."""

import itertools
import math
import re
from collections.abc import Callable

import numpy as np

from ddpm_train.errors import FixableError


def even(T: int, steps: int) -> list[int]:
    """Choose times as evenly as they come, from 1 to T; a single one is T. Ties round down.

    >>> even(1000, 5), even(3, 3), even(1000, 1)
    ([1, 251, 500, 750, 1000], [1, 2, 3], [1000])
    """
    gaps = max(steps - 1, 1)
    return [T - ((T - 1) * (steps - 1 - i) * 2 + gaps) // (2 * gaps) for i in range(steps)]


def leading(T: int, steps: int) -> list[int]:
    """Choose 1, 1 + stride, ...: diffusers' default, and DDIM's ``uniform`` where steps divide T.

    >>> leading(1000, 4)
    [1, 251, 501, 751]
    """
    return [1 + T // steps * i for i in range(steps)]


def trailing(T: int, steps: int) -> list[int]:
    """Choose T, T - stride, ... downwards (Lin et al. 2024; diffusers' ``trailing``).

    >>> trailing(1000, 4)
    [250, 500, 750, 1000]
    """
    return [round(T - i * (T / steps)) for i in reversed(range(steps))]


def quad(T: int, steps: int) -> list[int]:
    """Choose the squares of evenly spaced roots, up to 0.8 T (Song, Meng, Ermon 2021, appendix D).

    Among many the first ones are equal, and visited once: a second visit moves no pixel.

    >>> quad(1000, 5)
    [1, 51, 201, 451, 801]
    """
    squares = np.linspace(0, math.sqrt(0.8 * T), steps) ** 2
    return sorted({1 + int(square) for square in squares})


SPACINGS: dict[str, Callable[[int, int], list[int]]] = {
    "even": even,
    "leading": leading,
    "trailing": trailing,
    "quad": quad,
}


def choose(spacing: str, T: int, steps: int = 0) -> list[int]:
    """Choose the times of a walk, rising, in 1..T.

    Args:
        spacing: A name in ``SPACINGS``, or a respacing string of improved-diffusion: ``25`` or
            ``10,5,5`` (so many times in sections of equal length), ``ddim25`` (an integer stride),
            or the times themselves: ``at 1,4,9``, as the bound of few steps chooses them.
        T: The number of diffusion steps.
        steps: How many times; 0 for all, or for as many as the string has.

    Raises:
        FixableError: There is no such spacing or number of steps.

    >>> choose("10,5,5", 100)[-6:]
    [67, 68, 76, 84, 92, 100]
    """
    if not 0 <= steps <= T:
        raise FixableError(f"steps={steps:,}: the model has {T:,}", f"choose 1 to {T:,}")
    if spacing in SPACINGS:
        return SPACINGS[spacing](T, steps or T)
    times = respaced(spacing, T)
    if steps not in (0, len(times)):
        raise FixableError(
            f"steps={steps:,}: spacing={spacing} has {len(times):,}", "leave steps at 0"
        )
    return times


def respaced(text: str, T: int) -> list[int]:
    """Choose the times of a respacing string of improved-diffusion, with its rounding.

    ``at 1,4,9`` lists the times themselves.

    Raises:
        FixableError: The string has another form, or T has too few steps for it.

    >>> respaced("ddim5", 1000), respaced("5", 1000)
    ([1, 201, 401, 601, 801], [1, 251, 501, 750, 1000])
    """
    if listed := re.fullmatch(r"at (\d+(,\d+)*)", text):
        return _listed([int(part) for part in listed[1].split(",")], T)
    if stride := re.fullmatch(r"ddim(\d+)", text):
        return _strided(int(stride[1]), T)
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise FixableError(
            f"spacing={text}: unknown",
            f"choose {', '.join(SPACINGS)}, or a respacing string: 25, or 10,5,5, or ddim25, "
            "or times: 'at 1,4,9'",
        )
    counts = [int(part) for part in text.split(",")]
    times: list[int] = []
    start = 1
    for i, count in enumerate(counts):
        size = T // len(counts) + (i < T % len(counts))
        if not 0 < count <= size:
            raise FixableError(
                f"spacing={text}: {count} steps in a section of {size}", f"choose 1 to {size}"
            )
        gap = (size - 1) / (count - 1) if count > 1 else 1.0
        offsets = itertools.accumulate(itertools.repeat(gap, count - 1), initial=0.0)
        times += [start + round(offset) for offset in offsets]
        start += size
    return times


def _listed(times: list[int], T: int) -> list[int]:
    if times != sorted(set(times)) or not 1 <= times[0] <= times[-1] <= T:
        raise FixableError(
            f"spacing=at {','.join(map(str, times))}: not rising times in 1..{T:,}",
            f"list each time once, the lowest first, none above {T:,}",
        )
    return times


def _strided(steps: int, T: int) -> list[int]:
    """The times 1, 1 + stride, ... <= T with the first stride that gives so many."""
    for stride in range(1, T):
        times = range(1, T + 1, stride)
        if len(times) == steps:
            return list(times)
    raise FixableError(
        f"spacing=ddim{steps}: no integer stride through {T:,} steps gives {steps:,}",
        f"choose a divisor of {T:,}, or spacing=even with steps={steps}",
    )
