"""Bits/dim given the class: a closed form, a law, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import ddpm_eval as de
from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound.settings import OdeSettings
from ddpm_eval.model import Model
from ddpm_train.config import ObjectiveConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.schedule import NoiseSchedule, at
from tests import oracle

CLASSES = 10


class Shifted(Denoiser):
    """The best network where x_0 ~ N(m_y, I): every class has its own mean."""

    def __init__(self, tables: NoiseSchedule, means: Tensor) -> None:
        def network(x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
            assert labels is not None
            mean = at(tables.alphas_bar.sqrt(), t, x) * means[labels].view(-1, 1, 1, 1)
            return at((1 - tables.alphas_bar).sqrt(), t, x) * (x - mean)

        super().__init__(network, tables, ObjectiveConfig(variance="fixedlarge"))
        self.log_variances = tables.betas.log()


def test_the_bound_given_the_class_is_the_entropy_of_a_class() -> None:
    """With wrong classes it is more by the squared distance of the means, 1/2 m^2 / ln 2."""
    n, means = 150, torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64)
    labels = np.arange(n) % 3
    x_0 = oracle.images(n) + means[labels].view(-1, 1, 1, 1)
    subject = oracle.subject(Shifted(oracle.process(30), means))

    def bits(classes: np.ndarray) -> np.ndarray:
        work = oracle.run_sweep(
            subject, x_0, range(n), seed=0, clip=False, batch=512, labels=classes
        )
        total: np.ndarray = oracle.run(work).total()
        return total

    own = bits(labels)
    error = own.std(ddof=1) / n**0.5
    assert error < 0.02 and abs(own.mean() - oracle.ENTROPY) < 3 * error
    wrong = (labels + 1) % 3
    cost = 0.5 * ((means[labels] - means[wrong]) ** 2).mean().item() / np.log(2)
    assert (bits(wrong) - own).mean() == pytest.approx(cost, rel=0.05)


class Tinted(nn.Module):
    """Predicts less or more noise by the class."""

    def __init__(self, only: int | None = None) -> None:
        super().__init__()
        self.only = only

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        if labels is None:
            labels = torch.full((len(x),), self.only)
        return x * (0.3 + 0.05 * labels.view(-1, 1, 1, 1)) * torch.sqrt(t / 30).view(-1, 1, 1, 1)


BETAS = torch.linspace(1e-3, 0.3, 30, dtype=torch.float64)
CONDITIONAL = de.wrap(Tinted(), schedule=BETAS, image_shape=(1, 8, 8), classes=CLASSES)
LABELLED = de.images("digits", labels=True)


def of_class(label: int, n: int = 3) -> tuple[Model, ImageSet]:
    """A model that has one class alone, and the images of that class."""
    model = de.wrap(Tinted(label), schedule=BETAS, image_shape=(1, 8, 8))
    assert LABELLED.labels is not None
    return model, LABELLED.plain()[np.flatnonzero(LABELLED.labels == label)[:n]]


MEASURES: dict[str, Any] = {
    "bits": lambda model, images: de.bits_per_dim(model, images).arrays["terms"].sum(1),
    "ode": lambda model, images: de.bits_per_dim(
        model, images, ode=OdeSettings(paired=False, checked=0)
    ).arrays["weights"][:, 0, 0],
    "estimate": lambda model, images: de.bits_per_dim(model, images, budget=200).scores[0].value,
    "rates": lambda model, images: de.rate_distortion(model, images).curves[0].y,
    "strides": lambda model, images: de.bits_per_dim(model, images, strides=[4]).scores[0].value,
    "pictures": lambda model, images: (
        de.reconstruct(model, images, n=0).grids["reconstructions"].images
    ),
    "path": lambda model, images: (
        de.interpolate(model, images, pairs=[(0, 1)]).grids["path"].images
    ),
}


@pytest.mark.parametrize("name", MEASURES)
def test_images_of_one_class_are_measured_as_by_a_model_of_that_class(name: str) -> None:
    model, images = of_class(7, 20 if name == "estimate" else 3)
    measure = MEASURES[name]
    alone = measure(model, images)
    np.testing.assert_allclose(measure(CONDITIONAL, LABELLED[images.indices]), alone, rtol=1e-6)
    others = de.images(LABELLED.plain(), labels=[2] * len(LABELLED))[images.indices]
    assert not np.allclose(measure(CONDITIONAL, others), alone, rtol=1e-4)


def test_labels_are_in_the_protocol() -> None:
    result = de.bits_per_dim(CONDITIONAL, LABELLED, n=4)
    assert result.protocol.images is not None
    assert result.protocol.images.labels
    assert result.protocol.images.digest != LABELLED.plain().digest
    plain = de.bits_per_dim(of_class(3)[0], LABELLED.plain(), n=4)
    assert plain.protocol.images is not None and not plain.protocol.images.labels


def test_a_conditional_model_is_compared_with_one_that_is_not() -> None:
    model, images = of_class(4)
    result = de.bits_per_dim(model, LABELLED[images.indices], against=CONDITIONAL)
    assert result.scores[2].value == pytest.approx(0, abs=1e-9)
    result = de.bits_per_dim(CONDITIONAL, LABELLED, n=9, against=model)
    assert result.scores[2].error is not None and result.scores[2].error.size > 1e-3


@pytest.mark.parametrize("measure", [de.bits_per_dim, de.rate_distortion, de.reconstruct])
def test_labels_that_do_not_fit_are_refused(measure: Any) -> None:
    with pytest.raises(FixableError, match="digits test has no labels; the model takes 10") as hit:
        measure(CONDITIONAL, LABELLED.plain(), n=2)
    assert "labels=True" in hit.value.fix
    with pytest.raises(FixableError, match="has labels; the model takes no classes"):
        measure(of_class(0)[0], LABELLED, n=2)
    few = de.wrap(Tinted(), schedule=BETAS, image_shape=(1, 8, 8), classes=4)
    with pytest.raises(FixableError, match="labels up to 9; the model takes 4 classes"):
        measure(few, LABELLED, n=2)


def test_images_get_the_labels_that_the_caller_has() -> None:
    pixels = np.zeros((3, 8, 8, 1), np.uint8)
    images = de.images(pixels, labels=[4, 0, 1])
    assert images[1:].labels is not None and images[1:].labels.tolist() == [0, 1]
    with pytest.raises(FixableError, match="not the classes of 3 images"):
        de.images(pixels, labels=[4, 0])
    with pytest.raises(FixableError, match="no labels"):
        de.bits_per_dim(CONDITIONAL, pixels)


def test_an_npz_and_a_named_set_are_opened_with_what_the_model_needs(tmp_path: Any) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, images=LABELLED.read(range(5)), labels=LABELLED.labels[:5])  # type: ignore[index]
    one = de.bits_per_dim(CONDITIONAL, path)
    other = de.bits_per_dim(CONDITIONAL, LABELLED[:5])
    assert one.scores[0].value == other.scores[0].value
    assert de.images(path).labels is None
    np.savez(path, images=LABELLED.read(range(5)))
    with pytest.raises(FixableError, match="has no array labels"):
        de.bits_per_dim(CONDITIONAL, path)
