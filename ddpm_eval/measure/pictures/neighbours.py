"""The training images that samples are nearest to, and whether any was learned by heart.

A distance alone says little: smooth images have many near neighbours, and dull ones lie near to
everything. So a sample *clings* to its nearest training image in so far as that is nearer than its
fifth neighbour and than a flat patch of the sample's own mean colour: d_1 / min(d_5, d_flat), 0 for
a copy. The yardstick are held-out images, which nobody can have learned.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import pieces, samples
from ddpm_eval.measure.pictures.nearest import Found, Space, features, nearest, pixels
from ddpm_eval.measure.quality import quality
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.schema1 import Measurement, Quantity
from ddpm_eval.record.scores import Grid
from ddpm_train.data import Images
from ddpm_train.errors import FixableError

N = 64  # samples, if the user does not say how many
AMONG = 5  # the neighbour that the nearest is compared with
CLOSEST = 0.01  # of the held-out images: as close as these is close
SIGNIFICANT = 0.01


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many of n samples are as close as the closest ``share`` of the m held-out images."""

    close: int
    n: int
    share: float
    m: int
    copies: int  # samples that equal a training image, where no held-out image does

    @property
    def chance(self) -> float:
        """The probability of so many if samples and held-out images were alike: exact."""
        before = stats.nhypergeom(self.n + self.m, self.n, round(self.share * self.m))
        return float(before.sf(self.close - 1))

    @property
    def memorised(self) -> bool:
        """Whether the samples say that training images were learned by heart."""
        return self.copies > 0 or self.chance < SIGNIFICANT

    def __str__(self) -> str:
        low, high = stats.binomtest(self.close, self.n).proportion_ci(method="exact")
        head, chance = "No sign of memorisation", "no more than chance gives"
        if self.memorised:
            head = "The model repeats training images"
            chance = f"which chance gives with probability {self.chance:.2g}"
        copies = f"; {self.copies:,} copied to the last bit" if self.copies else ""
        return (
            f"{head}: {self.close:,} of {self.n:,} samples ({self.close / self.n:.1%}; 95% "
            f"interval {low:.1%} to {high:.1%}{copies}) cling to one training image as closely as "
            f"the closest {self.share:.1%} of {self.m:,} held-out images do, {chance}."
        )


def measure(job: Job) -> Measurement:
    """The nearest training images of samples 0..n-1 and, as the yardstick, of held-out images.

    In pixels, and in features if an extractor is named.

    Raises:
        FixableError: There are too few training images, or no held-out ones.
    """
    train, pictures = job.images("train"), job.config.pictures
    if len(train) < max(pictures.k, AMONG):
        raise FixableError(
            f"--k {pictures.k}: {train.name} has {len(train)} images", "train on more, or ask fewer"
        )
    held_out, n = _held_out(job), job.config.n or N
    settings = pieces.describe(job) | {
        "dataset": train.name.removesuffix(" train"),
        "reference": train.name,
        "reference_n": len(train),
        "reference_digest": train.digest,
        "held_out": len(held_out),
        "mirrored": _flips(job),
        "n": n,
        "k": max(pictures.k, AMONG),
        "clinging": "d_1 / min(d_5, distance from a flat patch of the mean colour)",
    }
    spaces = [pixels(train, mirrored=_flips(job))]
    if pictures.extractor:
        extractor = quality.extractor_of(
            replace(job.config.quality, extractor=pictures.extractor), job.world.device
        )
        settings |= {"extractor": extractor.name, "extractor_digest": extractor.digest}
        spaces.append(features(job, train, extractor))
    store = samples.ensure(job, n)
    settings |= {**store.facts, "samples": store.name, "samples_digest": store.digest}
    drawn = store.read(range(n))
    looks = [_look(job, space, drawn, held_out, train, settings) for space in spaces]
    return Measurement(
        name="neighbours",
        quantities={name: each for look in looks for name, each in look.quantities.items()}
        | _copies(drawn, looks[0].found),
        grids={space.name: look.grid for space, look in zip(spaces, looks, strict=True)},
        settings=settings | _verdicts(looks),
        warnings=()
        if len(held_out)
        else ("no held-out images were looked at: distances alone say nothing of memorisation",),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What there is to see in one space."""

    found: Found
    verdict: Verdict | None
    quantities: dict[str, Quantity]
    grid: Grid


def _look(
    job: Job, space: Space, drawn: Array, held_out: Array, train: Images, settings: dict[str, Any]
) -> Look:
    embedded = space.embed(np.concatenate([drawn, held_out]))
    found = nearest(job, space, embedded, len(train), settings)
    clinging = cling(found, space.flat(embedded))
    verdict = judge(found, clinging, len(drawn)) if len(held_out) else None
    quantities = _quantities(space, found, len(drawn), verdict)
    grid = _grid(job, space, drawn, found, clinging, train)
    caption = _caption(space, settings, len(grid.images) // grid.columns)
    return Look(found, verdict, quantities, replace(grid, caption=caption))


def _verdicts(looks: list[Look]) -> dict[str, Any]:
    """The verdict in pixels, and that in features beside it."""
    found: dict[str, Any] = {}
    for suffix, look in zip(("", " (features)"), looks, strict=False):
        if look.verdict is not None:
            found[f"verdict{suffix}"] = str(look.verdict)
            found[f"memorised{suffix}"] = look.verdict.memorised
    return found


def cling(found: Found, flat: Array) -> Array:
    """d_1 / min(d_5, d_flat) of each query, [Q]; the smaller, the closer it clings."""
    first, rival = found.distance[:, 0], np.minimum(found.distance[:, AMONG - 1], flat)
    ratio: Array = np.divide(first, rival, out=(first > 0).astype(float), where=rival > 0)
    return ratio


def judge(found: Found, clinging: Array, n: int) -> Verdict:
    """Judge the first n queries by the others, which are held out."""
    copy, yardstick = found.distance[:, 0] == 0, np.sort(clinging[n:])
    limit = yardstick[max(1, round(CLOSEST * len(yardstick))) - 1]
    return Verdict(
        close=int((clinging[:n] <= limit).sum()),
        n=n,
        share=float((yardstick <= limit).mean()),
        m=len(yardstick),
        copies=0 if copy[n:].any() else int(copy[:n].sum()),
    )


# ------------------------------------------------------------------------------ what is shown


def _held_out(job: Job) -> Array:
    """The first held-out images."""
    asked, shape = job.config.pictures.held_out, job.subject.shape
    if not asked:
        return np.empty((0, *shape[1:], shape[0]), np.uint8)
    try:
        images = job.images("test")
    except FixableError as error:
        raise FixableError(
            error.problem, f"{error.fix}; or --held-out 0 for neighbours without a verdict"
        ) from error
    return images.read(range(min(asked, len(images))))


def _flips(job: Job) -> bool:
    """Whether the model was trained on mirror images too, or may have been."""
    return job.subject.facts.run is None or job.subject.facts.run.data.flip


def _quantities(space: Space, found: Found, n: int, verdict: Verdict | None) -> dict[str, Quantity]:
    first = found.distance[:, 0]
    whose = {"samples": first[:n]} | ({"held-out images": first[n:]} if verdict else {})
    quantities = {
        f"median distance of {name} ({space.name})": Quantity(
            float(np.median(each)), space.unit, n=len(each)
        )
        for name, each in whose.items()
    }
    if verdict is not None:
        share = Quantity(100 * verdict.close / n, "%", n=n)
        quantities[f"as close as {verdict.share:.1%} of held-out images ({space.name})"] = share
    return quantities


def _copies(drawn: Array, found: Found) -> dict[str, Quantity]:
    """What is equal to the last bit."""
    n = len(drawn)
    copies = int((found.distance[:n, 0] == 0).sum())
    repeats = n - len(np.unique(drawn.reshape(n, -1), axis=0))
    return {
        "copies of training images": Quantity(copies, "samples", n=n),
        "repeats of other samples": Quantity(repeats, "samples", n=n),
    }


def _grid(
    job: Job, space: Space, drawn: Array, found: Found, clinging: Array, train: Images
) -> Grid:
    """The samples that cling most to one training image, each before its neighbours."""
    n, k = len(drawn), job.config.pictures.k
    rows = clinging[:n].argsort(kind="stable")[: job.config.pictures.rows]
    images, labels = [], []
    digits = ".1f" if space.unit else ".2f"
    for i in rows:
        near = train.read(found.index[i, :k])
        mirrored = found.mirrored[i, :k]
        near[mirrored] = near[mirrored, :, ::-1]
        images += [drawn[i : i + 1], near]
        labels.append(f"{i}")
        for distance, mirror in zip(found.distance[i, :k], mirrored, strict=True):
            labels.append(f"{distance:{digits}}{' ↔' if mirror else ''}")
    return Grid(np.concatenate(images), columns=k + 1, labels=labels)


def _caption(space: Space, settings: dict[str, Any], rows: int) -> str:
    unit = f" ({space.unit})" if space.unit else ""
    mirror = "; ↔ marks its mirror image" if settings["mirrored"] and space.name == "pixels" else ""
    return (
        f"Nearest training images ({settings['reference']}, {settings['reference_n']:,}) in "
        f"{space.name}: of {settings['n']:,} {settings['samples']} the {rows} that cling most to "
        "one, chosen for that, with their numbers (left), and the distance of each "
        f"neighbour{unit}{mirror}."
    )
