"""From a command line to a measurement in a record: open, measure, add, show."""

import shlex
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ddpm_eval.commands.options import common
from ddpm_eval.config import EvalConfig
from ddpm_train.errors import FixableError
from ddpm_train.files import remove_tree
from ddpm_train.terminal import escape, is_first_process, output, say, tracker

if TYPE_CHECKING:
    from ddpm_eval.job import Job
    from ddpm_eval.record import schema1
    from ddpm_eval.record.record import Measurement


class ImagesAt(NamedTuple):
    """What the user says of the images; the checkpoint says the rest."""

    data: Path | None = None
    dataset: str | None = None

    def load(
        self, run: Any, shape: tuple[int, int, int], split: Any, facts: Mapping[str, Any]
    ) -> Any:
        """The images that the checkpoint was trained on, by its facts, or their test split."""
        from ddpm_train import data as sources
        from ddpm_train.config import DataConfig
        from ddpm_train.settings import from_dict

        if self.dataset is not None:
            config = from_dict(DataConfig, {"source": self.dataset}, "data.")
        elif run is not None:
            config = run.data
        else:
            raise FixableError(
                "the checkpoint does not say what it was trained on",
                "name the images: --dataset cifar10, or --dataset npz --data FILE",
            )
        if self.data is not None:
            config = replace(config, path=str(self.data))
        channels, size, _ = shape
        facts = {} if self.dataset is not None else facts  # which may be any others
        return sources.load_of_run(config, facts, image_size=size, channels=channels, split=split)


class Place:
    """Where a measurement is made: on which checkpoint, data and device, and in which record."""

    def __init__(
        self,
        checkpoint: Path | None,
        name: str | None,
        reports: Path,
        images: ImagesAt | None = None,
        *,
        device: str = "auto",
        raw: bool = False,
        quiet: bool = False,
    ) -> None:
        self.images = images or ImagesAt()
        self.checkpoint = find(checkpoint)
        folder = self.checkpoint.parent
        self.run = folder.parent if folder.name == "checkpoints" else None
        path = self.run or self.checkpoint
        self.name = plain_name(name) or (path.stem if path.is_file() else path.resolve().name)
        self.folder = reports / self.name
        self.device, self.raw, self.quiet = device, raw, quiet
        data = self.images.data
        if data is not None and not data.exists():
            raise FixableError(f"{data}: no such file or folder", "check --data")

    def settle(self, subject: dict[str, Any]) -> None:
        """Choose the record: another one than named if that is of another model."""
        self.name = place_of(self.folder.parent, self.name, subject, quiet=self.quiet)
        self.folder = self.folder.parent / self.name


def open_job(
    measure: str, config: EvalConfig, place: Place, *, against: Path | None = None
) -> "Job":
    """Join the other processes, load the checkpoint and say what is to be done with it."""
    from ddpm_eval.job import Job
    from ddpm_eval.measure import IN_FLOAT64
    from ddpm_eval.model import identity, load
    from ddpm_train import world

    here = world.join(place.device, threads=common().threads)
    if measure in IN_FLOAT64:
        world.require_float64(here.device, measure.replace("_", "-"))
    settings: Any = {
        "weights": "raw" if place.raw else common().weights or None,
        "device": place.device,
        "precision": config.compute.precision,
        "compile": config.compute.compile,
    }
    subject = load(place.checkpoint, **settings)
    place.settle(identity(subject))
    for warning in [] if place.quiet else subject.facts.file.get("warnings", []):
        note(warning)
    return Job(
        subject=subject,
        config=config,
        images=lambda split: place.images.load(
            subject.facts.run, subject.shape, split, subject.facts.file
        ),
        world=here,
        work=place.folder / "unfinished" / f"{measure}-{config.split}",
        stores=place.folder / "store",
        log=place.run / "log.jsonl" if place.run else None,
        against=None if against is None else load(find(against), **settings),
        recorded=lambda measure: _recorded(place.folder, subject.facts.digest, measure),
        track=tracker(quiet=place.quiet),
        notify=lambda text: None if place.quiet else note(text),
    )


def run(measure: str, config: EvalConfig, place: Place, *, against: Path | None = None) -> None:
    """Make one measurement and add it to the record."""
    from ddpm_eval.measure import measure_of
    from ddpm_eval.model import identity
    from ddpm_train import world

    began = time.monotonic()
    job = open_job(measure, config, place, against=against)
    here = job.world
    found = measure_of(measure)(job)
    if here.rank == 0:
        subject = identity(job.subject)
        keep(found, place.folder, subject, job.work, began=began, world=here)
        if not place.quiet:
            show(found, place.folder)
    world.leave()


def place_of(reports: Path, name: str, subject: dict[str, Any], *, quiet: bool) -> str:
    """The name of the record of a model or of images: a free one where theirs is taken."""
    from ddpm_eval.record import disk

    free = disk.place(reports, name, subjects_of(subject))
    if free != name and not quiet:
        note(f"{reports / name} is a record of something else; this one is called {free}")
    return free


def subjects_of(subject: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What is known of a model or of images, by its digest."""
    facts = {key: value for key, value in subject.items() if key != "checkpoint"}
    return {str(subject["checkpoint"]): facts}


def keep(
    found: "Measurement | schema1.Measurement",
    folder: Path,
    subject: dict[str, Any],
    work: Path,
    *,
    began: float,
    world: Any,
) -> None:
    """Add a measurement to the record in a folder, and clear its unfinished work away."""
    from ddpm_eval.record import conversion, disk, provenance, schema1

    origin = provenance.gather(
        sys.argv, seconds=time.monotonic() - began, device=world.device, size=world.size
    )
    ((digest, facts),) = subjects_of(subject).items()
    if isinstance(found, schema1.Measurement):
        found = conversion.measurement(found, digest, facts)
    for warning in disk.add(folder, replace(found, provenance=origin), {digest: facts}):
        say(f"[yellow]warning:[/] {escape(warning)}")
    remove_tree(work)


def _recorded(folder: Path, digest: str, measure: str) -> "schema1.Measurement | None":
    """What the record says of this checkpoint."""
    from ddpm_eval.record import disk, lowering
    from ddpm_eval.record.ranking import ranked

    if not disk.exists(folder):
        return None
    record = disk.load(folder)
    ours = [each for each in record.measurements if each.protocol.model == digest]
    old = (lowering.measurement(each) for each in ranked(record, ours))
    return next((each for each in old if each.name == measure), None)


def note(text: str) -> None:
    """Say something that is no error, once for all processes."""
    if is_first_process():
        say(f"[yellow]note:[/] {escape(text)}")


def find(path: Path | None) -> Path:
    """The checkpoint that is meant: ours or one that another system wrote."""
    from ddpm_eval.model import locate

    return locate(path)


def show(found: "Measurement | schema1.Measurement", folder: Path) -> None:
    """Print what was found, and its warnings by number."""
    from ddpm_eval.present import verdicts
    from ddpm_eval.record import lowering, schema1

    conclusions: list[str] = []
    if not isinstance(found, schema1.Measurement):
        conclusions = verdicts.sentences(found)
        found = lowering.measurement(found)
    if "label" in found.settings:
        say(escape(str(found.settings["label"])), to=output)
    width = max(32, *map(len, found.quantities), 0)
    for name, quantity in found.quantities.items():
        say(f"{name:{width}} {quantity}", to=output)
    for text in conclusions or [str(found.settings.get("verdict", ""))]:
        if text:
            say(escape(text), to=output)
    for number, warning in enumerate(found.warnings, 1):
        say(f"[yellow]warning {number}:[/] {escape(warning)}")
    words = ["ddpm-eval", "report", folder.name]
    if folder.parent != Path("reports"):
        words += ["--reports", str(folder.parent)]
    say(f"recorded in {escape(str(folder))}; write it up with: {escape(shlex.join(words))}")


def plain_name(name: str | None) -> str:
    """The name of a record, if one is given: below the folder of all records, not elsewhere.

    Raises:
        FixableError: It is a path.
    """
    if name and (Path(name).name != name or name == ".."):
        raise FixableError(
            f"--name {name}: not a plain name", "write a name, and its folder as --reports"
        )
    return name or ""


def weights_at(inception: Path | None, accept: str, extractor: str) -> dict[str, Any]:
    """What settings of quality say of Inception's weights: their file, and the digest of others.

    Raises:
        FixableError: Something is said where Inception does not look.
    """
    said = {"--inception": inception is not None, "--accept-weights": bool(accept)}
    option = next((name for name, is_said in said.items() if is_said), "")
    if option and not extractor.startswith("inception"):
        other = f"with --extractor {extractor}" if extractor else "without --extractor"
        raise FixableError(
            f"{option}: of no effect {other}",
            f"add --extractor inception, or leave {option} out",
        )
    return {"inception": "" if inception is None else str(inception), "accept": accept}


def split_named(text: str) -> Any:
    """The split of this name.

    Raises:
        FixableError: There is none.
    """
    if text not in ("test", "train"):
        raise FixableError(f"--split {text}: not a split", "choose test or train")
    return text
