"""Settings of an evaluation; what ran is saved whole in the record."""

from dataclasses import dataclass
from typing import Literal

Split = Literal["test", "train"]


Mix = Literal["linear", "spherical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesConfig:
    """What is shown of the chain, of interpolations and of neighbours."""

    rows: int = 8  # samples or test images in a figure
    pairs: tuple[tuple[int, int], ...] = ((0, 1), (2, 3), (4, 5), (6, 7))  # of dataset indices
    files: tuple[str, ...] = ()  # two image files to interpolate between, in place of pairs
    resize: str = "none"  # how files of another size are made to fit
    t: int | None = None  # where images are mixed; None: half of T
    lambdas: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    mix: Mix = "linear"
    k: int = 5  # neighbours
    extractor: str = ""  # what looks at features too; empty: none
    held_out: int = 1000  # held-out images that neighbours are judged by; 0: no verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """How samples are drawn and where they are kept."""

    sampler: str = "ancestral"  # as the paper, or ddim
    steps: int = 0  # of the reverse process; 0: all T
    eta: float = 0.0  # the noise of ddim, 0..1
    out: str = ""  # the folder of the store; empty: beside the record


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """What samples are compared with, and through which network."""

    reference: str = "train"  # train, test, or the path of images or of statistics
    extractor: str = "inception-v3"
    inception: str = ""  # the file of Inception's weights; empty: where it usually is
    accept: str = ""  # digest of other Inception weights that are meant
    metrics: tuple[str, ...] = ()  # empty: all that the reference allows
    resize: str = "none"  # the filter for a folder of pictures of mixed sizes
    save: str = ""  # where to write the reference's statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How the network is evaluated."""

    precision: str = "float32"  # tf32 on GPUs, or bf16; the record says so
    compile: bool = False  # let inductor write the kernels


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalConfig:
    """What is measured, on how much, and from which seed."""

    split: Split = "test"
    n: int = 0  # images; 0: all of the split
    drop_remainder: int = 0  # drop the last incomplete batch of so many images; 0: none
    seed: int = 0
    clip: bool = True  # keep x_0_hat in [-1, 1], as the original evaluates
    batch: int = 64  # images in one evaluation of the network; changes results by rounding alone
    calibrate: int = 0  # training images that the best variance is learned from; 0: none
    target_stderr: float = 0.0  # estimate the bound to this standard error, bits/dim; 0: no
    budget: int = 0  # estimate the bound with at most so many evaluations; 0: no
    sampling: SamplingConfig = SamplingConfig()
    quality: QualityConfig = QualityConfig()
    pictures: PicturesConfig = PicturesConfig()
    compute: ComputeConfig = ComputeConfig()

    @property
    def fast(self) -> bool:
        """Whether the bound is estimated from chosen pairs, not computed from all."""
        return bool(self.target_stderr or self.budget)
