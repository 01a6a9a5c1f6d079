"""How far a receiver's rounded numbers lie off from the sender's: the sender's list tells it.

Where x_t is nearly all noise, x_0_hat is a small difference divided by a small number, and rounding
in float32 moves it by nearly the same in every pixel of a colour. The layers hand that on: in the
last x_0_hat the mean over a tile had 0.54 to 0.97 of the square of all that two versions of torch
differed by. The sender lists exactly the pixels within a tolerance of where the rounding changes.
So which of a receiver's pixels there are listed, and with which parity, tells how far each colour
of a tile has moved.
"""

import numpy as np
from scipy.special import ndtr

from ddpm_eval.codec.words import Array

# In tolerances, from the two differences that were measured.
_MOVES = np.linspace(-5, 5, 101)
_SPREAD = 1.0  # of what all colours of a tile move by
_OWN_SPREAD = 0.5  # of what a colour moves by beside it
_REST = 1 / 3  # of what a pixel moves by beside its colour
_REACH = 8.0  # from where the rounding changes; what lies farther tells nothing
_SURPRISE = 1e-3  # the probability that a pixel has for any other reason


def offsets(distances: Array, listed: Array, upper: Array, tolerance: float) -> Array:
    """Estimate how far each colour of each tile has moved, [B, C]; 0 where nothing shows it.

    Args:
        distances: How far each number lies above where its rounding changes, [B, C, H, W].
        listed: Which of them the sender lists, [B, C, H, W].
        upper: Which of these it rounds upwards, [B, C, H, W].
        tolerance: Within which the sender lists them, in the units of the distances.

    >>> distances = np.linspace(-0.5, 0.5, 4001).reshape(1, 1, 1, 4001)  # the receiver's
    >>> theirs = distances - 0.002
    >>> listed = np.abs(theirs) < 1e-3
    >>> offsets(distances, listed, theirs >= 0, 1e-3).round(3)
    array([[0.002]])
    """
    moved = np.zeros(distances.shape[:2])
    fits = np.where(np.abs(distances) < tolerance, listed & (upper == (distances >= 0)), ~listed)
    for tile in np.flatnonzero(~fits.all((1, 2, 3))):
        colours = zip(distances[tile] / tolerance, listed[tile], upper[tile], strict=True)
        moved[tile] = tolerance * _moves(np.stack([_likelihood(*colour) for colour in colours]))
    return moved


def _likelihood(distances: Array, listed: Array, upper: Array) -> Array:
    """The logarithm of the probability of what is listed of a colour, for each move."""
    telling = (np.abs(distances) < _REACH) | listed
    theirs = distances[telling] - _MOVES[:, None]
    below, middle, above = (ndtr((edge - theirs) / _REST) for edge in (-1, 0, 1))
    inside = np.where(upper[telling], above - middle, middle - below)
    seen = np.where(listed[telling], inside, 1 - (above - below))
    return np.asarray(np.log(seen + _SURPRISE).sum(1))


def _moves(likelihood: Array) -> Array:
    """The most probable moves, [C], of likelihoods [C, moves]."""
    apart = -0.5 * ((_MOVES[:, None] - _MOVES) / _OWN_SPREAD) ** 2
    pairs = likelihood[:, :, None] + apart  # [C, its own move, that of all]
    together = pairs.max(1).sum(0) - 0.5 * (_MOVES / _SPREAD) ** 2
    return np.asarray(_MOVES[pairs[:, :, together.argmax()].argmax(1)])
