"""What a report says, and in which order; how it looks is decided elsewhere."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ddpm_eval import references
from ddpm_eval.present import comparable, contents, figures
from ddpm_eval.present.figures import Picture
from ddpm_eval.present.tables import Table
from ddpm_eval.results import Curve, Json, Measurement, Report

Facts = tuple[tuple[str, str], ...]

PAGE_IMAGE_BYTES = 1_800_000
"""What all images together may need uncompressed, so that a page stays below 5 MB."""

_HINTS = {"nll": "ddpm-eval nll", "samples": "ddpm-eval sample"}
_TITLES = {
    "nll": "The bound over time",
    "nll-train": "The bound over time, on training images",
    "rate_distortion": "Rate and distortion",
    "rate_distortion-train": "Rate and distortion, on training images",
    "samples": "Samples",
    "training": "Training",
}
_IN_TABLES = ("nll", "nll-train", "baselines")  # their quantities have a table of their own
_CAPTIONS = {
    ("nll", "terms"): "What each term adds to the bound: L_0, the decoder's, at t = 0; the reverse "
    "steps' in between; L_T, the prior's, at t = T.",
    ("training", "loss"): "The loss over training, as logged, and its running average.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it, in this order."""

    title: str
    texts: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    facts: tuple[tuple[str, Facts], ...] = ()
    numbered: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A whole report."""

    title: str
    about: str
    verdicts: tuple[str, ...]
    sections: tuple[Section, ...]

    def tables(self) -> Iterator[Table]:
        """Every table that has files of its own."""
        return (table for section in self.sections for table in section.tables)

    def pictures(self) -> Iterator[Picture]:
        """Every picture."""
        return (picture for section in self.sections for picture in section.pictures)


def compose(reports: Sequence[Report]) -> Document:
    """Write up records, several runs side by side."""
    first = [Section("Beside the published numbers", tables=(contents.table_1(reports),))]
    bits = contents.bits(reports)
    if bits is not None:
        first.append(Section("Where the bits go", tables=(bits,)))
    grids = sum(len(m.grids) for report in reports for m in report.measurements.values())
    several = len(reports) > 1
    verdicts = [comparable.verdict(report) for report in reports]
    if several:
        verdicts = [f"{r.name}: {v}" for r, v in zip(reports, verdicts, strict=True)]
    rest: list[Section] = []
    for i, report in enumerate(reports, 1):
        sections = _sections(report, f"{i}-" if several else "", PAGE_IMAGE_BYTES // max(1, grids))
        suffix = f": {report.name}" if several else ""
        rest += [replace(section, title=section.title + suffix) for section in sections]
    title = ", ".join(report.name for report in reports)
    about = "" if several else _about(reports[0].subject)
    return Document(title, about, tuple(verdicts), (*first, *rest))


def _about(subject: Mapping[str, Json]) -> str:
    parts = ["A denoising diffusion model"]
    if isinstance(subject.get("parameters"), int):
        parts.append(f"{subject['parameters']:,} parameters")
    if isinstance(subject.get("step"), int):
        parts.append(f"step {subject['step']:,}")
    if "weights" in subject:
        names = {"ema": "averaged (EMA) weights", "raw": "raw weights"}
        parts.append(names.get(str(subject["weights"]), "weights as the file gives them"))
    return ", ".join(parts)


def _sections(report: Report, prefix: str, most_bytes: int) -> Iterator[Section]:
    """Everything that one record holds beyond the common tables."""
    found = report.measurements
    names = [*_TITLES, *sorted(found.keys() - _TITLES.keys())]
    for name in names:
        if name in found:
            yield from _measured(found[name], prefix, most_bytes)
        elif name in _HINTS:
            yield Section(_TITLES[name], (f"Not measured: run {_HINTS[name]}",))
    yield Section("Settings", facts=tuple(_distinct(_settings(report))))
    origins = tuple(_provenance(found))
    if origins:
        yield Section("Where the numbers come from", facts=origins)
    warnings = [f"{name}: {text}" for name, m in sorted(found.items()) for text in m.warnings]
    if warnings:
        yield Section("Warnings", numbered=tuple(warnings))


def _measured(found: Measurement, prefix: str, most_bytes: int) -> Iterator[Section]:
    """The pictures of a measurement, and its quantities unless a common table has them."""
    if "distortion" in found.curves:
        yield _rate_distortion(found, prefix)
        return
    pictures = [
        _grid(f"{prefix}{_key(found.name, name)}", found, name, most_bytes)
        for name in sorted(found.grids)
    ]
    for name, curve in sorted(found.curves.items()):
        draw = figures.loss if (found.name, name) == ("training", "loss") else figures.curve
        key = f"{prefix}{_key(found.name, name)}"
        pictures.append(draw(key, curve, _caption(found.name, name, curve)))
    tables = []
    if found.quantities and found.name not in _IN_TABLES:
        tables.append(replace(contents.quantities(found), key=f"{prefix}{_key(found.name)}"))
    if pictures or tables:
        yield Section(_title(found.name), tables=tuple(tables), pictures=tuple(pictures))


def _rate_distortion(found: Measurement, prefix: str) -> Section:
    """The paper's Table 4 and Figure 5, with its decomposition of the bound."""
    key = f"{prefix}{_key(found.name)}"
    published = [
        (int(row.name), float(row.numbers["rate"].value), float(row.numbers["rmse"].value))
        for row in references.tables()["rate_distortion"].rows
    ]
    caption = (
        "Distortion and rate over the reverse steps, and distortion over rate (the paper's "
        "Figure 5). Bands are one standard error over images; points are the paper's Table 4."
    )
    table = replace(contents.quantities(found), key=f"{key}-quantities")
    return Section(
        _title(found.name),
        (contents.decomposition(found),),
        (contents.table_4(f"{key}-table4", found), table),
        (figures.rate_distortion(key, found.curves, published, caption),),
    )


def _title(name: str) -> str:
    return _TITLES.get(name, name.replace("_", " ").capitalize())


def _key(measurement: str, name: str = "") -> str:
    """A file's name from names in the record, whatever they are."""
    text = name if name == measurement else f"{measurement}-{name}"
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")


def _grid(key: str, found: Measurement, name: str, most_bytes: int) -> Picture:
    grid = found.grids[name]
    picture = figures.grid(key, grid, grid.caption)
    small = figures.first_rows(grid, most_bytes)
    if small is grid:
        return picture
    caption = (
        f"{grid.caption} Here the first {len(small.images):,} of {len(grid.images):,}; "
        f"all are in figures/{key}.png."
    )
    return replace(picture, reduced=figures.grid(key, small, caption))


def _caption(measurement: str, name: str, curve: Curve) -> str:
    text = _CAPTIONS.get((measurement, name), f"{curve.y_name} over {curve.x_name}.")
    if curve.stderr is None:
        return f"{text} Each point is a mean over {curve.n:,}." if curve.n > 1 else text
    return f"{text} Means over {curve.n:,} images; the band is one standard error."


# ------------------------------------------------------------------------ settings and origins


def _settings(report: Report) -> Iterator[tuple[str, Facts]]:
    groups = {key: value for key, value in report.subject.items() if isinstance(value, Mapping)}
    rest = {key: value for key, value in report.subject.items() if key not in groups}
    yield "checkpoint", facts(rest)
    for name, measurement in sorted(report.measurements.items()):
        yield name, facts(measurement.settings)
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
