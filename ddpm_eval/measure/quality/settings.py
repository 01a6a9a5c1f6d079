"""Settings of sample quality: what is measured, through which networks, on how many images."""

from dataclasses import dataclass
from typing import Annotated

from ddpm_train.config import Filter
from ddpm_train.leaves import Range, Seed

PROTOCOL_N = 50_000  # samples, if the user does not say how many: those of published FID


@dataclass(frozen=True, slots=True, kw_only=True)
class QualitySettings:
    """What samples are measured by."""

    n: Annotated[int, Range(0)] = 0  # samples; 0: all that there are
    extractors: tuple[str, ...] = ("inception-v3",)  # networks, one column each
    protocols: tuple[str, ...] = ()  # ways of resizing, one column each; empty: the network's own
    metrics: tuple[str, ...] = ()  # keys or titles; empty: all that can be had
    first: bool = False  # the first n images of a folder or file; else n that the seed draws
    seed: Seed = 0  # of the choice of images
    extractor_weights: str = ""  # the file of the extractor's weights; empty: where it usually is
    accept_weights: str = ""  # SHA-256 of other weights that are meant, eight digits at least
    resize: Filter = "none"  # the filter for pictures of other sizes than the first
    save: str = ""  # where to write the reference's statistics
