"""Every kind of attack, in one list."""

import random
from collections.abc import Iterator
from pathlib import Path

from tests.faults import (
    contents,
    disks,
    interruptions,
    lines,
    mirrors,
    mutations,
    pairs,
    pickles,
    places,
    ranks,
    strangers,
    sweep,
    training,
)
from tests.faults.matrix import Case

KINDS = (
    *(training.kills, training.signals, training.retention, ranks.ranks),
    interruptions.interruptions,
    *(mutations.mutations, contents.contents, sweep.sweep, pickles.pickles),
    *(disks.disks, lines.wrong_lines, places.places, pairs.pairs),
    *(strangers.bombs, strangers.escapes, mirrors.mirrors),
)


def every(material: Path, share: float) -> Iterator[Case]:
    """All cases, in an order that mixes slow and quick ones."""
    cases = [case for kind in KINDS for case in kind(material, share)]
    random.Random(0).shuffle(cases)
    yield from cases
