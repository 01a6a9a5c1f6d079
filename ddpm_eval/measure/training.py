"""How the model was trained, from the log of its run."""

import numpy as np

from ddpm_eval.job import Job
from ddpm_eval.record.schema1 import Curve, Measurement, Quantity
from ddpm_train.errors import FixableError
from ddpm_train.log import read_log
from ddpm_train.settings import to_dict


def measure(job: Job) -> Measurement:
    """The loss over training, up to the step of the checkpoint.

    Raises:
        FixableError: The checkpoint does not lie in a run folder with a log.
    """
    upto = job.subject.facts.step or 0
    lines = (
        []
        if job.log is None
        else [x for x in read_log(job.log, job.subject.facts.file.get("log")) if x["step"] <= upto]
    )
    if not lines or job.subject.facts.run is None:
        raise FixableError(
            "no training log beside the checkpoint", "measure a checkpoint inside its run's folder"
        )
    run = job.subject.facts.run
    steps = np.array([line["step"] for line in lines])
    images = upto * run.optim.batch_size
    return Measurement(
        name="training",
        quantities={
            "steps": Quantity(upto, "steps", n=1),
            "images": Quantity(images, "images", n=1),
            "time": Quantity(lines[-1]["seconds"], "s", n=1),
        },
        curves={
            "loss": Curve(
                x=steps,
                y=np.array([line["loss"] for line in lines]),
                x_name="training step",
                y_name=f"loss ({run.objective.loss})",
                n=run.optim.batch_size,
            )
        },
        settings=to_dict(run),
    )
