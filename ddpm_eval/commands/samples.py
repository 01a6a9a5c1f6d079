"""Commands about samples: ``sample`` draws them, ``store`` looks after what was drawn."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.commands import classifiers
from ddpm_eval.commands.options import (
    Changes,
    Checkpoint,
    Classes,
    Eta,
    Guiding,
    Sampler,
    Samples,
    Scale,
    Seed,
    Steps,
    classes_changes,
    common,
)
from ddpm_eval.commands.recording import note
from ddpm_eval.commands.task import Task
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.settings import ComputeSettings, EvalSettings, changed
from ddpm_train.errors import FixableError
from ddpm_train.meter import tracker
from ddpm_train.reading import expanded
from ddpm_train.terminal import escape, is_first_process, output, say

Store = Annotated[Path, typer.Argument(help="The folder of a store: the one with store.json.")]


def sample(
    checkpoint: Checkpoint = None,
    n: Samples = 64,
    steps: Steps = 0,
    sampler: Sampler = "ancestral",
    eta: Eta = 0.0,
    classes: Classes = "",
    classifier: Guiding = None,
    scale: Scale = 1.0,
    indices: Annotated[
        str | None,
        typer.Option("--indices", help="Make only these of the n, 0:25000, say; record nothing."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The store's folder; below reports/NAME/store/.")
    ] = None,
    seed: Seed = 0,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=65536, help="Images at once, and to a file of it.")
    ] = 64,
    changes: Changes = None,
) -> None:
    """Draw samples 0..n-1 of a seed into a store; the first 64 into the record.

    Image i depends on the seed and i alone. Rerun the same command after a kill,
    or with a larger -n: what is there stays. torchrun shares the work out;
    machines without a common disk each make a part (--indices 0:25000 here,
    25000:50000 there), and ddpm-eval store merge joins their stores.
    """
    chosen = SamplingSettings(n=n or 64, seed=seed, sampler=sampler, steps=steps, eta=eta)
    tree = EvalSettings(samples=chosen, compute=ComputeSettings(batch=batch))
    of_classifier, others = classifiers.check(classifier, changes or [], scale)
    texts = [*classes_changes(classes, "samples"), *others]
    settings, of_model = changed(tree, texts, uses=("samples", "compute"))
    part = None if indices is None else _range(indices, settings.samples.n)
    task = Task(
        measure="samples",
        checkpoint=checkpoint,
        settings=settings,
        of_model=of_model,
        needs_float64=False,
    )
    with task.opened() as work:
        from ddpm_eval.door.samples import record_samples
        from ddpm_eval.measure.pictures import samples

        work.model = classifiers.guided(work.model, classifier, scale, of_classifier)
        folder = None if out is None else expanded(out)
        if part is None:
            work.finish(record_samples(work.model, settings.samples, work.runtime, folder))
            return
        folder = folder or samples.store_of(work.model, settings.samples, work.runtime)
        missing = samples.fill_store(work.model, settings.samples, work.runtime, folder, part)
        _report(folder, part, missing, settings.samples.n)


def _report(folder: Path, part: range, missing: list[range], n: int) -> None:
    """Say what was drawn of a store, and what is missing of the whole."""
    from ddpm_eval.record.store import spans

    if not is_first_process() or common().quiet:
        return
    say(f"samples {part.start}..{part.stop - 1} are in {escape(str(folder))}")
    if missing:
        first = f"{missing[0].start}:{min(missing[-1].stop, n)}"
        say(f"still missing of {n:,}: {spans(missing, n)}; make them with")
        say(f"  {escape(_with_indices(first))}")
        say("here, or elsewhere and then: ddpm-eval store merge A B --out C")
    else:
        say(f"none of {n:,} is missing: the same command without --indices records them")


def _range(text: str, n: int) -> range:
    """Read ``0:25000``; either end may be left out.

    >>> _range("25:", 100)
    range(25, 100)
    """
    start, colon, stop = text.partition(":")
    try:
        part = range(int(start or 0), min(int(stop or n), n))
    except ValueError:
        colon, part = "", range(0)
    if not colon or not part or part.start < 0:
        raise FixableError(
            f"--indices {text}: not a part of 0:{n}",
            f"write two ends of it, 0:{max(1, n // 2)} say",
        )
    return part


def _with_indices(indices: str) -> str:
    """The command line of this process with other indices."""
    words = ["ddpm-eval", *sys.argv[1:]]
    for at, word in enumerate(words):
        if word == "--indices":
            words[at + 1] = indices
        elif word.startswith("--indices="):
            words[at] = f"--indices={indices}"
    return shlex.join(words)


# ------------------------------------------------------------------------------------- stores

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Check, join and export the samples that `ddpm-eval sample` made.",
)


@app.command()
def verify(folder: Store) -> None:
    """Read every file of a store and say what it holds, and what is missing or damaged."""
    from ddpm_eval.record import store

    samples, gone = store.verify(expanded(folder), track=tracker(quiet=common().quiet))
    for key, value in samples.facts.items():
        if value is not None:
            say(f"{key:12} {escape(str(value))}", to=output)
    damaged = [
        samples.shards.path(part).name for part in gone if samples.shards.path(part).exists()
    ]
    if gone:
        raise FixableError(
            f"{folder}: {len(gone):,} of {len(samples.shards.parts()):,} files are missing or "
            f"damaged: samples {store.spans(gone, samples.n)}"
            + (f"; damaged: {', '.join(damaged[:3])}" if damaged else ""),
            "rerun the command that made the store: it makes these again and keeps the others",
        )
    say(f"{samples.n:,} samples, all whole; SHA-256 {samples.digest}", to=output)


@app.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(help="Stores of the same checkpoint, settings.")],
    out: Annotated[Path, typer.Option("--out", help="The store to make or add to.")],
) -> None:
    """Join stores that were filled apart; damaged files are left out."""
    from ddpm_eval.record import filling, store

    sources = [expanded(folder) for folder in folders]
    merged = filling.merge(sources, expanded(out), track=tracker(quiet=common().quiet))
    missing = merged.shards.missing()
    if missing:
        note(f"{out}: of {merged.n:,} samples {store.spans(missing, merged.n)} are missing still")
    else:
        say(f"{escape(str(out))}: {merged.n:,} samples, all whole", to=output)


@app.command()
def export(
    folder: Store,
    target: Annotated[Path, typer.Argument(help="A new folder for PNGs, or a new file OUT.npz.")],
    n: Annotated[int, typer.Option("-n", "--n", min=0, help="The first n; 0: all.")] = 0,
) -> None:
    """Write the samples as a folder of PNGs, or as the .npz that evaluators read (arr_0)."""
    from ddpm_eval.record import export as files
    from ddpm_eval.record import store

    samples = store.open_store(expanded(folder), n or None)
    files.write(samples, expanded(target), track=tracker(quiet=common().quiet))
    say(f"wrote {samples.n:,} samples to {escape(str(target))}", to=output)
