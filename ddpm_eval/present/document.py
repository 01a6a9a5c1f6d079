"""What a report says, and in which order; how it looks is decided elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import chain

from ddpm_eval.present import (
    alike,
    comparable,
    contents,
    differences,
    likelihoods,
    published,
    retraining,
    sections,
    wording,
)
from ddpm_eval.present.parts import Document, Facts, Section
from ddpm_eval.present.runs import WHOLE_PAGE, Run
from ddpm_eval.present.tables import Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Measurement, Record

RUN_BYTES = 600_000
"""What the curves of each further run take from the images of a page."""


def compose(records: Sequence[Record], *, compare: bool = False) -> Document:
    """Write up records, several runs side by side; two of them also against each other."""
    several = len(records) > 1
    most = _share(records)
    runs = [
        Run(record, f"{i}-" if several else "", most, several)
        for i, record in enumerate(records, 1)
    ]
    verdicts = [run.lead + comparable.verdict(run) for run in runs]
    against = tuple(_against(*records)) if compare else ()
    story = (
        *against,
        Section(
            "Beside the published numbers", tables=(*published.tables(runs), *_likelihoods(runs))
        ),
        *_trainings(runs),
        *sections.build(runs),
        *chain.from_iterable(map(_others, runs)),
        *chain.from_iterable(map(_origins, runs)),
    )
    title = (" against " if compare else ", ").join(record.name for record in records)
    about = "" if several else _about(records[0])
    first = (text for section in against for text in section.texts[:1])
    return Document(title, about, (*first, *verdicts), story)


def _likelihoods(runs: Sequence[Run]) -> Iterator[Table]:
    """Other systems' bits/dim, where a run has some to stand beside them."""
    table = likelihoods.table(runs)
    if table is not None:
        yield table


def _trainings(runs: Sequence[Run]) -> Iterator[Section]:
    """What training with other seeds changes, where several of the runs differ by theirs alone."""
    table = retraining.table(runs)
    if table is not None:
        yield Section("Trainings of one configuration", tables=(table,))


def _against(one: Record, other: Record) -> Iterator[Section]:
    """What differs between two runs, in words and in numbers."""
    gaps = differences.between(one, other)
    if not gaps:
        yield Section("What differs", ("The two records hold no number in common.",))
        return
    sentences = [item.sentence(one.name, other.name) for item in gaps]
    sentences += filter(None, [retraining.remark(one, other)])
    table = differences.table(one, other, gaps)
    settings = tuple(alike.facts(one, other))
    yield Section("What differs", tuple(sentences), tables=(table,), facts=settings)


def _share(records: Sequence[Record]) -> int:
    """What each grid may need uncompressed: what small ones leave goes to large ones."""
    needs = sorted(
        grid.images.nbytes
        for record in records
        for measurement in Run(record).shown
        for grid in measurement.grids.values()
        for _ in range(1 + _flickers(measurement, several=len(records) > 1))
    )
    room = whole = max(WHOLE_PAGE - RUN_BYTES * (len(records) - 1), WHOLE_PAGE // 8)
    for i, need in enumerate(needs):
        share = room // (len(needs) - i)
        if need > share:
            return share
        room -= need
    return whole


def _flickers(measurement: Measurement, *, several: bool) -> bool:
    """Whether many images of a measurement are in the page once more, all in one place."""
    always = "frames" in measurement.facts or measurement.measure == "neighbours"
    return always or (several and measurement.measure == "samples")


def _about(record: Record) -> str:
    """What a record is of: its images, or its newest model."""
    subject = max(record.subjects.values(), key=_step, default={})
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


def _step(subject: Mapping[str, Json]) -> int:
    step = subject.get("step")
    return step if isinstance(step, int) else 0


def _others(run: Run) -> Iterator[Section]:
    """What is recorded, and not shown because something stronger is."""
    table = contents.others(run)
    if table is not None:
        yield Section(f"Also measured{_of(run)}", tables=(table,))


# ------------------------------------------------------------------------ settings and origins


def _origins(run: Run) -> Iterator[Section]:
    """Settings, provenance and warnings of a run."""
    yield Section(f"Settings{_of(run)}", facts=tuple(_distinct(_settings(run))))
    origins = tuple(_provenance({run.key(item): item for item in run.shown}))
    if origins:
        yield Section(f"Where the numbers come from{_of(run)}", facts=origins)
    warnings = tuple(f"{run.key(item)}: {text}" for item in run.shown for text in item.warnings)
    if warnings:
        yield Section(f"Warnings{_of(run)}", numbered=warnings)


def _of(run: Run) -> str:
    return f": {run.name}" if run.several else ""


def _settings(run: Run) -> Iterator[tuple[str, Facts]]:
    """What is known of each model, then the protocol of each measurement."""
    for digest, subject in run.record.subjects.items():
        groups = {key: value for key, value in subject.items() if isinstance(value, Mapping)}
        rest = {key: value for key, value in subject.items() if key not in groups}
        yield wording.model(run.record, digest), facts({"digest": digest, **rest})
        for key, group in sorted(groups.items()):
            yield key, facts(group)
    for measurement in run.shown:
        yield run.key(measurement), _protocol(measurement, run.record)


def _protocol(measurement: Measurement, record: Record) -> Facts:
    """The settings that a measurement depends on, each once, but for the model and its run."""
    protocol = asdict(measurement.protocol)
    if protocol["settings"] == record.subjects.get(protocol["model"], {}).get("run"):
        del protocol["settings"]
    lines = facts(protocol)
    named = {(wording.leaf(name), text) for name, text in lines if not name.startswith("settings.")}
    return tuple(
        (name.removeprefix("settings."), text)
        for name, text in lines
        if text not in ("none", "(empty)")
        and name != "model"
        and not (name.startswith("settings.") and (wording.leaf(name), text) in named)
    )


def _distinct(groups: Iterator[tuple[str, Facts]]) -> list[tuple[str, Facts]]:
    """Leave out empty groups and those that another one contains, in the order that they have."""
    whole = [group for group in groups if group[1]]
    inside = [
        any(
            set(lines) < set(other) or (set(lines) == set(other) and j < i)
            for j, (_, other) in enumerate(whole)
            if j != i
        )
        for i, (_, lines) in enumerate(whole)
    ]
    return [group for group, is_inside in zip(whole, inside, strict=True) if not is_inside]


def _provenance(measurements: Mapping[str, Measurement]) -> Iterator[tuple[str, Facts]]:
    """What every measurement shares once, then what is each one's own."""
    origins = {name: facts(item.provenance) for name, item in measurements.items()}
    sets = [set(lines) for lines in origins.values() if lines]
    shared = set.intersection(*sets) if len(sets) > 1 else set()
    first = next((lines for lines in origins.values() if lines), ())
    if shared:
        yield "all measurements", tuple(line for line in first if line in shared)
    for name, lines in origins.items():
        own = tuple(line for line in lines if line not in shared)
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
            lines.append((key, value if isinstance(value, str) and value else wording.text(value)))
    return tuple(lines)
