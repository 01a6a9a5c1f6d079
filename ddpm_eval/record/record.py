"""The record: what measurements write and everything else reads.

A measurement is known by its measure and its protocol. A record holds any number of them, of one
model, of the checkpoints of one run, or of one set of images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ddpm_eval.record.arrays import Array
from ddpm_eval.record.protocol import Json, Protocol
from ddpm_eval.record.scores import Curve, Grid, Score, pick

Subjects = Mapping[str, Mapping[str, Json]]
"""What is known of each model or set of images, by its digest."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """The results of one measure, and the protocol that they depend on.

    Attributes:
        measure: Its name: ``bound``, ``quality``, ``samples``, ... Never a split or a reference.
        protocol: Everything that the results depend on.
        scores: Numbers, the headline first.
        curves: Numbers over an axis.
        grids: Pictures, by what they show.
        arrays: What other measures go on with: the terms of each image, say.
        facts: Results that are no scores: a verdict, the pairs that were mixed.
        warnings: What a reader must know.
        provenance: Versions, hardware, wall time and the command.

    >>> print(Measurement(measure="bound", protocol=Protocol(version=1),
    ...                   scores=(Score(metric="bits_per_dim", value=3.75, n=9),)))
    Bits/dim  3.750 bits/dim (n=9)
    """

    measure: str
    protocol: Protocol
    scores: tuple[Score, ...] = ()
    curves: tuple[Curve, ...] = ()
    grids: Mapping[str, Grid] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    facts: Mapping[str, Json] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    provenance: Mapping[str, Json] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str]:
        """What it is known by: the measure and the digest of the protocol."""
        return self.measure, self.protocol.key

    def score(self, metric: str, **of: object) -> Score | None:
        """The first score of a metric whose qualifiers are these; None if there is none.

        >>> score = Score(metric="bits_per_dim", value=3.75, n=9)
        >>> bound = Measurement(measure="bound", protocol=Protocol(version=1), scores=(score,))
        >>> bound.score("bits_per_dim", part="total") is score, bound.score("rmse") is None
        (True, True)
        """
        return pick(self.scores, metric, of)

    def curve(self, metric: str, **of: object) -> Curve | None:
        """The first curve of a metric whose qualifiers are these; None if there is none."""
        return pick(self.curves, metric, of)

    def __str__(self) -> str:
        """The scores as lines, then the warnings."""
        width = max((len(score.label) for score in self.scores), default=0)
        lines = [f"{score.label:{width}}  {score}" for score in self.scores]
        lines += [f"warning {i}: {text}" for i, text in enumerate(self.warnings, 1)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """The scores with their curves and pictures, for a notebook."""
        from ddpm_eval.present import notebook  # which reads records: it comes later

        return notebook.html(self)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """Measurements that belong together.

    Attributes:
        name: For people.
        subjects: What is known of each model or set of images that was measured.
        measurements: Each of another measure or another protocol.
    """

    name: str
    subjects: Subjects = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()

    def find(self, measure: str, protocol: Protocol) -> Measurement | None:
        """The measurement of this measure and protocol: finished work that need not be repeated."""
        key = measure, protocol.key
        return next((item for item in self.measurements if item.key == key), None)

    def of(self, measure: str) -> list[Measurement]:
        """Every measurement of a measure, the strongest first (see ``ranking``)."""
        from ddpm_eval.record.ranking import ranked

        return ranked(self, [item for item in self.measurements if item.measure == measure])

    def strongest(self, measure: str) -> Measurement | None:
        """The measurement of a measure that says most; None if there is none."""
        return next(iter(self.of(measure)), None)
