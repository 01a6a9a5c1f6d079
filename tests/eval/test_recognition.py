"""The share of samples that a classifier recognises as their class."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpm_eval as de
from ddpm_eval.metrics import recognised_share
from ddpm_eval.metrics.recognition import Recognition
from ddpm_eval.record.conditions import labels_of_samples
from ddpm_train import data
from ddpm_train.errors import FixableError

LABELLED = de.images("digits", split="train", labels=True)
BETAS = [0.05, 0.3, 0.9]


class Remembers(nn.Module):
    """Draws the first training image of the class, for all but every fourth class."""

    def __init__(self) -> None:
        super().__init__()
        labels = LABELLED.labels
        assert labels is not None
        first = [int(np.flatnonzero(labels == label)[0]) for label in range(10)]
        images = data.to_model(LABELLED.read(first))
        images[::4] = -1.0
        self.images = nn.Parameter(images, requires_grad=False)

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.images[torch.zeros(len(x), dtype=torch.long) if labels is None else labels]


def test_the_share_is_that_of_the_classes_that_are_drawn() -> None:
    model = de.wrap(Remembers(), schedule=BETAS, predicts="x_0", image_shape=(1, 8, 8), classes=10)
    result = de.quality(model, LABELLED.plain(), n=200, extractor="digits-cnn")
    labels = labels_of_samples({"seed": 0, "classes": 10, "labels": "drawn"}, range(200))
    share = result.score("recognised_share")
    assert labels is not None and share is not None and share.n == 200
    curve = next(curve for curve in result.curves if curve.over == "class")
    assert curve.x.tolist() == list(range(10))
    counts = np.bincount(labels, minlength=10)
    assert share.value == pytest.approx((curve.y * counts).sum() / 200)
    assert curve.y[[1, 2, 3, 5, 6, 7, 9]].tolist() == [100] * 7
    assert sorted(curve.y[[0, 4, 8]].tolist())[:2] == [0, 0]  # black is one digit at most
    assert share.label == "Recognised share(digits-cnn)"


def test_samples_without_classes_have_none() -> None:
    model = de.wrap(Remembers(), schedule=BETAS, predicts="x_0", image_shape=(1, 8, 8))
    result = de.quality(model, LABELLED.plain(), n=20, extractor="digits-cnn")
    assert result.score("recognised_share") is None
    with pytest.raises(FixableError, match="no classes that digits-cnn knows"):
        de.quality(
            model, LABELLED.plain(), n=20, extractor="digits-cnn", metrics=["recognised_share"]
        )


def test_parts_add_up() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 4)), rng.integers(4, size=30)
    parts = [Recognition(labels, 4) for _ in range(2)]
    parts[0].update(range(11), logits[:11])
    parts[1].update(range(11, 30), logits[11:])
    parts[0].sums += parts[1].sums
    assert parts[0].estimate() == recognised_share(logits, labels)
    assert recognised_share(logits, labels).value == pytest.approx(
        100 * (logits.argmax(1) == labels).mean()
    )
