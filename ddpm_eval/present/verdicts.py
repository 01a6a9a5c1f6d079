"""What a measurement concludes, in sentences."""

from collections.abc import Mapping
from typing import Any

from ddpm_eval.metrics.clinging import Verdict
from ddpm_eval.record.record import Measurement


def sentences(measurement: Measurement) -> list[str]:
    """Say what a measurement concludes: whether the model memorised, which model is better.

    >>> from ddpm_eval.record.protocol import Protocol
    >>> facts = {"close": 1, "n": 64, "share": 0.01, "m": 300, "copies": 0}
    >>> measurement = Measurement(measure="neighbours", protocol=Protocol(version=2),
    ...                           facts={"verdicts": {"pixels": facts}})
    >>> sentences(measurement)[0][:26]
    'No sign of memorisation: 1'
    """
    verdicts: Any = measurement.facts.get("verdicts")
    if isinstance(verdicts, Mapping):
        spaces = sorted(verdicts, key=lambda space: (space != "pixels", space))
        texts = {space: str(Verdict(**verdicts[space])) for space in spaces}
        if len(texts) < 2:
            return list(texts.values())
        return [f"In {space}: {text[:1].lower()}{text[1:]}" for space, text in texts.items()]
    text = measurement.facts.get("verdict")  # records of schema 1, and comparisons
    return [str(text)] if text else []
