"""What a report says, and in which order; how it looks is decided elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from ddpm_eval.present import comparable, differences, published, sections
from ddpm_eval.present.parts import Document, Facts, Section
from ddpm_eval.present.sections import bound, pictures, quality
from ddpm_eval.present.sections.shared import Place, a_model
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Measurement, Report

PAGE_IMAGE_BYTES = 2_100_000
"""What all images together may need uncompressed, so that a page stays below 5 MB ..."""
RUN_BYTES = 600_000
"""... and what the curves of each further run take from that."""

_SHOWN_ELSEWHERE = ("frames", "verdict", "units")


def compose(reports: Sequence[Report], *, compare: bool = False) -> Document:
    """Write up records, several runs side by side; two of them also against each other."""
    several = len(reports) > 1
    most = _share(reports)
    places = [
        Place(f"{i}-" if several else "", most, report.measurements)
        for i, report in enumerate(reports, 1)
    ]
    verdicts = [comparable.verdict(report) for report in reports]
    if several:
        verdicts = [f"{r.name}: {v}" for r, v in zip(reports, verdicts, strict=True)]
    against = tuple(_against(*reports)) if compare else ()
    told = (
        *against,
        Section("Beside the published numbers", tables=tuple(published.tables(reports))),
        *quality.quality(reports, places),
        *bound.bits(reports, places),
        *pictures.side_by_side(reports, most),
        *_measured(reports, places),
        *(each for report in reports for each in _origins(report, several=several)),
    )
    title = (" against " if compare else ", ").join(report.name for report in reports)
    about = "" if several else _about(reports[0].subject)
    first = (text for section in against for text in section.texts[:1])
    return Document(title, about, (*first, *verdicts), told)


def _against(one: Report, other: Report) -> Iterator[Section]:
    """What differs between two runs, in words and in numbers."""
    found = differences.between(one, other)
    if not found:
        yield Section("What differs", ("The two records hold no number in common.",))
        return
    sentences = tuple(each.sentence(one.name, other.name) for each in found)
    yield Section("What differs", sentences, tables=(differences.table(one, other, found),))


def _share(reports: Sequence[Report]) -> int:
    """What each grid may need uncompressed: what small ones leave goes to large ones."""
    needs = sorted(
        grid.images.nbytes
        for report in reports
        for found in report.measurements.values()
        for grid in found.grids.values()
        for _ in range(1 + _flickers(found, several=len(reports) > 1))
    )
    room = whole = max(PAGE_IMAGE_BYTES - RUN_BYTES * (len(reports) - 1), PAGE_IMAGE_BYTES // 8)
    for i, need in enumerate(needs):
        share = room // (len(needs) - i)
        if need > share:
            return share
        room -= need
    return whole


def _flickers(found: Measurement, *, several: bool) -> bool:
    """Whether many images of a measurement are in the page once more, all in one place."""
    return "frames" in found.settings or (several and found.name == "samples")


def _about(subject: Mapping[str, Json]) -> str:
    if isinstance(subject.get("images"), int):  # nobody says what drew them
        return f"{subject['images']:,} images, {subject.get('file', 'unnamed')}"
    parts = ["A denoising diffusion model"]
    if isinstance(subject.get("parameters"), int):
        parts.append(f"{subject['parameters']:,} parameters")
    if isinstance(subject.get("step"), int):
        parts.append(f"step {subject['step']:,}")
    if "weights" in subject:
        names = {"ema": "averaged (EMA) weights", "raw": "raw weights"}
        parts.append(names.get(str(subject["weights"]), "weights as the file gives them"))
    return ", ".join(parts)


def _measured(reports: Sequence[Report], places: Sequence[Place]) -> Iterator[Section]:
    """What is no common table: measurement by measurement, run by run."""
    names = {name for report in reports for name in report.measurements}
    if a_model(reports) and "samples" not in names:
        yield Section("Samples", ("Not measured: run ddpm-eval sample",))
    for name in sorted(filter(sections.apart, names), key=sections.order):
        for report, place in zip(reports, places, strict=True):
            found = report.measurements.get(name)
            suffix = f": {report.name}" if len(reports) > 1 else ""
            for section in sections.build(found, place) if found else ():
                yield replace(section, title=section.title + suffix)


# ------------------------------------------------------------------------ settings and origins


def _origins(report: Report, *, several: bool) -> Iterator[Section]:
    """Settings, provenance and warnings of a run."""
    suffix = f": {report.name}" if several else ""
    found = report.measurements
    yield Section(f"Settings{suffix}", facts=tuple(_distinct(_settings(report))))
    origins = tuple(_provenance(found))
    if origins:
        yield Section(f"Where the numbers come from{suffix}", facts=origins)
    warnings = [f"{name}: {text}" for name, m in sorted(found.items()) for text in m.warnings]
    if warnings:
        yield Section(f"Warnings{suffix}", numbered=tuple(warnings))


def _settings(report: Report) -> Iterator[tuple[str, Facts]]:
    groups = {key: value for key, value in report.subject.items() if isinstance(value, Mapping)}
    rest = {key: value for key, value in report.subject.items() if key not in groups}
    yield "checkpoint", facts(rest)
    for name, measurement in sorted(report.measurements.items()):
        told = measurement.settings.items()
        yield name, facts({key: value for key, value in told if key not in _SHOWN_ELSEWHERE})
    for key, group in sorted(groups.items()):
        yield key, facts(group)


def _distinct(groups: Iterator[tuple[str, Facts]]) -> list[tuple[str, Facts]]:
    """Leave out empty groups and those that another one contains."""
    kept: list[tuple[str, Facts]] = []
    for name, group in sorted(groups, key=lambda item: -len(item[1])):
        if group and not any(set(group) <= set(other) for _, other in kept):
            kept.append((name, group))
    return sorted(kept, key=lambda item: (item[0] != "checkpoint", item[0]))


def _provenance(measurements: Mapping[str, Measurement]) -> Iterator[tuple[str, Facts]]:
    """What every measurement shares once, then what is each one's own."""
    found = {name: facts(m.provenance) for name, m in sorted(measurements.items())}
    sets = [set(group) for group in found.values() if group]
    shared = set.intersection(*sets) if len(sets) > 1 else set()
    first = next((group for group in found.values() if group), ())
    if shared:
        yield "all measurements", tuple(item for item in first if item in shared)
    for name, group in found.items():
        own = tuple(item for item in group if item not in shared)
        if own:
            yield name, own


def facts(plain: Mapping[str, Json]) -> Facts:
    """Nested settings as lines of text, sorted by their dotted names.

    >>> facts({"optim": {"lr": 2e-4, "steps": 800_000}, "flip": True, "mult": [1, 2]})
    (('flip', 'yes'), ('mult', '1, 2'), ('optim.lr', '0.0002'), ('optim.steps', '800,000'))
    """
    lines: list[tuple[str, str]] = []
    for key, value in sorted(plain.items()):
        if isinstance(value, Mapping):
            lines += [(f"{key}.{name}", text) for name, text in facts(value)]
        else:
            lines.append((key, _text(value)))
    return tuple(lines)


def _text(value: Json) -> str:
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, str):
        return value or "(empty)"
    if isinstance(value, Sequence):
        return ", ".join(map(_text, value))
    return f"{value:,}" if isinstance(value, int) else repr(value)
