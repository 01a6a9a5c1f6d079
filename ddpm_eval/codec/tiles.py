"""Pictures of any size as tiles of the model's size, mirrored beyond the edge."""

import numpy as np

from ddpm_eval.codec.words import Array
from ddpm_train.data.images import Pixels


def grid(size: tuple[int, int], tile: tuple[int, int]) -> tuple[int, int]:
    """How many rows and columns of tiles cover a picture (height, width).

    >>> grid((33, 64), (32, 32))
    (2, 2)
    """
    return -(-size[0] // tile[0]), -(-size[1] // tile[1])


def split(picture: Pixels, shape: tuple[int, int, int]) -> Pixels:
    """Cut a picture [H, W, C] into tiles [rows columns, C, h, w], row by row."""
    _, h, w = shape
    rows, columns = grid((picture.shape[0], picture.shape[1]), (h, w))
    beyond = (rows * h - picture.shape[0], columns * w - picture.shape[1])
    whole = np.pad(picture, ((0, beyond[0]), (0, beyond[1]), (0, 0)), mode="symmetric")
    parts = whole.reshape(rows, h, columns, w, -1).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(parts.reshape(-1, *parts.shape[2:]))


def join(parts: Array, size: tuple[int, int]) -> Array:
    """Put tiles [rows columns, C, h, w] together and cut to (height, width), [H, W, C]."""
    _, channels, h, w = parts.shape
    rows, columns = grid(size, (h, w))
    whole = parts.reshape(rows, columns, channels, h, w).transpose(0, 3, 1, 4, 2)
    return np.ascontiguousarray(
        whole.reshape(rows * h, columns * w, channels)[: size[0], : size[1]]
    )


def inside(size: tuple[int, int], tile: tuple[int, int]) -> Array:
    """Which pixels of the tiles belong to the picture, [rows columns, h, w] bool."""
    rows, columns = grid(size, tile)
    down, right = np.arange(rows * tile[0]) < size[0], np.arange(columns * tile[1]) < size[1]
    whole = (down[:, None] & right).reshape(rows, tile[0], columns, tile[1])
    return np.ascontiguousarray(whole.transpose(0, 2, 1, 3).reshape(-1, *tile))
