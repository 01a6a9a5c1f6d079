"""Which published FID may a run's stand beside: fact by fact, what differs and what nobody states.

People whose checkpoint does not give the published FID read here why.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ddpm_eval.present import comparable, published, references, wording
from ddpm_eval.present.references import NOT_STATED, Published, Setup
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.ranking import size
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score

TITLE = "Which published row may this stand beside?"
GRAPH = "inception-2015-12-05"
PORT = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of torch-fidelity's port of that graph, in which our Inception-v3 is read."""
_UNKNOWN = "not known"
_OWN_REPORTS = "As their authors report them"
_LSUN_SIZE = "256x256"
_DIGEST = 8  # letters of a digest that a reader sees
_NAMES = {"ema": "EMA", "raw": "raw"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A published FID: what it is of, and how it was taken."""

    name: str
    block: str
    number: Published
    data: str
    setup: Setup | None


@dataclass(frozen=True, slots=True)
class Fact:
    """One fact of a setup, published and ours: as texts, empty where it is not stated or known."""

    title: str
    theirs: str
    ours: str

    @property
    def differs(self) -> bool:
        """Whether both are there and differ, or ours is not known."""
        return bool(self.theirs) and self.theirs != self.ours

    @property
    def sentence(self) -> str:
        """What a reader has to know: ``steps (1,000, here 50)``."""
        return f"{self.title.lower()} ({self.theirs}, here {self.ours or _UNKNOWN})"


Describe = Callable[[Protocol], str]


def _sampling(name: str) -> Describe:
    def describe(protocol: Protocol) -> str:
        sampling = protocol.sampling
        return "" if sampling is None else wording.text(getattr(sampling, name))

    return describe


def _split(protocol: Protocol) -> str:
    return "" if protocol.reference is None else protocol.reference.split


def _images(protocol: Protocol) -> str:
    reference = protocol.reference
    return wording.text(reference.n) if reference is not None and reference.n else ""


def _resize(protocol: Protocol) -> str:
    """How images are resized, in the words of ``features.resizing``."""
    steps = "" if protocol.extractor is None else protocol.extractor.preprocessing
    ways = [step.rpartition(" to ")[0] for step in steps.split("; ") if "resize" in step]
    return ways[0] if ways else "none"


def _extractor(protocol: Protocol) -> str:
    extractor = protocol.extractor
    if extractor is None:
        return ""
    is_graph = extractor.name == comparable.INCEPTION and extractor.digest == PORT
    return GRAPH if is_graph else f"{extractor.name} {extractor.digest[:_DIGEST]}"


_FACTS: Mapping[str, tuple[str, Describe]] = {
    "weights": ("Weights", lambda protocol: _NAMES.get(protocol.weights, "")),
    "sampler": ("Sampler", _sampling("sampler")),
    "steps": ("Steps", _sampling("steps")),
    "n": ("Samples", lambda protocol: wording.text(size(protocol))),
    "split": ("Split", _split),
    "images": ("Reference images", _images),
    "resize": ("Resizing", _resize),
    "rounding": ("Rounding", lambda protocol: "" if protocol.sampling is None else "rounded"),
    "extractor": ("Network", _extractor),
}
"""Every fact by its name in ``Setup``: its heading, and ours as a text."""


def tables(runs: Sequence[Run]) -> Iterator[Table]:
    """One table for each run that has a Fréchet distance."""
    for run in runs:
        measurement = _measurement(run)
        entries = _entries(run)
        if measurement is not None:
            yield _table(run, measurement, entries)


def sentences(runs: Sequence[Run]) -> Iterator[str]:
    """Say for each run what its FID may stand beside, or what keeps it from the nearest row."""
    for run in runs:
        measurement = _measurement(run)
        if measurement is not None:
            yield run.lead + _sentence(run, measurement, _entries(run))


def compare(entry: Entry, run: Run, protocol: Protocol) -> list[Fact]:
    """Put the facts of a published row beside ours, the data last."""
    facts = []
    for name, (title, describe) in _FACTS.items():
        value = None if entry.setup is None else getattr(entry.setup, name)
        stated = "" if value is None else wording.text(value)
        facts.append(Fact(title, _NAMES.get(stated, stated), describe(protocol)))
    return [*facts, Fact("Data", entry.data, _data(run))]


def _measurement(run: Run) -> Measurement | None:
    """The one through the published Inception, else the first that has a Fréchet distance."""
    distances = [item for item in run.of("quality") if _distance(item) is not None]
    plain = (item for item in distances if not _required(item).of.extractor)
    return next(plain, distances[0] if distances else None)


def _distance(measurement: Measurement) -> Score | None:
    return measurement.score("fid", whose="samples")


def _required(measurement: Measurement) -> Score:
    score = _distance(measurement)
    if score is None:
        raise ValueError(f"{measurement.key}: no Fréchet distance")
    return score


def _data(run: Run) -> str:
    """Which data a run's samples are compared with, as published tables name them."""
    name = comparable.dataset(run)
    pixels = comparable.image_size(run)
    lsun = published.lsun_class(name)
    title = f"LSUN {lsun}" if lsun else name or "unnamed data"
    return f"{title} {pixels}x{pixels}" if pixels else title


def _entries(run: Run) -> list[Entry]:
    """The rows with an FID on the run's data; else the paper's own of CIFAR-10."""
    name = comparable.dataset(run)
    lsun, block = published.lsun_class(name), published.adm_block(run)
    if lsun:
        data = f"LSUN {lsun} {_LSUN_SIZE}"
        return [*_of_table("lsun", lsun, data), *_of_adm(block, data)]
    if block:
        return [*_of_adm(block, block)]
    data = f"{comparable.DATASET} {comparable.PIXELS}x{comparable.PIXELS}"
    everything = [entry for key in ("cifar10", "ablation") for entry in _of_table(key, "fid", data)]
    if name == comparable.DATASET:
        return everything
    return [entry for entry in everything if entry.setup is not None][:2]


def _of_table(key: str, column: str, data: str) -> Iterator[Entry]:
    for row in references.tables()[key].rows:
        if column in row.numbers:
            yield Entry(row.name, row.block or _OWN_REPORTS, row.numbers[column], data, row.setup)


def _of_adm(block: str, data: str) -> Iterator[Entry]:
    for row in references.tables()["adm"].rows:
        if row.block == block:
            yield Entry(row.name, "By ADM's evaluator", row.numbers["fid"], data, row.setup)


def _table(run: Run, measurement: Measurement, entries: Sequence[Entry]) -> Table:
    score, protocol = _required(measurement), measurement.protocol
    heads = [*(title for title, _ in _FACTS.values()), "Data"]
    digest = "" if protocol.reference is None else protocol.reference.digest[:_DIGEST]
    own = [*(describe(protocol) for _, describe in _FACTS.values()), f"{_data(run)} {digest}"]
    cells = (Cell(*score.texts), *(Cell(text or _UNKNOWN) for text in own), Cell())
    rows = [Row(run.name, cells, ours=True)]
    for entry in entries:
        facts = compare(entry, run, protocol)
        shown = (Cell(fact.theirs or NOT_STATED, muted=fact.differs) for fact in facts)
        number, judgement = published.published_cell(entry.number), Cell(verdict(entry, facts))
        rows.append(Row(entry.name, (number, *shown, judgement), entry.block))
    columns = tuple(map(Column, (score.label, *heads, "Beside it?")))
    caption = _caption(entries)
    return Table(f"{run.prefix}beside", TITLE, columns, tuple(rows), (), caption)


def _caption(entries: Sequence[Entry]) -> str:
    """What is set apart, how data and networks are told, and where the facts come from."""
    sources = dict.fromkeys(entry.setup.source for entry in entries if entry.setup is not None)
    return (
        f"Set apart is what differs from this run's; {NOT_STATED} is what sources do not say. None "
        "gives a digest of its data, so data are compared by name, size and number (CIFAR-10 is "
        f"read from its official archive alone). {GRAPH} is TensorFlow's graph; its port is known "
        f"by its digest, {PORT[:_DIGEST]}. Sources: {'; '.join(sources) or 'none'}."
    )


def verdict(entry: Entry, facts: Sequence[Fact]) -> str:
    """Say whether both may stand together: only where nothing that is stated differs."""
    apart = [fact.title.lower() for fact in facts if fact.differs]
    if entry.setup is None:
        return "cannot be told" if len(apart) == 0 else f"no: {', '.join(apart)}"
    if apart:
        return f"no: {', '.join(apart)}"
    return "yes" if all(fact.theirs for fact in facts) else "as far as stated"


def _sentence(run: Run, measurement: Measurement, entries: Sequence[Entry]) -> str:
    """Name the rows that it may stand beside; where there are none, what keeps it from one."""
    protocol, label = measurement.protocol, _required(measurement).label
    stated = [entry for entry in entries if entry.setup is not None]
    apart = {
        entry: [fact for fact in compare(entry, run, protocol) if fact.differs] for entry in stated
    }
    fitting = [f"{entry.name} ({entry.number})" for entry in stated if not apart[entry]]
    if fitting:
        return f"{label} may stand beside {wording.listed(fitting)}, as far as sources state."
    if not stated:
        return f"{label} stands beside no published row: no source says how one was taken."
    nearest = min(stated, key=lambda entry: (len(apart[entry]), entry.number.value))
    reasons = "; ".join(fact.sentence for fact in apart[nearest])
    return (
        f"{label} may stand beside none of these rows. The nearest is {nearest.name} "
        f"({nearest.number}), from which it differs in {reasons}."
    )
