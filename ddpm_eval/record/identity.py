"""Which models and images may share a record: known by their content, never by their names."""

from collections.abc import Mapping

from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Subjects

_RUN = ("preset", "seed", "data", "schedule", "unet", "objective")  # settings that name a run


def related(one: Subjects, other: Subjects) -> bool:
    """Whether two groups of subjects may share a record.

    That is so if either is empty, if they have a digest in common, or if they are checkpoints of
    one training run.
    """
    if not one or not other or one.keys() & other.keys():
        return True
    return any(same_run(a, b) for a in one.values() for b in other.values())


def same_run(a: Mapping[str, Json], b: Mapping[str, Json]) -> bool:
    """Whether two models are checkpoints of one training run, as far as is known.

    Two models of one step and one kind of weights are of two runs, whatever their settings.

    >>> run = {key: 1 for key in ("preset", "seed", "data", "schedule", "unet", "objective")}
    >>> same_run({"run": run, "step": 10}, {"run": run, "step": 20})
    True
    >>> same_run({"run": run, "step": 10}, {"run": run, "step": 10})
    False
    """
    one, two = a.get("run"), b.get("run")
    if not isinstance(one, Mapping) or not isinstance(two, Mapping):
        return False
    data = _data(a), _data(b)
    if any(one.get(key) != two.get(key) for key in _RUN) or (all(data) and data[0] != data[1]):
        return False
    return (a.get("step"), a.get("weights")) != (b.get("step"), b.get("weights"))


def _data(subject: Mapping[str, Json]) -> Json:
    """The digest of the training images, where the checkpoint has it."""
    facts = subject.get("facts")
    return facts.get("data_digest") if isinstance(facts, Mapping) else None
