"""yang-song/score_sde_pytorch: DDPM, DDPM++ and NCSN++ that were trained on the VP SDE.

A file has ``model`` with a flat list of modules and ``ema`` with a list of the averaged parameters
in the model's order. The configuration is a Python file elsewhere: the SDE is asked for. On the
discrete VP SDE, and on the continuous one at T times, the network is one of a DDPM.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ddpm_train.architectures import NcsnppConfig
from ddpm_train.config import ModelConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.formats.all_modules import canonical
from ddpm_train.formats.canonical import SHAPES, architecture
from ddpm_train.formats.foreign import Foreign, Origins
from ddpm_train.weights import Tensors

NAME = "yang-song/score_sde_pytorch"
SDES = ("vp", "vp_continuous")
_SIGMAS = "sigmas"
_FIRST = "all_modules.0."


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary, or its ``model``, is a flat list of modules."""
    inner = content.get("model", content)
    names = inner if isinstance(inner, Mapping) else {}
    return any(containers.unwrapped(str(name)).startswith(_FIRST) for name in names)


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the raw and the averaged weights; ask for the SDE.

    Raises:
        FixableError: The network is none of these, or the list does not fit the model.
    """
    bare = "model" not in content
    theirs = containers.tensors(content if bare else content["model"], str(path))
    theirs.pop(_SIGMAS, None)
    weights = canonical(theirs)
    if "frequencies" in weights:
        raise FixableError(
            f"{path}: random Fourier features of log sigma: a network of the VE SDE",
            "only networks of the VP SDE are diffusion models with T steps",
        )
    average = content.get("ema")
    ema = {} if bare or not isinstance(average, Mapping) else _averaged(average, theirs, path)
    blocks = "down.0.downsample.conv1.weight" in weights
    if blocks:
        config, origins = ncsnpp_settings(weights)
        model = ModelConfig(network="ncsnpp", ncsnpp=config)
        if not config.residual_input:
            origins.assumed("DDPM++, which has no filter", "ncsnpp.filter")
    else:
        unet, origins = architecture(weights)
        model = ModelConfig(unet=replace(unet, attn_up="last"))
        origins.assumed("the class DDPM", "unet.attn_up")
    return Foreign(
        format=NAME,
        model=model,
        weights={} if bare else weights,
        ema=ema,
        unlabelled=weights if bare else {},
        step=containers.step(content.get("step", 0), path),
        origins=origins,
        asked={"sde": "vp"},
        asked_because="look at training.sde and training.continuous of its configuration; "
        "vp or vp_continuous",
        flags={"sde": _sde},
    )


def ncsnpp_settings(weights: Tensors, *, image_size: int = 0) -> tuple[NcsnppConfig, Origins]:
    """Read the settings of DDPM++ or NCSN++ that shapes tell, under our names.

    Without the image size, the first level with attention is taken for 16x16.

    Raises:
        FixableError: The weights are not those of such a network.
    """
    unet, origins = architecture(weights, image_size=image_size)
    fourier, residual = "frequencies" in weights, "down.0.residual.weight" in weights
    names = ("channels", "base_channels", "channel_mult", "num_res_blocks", "attn_resolutions")
    same = ("image_size", *names)
    shared = {name: getattr(unet, name) for name in same}
    ours = Origins({f"ncsnpp.{name}": origins[f"unet.{name}"] for name in same
                    if f"unet.{name}" in origins})  # fmt: skip
    ours.read(SHAPES, "ncsnpp.embedding", "ncsnpp.residual_input", "network")
    return NcsnppConfig(
        **shared,
        dropout=0.0,
        embedding="fourier" if fourier else "sines",
        filter="fir" if residual else "box",
        residual_input=residual,
    ), ours


def _averaged(average: Mapping[str, Any], theirs: Tensors, path: Path) -> Tensors:
    """Name the list of averages by the order of the model's parameters; check every shape."""
    values, names = average.get("shadow_params"), list(theirs)
    if not isinstance(values, list) or [getattr(value, "shape", None) for value in values] != [
        theirs[name].shape for name in names
    ]:
        raise FixableError(
            f"{path}: its averaged weights (ema.shadow_params) are not those of its model in order",
            "use a checkpoint as score_sde wrote it",
        )
    return canonical(dict(zip(names, values, strict=True)))


def _sde(foreign: Foreign, value: str) -> Foreign:
    """Take the process from the SDE's name.

    Raises:
        FixableError: It is no diffusion model of T steps.
    """
    if value not in SDES:
        raise FixableError(
            f"sde={value}: only the VP SDE is a diffusion model with T steps",
            f"choose {' or '.join(SDES)}",
        )
    origins = Origins(foreign.origins).read(f"sde={value}", "schedule.kind", "schedule.T")
    origins.read(f"sde={value}", "schedule.beta_start", "schedule.beta_end")
    model = foreign.model if value == "vp" else on_vp_sde(foreign.model)
    return foreign.with_answers("sde", model=model, origins=origins)


def on_vp_sde(model: ModelConfig) -> ModelConfig:
    """Evaluate a network of the continuous VP SDE at u = t / 1000, where it takes 999 u."""
    schedule, step = ScheduleConfig(kind="vp_sde"), 0.999
    if model.network == "ncsnpp":
        ncsnpp = replace(model.ncsnpp, time_first=step, time_scale=step)
        return replace(model, schedule=schedule, ncsnpp=ncsnpp)
    unet = replace(model.unet, time_first=step, time_scale=step)
    return replace(model, schedule=schedule, unet=unet)
