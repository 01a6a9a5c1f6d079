"""What samples are compared with: a split, a folder, a file of statistics, or a bit of each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ddpm_eval.config import QualityConfig, Split
from ddpm_eval.features import DIGITS, Extractor, bank
from ddpm_eval.measure.quality import statistics
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.sources import has_images, open_images
from ddpm_train.data import Images
from ddpm_train.errors import FixableError
from ddpm_train.reading import sha256_of

LEAST = 10  # images: one for each part of the Inception score


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What samples are compared with: images, statistics of images, or both.

    ``kind`` is ``train``, ``test`` or the name of a file or folder.
    """

    kind: str
    name: str
    digest: str
    images: Images | None = None
    statistics: Statistics | None = None


def open_reference(
    config: QualityConfig, split: Callable[[Split], Images], extractor: Extractor
) -> Reference:
    """Find the reference that the settings name.

    Raises:
        FixableError: It is missing, damaged, or does not fit the extractor.
    """
    kind = config.reference
    if kind in ("train", "test"):
        images = split("train" if kind == "train" else "test")
        return Reference(kind=kind, name=images.name, digest=bank.content(images), images=images)
    path = Path(kind).expanduser()
    given = None
    if path.is_file() and path.suffix != ".zip" and statistics.holds_statistics(path):
        given = statistics.read(path, extractor)
    found = None
    if given is None or has_images(path):
        found = open_images(path, channels=channels(extractor), resize=config.resize)
    return Reference(
        kind=_kind(path.resolve()),
        name=str(given.about.get("dataset", path.name)) if given else path.name,
        digest=sha256_of(path) if given or found is None else bank.content(found),
        images=found,
        statistics=given,
    )


def _kind(path: Path) -> str:
    """What a reference that is no split is called: never like one.

    >>> _kind(Path("/data/adm.npz")), _kind(Path("/data/train.npz"))
    ('adm', 'data-train')
    """
    name = path.name if path.is_dir() else path.stem
    return f"{path.parent.name}-{name}" if name in ("train", "test") else name


def channels(extractor: Extractor) -> int:
    """As what pictures are read: gray for the digits' network, RGB for others."""
    return 1 if extractor.name == DIGITS else 3


def held_out(
    reference: Reference, split: Callable[[Split], Images], notify: Callable[[str], None]
) -> Images | None:
    """Real images that the reference does not hold, where it is a training split beside a test."""
    if reference.kind != "train":
        return None
    try:
        found = split("test")
    except FixableError as error:
        notify(f"held-out images would show what is good here, but {error.problem}")
        return None
    return found if len(found) >= LEAST else None


def require_fit(reference: Reference, size: list[int], n: int) -> None:
    """Refuse a reference of another size [H, W], and too few images on either side."""
    images, about = reference.images, reference.statistics.about if reference.statistics else {}
    other = about.get("shape", size) if images is None else list(images.read([0]).shape[1:])
    if other[:2] != size:
        raise FixableError(
            f"the reference {reference.name} has images of {_size(other)}, the samples are "
            f"{_size(size)}",
            "name the reference that the model was trained on, in its size: --reference",
        )
    for count, what in ((n, "samples"), (LEAST if images is None else len(images), reference.name)):
        if count < LEAST:
            raise FixableError(
                f"{what}: {count} images; no metric works on fewer than {LEAST}",
                "take more, 50,000 if you can",
            )


def require_data(reference: Reference, trained_on: str | None) -> None:
    """Refuse statistics of another data set than the model's, where both are known.

    Args:
        reference: What samples are compared with.
        trained_on: The name of the training images, ``CIFAR-10 train``.

    Raises:
        FixableError: They are of another data set; both are named.
    """
    about = reference.statistics.about if reference.statistics else {}
    theirs, ours = about.get("dataset"), trained_on
    if theirs and ours and _stem(theirs) != _stem(ours):
        raise FixableError(
            f"the reference has statistics of {theirs}, the model was trained on {ours}",
            "name statistics of the same data; to compare all the same, name the images themselves",
        )


def _stem(name: str) -> str:
    return name.removesuffix(" train").removesuffix(" test")


def _size(shape: list[int]) -> str:
    return "x".join(map(str, shape[:2]))
