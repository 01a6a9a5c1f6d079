"""The training images nearest to samples, and whether the model memorised any.

``metrics.clinging`` says what counts as close. The yardstick are held-out images.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.features import Extractor
from ddpm_eval.measure.pictures import nearest, sample_facts, samples
from ddpm_eval.measure.pictures.nearest import Neighbours, Space
from ddpm_eval.measure.pictures.protocols import protocol_of, settings_of
from ddpm_eval.measure.pictures.settings import NeighbourSettings
from ddpm_eval.metrics.clinging import AMONG, Verdict, cling, judge
from ddpm_eval.model import Model
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.export import require_pictures
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Grid, Qualifiers, Score
from ddpm_eval.record.store import SampleStore
from ddpm_eval.runtime import Runtime
from ddpm_train.data import Images
from ddpm_train.errors import FixableError

VERSION = 2
NO_VERDICT = "no held-out images were looked at: distances alone say nothing of memorisation"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Real:
    """The real images that samples are compared with.

    Attributes:
        train: Those that the model was trained on.
        held_out: Others, which it has not seen; None for neighbours without a verdict.
    """

    train: ImageSet
    held_out: ImageSet | None = None


def measure(
    source: Model | ImageSet,
    real: Real,
    settings: NeighbourSettings,
    runtime: Runtime,
    extractor: Extractor | None = None,
) -> Measurement:
    """Search the training images nearest to samples and, as the yardstick, to held-out images.

    Args:
        source: The model whose samples 0..n-1 are looked at, or images.
        real: The training images and the held-out ones.
        settings: How samples are drawn, and how many neighbours are shown.
        runtime: How the work is carried out.
        extractor: A network in whose features distances are taken too.

    Raises:
        FixableError: There are too few training images, or the shapes differ.
    """
    settings = replace(settings, mirrored=_mirrored(source, settings))
    held_out = _yardstick(real.held_out, settings)
    protocol = _protocol(source, replace(real, held_out=held_out), settings, runtime, extractor)
    finished = runtime.recorded("neighbours", protocol)
    if finished is not None:
        return finished
    _check(source, real, held_out, settings)
    spaces = [nearest.pixels(real.train, mirrored=bool(settings.mirrored))]
    if extractor is not None:
        spaces.append(nearest.features(real.train, extractor, runtime))
    drawn = _drawn(source, settings, runtime)
    images = drawn.read(range(len(drawn)))
    yardstick = images[:0] if held_out is None else held_out.read(range(len(held_out)))
    looks = [_look(space, images, yardstick, real.train, settings, runtime) for space in spaces]
    captions = [_caption(look, drawn, real.train, settings) for look in looks]
    return Measurement(
        measure="neighbours",
        protocol=protocol,
        scores=(
            *(score for look in looks for score in _scores(look)),
            *_copies(images, looks[0].neighbours),
        ),
        grids={
            look.space.name: replace(look.grid, caption=caption)
            for look, caption in zip(looks, captions, strict=True)
        },
        facts={
            "verdicts": {
                look.space.name: asdict(look.verdict) for look in looks if look.verdict is not None
            },
            "samples_digest": drawn.digest,
        },
        warnings=() if held_out is not None else (NO_VERDICT,),
    )


def _protocol(
    source: Model | ImageSet,
    real: Real,
    settings: NeighbourSettings,
    runtime: Runtime,
    extractor: Extractor | None,
) -> Protocol:
    """Everything that the results depend on; ``images`` are those held out."""
    common: dict[str, Any] = {
        "images": None if real.held_out is None else real.held_out.facts,
        "reference": real.train.facts,
        "extractor": extractor and extractor.facts,
    }
    if isinstance(source, Model):
        sampling = sample_facts.sampling_of(source, settings.sampling, runtime)
        plain = protocol_of(VERSION, source, settings.sampling, sampling=sampling, **common)
    else:
        drawn = source.source.sampling if isinstance(source.source, SampleStore) else None
        plain = Protocol(version=VERSION, model=source.digest, sampling=drawn, **common)
    return replace(plain, settings=settings_of(settings))


def _mirrored(source: Model | ImageSet, settings: NeighbourSettings) -> bool:
    """Whether the model was trained on mirror images too, or may have been."""
    if settings.mirrored is not None:
        return settings.mirrored
    run = source.facts.run if isinstance(source, Model) else None
    return run is None or run.data.flip


def _yardstick(held_out: ImageSet | None, settings: NeighbourSettings) -> ImageSet | None:
    """The held-out images to judge by: all of them, or some that the seed draws."""
    if held_out is None or not settings.held_out:
        return None
    n = min(settings.held_out, len(held_out))
    return choose(held_out, n, seed=settings.seed, first=settings.first)


def _check(
    source: Model | ImageSet, real: Real, held_out: ImageSet | None, settings: NeighbourSettings
) -> None:
    """Refuse what cannot be compared before anything long begins."""
    least = max(settings.k, AMONG)
    if len(real.train) < least:
        raise FixableError(
            f"k={settings.k}: {real.train.name} has {len(real.train)} images, {least} are needed",
            "train on more, or ask for fewer",
        )
    if isinstance(source, Model):
        channels, *size = source.shape
        shape: tuple[int, ...] = (*size, channels)
    else:
        shape = source.read([0]).shape[1:]
    require_pictures(shape[2], fix="compare images of 1 or 3 channels")
    for images in (real.train, *([] if held_out is None else [held_out])):
        other = images.read([0]).shape[1:]
        if other != shape:
            texts = ("x".join(map(str, sizes)) for sizes in (other, shape))
            raise FixableError(
                "{} has images of {}, the samples are {}".format(images.name, *texts),
                "name the images that the model was trained on",
            )


def _drawn(source: Model | ImageSet, settings: NeighbourSettings, runtime: Runtime) -> Images:
    if isinstance(source, Model):
        return samples.draw(source, settings.sampling, runtime)
    return source


# -------------------------------------------------------------------------------- what is seen


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What there is to see in one space."""

    space: Space
    n: int  # samples: the first queries
    neighbours: Neighbours
    verdict: Verdict | None
    grid: Grid


def _look(
    space: Space,
    drawn: Array,
    held_out: Array,
    train: Images,
    settings: NeighbourSettings,
    runtime: Runtime,
) -> Look:
    queries = space.embed(np.concatenate([drawn, held_out]))
    n, k = len(drawn), max(settings.k, AMONG)
    neighbours = nearest.nearest(space, queries, train, k=k, runtime=runtime)
    clinging = cling(neighbours.distance, space.flat(queries))
    verdict = judge(neighbours.distance[:, 0], clinging, n) if len(held_out) else None
    rows = clinging[:n].argsort(kind="stable")[: settings.rows].tolist()
    grid = _grid(space, rows, drawn, neighbours, train, settings.k)
    return Look(space, n, neighbours, verdict, grid)


def _scores(look: Look) -> Iterator[Score]:
    """The median distances, and how many samples are as close as the closest held-out images."""
    first, n, space = look.neighbours.distance[:, 0], look.n, look.space.name
    groups = {"samples": first[:n]} | ({"held-out images": first[n:]} if look.verdict else {})
    for whose, distances in groups.items():
        yield Score(
            metric="median_distance",
            value=float(np.median(distances)),
            n=len(distances),
            of=Qualifiers(whose=whose, space=space),
        )
    if look.verdict is not None:
        share = 100 * look.verdict.close / n
        of = Qualifiers(whose="samples", space=space)
        yield Score(metric="close_share", value=share, n=n, of=of)


def _copies(drawn: Array, neighbours: Neighbours) -> Iterator[Score]:
    """How many samples are equal to the last bit: to a training image, to another sample."""
    n = len(drawn)
    copies = int((neighbours.distance[:n, 0] == 0).sum())
    repeats = n - len(np.unique(drawn.reshape(n, -1), axis=0))
    for metric, value in (("copies", copies), ("repeats", repeats)):
        yield Score(metric=metric, value=value, n=n, of=Qualifiers(whose="samples"))


def _grid(
    space: Space, rows: list[int], drawn: Array, neighbours: Neighbours, train: Images, k: int
) -> Grid:
    """The samples that cling most to one training image, each before its neighbours."""
    images, labels = [], []
    digits = ".1f" if space.unit else ".2f"
    for i in rows:
        near = train.read(neighbours.index[i, :k])
        mirrored = neighbours.mirrored[i, :k]
        near[mirrored] = near[mirrored, :, ::-1]
        images += [drawn[i : i + 1], near]
        labels.append(f"{i}")
        for distance, mirror in zip(neighbours.distance[i, :k], mirrored, strict=True):
            labels.append(f"{distance:{digits}}{' ↔' if mirror else ''}")
    return Grid(np.concatenate(images), columns=k + 1, labels=labels)


def _caption(look: Look, drawn: Images, train: ImageSet, settings: NeighbourSettings) -> str:
    space = look.space
    unit = f" ({space.unit})" if space.unit else ""
    shows_mirrors = settings.mirrored and space.name == "pixels"
    mirror = "; ↔ marks its mirror image" if shows_mirrors else ""
    rows = len(look.grid.images) // look.grid.columns
    return (
        f"Nearest training images ({train.name}, {len(train):,}) in {space.name}: of {look.n:,} "
        f"{drawn.name} the {rows} that cling most to one, chosen for that, with their numbers "
        f"(left), and the distance of each neighbour{unit}{mirror}."
    )
