"""Samples of a model, by the chain (Algorithm 2): in memory, or kept in a store."""

import contextlib
import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from ddpm_eval.measure.pictures.protocols import condition_of, protocol_of, steered
from ddpm_eval.measure.pictures.sample_facts import about, facts_of, folder_name, sampling_of
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record import filling, store
from ddpm_eval.record.conditions import labels_of_samples
from ddpm_eval.record.export import require_pictures
from ddpm_eval.record.fill import Work, fill, finish
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Grid
from ddpm_eval.record.shards import Arrays
from ddpm_eval.record.store import SampleStore
from ddpm_eval.runtime import Runtime
from ddpm_train import data, samplers
from ddpm_train.chain import chain, prior, walk
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError
from ddpm_train.files import require_space
from ddpm_train.noise import Stream

VERSION = 1
SHOWN = 64  # samples in the record's grid


@dataclass(frozen=True, eq=False)
class DrawnSamples(Stack):
    """Samples 0..n-1 in memory; ``facts`` are all that they depend on, as those of a store."""

    facts: Mapping[str, Any]


Samples: TypeAlias = SampleStore | DrawnSamples


def measure(
    model: Model, settings: SamplingSettings, runtime: Runtime, folder: Path | None = None
) -> Measurement:
    """Draw samples 0..n-1 of the seed, not chosen; show the first 64.

    Args:
        model: What draws them.
        settings: How many, and how.
        runtime: How the work is carried out.
        folder: Of their store; None: as ``draw`` says.

    Raises:
        FixableError: As ``draw``, or the images are neither gray nor RGB.
    """
    require_pictures(model.shape[0], fix="draw them without a record: de.sample(model, n)")
    protocol = _protocol(model, settings, runtime)
    finished = runtime.recorded("samples", protocol)
    if finished is not None:
        return finished
    samples = draw(model, settings, runtime, folder)
    if isinstance(samples, SampleStore):
        runtime.notify(f"samples 0..{len(samples) - 1} are in {samples.folder}")
    shown = min(settings.n, SHOWN)
    grid = Grid(
        samples.read(range(shown)),
        columns=math.ceil(shown**0.5),
        labels=_labels(model, samples.facts, range(shown)),
        caption=(
            f"Samples 0 to {shown - 1} of seed {settings.seed}, not chosen; "
            f"{store.label(samples.facts)}."
        ),
    )
    return Measurement(
        measure="samples",
        protocol=protocol,
        grids={"samples": grid},
        facts={"samples_digest": samples.digest},
    )


def _labels(model: Model, facts: Mapping[str, Any], shown: range) -> tuple[str, ...]:
    """The index of each sample, and its class."""
    labels = labels_of_samples(facts, shown)
    if labels is None:
        return tuple(map(str, shown))
    names = model.class_names
    return tuple(f"{i}: {names[label]}" for i, label in zip(shown, labels, strict=True))


def _protocol(model: Model, settings: SamplingSettings, runtime: Runtime) -> Protocol:
    return protocol_of(VERSION, model, settings, sampling=sampling_of(model, settings, runtime))


def draw(
    model: Model, settings: SamplingSettings, runtime: Runtime, folder: Path | None = None
) -> Samples:
    """Draw the missing ones of samples 0..n-1, and open all of them.

    Args:
        model: What draws them.
        settings: How many, and how.
        runtime: How the work is carried out. Where it has neither ``stores`` nor a ``cache``, and
            no folder is named, the samples stay in memory.
        folder: Of their store.

    Raises:
        FixableError: A setting is out of its range, the store is of something else or is being
            filled by another process, or the disk is full.
    """
    if folder is None and runtime.stores is None and runtime.cache is None:
        return _in_memory(model, settings, runtime)
    place = folder or store_of(model, settings, runtime)
    fill_store(model, settings, runtime, place)
    return store.open_store(place, settings.n)


def store_of(model: Model, settings: SamplingSettings, runtime: Runtime) -> Path:
    """Name the folder that samples are kept in.

    Raises:
        FixableError: They are in memory alone.
    """
    stores = runtime.stores
    if stores is None:
        if runtime.cache is None:
            raise FixableError("cache: samples are in memory alone", "name one: cache='work'")
        stores = runtime.cache / "store"
    return stores / folder_name(facts_of(model, settings, runtime))


def fill_store(
    model: Model,
    settings: SamplingSettings,
    runtime: Runtime,
    folder: Path,
    within: range | None = None,
) -> list[range]:
    """Draw the missing ones of samples 0..n-1, or of those whose batch begins within a range.

    Returns:
        The ranges that are missing afterwards, for others to draw.
    """
    world, n = runtime.world, store.require_count(settings.n)
    work = _work(model, settings, runtime)
    samples = SampleStore(folder, work.facts, n, about(model))
    within = within or range(n)
    world.once(lambda: filling.begin(samples))
    missing = samples.shards.missing(world)
    ours = [part for part in missing if part.start in within]
    with contextlib.ExitStack() as stack:
        if ours:
            world.once(lambda: stack.enter_context(_hold(samples, ours, within, runtime)))
        parts = world.share(ours)

        def drawn() -> Generator[None, None, None]:
            for part in parts:
                samples.shards.write(part, (yield from work.make(part)))

        label = f"{sum(len(part) for part in ours):,} samples"
        finish(drawn(), runtime.track, label, sum(work.ticks(part) for part in parts))
        world.barrier()
    return [part for part in missing if part not in ours]


def _work(model: Model, settings: SamplingSettings, runtime: Runtime) -> Work:
    """Whole batches of samples that hold 0..n-1: image i is the same whatever n is."""
    sampler = steered(model, samplers.build(model.denoise, settings, clip=settings.clip))
    stream, batch = Stream(settings.seed, "sample"), runtime.batch

    def make(part: range) -> Generator[None, None, Arrays]:
        x_T = prior(stream, part, model.shape).to(model.device, model.dtype)
        labels = condition_of(model, settings, part)
        x_0 = yield from walk(chain(sampler, x_T, part, stream, condition=labels))
        return {"images": data.to_uint8(x_0)}

    return Work(
        name="samples",
        facts=facts_of(model, settings, runtime),
        n=-(-settings.n // batch) * batch,
        size=batch,
        make=make,
        ticks=lambda _part: sampler.schedule.T,
        label=f"{settings.n:,} samples",
    )


def _in_memory(model: Model, settings: SamplingSettings, runtime: Runtime) -> DrawnSamples:
    store.require_count(settings.n)
    work = _work(model, settings, runtime)
    images = fill(work, replace(runtime, cache=None)).read()["images"][: settings.n]
    return DrawnSamples(store.name_of(work.facts), images, work.facts)


@contextlib.contextmanager
def _hold(
    samples: SampleStore, missing: Sequence[range], within: range, runtime: Runtime
) -> Iterator[None]:
    """Keep other writers off, see that all fits on the disk, and say what is not expected."""
    with filling.reserve(samples, within):
        size = sum(len(part) for part in missing) * math.prod(samples.shape)
        require_space(samples.folder, size + 2000 * len(missing) + 1_000_000)
        for part in missing:
            path = samples.shards.path(part)
            if path.exists():
                numbers = f"{part.start}..{part.stop - 1}"
                runtime.notify(f"{path}: damaged; samples {numbers} are drawn again")
        batch = samples.facts["batch"]
        if samples.n < batch:
            runtime.notify(
                f"a whole batch of {batch} samples is drawn, so that image i is the same whatever "
                f"n is; a batch of {samples.n} draws {samples.n}"
            )
        yield
