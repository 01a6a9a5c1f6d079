"""Which pairs of an image and a time are drawn, and what is known about their places.

A draw's place is where it lies in the distribution of times, between 0 and 1. Two rules spread
places better than chance does:

*   The first draws of the images of a round fall into equal parts of [0, 1), one into each.
*   The later draws of an image follow its first one by the golden ratio modulo 1, so that few or
    many of them are about evenly spread.

The shares of times change from round to round. All draws together are a sample of the mixture of
these shares, and are weighted and placed by it (the balance heuristic of Veach and Guibas 1995):
the draws of a round with poor shares weigh no more than others.
"""

import numpy as np

from ddpm_eval.measure.bound.control import Array

REPEATS = 6  # one draw of so many falls on an image that has one: it tells within from between
GOLDEN = (5**0.5 - 1) / 2


class Draws:
    """The pairs that were drawn of n images.

    Attributes:
        images: The image of each draw, 0..n-1, [m].
        times: Its time, 1..T, [m].
    """

    def __init__(self, n: int, rng: np.random.Generator) -> None:
        self.images = np.zeros(0, np.int64)
        self.times = np.zeros(0, np.int64)
        self._rng = rng
        self._counts = np.zeros(n, np.int64)  # draws of each image
        self._starts = np.zeros(n)  # the place of its first one
        self._inside = np.zeros(0)  # where within the share of its time a draw lies, 0..1
        self._shares: Array | None = None  # summed over draws, [T+1]

    def __len__(self) -> int:
        return len(self.images)

    def draw(self, size: int, shares: Array) -> tuple[Array, Array]:
        """Draw pairs: images without a draw first, but one of REPEATS on an image that has one.

        Once all images have a draw, those with the fewest come first.

        Args:
            size: How many.
            shares: The probability of each time, [T+1].

        Returns:
            Their images and times, [size].
        """
        images, numbers = self._choose(size)
        place = (self._starts[images] + GOLDEN * numbers) % 1
        edges = shares.cumsum() / shares.sum()
        times = np.searchsorted(edges, place, side="right")
        times = np.minimum(times, len(shares) - 1)  # where rounding left the sum below 1
        widths = shares[times] / shares.sum()
        inside = np.clip((place - edges[times] + widths) / widths, 0, 1)
        self.images = np.append(self.images, images)
        self.times = np.append(self.times, times)
        self._inside = np.append(self._inside, inside)
        more = size * shares / shares.sum()
        self._shares = more if self._shares is None else self._shares + more
        return images, times

    def _choose(self, size: int) -> tuple[Array, Array]:
        """Choose images, and give the number of each draw among its image's."""
        rng, counts = self._rng, self._counts
        fresh = rng.permutation(np.flatnonzero(counts == 0))[: size - size // REPEATS]
        self._starts[fresh] = (rng.permutation(len(fresh)) + rng.random(len(fresh))) / len(fresh)
        chosen, numbers = [fresh], [np.zeros(len(fresh), np.int64)]
        counts[fresh] += 1
        left = size - len(fresh)
        while left:
            drawn = rng.permutation(np.flatnonzero(counts))
            chosen.append(drawn[counts[drawn].argsort(kind="stable")][:left])
            numbers.append(counts[chosen[-1]])
            counts[chosen[-1]] += 1
            left -= len(chosen[-1])
        return np.concatenate(chosen), np.concatenate(numbers)

    def shares(self) -> Array:
        """Average the shares of the rounds over draws, [T+1]."""
        if self._shares is None:
            raise ValueError("nothing was drawn")
        mixture: Array = self._shares / len(self)
        return mixture

    def places(self) -> Array:
        """Compute where in the mixture of the rounds' shares each draw lies, 0..1, [m]."""
        shares = self.shares()
        place: Array = (shares.cumsum() - shares)[self.times] + self._inside * shares[self.times]
        return place
