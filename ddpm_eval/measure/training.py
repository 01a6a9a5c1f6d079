"""How the model was trained, from the log of its run."""

import numpy as np

from ddpm_eval.model import Model, public
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Score
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.log import read_log

MEASURE = "training"
VERSION = 1


def measure(model: Model, runtime: Runtime) -> Measurement:
    """Read the loss over training, up to the step of the checkpoint.

    Raises:
        FixableError: The checkpoint does not lie in a run's folder with a log.
    """
    facts, last = model.facts, model.facts.step or 0
    every = [] if facts.log is None else read_log(facts.log, facts.file.get("log"))
    lines = [line for line in every if line["step"] <= last]
    if not lines or facts.run is None:
        raise FixableError(
            "no training log beside the checkpoint", "measure a checkpoint inside its run's folder"
        )
    run = facts.run
    protocol = Protocol(
        version=VERSION, model=facts.digest, weights=facts.weights, settings=public(run)
    )
    recorded = runtime.recorded(MEASURE, protocol)
    if recorded is not None:
        return recorded
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=(
            Score(metric="training_steps", value=last, n=1),
            Score(metric="images", value=last * run.optim.batch_size, n=1),
            Score(metric="seconds", value=lines[-1]["seconds"], n=1),
        ),
        curves=(
            Curve(
                metric="loss",
                over="training_steps",
                x=np.array([line["step"] for line in lines]),
                y=np.array([line["loss"] for line in lines]),
                n=run.optim.batch_size,
            ),
        ),
    )
