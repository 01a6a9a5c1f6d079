"""Every setting of a training run: one frozen tree, saved whole in the run and its checkpoints.

A preset is a function that returns a whole tree. A user changes any leaf by its dotted name,
``--set optim.lr=1e-4``; the text is read by the type of the leaf.
"""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from ddpm_train.errors import FixableError

Tree = TypeVar("Tree")
ScheduleKind = Literal["linear", "quad", "warmup10", "warmup50", "const", "jsd", "cosine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Which images are trained on. Their size and channels are the network's (``unet``)."""

    source: Literal["cifar10", "digits", "folder", "npz", "lmdb"]
    path: str = ""  # empty: where the source is kept by default
    flip: bool = True  # random horizontal flips
    resize: Literal["none", "nearest", "box", "bilinear", "bicubic", "lanczos"] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """The forward process (section 4). ``jsd`` and ``cosine`` do not use the two ends."""

    kind: ScheduleKind = "linear"
    T: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class UNetConfig:
    """The network (appendix B): level l has image_size / 2^l pixels and channel_mult[l].

    The settings from ``time_order`` on are the paper's; other values are for networks that other
    systems trained.
    """

    image_size: int = 32
    channels: int = 3
    base_channels: int = 128
    channel_mult: tuple[int, ...] = (1, 2, 2, 2)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    dropout: float = 0.1
    time_order: Literal["sin_cos", "cos_sin", "interleaved"] = "sin_cos"
    time_freq_shift: int = 1  # frequencies exp(-j ln(10000) / (base_channels / 2 - this))
    time_scale: float = 1.0  # the network is told (t - 1) times this
    time_modulation: Literal["shift", "scale_shift"] = "shift"  # what time does to a block
    pad_down: Literal["bottom_right", "both"] = "bottom_right"  # before a stride of 2
    norm_eps: float = 1e-6
    heads: int = 1  # of attention
    head_channels: int = 0  # channels of a head, in place of ``heads``; 0: not used

    def heads_of(self, channels: int) -> int:
        """The heads of an attention layer with so many channels."""
        return channels // self.head_channels if self.head_channels else self.heads


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectiveConfig:
    """A row of the paper's Table 2: what is predicted, the variance of p, and the loss.

    ``eps`` with ``L_simple`` and ``mu_tilde`` with ``mse`` are unweighted squared errors of what is
    predicted; ``L`` is the variational bound in bits/dim at one random t. ``learned_range`` is the
    learned variance of Nichol and Dhariwal (2021), between fixedsmall and beta_t.
    """

    prediction: Literal["eps", "mu_tilde"] = "eps"
    loss: Literal["L_simple", "mse", "L"] = "L_simple"
    variance: Literal["fixedlarge", "fixedsmall", "learned", "learned_range"] = "fixedlarge"

    @property
    def learns_variance(self) -> bool:
        """Whether the network's output has a second half that tells the variance."""
        return self.variance.startswith("learned")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """Adam, warmup, clipping and the weight average (appendix B)."""

    lr: float = 2e-4
    warmup_steps: int = 5000  # lr rises linearly from 0 at step 0
    batch_size: int = 128  # images per step over all processes
    steps: int = 800_000
    grad_clip: float = 1.0  # global norm
    ema_decay: float = 0.9999


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputeConfig:
    """How the arithmetic is done. All but ``precision`` may change between two parts of a run."""

    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    precision: Literal["float32", "bf16", "float64"] = "float32"
    microbatch: int = 0  # images per forward pass and process; 0: chosen for the device
    threads: int = 0  # of the CPU; 0: torch's choice
    compile: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """What is written along the way. Nothing here changes training by a bit."""

    every: int = 10  # steps between lines of log.jsonl
    sample_every: int = 10_000  # steps between sample grids; 0: none
    samples: int = 16  # images in a grid
    checkpoint_every: int = 5000  # steps between checkpoints
    checkpoint_minutes: float = 10.0  # and at least this often
    keep: int = 2  # newest checkpoints kept; 0: all
    keep_every: int = 0  # checkpoints at these steps stay for good; 0: none
    tensorboard: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What is needed to evaluate a checkpoint: the part that foreign checkpoints have too."""

    schedule: ScheduleConfig = ScheduleConfig()
    unet: UNetConfig = UNetConfig()
    objective: ObjectiveConfig = ObjectiveConfig()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One training run."""

    preset: str
    seed: int = 0
    data: DataConfig
    schedule: ScheduleConfig = ScheduleConfig()
    unet: UNetConfig = UNetConfig()
    objective: ObjectiveConfig = ObjectiveConfig()
    optim: OptimConfig = OptimConfig()
    compute: ComputeConfig = ComputeConfig()
    log: LogConfig = field(default_factory=LogConfig)

    @property
    def model(self) -> ModelConfig:
        """The part that evaluation needs."""
        return ModelConfig(schedule=self.schedule, unet=self.unet, objective=self.objective)


# ------------------------------------------------------------------------------------ presets


def cifar10() -> RunConfig:
    """CIFAR-10, unconditional, as in the paper: 35.7M parameters, 800k steps.

    >>> cifar10().optim.lr
    0.0002
    """
    return RunConfig(preset="cifar10", data=DataConfig(source="cifar10"))


def _size256(preset: str, *, source: Literal["folder", "lmdb"], steps: int) -> RunConfig:
    """The settings that the paper's 256x256 runs share: 113.7M parameters."""
    return RunConfig(
        preset=preset,
        data=DataConfig(source=source, resize="lanczos"),
        unet=UNetConfig(image_size=256, channel_mult=(1, 1, 2, 2, 4, 4), dropout=0.0),
        objective=ObjectiveConfig(variance="fixedsmall"),
        optim=OptimConfig(lr=2e-5, batch_size=64, steps=steps),
    )


def celebahq256() -> RunConfig:
    """CelebA-HQ 256x256 from a folder or zip of images (--data): 0.5M steps."""
    return _size256("celebahq256", source="folder", steps=500_000)


def lsun_church() -> RunConfig:
    """LSUN church outdoor 256x256 from lmdb or a folder: 1.2M steps."""
    return _size256("lsun-church", source="lmdb", steps=1_200_000)


def lsun_bedroom() -> RunConfig:
    """LSUN bedroom 256x256 from lmdb or a folder: 2.4M steps, no flips (paper)."""
    run = _size256("lsun-bedroom", source="lmdb", steps=2_400_000)
    return replace(run, data=replace(run.data, flip=False))


def lsun_bedroom_large() -> RunConfig:
    """The paper's larger bedroom model: 1.15M steps. Its width of 192 (255.7M) is an inference."""
    run = lsun_bedroom()
    return replace(
        run,
        preset="lsun-bedroom-large",
        unet=replace(run.unet, base_channels=192),
        optim=replace(run.optim, steps=1_150_000),
    )


def lsun_cat() -> RunConfig:
    """LSUN cat 256x256 from lmdb or a folder: 1.8M steps, no flips (original code)."""
    run = _size256("lsun-cat", source="lmdb", steps=1_800_000)
    return replace(run, data=replace(run.data, flip=False))


def digits() -> RunConfig:
    """scikit-learn's 8x8 digits on a laptop: the whole way in two minutes, no science."""
    return RunConfig(
        preset="digits",
        data=DataConfig(source="digits", flip=False),
        schedule=ScheduleConfig(T=200, beta_start=5e-4, beta_end=0.1),
        unet=UNetConfig(
            image_size=8,
            channels=1,
            base_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attn_resolutions=(4,),
            dropout=0.0,
        ),
        optim=OptimConfig(lr=2e-3, warmup_steps=100, batch_size=64, steps=1000, ema_decay=0.99),
        compute=ComputeConfig(threads=1),  # too small to share
        log=LogConfig(sample_every=500, checkpoint_every=250, keep=4),  # for watch
    )


def folder() -> RunConfig:
    """Your own 32x32 RGB images: a folder or zip of PNG, JPEG or WebP, or an .npz (--data)."""
    return replace(cifar10(), preset="folder", data=DataConfig(source="folder"))


PRESETS: dict[str, Callable[[], RunConfig]] = {
    "cifar10": cifar10,
    "celebahq256": celebahq256,
    "lsun-bedroom": lsun_bedroom,
    "lsun-bedroom-large": lsun_bedroom_large,
    "lsun-church": lsun_church,
    "lsun-cat": lsun_cat,
    "digits": digits,
    "folder": folder,
}


# ----------------------------------------------------------------- JSON, overrides, differences


def to_dict(tree: Any) -> dict[str, Any]:
    """Turn a settings tree into plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(tree)))
    return plain


def from_dict(kind: type[Tree], plain: Mapping[str, Any], where: str = "") -> Tree:
    """Read a settings tree back; the inverse of ``to_dict``.

    Raises:
        FixableError: A key is unknown or missing, or a value has the wrong type.

    >>> from_dict(RunConfig, to_dict(cifar10())) == cifar10()
    True
    """
    hints = typing.get_type_hints(kind)
    for key in plain:
        if key not in hints:
            raise _unknown(where + key, [where + name for name in hints])
    values: dict[str, Any] = {}
    for key, value in plain.items():
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise FixableError(
                    f"{where}{key} is a group of settings, not {value!r}",
                    f"set one of {', '.join(typing.get_type_hints(hint))} inside it",
                )
            values[key] = from_dict(typing.cast(type, hint), value, f"{where}{key}.")
        else:
            values[key] = _typed(hint, value, where + key)
    fields = typing.cast(Any, kind).__dataclass_fields__.values()
    for item in fields:
        required = item.default is dataclasses.MISSING
        if required and item.default_factory is dataclasses.MISSING and item.name not in values:
            raise FixableError(
                f"the setting {where}{item.name} is missing", "use a file that ddpm-train wrote"
            )
    return kind(**values)


def override(config: Tree, changes: Iterable[str]) -> Tree:
    """Apply ``a.b=value`` texts, each read by the type of its leaf.

    Raises:
        FixableError: The key is unknown (the nearest is named) or the value does not parse.

    >>> override(cifar10(), ["optim.lr=1e-4", "unet.channel_mult=1,2,4"]).unet.channel_mult
    (1, 2, 4)
    >>> override(cifar10(), ["optim.warmup=1"])
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: there is no setting optim.warmup
      fix: did you mean optim.warmup_steps? 'ddpm-train presets --all' lists every setting
    """
    known = flatten(to_dict(config))
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise FixableError(f"--set {change}: no value", "write --set group.name=value")
        if key not in known:
            raise _unknown(key, list(known))
        config = _set(config, key.split("."), text, key)
    return config


def flatten(plain: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Give every leaf its dotted name.

    >>> flatten({"optim": {"lr": 0.1}, "seed": 3})
    {'optim.lr': 0.1, 'seed': 3}
    """
    leaves: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            leaves |= flatten(value, f"{where}{key}.")
        else:
            leaves[where + key] = value
    return leaves


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say field by field what changed between two settings trees (as ``to_dict`` gives them).

    >>> differences({"optim": {"lr": 0.1}}, {"optim": {"lr": 0.2}})
    ['optim.lr: 0.1 -> 0.2']
    """
    a, b = flatten(old), flatten(new)
    return [
        f"{key}: {a.get(key, 'absent')} -> {b.get(key, 'absent')}"
        for key in sorted(a.keys() | b.keys())
        if a.get(key) != b.get(key)
    ]


def _set(tree: Tree, path: list[str], text: str, key: str) -> Tree:
    name, rest = path[0], path[1:]
    value: Any
    if rest:
        value = _set(getattr(tree, name), rest, text, key)
    else:
        value = _typed(typing.get_type_hints(type(tree))[name], text, key)
    return typing.cast(Tree, replace(typing.cast(Any, tree), **{name: value}))


def _typed(hint: Any, value: Any, key: str) -> Any:
    """Read a JSON value or a command-line text as ``hint``."""
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value in choices:
            return value
        raise FixableError(
            f"{key}={value}: not a choice", f"choose one of {', '.join(map(str, choices))}"
        )
    if typing.get_origin(hint) is tuple:
        parts = [p for p in value.split(",") if p] if isinstance(value, str) else value
        if isinstance(parts, list | tuple):
            return tuple(_typed(typing.get_args(hint)[0], part, key) for part in parts)
    read = _READERS.get(hint)
    if read is not None:
        try:
            return read(value)
        except (TypeError, ValueError, KeyError):
            pass
    name = getattr(hint, "__name__", str(hint))
    kind = "numbers with commas between" if isinstance(hint, types.GenericAlias) else name
    raise FixableError(f"{key}={value}: not of type {name}", f"give {kind}")


def _read_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and value != int(value)):
        raise ValueError
    return int(value.replace("_", "")) if isinstance(value, str) else int(value)


def _read_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    number = float(value)
    if number != number or number in (float("inf"), float("-inf")):
        raise ValueError
    return number


def _read_bool(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    return words[str(value).lower()]


def _read_str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


_READERS: dict[Any, Callable[[Any], Any]] = {
    int: _read_int,
    float: _read_float,
    bool: _read_bool,
    str: _read_str,
}


def _unknown(key: str, known: list[str]) -> FixableError:
    near = difflib.get_close_matches(key, known, 1, 0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return FixableError(
        f"there is no setting {key}", f"{hint}'ddpm-train presets --all' lists every setting"
    )
