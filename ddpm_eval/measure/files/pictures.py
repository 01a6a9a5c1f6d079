"""Pictures that real prefixes decode to: a row for each, the originals below them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.files.prefixes import Prefixes
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.scores import Grid

NAME = "prefixes"
ROWS = 10  # of pictures that were decoded


def chosen(sizes: Array) -> list[int]:
    """Choose prefixes whose bytes grow evenly by their logarithm, the first and the last included.

    >>> chosen(np.array([2.0, 3, 4, 6, 8, 12, 16]))
    [0, 1, 2, 3, 4, 5, 6]
    >>> len(chosen(np.geomspace(10, 1000, 40)))
    10
    """
    wanted = np.geomspace(sizes[0], sizes[-1], ROWS)
    apart = np.abs(np.log(sizes) - np.log(wanted)[:, None])
    return sorted({int(place) for place in apart.argmin(1)})


def grid(prefixes: Prefixes, images: ImageSet) -> dict[str, Grid]:
    """Lay out what prefixes of the first files decode to, bytes and RMSE below each picture."""
    shown = len(prefixes.pictures)
    if not shown:
        return {}
    rows = chosen(prefixes.ends[:shown].mean(0))
    originals = images.read(range(shown))
    pictures = prefixes.pictures[:, rows].swapaxes(0, 1).reshape(-1, *originals.shape[1:])
    pairs = zip(prefixes.ends[:shown, rows].T.flat, prefixes.mse[:shown, rows].T.flat, strict=True)
    labels = [f"{size:,} B\n{mse**0.5:.1f}" for size, mse in pairs]
    whole = [f"{size:,} B\nexact" for size in prefixes.sizes[:shown].tolist()]
    caption = (
        f"What the first bytes of real files of {images.name} images decode to, a row for each of "
        f"{len(rows)} prefixes. Under each picture: the bytes that were read and the RMSE in grey "
        "levels. The last row shows the originals, which the whole files decode to."
    )
    return {NAME: Grid(np.concatenate([pictures, originals]), shown, [*labels, *whole], caption)}


def frames(prefixes: Prefixes, steps: Array, dims: int) -> Mapping[str, Any]:
    """Say what each row of the grid is: mean bytes, bits/dim, RMSE and reverse steps."""
    shown = len(prefixes.pictures)
    if not shown:
        return {}
    rows = chosen(prefixes.ends[:shown].mean(0))
    sizes = prefixes.ends[:shown, rows].mean(0)
    return {
        "frames": {
            "grid": NAME,
            "rows": len(rows) + 1,
            "columns": shown,
            "reverse_steps": [int(step) for step in steps[rows]],
            "bytes": [*sizes.tolist(), float(prefixes.sizes[:shown].mean())],
            "rate": (8 * sizes / dims).tolist(),
            "rmse": np.sqrt(prefixes.mse[:shown, rows].mean(0)).tolist(),
        }
    }
