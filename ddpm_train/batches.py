"""What each step shows the network: images, times, noise and what dropout keeps, named by position.

Positions count images in the training order, so that a batch is the same on any number of
processes.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ddpm_train import data, times
from ddpm_train.config import RunConfig
from ddpm_train.noise import Stream, keep_mask
from ddpm_train.schedule import NoiseSchedule
from ddpm_train.world import World


class Batch(NamedTuple):
    """What one step shows the network; times stay on the CPU, where the tables are."""

    x_0: Tensor
    t: Tensor
    weights: Tensor
    eps: Tensor
    keep: Tensor | None
    labels: Tensor | None

    def split(self, parts: int) -> Iterable["Batch"]:
        """Cut into microbatches of sizes that differ by one at most."""
        columns = [
            [None] * parts if column is None else column.tensor_split(parts) for column in self
        ]
        return (Batch(*row) for row in zip(*columns, strict=True))


class Batches:
    """The batches of a run: this process's share of each step.

    Attributes:
        dropout_elements: The length of a row of ``Batch.keep``; 0 without dropout.
    """

    def __init__(
        self,
        config: RunConfig,
        images: data.Images,
        world: World,
        *,
        dtype: torch.dtype,
        dropout_elements: int,
    ) -> None:
        self.config, self.images, self.world = config, images, world
        self.dtype, self.dropout_elements = dtype, dropout_elements
        self._labels = data.labels_of(images)
        self._order: tuple[int, np.ndarray] | None = None  # the last epoch's permutation

    def draw(self, step: int) -> Batch:
        """Read the images of a step and draw their flips, uniform times, noise and dropout."""
        size = self.config.optim.batch_size
        positions = self.world.share(range(step * size, (step + 1) * size))
        indices = [self.image_at(position) for position in positions]
        pixels = self.images.read(indices)
        stream = Stream(self.config.seed, "train")
        drawn, eps = [], np.empty((len(pixels), *pixels.shape[:0:-1]), np.float32)
        for row, position in enumerate(positions):
            generator = stream.generator(position)
            if self.config.data.flip and generator.random() < 0.5:
                pixels[row] = pixels[row, :, ::-1]
            drawn.append(int(generator.integers(1, self.config.schedule.T + 1)))
            generator.standard_normal(out=eps[row], dtype=np.float32)
        keep = None
        if self.dropout_elements:
            keep = keep_mask(
                Stream(self.config.seed, "dropout"),
                positions,
                self.dropout_elements,
                drop=self.config.net.dropout,
                device=self.world.device,
            )
        return Batch(
            self._to_device(data.to_model(pixels)),
            torch.tensor(drawn),
            torch.ones(len(drawn), dtype=self.dtype, device=self.world.device),
            self._to_device(torch.from_numpy(eps)),
            keep,
            self._classes(indices),
        )

    def timed(
        self, batch: Batch, step: int, process: NoiseSchedule, errors: Tensor | None
    ) -> Batch:
        """Draw the times of a step anew where they are not uniform.

        Args:
            batch: The step's batch.
            step: Steps before it.
            process: The forward process.
            errors: The errors of x_0_hat that training has met until now, [T+1].
        """
        kind = self.config.objective.times
        if kind == "uniform":
            return batch
        if kind == "importance" and errors is not None:
            p = times.importance(process, errors)
        else:
            p = times.uniform(process.T)
        size = self.config.optim.batch_size
        stream = Stream(self.config.seed, "train")
        where = times.points(stream, step, self.world.share(range(size)), size)
        t, weights = times.draw(p, where)
        return batch._replace(t=t, weights=weights.to(batch.weights))

    def image_at(self, position: int) -> int:
        """The image at a position of the training order: every epoch is a permutation."""
        epoch, place = divmod(position, len(self.images))
        if self._order is None or self._order[0] != epoch:
            generator = Stream(self.config.seed, "order").generator(epoch)
            self._order = epoch, generator.permutation(len(self.images))
        return int(self._order[1][place])

    def _classes(self, indices: list[int]) -> Tensor | None:
        """The class of each image, [B]; None for images without classes."""
        if self._labels is None:
            return None
        return torch.from_numpy(self._labels[indices]).to(self.world.device)

    def _to_device(self, images: Tensor) -> Tensor:
        return images.to(self.world.device, self.dtype, memory_format=torch.channels_last)
