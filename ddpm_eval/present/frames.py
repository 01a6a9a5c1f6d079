"""Pictures that share one place: dragged through with a slider, compared by flicker."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ddpm_eval.present.canvas import power
from ddpm_eval.record.arrays import Array

_WIDEST = 900  # CSS pixels
_SPAN = (300.0, 180.0)  # of the plot beside a slider
_LEAST = 1e-5  # what a logarithmic axis shows of less


@dataclass(frozen=True, slots=True)
class Track:
    """A curve that a slider runs along, in the units of its drawing; y points down.

    ``line`` is the curve, ``stops`` the place of each frame, ``ticks`` text and place of each tick.
    """

    line: tuple[tuple[float, float], ...]
    stops: tuple[tuple[float, float], ...]
    x_ticks: tuple[tuple[str, float], ...]
    y_ticks: tuple[tuple[str, float], ...]
    x_name: str
    y_name: str
    size: tuple[float, float] = _SPAN


@dataclass(frozen=True, slots=True, eq=False)
class Frames:
    """Pictures in one place. The last is what the others are compared with by flicker.

    Attributes:
        title: What they show.
        names: One text for each picture.
        files: Each picture as a PNG of ``shape``, width and height in pixels.
        width: How wide it is shown, in pixels of the screen.
        caption: What, how many and from which seed.
        label: What the slider changes.
        last: What the last picture is, as in "originals".
        track: A curve that a point moves along.
    """

    title: str
    names: tuple[str, ...]
    files: tuple[bytes, ...]
    shape: tuple[int, int]
    width: int
    caption: str
    label: str
    last: str
    track: Track | None = None


def strip(images: Array, columns: int) -> tuple[bytes, tuple[int, int]]:
    """Images uint8 [n, H, W, C] in rows, pixel for pixel, as a PNG, and its width and height.

    >>> strip(np.zeros((5, 8, 8, 1), np.uint8), 3)[1]
    (26, 17)
    """
    n, height, width = images.shape[:3]
    gap = max(1, width // 16)
    rows = -(-n // columns)
    tall, wide = rows * (height + gap) - gap, min(columns, n) * (width + gap) - gap
    canvas = np.zeros((tall, wide, 4), np.uint8)
    for i, image in enumerate(images):
        top, left = (height + gap) * (i // columns), (width + gap) * (i % columns)
        canvas[top : top + height, left : left + width, :3] = image
        canvas[top : top + height, left : left + width, 3] = 255
    out = io.BytesIO()
    Image.fromarray(canvas).save(out, "png")
    return out.getvalue(), (wide, tall)


def shown_width(wide: int) -> int:
    """The width on a screen: the largest whole multiple that fits."""
    return wide * max(1, _WIDEST // wide)


def track(
    x: Sequence[float], y: Sequence[float], stops: Sequence[tuple[float, float]], names: str
) -> Track:
    """A curve of y over the logarithm of x, and the places of the frames on it.

    Args:
        x: Rates; what lies below 1e-5 is drawn there.
        y: Distortions, from 0 upwards.
        stops: x and y of each frame.
        names: Of the two axes, as in "rate (bits/dim)|RMSE (0-255)".
    """
    rates = np.maximum(np.concatenate([x, [place[0] for place in stops]]), _LEAST)
    low, high = np.floor(np.log10(rates.min())), np.log10(rates.max()) + 0.05
    top = 1.05 * max(max(y), max(place[1] for place in stops), 1e-9)
    wide, tall = _SPAN

    def place(rate: float, error: float) -> tuple[float, float]:
        across = (np.log10(max(rate, _LEAST)) - low) / (high - low)
        return round(float(wide * across), 2), round(float(tall * (1 - error / top)), 2)

    step = 10 ** np.floor(np.log10(top))
    step = next(s for s in (step / 5, step / 2, step, 2 * step) if top / s <= 6)
    decades = range(int(low), int(np.floor(high)) + 1)
    x_name, _, y_name = names.partition("|")
    return Track(
        tuple(place(a, b) for a, b in zip(x, y, strict=True)),
        tuple(place(a, b) for a, b in stops),
        tuple((power(10.0**digit), place(10.0**digit, 0)[0]) for digit in decades),
        tuple((f"{step * i:g}", place(1, step * i)[1]) for i in range(int(top / step) + 1)),
        x_name,
        y_name,
    )
