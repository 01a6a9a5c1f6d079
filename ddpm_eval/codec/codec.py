"""The codec as a whole: a profile for a model, and pictures to files and back in groups."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec import reading, tiles, writing
from ddpm_eval.codec.network import Estimate, estimator
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_eval.model import Model
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError

Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Codec:
    """A model and its profile.

    Attributes:
        model: Whose network is evaluated.
        profile: Made for these weights.
        batch: Tiles in one evaluation, and how many are coded at once.
    """

    model: Model
    profile: Profile
    batch: int

    def __post_init__(self) -> None:
        name = self.model.facts.name or "model"
        if self.profile.weights != self.model.facts.digest:
            producer = self.profile.facts.get("model") or "others"
            raise FixableError(
                f"profile: made for other weights ({producer}) than those of {name}",
                "make one for these: ddpm-eval calibrate",
            )
        if self.model.precision != "float32":
            raise FixableError(
                f"precision={self.model.precision}: the pixels of files would not be exact",
                "use precision=float32",
            )

    @property
    def evaluations(self) -> int:
        """How often the network is evaluated for each tile, each way."""
        return len(self.profile.rows)

    def groups(
        self, items: Iterable[Item], size: Callable[[Item], Sequence[int]]
    ) -> Iterator[list[Item]]:
        """Items that are coded at once, of ``batch`` tiles or a little more.

        Args:
            items: Pictures, files, or what belongs to them.
            size: Tells height and width.
        """
        group, count = list[Item](), 0
        for item in items:
            height, width = size(item)
            rows, columns = tiles.grid((height, width), self.profile.shape[1:])
            group.append(item)
            count += rows * columns
            if count >= self.batch:
                yield group
                group, count = [], 0
        if group:
            yield group

    def compress(
        self, pictures: Sequence[Pixels], settings: CompressionSettings
    ) -> Generator[None, None, list[bytes]]:
        """Write files of pictures [H, W, C]; yields ``evaluations`` times for each of them."""
        for picture in pictures:
            self._check(picture)
        estimate = self._estimate(portable=settings.portable)
        work = writing.compress(self.profile, estimate, pictures, settings)
        writers = yield from _repeated(work, len(pictures))
        return [writer.file for writer in writers]

    def decompress(self, readers: Sequence[Reader]) -> Generator[None, None, list[Decoded]]:
        """Read pictures; yields ``evaluations`` times for each of them.

        Raises:
            FixableError: A file goes on behind its end.
        """
        estimate = self._estimate(portable=all(reader.head.portable for reader in readers))
        work = reading.decompress(self.profile, estimate, readers)
        return (yield from _repeated(work, len(readers)))

    def _check(self, picture: Pixels) -> None:
        """Refuse a picture in colours where the model knows gray ones.

        Raises:
            FixableError: It is.
        """
        channels = self.profile.shape[0]
        if picture.shape[2] not in (1, channels):
            raise FixableError(
                f"images: a picture of {picture.shape[2]} channels; the model knows "
                f"{channels} (or 1)",
                "save it as gray or RGB, or name a model of such images",
            )

    def _estimate(self, *, portable: bool) -> Estimate:
        """The network; tile by tile where batches must not change a bit."""
        errors = self.profile.pixel_errors is not None
        return estimator(self.model, batch=self.batch if portable else 1, errors=errors)


def _repeated(
    work: Generator[None, None, list[Item]], times: int
) -> Generator[None, None, list[Item]]:
    """Yield ``times`` times where the work yields once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: list[Item] = end.value
            return result
        for _ in range(times):
            yield


def find_profile(model: Model, profile: Profile | Path | None) -> Profile:
    """The profile that is given or named, or the one that lies beside the checkpoint.

    Raises:
        FixableError: There is none.
    """
    if isinstance(profile, Profile):
        return profile
    if profile is None and model.facts.path is None:
        raise FixableError(
            "profile: the model was read from no file, beside which one might lie",
            "make one, profile = calibrate(model, images), and give it",
        )
    place = profile or profiles.beside(Path(str(model.facts.path)))
    return profiles.load(place)
