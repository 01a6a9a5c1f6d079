"""``guide``: a model whose samples a classifier of noisy images guides to their classes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ddpm_eval.measure.pictures.settings import Scale
from ddpm_eval.model import Guide, Model
from ddpm_eval.paths import expanded
from ddpm_train import leaves
from ddpm_train.errors import FixableError
from ddpm_train.formats import classifiers
from ddpm_train.formats.classifiers import ClassifierFile
from ddpm_train.guidance import Gradient
from ddpm_train.networks.classifier import Classifier, log_probability
from ddpm_train.settings import differences, to_dict


@dataclass(frozen=True, slots=True)
class _LogProbability:
    """log p(y | x_t) of a classifier, on its device and in its precision."""

    network: Classifier

    def __call__(self, x: Tensor, t: Tensor, labels: Tensor) -> Tensor:
        """Evaluate, [B] nats."""
        weight = next(self.network.parameters())
        return log_probability(self.network(x.to(weight.dtype), t), labels)


def guide(
    model: Model,
    classifier: str | Path | ClassifierFile,
    *,
    scale: float = 1.0,
    settings: tuple[str, ...] = (),
) -> Model:
    """Guide a model by a classifier of noisy images: its samples are of the classes it is asked.

    Args:
        model: From ``load`` or ``wrap``.
        classifier: Of ``ddpm-train classifier``, or a file of guided-diffusion.
        scale: Of the gradient of log p(y | x_t): 0 changes nothing, 1 is Bayes' rule.
        settings: Settings of the classifier that its file does not store.

    Raises:
        FixableError: The classifier is of other images, classes or times than the model, or the
            scale is below 0.

    >>> import ddpm_eval as de
    >>> from ddpm_train.classifying import untrained
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> de.sample(de.guide(model, untrained(), scale=2), 4, classes=[3, 8]).shape
    (4, 8, 8, 1)
    """
    scale = leaves.read(Scale, scale, "scale")
    file = classifier if isinstance(classifier, ClassifierFile) else _opened(classifier, settings)
    _check(model, file)
    network = file.network().to(model.device)
    steering = Guide(
        gradient=Gradient(_LogProbability(network), scale),
        classes=file.config.classes,
        digest=file.digest,
    )
    return replace(model, guide=steering)


def _opened(path: str | Path, settings: Sequence[str]) -> ClassifierFile:
    """Open a classifier, and warn of what its file does not tell."""
    file = classifiers.load(expanded(path, "classifier"), changes=settings)
    for text in file.warnings:
        warnings.warn(text, stacklevel=3)
    return file


def _check(model: Model, file: ClassifierFile) -> None:
    """Refuse a classifier that was made for another model."""
    encoder = file.config.encoder
    theirs = encoder.channels, encoder.image_size, encoder.image_size
    if theirs != model.shape:
        sizes = ("x".join(map(str, (*shape[1:], shape[0]))) for shape in (theirs, model.shape))
        raise FixableError(
            "classifier: it takes images of {}, the model draws {}".format(*sizes),
            "choose the classifier of this model's images",
        )
    if model.classes not in (0, file.config.classes):
        raise FixableError(
            f"classifier: it has {file.config.classes:,} classes, the model {model.classes:,}",
            "choose the classifier of this model's classes",
        )
    if file.schedule is not None and model.config is not None:
        changes = differences(_plain(file.schedule), _plain(model.config.schedule))
        if changes:
            raise FixableError(
                f"classifier: trained on another process than the model: {'; '.join(changes)}",
                "train one on the model's process: ddpm-train classifier --set schedule.T=1000",
            )


def _plain(schedule: Any) -> dict[str, Any]:
    return {f"schedule.{name}": value for name, value in to_dict(schedule).items()}
