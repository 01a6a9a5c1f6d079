"""Images in rows, as one would publish them: every pixel exact, labels underneath."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib.figure import Figure

from ddpm_eval.present.canvas import COLUMN_INCHES, SUFFIXES, Picture, finish, style
from ddpm_eval.record.scores import Grid

GREY = "#767676"  # labels of images: readable on white and on black
_PIXELS = 640  # a grid of small images is enlarged to about this width ...
_WIDE = 900  # ... or to this, if it has more than a few columns
_MOST = 4_500_000  # pixels of a figure that is enlarged
_FEW = 10


def draw(key: str, grid: Grid, caption: str = "", *, suffixes: Sequence[str] = SUFFIXES) -> Picture:
    """Set images in rows, each pixel a whole number of pixels, labels underneath."""
    n, height, width = grid.images.shape[:3]
    columns = min(grid.columns, n)
    scale = (_WIDE if columns > _FEW else _PIXELS) // (columns * width)
    scale = max(1, min(scale, math.isqrt(_MOST // (n * height * width))))
    gap = max(2, scale * width // 16)
    wide = columns * (scale * width + gap) - gap
    longest = max((len(part) for label in grid.labels for part in label.split("\n")), default=0)
    font = wide * 6.5 / (72 * COLUMN_INCHES)  # 6.5 points once the figure is a column wide
    font = min(font, 1.35 * scale * width / max(1, longest))  # and no wider than its image
    tops = [0]
    for first in range(0, n, columns):  # room for labels only where a row has some
        labels = filter(None, grid.labels[first : first + columns])
        lines = max((label.count("\n") + 1 for label in labels), default=0)
        tops.append(tops[-1] + scale * height + gap + round(lines * 1.3 * font))
    tall = tops[-1] - gap
    canvas = np.zeros((tall, wide, 4), np.uint8)  # transparent between the images
    with style():  # at 72 dpi a pixel is a point, so that no backend resamples
        figure = Figure(figsize=(wide / 72, tall / 72), dpi=72, facecolor="none")
        for i, image in enumerate(grid.images):
            row, column = divmod(i, columns)
            top, left = tops[row], column * (scale * width + gap)
            bottom, right = top + scale * height, left + scale * width
            canvas[top:bottom, left:right, :3] = image.repeat(scale, 0).repeat(scale, 1)
            canvas[top:bottom, left:right, 3] = 255
            if grid.labels and grid.labels[i]:
                middle, below = (left + right) / 2 / wide, 1 - (bottom + 0.15 * font) / tall
                text = {"ha": "center", "va": "top", "color": GREY, "fontsize": font}
                figure.text(middle, below, grid.labels[i], **text, parse_math=False)
        figure.figimage(canvas, origin="upper")
        alt = f"{n} images in {-(-n // columns)} rows of {columns}"
        picture = finish(key, figure, (alt, caption), dpi=72, suffixes=suffixes)
        return replace(picture, images=True, wide=columns > _FEW)


def shrunk(grid: Grid, most_bytes: int, *, least: int = 32) -> tuple[Grid, int]:
    """Average images over squares until all together need at most so many bytes.

    Args:
        grid: The images.
        most_bytes: What they may need uncompressed.
        least: How many pixels wide they stay.

    Returns:
        The images, and the side of the squares: 1 if they are as they were.

    >>> grid = Grid(np.arange(16, dtype=np.uint8).reshape(1, 4, 4, 1), 1)
    >>> small, side = shrunk(grid, 4, least=2)
    >>> small.images[0, :, :, 0].tolist(), side
    ([[2, 4], [10, 12]], 2)
    """
    n, height, width, channels = grid.images.shape
    side = 1
    while (
        grid.images.nbytes > most_bytes * side**2
        and width // (2 * side) >= least
        and not (width % (2 * side) or height % (2 * side))
    ):
        side *= 2
    if side == 1:
        return grid, 1
    squares = grid.images.reshape(n, height // side, side, width // side, side, channels)
    return replace(grid, images=squares.mean((2, 4)).round().astype(np.uint8)), side


def first_columns(grid: Grid, most_bytes: int) -> Grid:
    """The columns of a grid that need at most so many bytes uncompressed, at least one."""
    n, columns = len(grid.images), grid.columns
    fit = max(1, most_bytes // (-(-n // columns) * grid.images[0].nbytes))
    if fit >= columns:
        return grid
    inside = [i for i in range(n) if i % columns < fit]
    labels = [grid.labels[i] for i in inside] if grid.labels else ()
    return replace(grid, images=grid.images[inside], columns=fit, labels=labels)


def first_rows(grid: Grid, most_bytes: int) -> Grid:
    """The rows of a grid that need at most so many bytes uncompressed, at least one image."""
    fit = most_bytes // grid.images[0].nbytes
    if fit >= len(grid.images):
        return grid
    n = max(1, fit // grid.columns * grid.columns or fit)
    return replace(grid, images=grid.images[:n], labels=grid.labels[:n])
