"""Which models and images may share a record: known by their content, never by their names."""

from collections.abc import Mapping

from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Subjects

_RUN = (  # settings that name a run
    *("preset", "seed", "data", "schedule", "unet", "objective", "network", "ncsnpp", "refinenet"),
)


def related(one: Subjects, other: Subjects) -> bool:
    """Whether two groups of subjects may share a record.

    That is so if either is empty, if they have a digest in common, or if they are checkpoints of
    one training run. Two models of one step and one kind of weights are of two runs, whatever their
    settings.

    >>> run = {key: 1 for key in ("preset", "seed", "data", "schedule", "unet", "objective")}
    >>> first, later = {"run": run, "step": 10}, {"run": run, "step": 20}
    >>> related({"a": first}, {"b": later}), related({"a": first, "b": later}, {"c": later})
    (True, False)
    """
    if not one or not other or one.keys() & other.keys():
        return True
    pairs = [(a, b) for a in one.values() for b in other.values()]
    return any(same_run(*pair) for pair in pairs) and not any(_same_step(*pair) for pair in pairs)


def same_run(a: Mapping[str, Json], b: Mapping[str, Json]) -> bool:
    """Whether two models were trained with the same settings on the same images."""
    one, two = a.get("run"), b.get("run")
    if not isinstance(one, Mapping) or not isinstance(two, Mapping):
        return False
    data = _data(a), _data(b)
    same_data = not all(data) or data[0] == data[1]
    return same_data and all(one.get(key) == two.get(key) for key in _RUN)


def _same_step(a: Mapping[str, Json], b: Mapping[str, Json]) -> bool:
    step = a.get("step")
    return step is not None and (step, a.get("weights")) == (b.get("step"), b.get("weights"))


def _data(subject: Mapping[str, Json]) -> Json:
    """The digest of the training images, where the checkpoint has it."""
    facts = subject.get("facts")
    return facts.get("data_digest") if isinstance(facts, Mapping) else None
