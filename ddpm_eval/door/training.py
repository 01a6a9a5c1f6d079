"""``training``: how a model was trained."""

from ddpm_eval.door.working import Provenance, model_of
from ddpm_eval.measure import training as curves
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime


def training(model: Model, *, runtime: Runtime | None = None) -> Measurement:
    """Read the loss over training from the log of the model's run.

    Args:
        model: From ``load``, of a checkpoint inside its run's folder.
        runtime: How the work is carried out.

    Raises:
        FixableError: There is no log.

    >>> import ddpm_eval as de
    >>> from ddpm_eval.toy import gaussian_model
    >>> de.training(gaussian_model())
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: no training log beside the checkpoint
      fix: measure a checkpoint inside its run's folder
    """
    work = runtime or Runtime()
    return Provenance([model_of(model)], work).sign(curves.measure(model, work))
