"""Every setting of an evaluation: one frozen tree, a group for each house of measures.

A command shows a handful of them as options; any leaf can be changed by its dotted name,
``--set bound.seed=1``. Each measurement keeps the group that it ran with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from ddpm_eval.codec.settings import ArchiveSettings, CalibrationSettings, CompressionSettings
from ddpm_eval.measure.bound.settings import (
    BaselineSettings,
    BoundSettings,
    OdeSettings,
    StrideSettings,
)
from ddpm_eval.measure.files.settings import FileSettings
from ddpm_eval.measure.pictures.settings import (
    InterpolationSettings,
    NeighbourSettings,
    ProgressiveSettings,
    ReconstructionSettings,
    SamplingSettings,
)
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_train.config import Filter, ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.leaves import Range
from ddpm_train.settings import check, override


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """How pictures of another size than the model's become as large as it expects."""

    resize: Filter = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeSettings:
    """How the network is evaluated."""

    precision: Literal["float32", "tf32", "bf16"] = "float32"  # the record says which
    compile: bool = False  # let inductor write the kernels; on CPUs that is slower
    batch: Annotated[int, Range(1, 65536)] = 64  # images at once; changes results by rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSettings:
    """All settings of all measures."""

    bound: BoundSettings = field(default_factory=BoundSettings)
    strides: StrideSettings = field(default_factory=StrideSettings)
    ode: OdeSettings = field(default_factory=OdeSettings)
    baselines: BaselineSettings = field(default_factory=BaselineSettings)
    samples: SamplingSettings = field(default_factory=SamplingSettings)
    progressive: ProgressiveSettings = field(default_factory=ProgressiveSettings)
    reconstructions: ReconstructionSettings = field(default_factory=ReconstructionSettings)
    interpolation: InterpolationSettings = field(default_factory=InterpolationSettings)
    neighbours: NeighbourSettings = field(default_factory=NeighbourSettings)
    quality: QualitySettings = field(default_factory=QualitySettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)
    compression: CompressionSettings = field(default_factory=CompressionSettings)
    archive: ArchiveSettings = field(default_factory=ArchiveSettings)
    files: FileSettings = field(default_factory=FileSettings)
    data: DataSettings = field(default_factory=DataSettings)
    compute: ComputeSettings = field(default_factory=ComputeSettings)


MODEL_GROUPS = tuple(group.name for group in fields(ModelConfig))
"""Groups that describe a model: what a foreign file does not store is set there."""
_GROUPS = {*MODEL_GROUPS, *(group.name for group in fields(EvalSettings))}


def changed(
    settings: EvalSettings,
    changes: Iterable[str],
    uses: Sequence[str],
    unused: Sequence[str] = (),
) -> tuple[EvalSettings, list[str]]:
    """Apply ``group.name=value`` texts, and check every value; those of the model are given back.

    Names of no group are the model's too: flags of the system that trained it, ``sde=vp``.

    Args:
        settings: What the options say.
        changes: The texts.
        uses: The groups, or single settings, that have an effect here.
        unused: Settings of these groups that have none.

    Raises:
        FixableError: There is no such setting, it has no effect here, or a value has the wrong
            type or range.

    >>> texts = ["bound.seed=1", "unet.heads=4", "sde=vp"]
    >>> settings, of_model = changed(EvalSettings(), texts, uses=["bound"])
    >>> settings.bound.seed, of_model
    (1, ['unet.heads=4', 'sde=vp'])
    >>> changed(EvalSettings(), ["unet.heads=0"], uses=[])
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: unet.heads=0: out of range
      fix: choose unet.heads from 1 to 8,192
    >>> changed(EvalSettings(), ["quality.n=5"], uses=["bound", "compute.batch"])
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: quality.n=5: of no effect here
      fix: leave it out; settings of bound, compute.batch have one
    """
    for group in fields(settings):
        check(getattr(settings, group.name))
    texts = list(changes)
    of_model = [text for text in texts if _is_of_model(text)]
    ours = [text for text in texts if text not in of_model]
    changed_settings = override(settings, ours)
    for text in ours:
        name = text.partition("=")[0]
        if name in unused or not {name, name.partition(".")[0]} & {*uses}:
            raise FixableError(
                f"{text}: of no effect here",
                f"leave it out; settings of {', '.join(uses) or 'the model alone'} have one",
            )
    check_model(of_model)
    return changed_settings, of_model


def check_model(changes: Iterable[str]) -> None:
    """Check settings of a model before it is loaded; flags of other systems are its reader's.

    Raises:
        FixableError: There is no such setting, or a value has the wrong type or range.
    """
    override(ModelConfig(), [text for text in changes if not _is_flag(text)])


def _is_of_model(text: str) -> bool:
    group = text.partition("=")[0].partition(".")[0]
    return group in MODEL_GROUPS or _is_flag(text)


def _is_flag(text: str) -> bool:
    """Whether a change may be of another system's flag: a name of no group."""
    key, equals, _ = text.partition("=")
    return bool(equals) and key.isidentifier() and key not in _GROUPS


def values(group: Any) -> dict[str, Any]:
    """The settings of a group by name, as the functions of ``ddpm_eval`` take them.

    >>> values(BaselineSettings(n=5))
    {'n': 5, 'first': False, 'seed': 0}
    """
    return {item.name: getattr(group, item.name) for item in fields(group)}
