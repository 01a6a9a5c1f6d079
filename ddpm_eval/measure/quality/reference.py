"""What samples are compared with: images, a file of statistics, or a file of both."""

from dataclasses import dataclass, field
from pathlib import Path

from ddpm_eval.choice import ImageSet
from ddpm_eval.features import Extractor, bank
from ddpm_eval.features.bank import Bank
from ddpm_eval.measure.quality import statistics
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.scan import statistics_of
from ddpm_eval.measure.quality.statistics import Statistics
from ddpm_eval.record.protocol import ImagesFacts
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError
from ddpm_train.reading import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """Images, statistics of images, or both.

    Attributes:
        images: The images, if they are there.
        file: A file with statistics, if one is named.
    """

    images: ImageSet | None = None
    file: Path | None = None

    def statistics(
        self, extractor: Extractor, runtime: Runtime, features: Bank | None = None
    ) -> Statistics:
        """Mean and covariance of the reference's features, which may be there already.

        Raises:
            FixableError: The file does not fit the extractor.
        """
        if self.file is not None:
            return statistics.read(self.file, extractor)
        images = self.required()
        return statistics_of(images, len(images), extractor, runtime, features)

    def facts(self, extractor: Extractor) -> ImagesFacts:
        """Which images it is, or the statistics in its file are of."""
        if self.file is None:
            return bank.facts_of(self.required())
        content = statistics.read(self.file, extractor)
        about = content.about
        return ImagesFacts(
            digest=about.get("images") or sha256_of(self.file),
            n=content.pool.n,
            choice="all" if about else "unknown",
            dataset=str(about.get("dataset") or self.file.stem),
            split=str(about.get("split", "")),
        )

    def name(self, facts: ImagesFacts) -> str:
        """What it is, for people: ``CIFAR-10 train``."""
        return f"{facts.dataset} {facts.split}".strip()

    def required(self) -> ImageSet:
        """The images.

        Raises:
            FixableError: There are none.
        """
        if self.images is None:
            raise FixableError("reference: there is nothing to compare with", "name images")
        return self.images

    def check_size(self, size: tuple[int, int], content: Statistics | None) -> None:
        """Refuse a reference of another size [H, W] than the samples'.

        Raises:
            FixableError: Names both.
        """
        if self.images is not None:
            other = tuple(self.images.read([0]).shape[1:3])
        else:
            about = content.about if content is not None else {}
            other = tuple(about.get("shape", size)[:2])
        if other != size:
            theirs, ours = ("x".join(map(str, shape)) for shape in (other, size))
            name = self.images.name if self.images is not None else str(self.file)
            raise FixableError(
                f"reference: {name} has images of {theirs}, the samples are {ours}",
                "name the reference that the model was trained on, in its size",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Samples and what they are compared with.

    Attributes:
        samples: The images that are scored.
        reference: What they are compared with.
        held_out: Other real images, which show what is good here; None: none.
        origin: How the samples were made.
    """

    samples: ImageSet
    reference: Reference
    held_out: ImageSet | None = None
    origin: Origin = field(default_factory=Origin)


def check_data(content: Statistics, trained_on: str | None) -> None:
    """Refuse statistics of another data set than the model's, where both are known.

    Args:
        content: Of the reference.
        trained_on: The name of the training images, ``CIFAR-10 train``.

    Raises:
        FixableError: They are of another data set; both are named.
    """
    dataset = content.about.get("dataset")
    if dataset and trained_on and dataset != trained_on.removesuffix(" train"):
        raise FixableError(
            f"reference: statistics of {dataset}; the model was trained on {trained_on}",
            "name statistics of the same data; to compare all the same, name the images themselves",
        )
