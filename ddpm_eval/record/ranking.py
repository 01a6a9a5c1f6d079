"""Which of several measurements of one measure says most."""

from collections.abc import Iterable

from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement, Record

Strength = tuple[bool, int, bool, int, bool, bool, str, str]


def ranked(record: Record, measurements: Iterable[Measurement]) -> list[Measurement]:
    """Sort measurements, the strongest first.

    In this order: all terms before an estimate, more images, all steps of the chain, the newest
    checkpoint, averaged weights, float32, the newest measurement.
    """
    return sorted(measurements, key=lambda item: strength(record, item), reverse=True)


def strength(record: Record, measurement: Measurement) -> Strength:
    """What measurements are sorted by; the larger, the stronger."""
    protocol = measurement.protocol
    sampling = protocol.sampling
    step = record.subjects.get(protocol.model, {}).get("step")
    return (
        protocol.estimator is None,
        size(protocol),
        sampling is None or sampling.steps >= sampling.T,
        step if isinstance(step, int) else 0,
        protocol.weights != "raw",
        protocol.precision == "float32",
        str(measurement.provenance.get("finished", "")),
        protocol.key,
    )


def size(protocol: Protocol) -> int:
    """How many images or samples a protocol measures."""
    if protocol.sampling is not None:
        return protocol.sampling.n
    return 0 if protocol.images is None else protocol.images.n


def groups(record: Record, measure: str) -> list[list[Measurement]]:
    """The measurements of a measure by what they are of, each group's strongest first.

    One group holds what answers one question: the same images, the same reference, the same
    extractor. A train and a test split are two groups, ``n`` of 50 and of 297 images one.
    """
    together: dict[tuple[str, ...], list[Measurement]] = {}
    for item in record.of(measure):
        together.setdefault(question(item.protocol), []).append(item)
    return list(together.values())


def strongest(record: Record) -> list[Measurement]:
    """The strongest answer to each question of a record, measure by measure."""
    measures = dict.fromkeys(sorted(item.measure for item in record.measurements))
    return [group[0] for measure in measures for group in groups(record, measure)]


def question(protocol: Protocol) -> tuple[str, ...]:
    """What a protocol asks, whatever the effort: images, reference, extractor, other model."""
    images, reference, extractor = protocol.images, protocol.reference, protocol.extractor
    return (
        *(("", "") if images is None else (images.digest, images.split)),
        *(("", "") if reference is None else (reference.digest, reference.split)),
        *(("", "") if extractor is None else (extractor.name, extractor.preprocessing)),
        protocol.other_model,
    )
