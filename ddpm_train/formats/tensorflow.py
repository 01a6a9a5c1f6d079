"""The original TensorFlow checkpoints: a tensor bundle, with kwargs.json beside it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from ddpm_train.checkpoint import Tensors
from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import pesser
from ddpm_train.formats.bundle import Bundle
from ddpm_train.formats.canonical import Foreign, Rules, architecture, paper_variance, rename
from ddpm_train.reading import read_json
from ddpm_train.schedule import SCHEDULES
from ddpm_train.settings import entry, from_dict

NAME = "the original's TensorFlow checkpoint"
AVERAGED = "/ExponentialMovingAverage"
RULES: Rules = [  # to pesser's names, which are the original's but for these
    (r"^model/", ""),
    (r"/", "."),
    (r"^temb\.dense(\d)\.", r"temb.dense.\1."),
    (r"\b(down|up)_(\d+)\.", r"\1.\2."),
    (r"\.(block|attn)_(\d+)\.", r".\1.\2."),
    (r"^mid\.(block|attn)\.", r"mid.\1_"),
    (r"\.(W|gamma)$", ".weight"),
    (r"\.(b|beta)$", ".bias"),
]
PARAMETER = re.compile(r"^model/.*/(W|b|gamma|beta)$")
MEANS = {"eps": "eps", "xprev": "mu_tilde"}


def find(path: Path) -> Path | None:
    """The prefix of a bundle's files, given the prefix, one of the files or their folder.

    Raises:
        FixableError: The folder holds several.
    """
    if path.is_dir():
        found = sorted(path.glob("*.index"))
        if len(found) > 1:
            raise FixableError(
                f"{path}: holds {', '.join(file.name for file in found[:3])} ...",
                "name one of them",
            )
        return found[0].with_suffix("") if found else None
    name = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path.name)
    prefix = path.with_name(name)
    return prefix if prefix.with_name(name + ".index").is_file() else None


def read(prefix: Path) -> Foreign:
    """Read the bundle that ``find`` gave, and the settings in kwargs.json if it is there.

    Raises:
        FixableError: A file is damaged, or a setting is one that ours have not.
    """
    bundle = Bundle(prefix)
    raw = _weights(bundle, [name for name in bundle if PARAMETER.match(name)])
    averaged = [n for n in bundle if n.endswith(AVERAGED) and PARAMETER.match(n[: -len(AVERAGED)])]
    ema = _weights(bundle, averaged)
    if not raw and not ema:
        raise FixableError(
            f"{bundle.index}: no variable model/.../W in it",
            "this is a checkpoint of another model",
        )
    settings, warnings = _settings(prefix.parent / "kwargs.json")
    sizes = {"cifar10": 32, "celebahq256": 256}
    dataset = str(settings.get("dataset", ""))
    size = sizes.get(dataset, 256 if dataset.startswith("lsun") else 0)
    unet, assumed = architecture(ema or raw, image_size=size)
    step = int(bundle["global_step"]) if "global_step" in bundle else 0
    return Foreign(
        format=NAME,
        model=_model(settings, paper_variance(ModelConfig(unet=unet)), warnings),
        weights=raw,
        ema=ema,
        step=step,
        warnings=[*warnings, *assumed],
    )


def _weights(bundle: Bundle, names: Iterable[str]) -> Tensors:
    """Variables under our names; theirs hold the channels of the output last."""
    theirs: Tensors = {}
    for name in names:
        # A copy: the bytes of a file are read-only, and PyTorch has no such tensors.
        value = torch.from_numpy(bundle[name].copy())
        if value.ndim == 4:
            value = value.permute(3, 2, 0, 1)
        elif value.ndim == 2:
            value = value.T
        theirs[name.removesuffix(AVERAGED)] = value.contiguous()
    return rename(rename(theirs, RULES), pesser.RULES)


def _settings(path: Path) -> tuple[dict[str, Any], list[str]]:
    """The arguments of the training script, wherever they are nested."""
    if not path.is_file():
        return {}, ["there is no kwargs.json: the paper's schedule and variance are assumed"]
    flat: dict[str, Any] = {}

    def gather(plain: object) -> None:
        for key, value in plain.items() if isinstance(plain, Mapping) else ():
            gather(value)
            flat[key] = value

    gather(read_json(path))
    return flat, []


def _model(settings: Mapping[str, Any], assumed: ModelConfig, warnings: list[str]) -> ModelConfig:
    names = {"beta_schedule": "kind", "num_diffusion_timesteps": "T",
             "beta_start": "beta_start", "beta_end": "beta_end"}  # fmt: skip
    schedule = {ours: settings[theirs] for theirs, ours in names.items() if theirs in settings}
    if "kind" in schedule:
        entry(SCHEDULES, schedule["kind"], "kwargs.json: beta_schedule")
    mean = settings.get("model_mean_type", "eps")
    if mean not in MEANS:
        raise FixableError(
            f"kwargs.json: model_mean_type={mean} cannot be represented",
            f"only {' or '.join(MEANS)} can be imported",
        )
    objective = {"prediction": MEANS[mean], "loss": "L_simple" if mean == "eps" else "mse"}
    objective["variance"] = settings.get("model_var_type", assumed.objective.variance)
    if settings and "model_var_type" not in settings:
        warnings.append(f"kwargs.json does not tell the variance: {objective['variance']}")
    return ModelConfig(
        unet=assumed.unet,
        schedule=from_dict(ScheduleConfig, schedule, "kwargs.json: schedule."),
        objective=from_dict(ObjectiveConfig, objective, "kwargs.json: objective."),
    )
