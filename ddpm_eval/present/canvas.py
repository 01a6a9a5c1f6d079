"""What all figures share: their style, and how one becomes files."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

Item = TypeVar("Item")
Look = TypeVar("Look")

COLUMN_INCHES = 3.3
"""The width of a column in a two-column paper; text is readable at this width."""
INK, FAINT, BLUE, ORANGE = "#222222", "#d9d9d9", "#0072b2", "#d55e00"  # after Okabe and Ito
GREEN = "#009e73"  # likewise

_STYLE: dict[Any, object] = {
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": 7,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "legend.frameon": False,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,
    "svg.hashsalt": "ddpm-eval",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}

SUFFIXES = tuple(_UNDATED)
"""The formats of a figure."""


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A finished figure: its files by suffix (png, svg, pdf), and its texts.

    ``shape`` is the width and height of the PNG in pixels; ``images`` says that it shows some, and
    ``wide`` that it is made for two columns.
    ``reduced`` stands in for a picture that is too large for a page.
    """

    key: str
    files: Mapping[str, bytes]
    alt: str
    caption: str
    shape: tuple[int, int]
    images: bool = False
    wide: bool = False
    reduced: "Picture | None" = None


@contextmanager
def style() -> Iterator[None]:
    """Our style on matplotlib's defaults, whatever the user's own settings are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


def with_looks(curves: Iterable[Item], looks: Sequence[Look]) -> Iterator[tuple[Item, Look]]:
    """Give each curve a look; where there are more curves, the looks begin anew.

    >>> list(with_looks("abc", ["-", ":"]))
    [('a', '-'), ('b', ':'), ('c', '-')]
    """
    for i, curve in enumerate(curves):
        yield curve, looks[i % len(looks)]


def power(x: float) -> str:
    """A tick of a logarithmic axis.

    >>> [power(x) for x in (1e-5, 1, 10, 1000)]
    ['10⁻⁵', '1', '10', '1,000']
    """
    if 1e-2 <= x < 1e5:
        return f"{x:,g}"
    digits = str(round(np.log10(x))).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{digits}"


def finish(
    key: str,
    figure: Figure,
    texts: tuple[str, str],
    *,
    dpi: int = 300,
    suffixes: Sequence[str] = SUFFIXES,
) -> Picture:
    """Save a figure in every format.

    Args:
        key: The name of the files.
        figure: What is saved.
        texts: What it shows, for those who do not see it, and its caption.
        dpi: Of the PNG.
        suffixes: The formats.
    """
    files: dict[str, bytes] = {}
    engine = figure.get_layout_engine()
    if engine is not None:  # once, not for every format
        engine.execute(figure)
        figure.set_layout_engine("none")
    for suffix in suffixes:
        out, undated = io.BytesIO(), _UNDATED[suffix]
        figure.savefig(out, format=suffix, dpi=dpi if suffix == "png" else 72, metadata=undated)
        files[suffix] = out.getvalue()
    alt, caption = texts
    inches = figure.get_size_inches()
    return Picture(key, files, alt, caption, (round(inches[0] * dpi), round(inches[1] * dpi)))
