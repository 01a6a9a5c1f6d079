"""The classes of samples: facts that name them, and the class of each sample, which follows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ddpm_train.errors import FixableError

DRAWN = "drawn"


def condition_facts(classes: int, chosen: Sequence[int]) -> dict[str, Any]:
    """Name the classes of samples; nothing for a model without classes.

    Args:
        classes: How many the model takes; 0: none.
        chosen: Classes that the samples are of in turn; empty: each is drawn.

    Raises:
        FixableError: The model takes none, or others.

    >>> condition_facts(10, (3, 7)), condition_facts(10, ()), condition_facts(0, ())
    ({'classes': 10, 'labels': [3, 7]}, {'classes': 10, 'labels': 'drawn'}, {})
    """
    text = ",".join(map(str, chosen))
    if chosen and not classes:
        raise FixableError(f"classes={text}: the model takes no classes", "leave classes out")
    if chosen and not 0 <= min(chosen) <= max(chosen) < classes:
        raise FixableError(
            f"classes={text}: the model has {classes:,} classes",
            f"choose among 0 to {classes - 1:,}",
        )
    return {"classes": classes, "labels": list(chosen) or DRAWN} if classes else {}


def labels_of_samples(facts: Mapping[str, Any], indices: Sequence[int]) -> NDArray[np.int64] | None:
    """Give the classes of samples, [len(indices)]: functions of the seed and each index alone.

    Args:
        facts: Of their store: the seed, and what ``condition_facts`` gives.
        indices: Of the samples.

    >>> facts = {"seed": 0, **condition_facts(10, (3, 7))}
    >>> labels_of_samples(facts, range(4)), labels_of_samples({"seed": 0}, range(4))
    (array([3, 7, 3, 7]), None)
    """
    if "classes" not in facts:
        return None
    chosen = facts["labels"]
    if chosen != DRAWN:
        return np.array([chosen[i % len(chosen)] for i in indices], np.int64)
    from ddpm_train.noise import Stream  # torch takes a second to import

    stream = Stream(facts["seed"], "label")
    drawn = [stream.generator(int(i)).integers(facts["classes"]) for i in indices]
    return np.array(drawn, np.int64)


def is_whole(facts: Mapping[str, Any]) -> bool:
    """Whether facts that were read have what the classes of samples follow from.

    >>> is_whole({"seed": 0, **condition_facts(10, ())}), is_whole({"classes": 10, "labels": 3})
    (True, False)
    """
    classes, labels = facts.get("classes"), facts.get("labels")
    if not (isinstance(classes, int) and classes > 0 and isinstance(facts.get("seed"), int)):
        return False
    if labels == DRAWN:
        return True
    return (
        isinstance(labels, list)
        and bool(labels)
        and all(isinstance(x, int) and 0 <= x < classes for x in labels)
    )


def condition_text(facts: Mapping[str, Any]) -> str:
    """Say of which classes samples are; empty for a model without classes.

    >>> condition_text(condition_facts(10, ())), condition_text(condition_facts(10, (3, 7)))
    ('classes drawn from 10', 'classes 3,7 in turn')
    """
    if "classes" not in facts:
        return ""
    if facts["labels"] == DRAWN:
        return f"classes drawn from {facts['classes']:,}"
    *others, last = map(str, facts["labels"])
    return f"classes {','.join([*others, last])} in turn" if others else f"class {last}"


def guidance_text(facts: Mapping[str, Any]) -> str:
    """Say what guides samples to their classes; empty where nothing does.

    >>> guidance_text({"classifier": "0123456789abcdef", "scale": 4.0}), guidance_text({})
    ('guided by classifier 01234567, scale 4', '')
    """
    if "classifier" not in facts:
        return ""
    return f"guided by classifier {facts['classifier'][:8]}, scale {facts['scale']:g}"
