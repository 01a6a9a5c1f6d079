"""Every setting of a training run: one frozen tree, saved whole in the run and its checkpoints.

The groups of the networks are in ``architectures``. A preset (``presets``) is a function that
returns a whole tree. A user changes any leaf by its dotted name, ``--set optim.lr=1e-4``; the text
is read by the type of the leaf (``settings``).
"""

import re
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from ddpm_train.architectures import (
    NETWORK_GROUPS,
    NcsnppConfig,
    NetworkConfig,
    NetworkName,
    RefineNetConfig,
    UNetConfig,
)
from ddpm_train.errors import FixableError
from ddpm_train.leaves import Count, Number, Range, Seed, Size

Filter = Literal["none", "nearest", "box", "bilinear", "bicubic", "lanczos"]
"""What resizes pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which images are trained on. Their size and channels are the network's (``unet``)."""

    source: Literal["cifar10", "digits", "folder", "npz", "lmdb"]
    path: str = ""  # empty: where the source is kept by default
    flip: bool = True  # random horizontal flips
    resize: Filter = "none"
    labels: bool = False  # the class of each image too: the network takes them (unet.classes)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """The forward process (section 4). ``jsd`` and ``cosine`` use no ends, ``log_snr`` its own.

    The signal-to-noise ratio is alpha-bar_t / (1 - alpha-bar_t).
    """

    kind: str = "linear"  # an entry of schedule.SCHEDULES
    T: Annotated[int, Range(2, 1_000_000)] = 1000
    beta_start: Annotated[float, Range(above=0, high=1)] = 1e-4
    beta_end: Annotated[float, Range(above=0, high=1)] = 0.02
    snr_start: Size = 1e4  # of x_1: the noise there has 127.5 / sqrt(this) grey levels
    snr_end: Size = 1e-4  # of x_T


def schedule_of_levels(network: RefineNetConfig) -> ScheduleConfig:
    """Give the schedule of a score network's L levels of noise on images in [-1, 1].

    There sigma is twice as large: T = L, SNR_1 = 1 / (2 sigma_end)^2, SNR_T = 1 / (2
    sigma_begin)^2.

    >>> schedule_of_levels(RefineNetConfig(levels=10, sigma_end=0.005)).snr_start
    10000.0
    """
    return ScheduleConfig(
        kind="log_snr",
        T=network.levels,
        snr_start=(2 * network.sigma_end) ** -2,
        snr_end=(2 * network.sigma_begin) ** -2,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """A row of the paper's Table 2: what is predicted, the variance of p, and the loss.

    Predictions are ``eps``, ``x_0``, ``v``, ``mu_tilde``, ``score``, which is -eps, and EDM's
    ``edm`` and ``ve`` (``predictions``). ``L_simple``
    is the squared error of eps and ``mse`` that of another prediction, unweighted; ``L`` is the
    variational bound in bits/dim at one random t. ``learned_range`` is the learned variance of
    Nichol and Dhariwal (2021), between fixedsmall and beta_t; ``hybrid`` is their squared error +
    0.001 L, whose second part trains the variance alone. ``optimal`` is the best isotropic variance
    of every t, a table that follows from running errors of x_0_hat.

    ``times`` is the distribution of t in training: ``uniform``; ``low_discrepancy``, evenly over
    1..T within a batch; or ``importance``, in proportion to the bits that a relative error costs,
    reweighted, so that the expected loss is the same.
    """

    prediction: str = "eps"  # an entry of predictions.PREDICTIONS
    loss: Literal["L_simple", "mse", "L", "hybrid"] = "L_simple"
    variance: Literal["fixedlarge", "fixedsmall", "learned", "learned_range", "optimal"] = (
        "fixedlarge"
    )
    times: Literal["uniform", "low_discrepancy", "importance"] = "uniform"

    @property
    def learns_variance(self) -> bool:
        """Whether the network's output has a second half, for the variance."""
        return self.variance.startswith("learned")

    @property
    def tracks_errors(self) -> bool:
        """Whether training keeps running errors of x_0_hat for every t."""
        return self.variance == "optimal" or self.times == "importance"


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerConfig:
    """One walk from x_T to x_0: the sampler and the times that it visits."""

    sampler: str = "ancestral"  # an entry of samplers.SAMPLERS
    steps: Count = 0  # 0: all T; of heun 18
    spacing: str = "even"  # an entry of spacing.SPACINGS, or improved-diffusion's ddim25, 10,5,5
    eta: Annotated[float, Range(0, 1)] = 0.0  # the noise of ddim: 0 is none, 1 as ancestral
    convention: str = "rederived"  # of ddim's eps_hat: an entry of samplers.CONVENTIONS
    level_steps: Annotated[int, Range(1, 10_000)] = 5  # of langevin, at each level of noise
    # of langevin, at the last level, for images in [0, 1]; 0: 0.062 sigma_end^2, as for CIFAR-10
    step_lr: Annotated[float, Range(0, 1)] = 0.0
    final_denoising: bool = True  # of langevin: the sample is the mean of x_0 at the last level
    rho: Annotated[float, Range(1, 100)] = 7.0  # of heun: its levels are even in sigma^(1/rho)
    churn: Annotated[float, Range(0)] = 0.0  # of heun: EDM's S_churn; 0 draws no noise after x_T
    churn_from: Annotated[float, Range(0)] = 0.0  # of heun: the least sigma that is churned
    churn_to: Annotated[float, Range(0)] = 1e6  # of heun: the largest
    churn_noise: Annotated[float, Range(0, 2)] = 1.0  # of heun: the deviation of its noise


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Adam, the learning rate's course, clipping and the weight average (appendix B)."""

    lr: Size = 2e-4
    warmup_steps: Count = 5000  # lr rises linearly from 0 at step 0
    decay: Literal["none", "cosine"] = "none"  # lr falls along half a cosine, to 0 after ``steps``
    batch_size: Annotated[int, Range(1, 1_000_000)] = 128  # images per step over all processes
    steps: Annotated[int, Range(1, 10**9)] = 800_000
    grad_clip: Annotated[float, Range(0)] = 1.0  # global norm; 0: none
    ema_decay: Annotated[float, Range(0, below=1)] = 0.9999


def check_device(name: str) -> None:
    """Refuse what names no device, without asking the machine; that is ``world.choose_device``.

    Raises:
        FixableError: It is none.

    >>> check_device("cuda:1")
    >>> check_device("tpu")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: device=tpu: not a device
      fix: use auto, cpu, cuda, cuda:1 or mps
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?|mps(:0)?", name):
        raise FixableError(f"device={name}: not a device", "use auto, cpu, cuda, cuda:1 or mps")


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How the arithmetic is done. All but ``precision`` may change between two parts of a run."""

    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["float32", "bf16", "float64"] = "float32"
    microbatch: Count = 0  # images per forward pass and process; 0: chosen for the device
    threads: Annotated[int, Range(0, 4096)] = 0  # of the CPU; 0: torch's choice
    compile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is written along the way. Nothing here changes training by a bit."""

    every: Number = 10  # steps between lines of log.jsonl
    sample_every: Count = 10_000  # steps between sample grids; 0: none
    samples: Annotated[int, Range(1, 10_000)] = 16  # images in a grid
    checkpoint_every: Number = 5000  # steps between checkpoints
    checkpoint_minutes: Size = 10.0  # and at least this often
    keep: Count = 2  # newest checkpoints kept; 0: all
    keep_every: Count = 0  # checkpoints at these steps stay for good; 0: none
    tensorboard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What is needed to evaluate a checkpoint: the part that foreign checkpoints have too."""

    schedule: ScheduleConfig = ScheduleConfig()
    unet: UNetConfig = field(default_factory=UNetConfig)
    objective: ObjectiveConfig = ObjectiveConfig()
    network: NetworkName = "unet"
    ncsnpp: NcsnppConfig = field(default_factory=NcsnppConfig)
    refinenet: RefineNetConfig = field(default_factory=RefineNetConfig)

    @property
    def net(self) -> NetworkConfig:
        """The settings of the network: the group that ``network`` names."""
        group: NetworkConfig = getattr(self, self.network)
        return group

    @property
    def unused(self) -> frozenset[str]:
        """What is not written: other networks' groups, and the choice of the first kind."""
        others = frozenset(NETWORK_GROUPS) - {self.network}
        return others | {"network"} if self.network == "unet" else others


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run."""

    preset: str
    seed: Seed = 0
    data: DataConfig
    schedule: ScheduleConfig = ScheduleConfig()
    unet: UNetConfig = field(default_factory=UNetConfig)
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    compute: ComputeConfig = ComputeConfig()
    log: LogConfig = field(default_factory=LogConfig)
    network: NetworkName = "unet"
    ncsnpp: NcsnppConfig = field(default_factory=NcsnppConfig)
    refinenet: RefineNetConfig = field(default_factory=RefineNetConfig)

    @property
    def model(self) -> ModelConfig:
        """The part that evaluation needs."""
        names = (item.name for item in fields(ModelConfig))
        return ModelConfig(**{name: getattr(self, name) for name in names})

    @property
    def net(self) -> NetworkConfig:
        """The settings of the network: the group that ``network`` names."""
        return self.model.net

    @property
    def unused(self) -> frozenset[str]:
        """What is not written."""
        return self.model.unused
