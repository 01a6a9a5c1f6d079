"""Interpolation between two images (the paper's Figures 8 and 9): which pairs, and the figures.

The images are encoded by q(x_t | x_0), mixed, and decoded from t on: see ``mixing`` and
``decoding``.
"""

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.conditions import classes_of_images
from ddpm_eval.measure.pictures import decoding
from ddpm_eval.measure.pictures.mixing import Pair, encode, nearest_classes
from ddpm_eval.measure.pictures.protocols import chain_facts, protocol_of
from ddpm_eval.measure.pictures.settings import InterpolationSettings
from ddpm_eval.model import Model, is_score
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.export import require_pictures
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Grid
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.chain import chain, walk
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream

VERSION = 2
PAIRS = 4  # in a figure, if the user does not choose
COARSE = 8  # the rows of coarse to fine are t = 0, T/8, ..., T


def measure(
    model: Model,
    images: ImageSet,
    settings: InterpolationSettings,
    runtime: Runtime,
    names: Sequence[str] = (),
) -> Measurement:
    """Draw the path between each pair at one t, and between the first pair from coarse to fine.

    Args:
        model: What decodes.
        images: Where the pairs are taken from.
        settings: Which pairs, and how they are mixed.
        runtime: How the work is carried out.
        names: Of the images; by default their indices in the data set.

    Raises:
        FixableError: An image is not there, of another shape, or paired with itself; t lies beyond
            T; or a lambda outside 0 to 1.
    """
    T = model.denoise.schedule.T
    decoding.check(model, settings)
    settings = replace(
        settings,
        t=_time(settings.t, T),
        lambdas=_lambdas(settings.lambdas),
        pairs=_indices(images, settings),
    )
    pairs = [
        replace(_pair(images, pair, names), labels=classes_of_images(model, images, pair))
        for pair in settings.pairs
    ]
    chosen = images[np.unique(np.array(settings.pairs))]
    protocol = protocol_of(VERSION, model, settings, images=chosen.facts)
    finished = runtime.recorded("interpolation", protocol)
    if finished is not None:
        return finished
    _check_shape(model, pairs[0])
    rows = [(pair, settings.t or 0) for pair in pairs]
    times = [T * part // COARSE for part in range(COARSE + 1)]
    rows += [(pairs[0], t) for t in times]
    drawn = fill(_work(model, settings, rows, runtime.batch), runtime).read()["images"]
    path, coarse = drawn[: len(pairs)], drawn[len(pairs) :]
    by = f", by {decoding.text(settings)}" if is_score(model) else ""
    return Measurement(
        measure="interpolation",
        protocol=protocol,
        grids={
            "path": _path(pairs, path, settings, T, by),
            "coarse to fine": _coarse(pairs[0], coarse, times, settings, by),
        },
        facts={
            "pairs": [list(pair.names) for pair in pairs],
            "keys": [list(pair.keys) for pair in pairs],
        },
    )


def _work(
    model: Model, settings: InterpolationSettings, rows: list[tuple[Pair, int]], batch: int
) -> Work:
    """Every row of the two figures, lambda = 0 to 1."""
    stream = Stream(settings.seed, "encode")
    decode = decoding.decoder(model, settings)

    def make(part: range) -> Generator[None, None, Arrays]:
        ((pair, t),) = rows[part.start : part.stop]
        images, begun = [], 0
        labels = nearest_classes(pair, settings.lambdas)
        for x_t in encode(model, pair, t, settings).split(batch):
            some = None if labels is None else labels[begun : begun + len(x_t)]
            begun += len(x_t)
            x_0 = x_t  # at t = 0 the pixels are mixed
            if t:
                start = x_t.to(model.device, model.dtype)
                same = [pair.key] * len(x_t)  # the noise is fixed over lambda
                sampler, start, row = decode(start, t)
                frames = chain(sampler, start, same, stream, start=row, condition=some)
                x_0 = yield from walk(frames)
            images.append(data.to_uint8(x_0))
        return {"images": np.concatenate(images)[None]}

    return Work(
        name="interpolation",
        facts=chain_facts(model, settings)
        | {
            "rows": [[*pair.keys, t] for pair, t in rows],
            **_classes(rows),
            "lambdas": settings.lambdas,
            "mix": settings.mix,
            **({"langevin": decoding.text(settings)} if is_score(model) else {}),
            "batch": batch,
        },
        n=len(rows),
        size=1,
        make=make,
        ticks=lambda part: (
            decoding.steps(model, settings, rows[part.start][1])
            * -(-len(settings.lambdas) // batch)
        ),
        label=f"{len(rows)} interpolations",
    )


def _classes(rows: list[tuple[Pair, int]]) -> dict[str, list[list[int]]]:
    """The classes of every pair, where the model takes any."""
    labels = [pair.labels.tolist() for pair, _ in rows if pair.labels is not None]
    return {"classes": labels} if labels else {}


# ----------------------------------------------------------------------------- what is mixed


def _time(t: int | None, T: int) -> int:
    """Where images are mixed: half of T, or where the user says."""
    if t is None:
        return T // 2
    if not 0 <= t <= T:
        raise FixableError(
            f"t={t}: the model has {T:,} steps", f"choose 0 to {T:,}; the paper takes {T // 2:,}"
        )
    return t


def _lambdas(values: Sequence[float]) -> tuple[float, ...]:
    """The path in order, its ends included."""
    for value in values:
        if not 0 <= value <= 1:
            raise FixableError(
                f"lambdas={value:g}: outside 0 to 1", "give numbers such as 0.25,0.5"
            )
    return tuple(sorted({0.0, 1.0, *(round(x, 12) for x in values)}))


def _indices(images: ImageSet, settings: InterpolationSettings) -> tuple[tuple[int, int], ...]:
    """The places of each pair in the set: the user's, or drawn by the seed."""
    for pair in settings.pairs:
        text = ",".join(map(str, pair))
        if pair[0] == pair[1]:
            raise FixableError(f"pairs={text}: not two images", "name two that differ: 0,1")
        if not 0 <= min(pair) <= max(pair) < len(images):
            raise FixableError(
                f"pairs={text}: {images.name} has {len(images):,} images",
                f"choose indices 0 to {len(images) - 1:,}",
            )
    if settings.pairs:
        return settings.pairs
    n = min(2 * PAIRS, len(images) // 2 * 2)
    if not n:
        raise FixableError(f"{images.name}: one image alone", "give two or more")
    drawn = choose(images, n, seed=settings.seed, first=settings.first).indices.tolist()
    places = {index: place for place, index in enumerate(images.indices.tolist())}
    return tuple((places[a], places[b]) for a, b in zip(drawn[::2], drawn[1::2], strict=True))


def _pair(images: ImageSet, places: tuple[int, int], names: Sequence[str]) -> Pair:
    pixels = images.read(places)
    first, second = (names[i] if names else str(images.indices[i]) for i in places)
    if np.array_equal(pixels[0], pixels[1]):
        raise FixableError(f"{first} and {second} are the same picture", "name two that differ")
    return Pair(pixels, (first, second))


def _check_shape(model: Model, pair: Pair) -> None:
    channels, *size = model.shape
    require_pictures(channels, fix="mix images of a model of 1 or 3 channels")
    if pair.pixels.shape[1:] != (*size, channels):
        shapes = ("x".join(map(str, shape)) for shape in (pair.pixels.shape[1:], (*size, channels)))
        raise FixableError(
            "images of {} cannot be mixed by a model of {}".format(*shapes),
            "give images of the model's size and channels",
        )


# ------------------------------------------------------------------------------- the figures


def _path(
    pairs: list[Pair], drawn: Array, settings: InterpolationSettings, T: int, by: str
) -> Grid:
    """A row for each pair, drawn [P, L, H, W, C] between its sources."""
    rows = [
        np.concatenate([pair.pixels[:1], row, pair.pixels[1:]])
        for pair, row in zip(pairs, drawn, strict=True)
    ]
    labels = ["x₀", *(f"{x:g}" for x in settings.lambdas), "x₀′"]
    named = "; ".join(" and ".join(pair.names) for pair in pairs)
    return Grid(
        np.concatenate(rows),
        columns=len(labels),
        labels=labels + [""] * len(labels) * (len(pairs) - 1),
        caption=(
            f"Interpolation between images {named}: the sources x₀ and x₀′ outside; between them "
            f"their mix at t = {settings.t:,} of {T:,} ({settings.mix}), λ from 0 to 1, decoded "
            f"from there{by}. λ = 0 and 1 are the sources' reconstructions. Noise of seed "
            f"{settings.seed}, fixed over λ."
        ),
    )


def _coarse(
    pair: Pair, drawn: Array, times: list[int], settings: InterpolationSettings, by: str
) -> Grid:
    """A row for each t, drawn [K, L, H, W, C]."""
    columns = drawn.shape[1]
    return Grid(
        drawn.reshape(-1, *drawn.shape[2:]),
        columns=columns,
        labels=[text for t in times for text in [f"t={t}", *[""] * (columns - 1)]],
        caption=(
            f"From fine to coarse: images {' and '.join(pair.names)} mixed at t = 0, which mixes "
            f"their pixels, up to t = {times[-1]:,}, where noise decides; λ from 0 to 1 in each "
            f"row ({settings.mix}){by}. Noise of seed {settings.seed}, fixed over λ and t."
        ),
    )
