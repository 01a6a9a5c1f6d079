"""NVlabs/edm: SongUNet and DhariwalUNet, from a plain ``state_dict()`` of the network.

EDM's own files are pickles that carry a program, and stay refused. What a state dict does not tell,
the preconditioning, is asked for. With VPPrecond the network is one of a DDPM: eps at
alpha-bar = 1 / (1 + sigma^2). EDMPrecond and VEPrecond know any sigma: they are measured at T
levels even in ln sigma, over the range of their samplers, where the network's time is linear in t.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.formats.canonical import Rules, architecture, rename
from ddpm_train.formats.foreign import Foreign, Origins
from ddpm_train.formats.score_sde import ncsnpp_settings, on_vp_sde
from ddpm_train.weights import Tensors

NAME = "NVlabs/edm"
_UNUSED = re.compile(r"resample_filter$|^map_augment\.|^u$|^sigma_m(in|ax)$")
RULES: Rules = [
    (r"^map_noise\.freqs$", "frequencies"),
    (r"^map_layer([01])\.", r"time_dense_\1."),
    (r"^map_label\.", "labels."),
    (r"^enc\.\d+x\d+_conv\.", "conv_in."),
    (r"^(?:dec\.\d+x\d+_aux|out)_norm\.", "norm_out."),
    (r"^(?:dec\.\d+x\d+_aux|out)_conv\.", "conv_out."),
]
_INSIDE: Mapping[str, str] = {
    **{"norm0": "norm1", "conv0": "conv1", "affine": "temb_proj"},
    **{"norm1": "norm2", "conv1": "conv2", "skip": "shortcut"},
}
_ATTENTION = {"norm2": "norm", "qkv": "qkv", "proj": "proj"}


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the dictionary has this system's names."""
    names = {_bare(str(name)) for name in content}
    return {"map_layer0.weight", "map_layer1.weight"} <= names


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the state dict; ask for the preconditioning.

    Raises:
        FixableError: The network is none of these.
    """
    theirs = containers.tensors(content, str(path))
    weights, size = canonical(theirs, path)
    if "up.0.blocks.0.temb_proj.weight" not in weights:
        raise FixableError(f"{path}: it has no way up (dec.*)", "save the whole state_dict()")
    song = any("_aux_conv" in name for name in theirs)
    if song:
        config, origins = ncsnpp_settings(weights, image_size=size)
        classes = weights["labels.weight"].shape[1] if "labels.weight" in weights else 0
        model = ModelConfig(network="ncsnpp", ncsnpp=replace(config, classes=classes))
    else:
        if "labels.weight" in weights:
            weights["labels.weight"] = weights["labels.weight"].T
        unet, origins = architecture(weights, image_size=size)
        dhariwal = replace(
            unet,
            time_order="cos_sin",
            time_freq_shift=0,
            norm_eps=1e-5,
            head_channels=64,
            group_channels=4,
        )
        model = ModelConfig(unet=dhariwal)
    origins.read("the names of its layers", f"{model.network}.image_size")
    return Foreign(
        format=NAME,
        model=model,
        unlabelled=weights,
        origins=origins,
        rows="edm",
        asked={"preconditioning": "vp"},
        asked_because="look at the class of the network that was saved: VPPrecond is vp, VEPrecond "
        "ve, EDMPrecond edm",
        flags={"preconditioning": _preconditioning},
    )


def canonical(theirs: Mapping[str, Any], path: Path) -> tuple[Tensors, int]:
    """Bring weights under our names; give the image size, which the names tell.

    Raises:
        FixableError: The names are not those of these networks.
    """
    bare = {_bare(name): tensor for name, tensor in theirs.items()}
    bare = {name: tensor for name, tensor in bare.items() if not _UNUSED.search(name)}
    sizes = {int(match[1]) for name in bare if (match := re.match(r"enc\.(\d+)x\1_", name))}
    if not sizes:
        raise FixableError(f"{path}: it has no layers enc.SIZExSIZE", "use EDM's own names")
    size = max(sizes)
    song = any("_aux_conv" in name for name in bare)
    last = max(int(m[1]) for name in bare if (m := re.match(r"dec\.\d+x\d+_block(\d+)\.", name)))

    def place(match: re.Match[str]) -> str:
        way, level = match[1], (size // int(match[2])).bit_length() - 1
        return _place(way, level, match[3], match[4], alone=last if song else None)

    def residual(match: re.Match[str]) -> str:
        return f"down.{(size // int(match[1])).bit_length() - 2}.residual."

    flat: Rules = [
        (r"^enc\.(\d+)x\d+_aux_residual\.", residual),
        (r"^(enc|dec)\.(\d+)x\d+_(\w+?)\.(\w+)(?=\.)", place),
    ]
    return rename(bare, [*RULES, *flat]), size


def _place(way: str, level: int, member: str, layer: str, *, alone: int | None) -> str:
    """Our name of a layer of a block; ``alone``: the one block of a level up with attention."""
    attention = layer in _ATTENTION
    inside = _ATTENTION[layer] if attention else _INSIDE.get(layer, layer)
    if member == "down":
        return f"down.{level - 1}.downsample.{inside}"
    if member == "up":
        return f"up.{level + 1}.upsample.{inside}"
    if member in ("in0", "in1"):
        return f"middle.attention.{inside}" if attention else f"middle.block_{member[2]}.{inside}"
    i = int(member.removeprefix("block"))
    if not attention:
        return f"{'down' if way == 'enc' else 'up'}.{level}.blocks.{i}.{inside}"
    if way == "dec" and i == alone:
        i = 0
    return f"{'down' if way == 'enc' else 'up'}.{level}.attentions.{i}.{inside}"


def _bare(name: str) -> str:
    """A name without the preconditioner's prefix."""
    return containers.unwrapped(name).removeprefix("model.")


def _preconditioning(foreign: Foreign, value: str) -> Foreign:
    """Take the process from the preconditioning.

    Raises:
        FixableError: It is none of these.
    """
    if value == "vp":
        origins = Origins(foreign.origins).read(
            "preconditioning=vp", "schedule.kind", "schedule.beta_start", "schedule.beta_end"
        )
        model = on_vp_sde(foreign.model)
        return foreign.with_answers("preconditioning", model=model, origins=origins)
    if value not in NOISE:
        raise FixableError(
            f"preconditioning={value}: unknown here",
            f"choose vp, {' or '.join(NOISE)}; networks of iDDPMPrecond are OpenAI's files",
        )
    origins = Origins(foreign.origins).read(
        f"preconditioning={value}", "objective.prediction", "schedule.snr_start", "schedule.snr_end"
    )
    origins.derived(
        "levels even in ln sigma", "schedule.kind", f"{foreign.model.network}.time_first"
    )
    origins.derived("levels even in ln sigma", f"{foreign.model.network}.time_scale")
    origins.assumed("a choice: the network knows any sigma", "schedule.T")
    model = replace(foreign.model, objective=ObjectiveConfig(prediction=value, loss="mse"))
    least, most = NOISE[value].range
    ends = {"snr_start": least**-2, "snr_end": most**-2}
    model = replace(model, schedule=ScheduleConfig(kind="log_snr", T=LEVELS, **ends))
    return foreign.with_answers(
        "preconditioning", model=model, origins=origins, derive=partial(_timed, kind=value)
    )


class Noise(NamedTuple):
    """What the network of a preconditioning is told of sigma: factor ln(scale sigma)."""

    factor: float
    scale: float
    range: tuple[float, float]  # of sigma, as its released networks are sampled


LEVELS = 1000
NOISE = {"edm": Noise(0.25, 1.0, (0.002, 80.0)), "ve": Noise(1.0, 0.5, (0.02, 100.0))}
"""By their name: EDMPrecond and VEPrecond (Table 1)."""


def _timed(model: ModelConfig, fixed: frozenset[str], *, kind: str) -> ModelConfig:
    """Tell the network c_noise of the levels: linear in t, since they are even in ln sigma."""
    noise, schedule = NOISE[kind], model.schedule
    first, last = (-0.5 * math.log(snr) for snr in (schedule.snr_start, schedule.snr_end))
    start = noise.factor * (first + math.log(noise.scale))
    step = noise.factor * (last - first) / (schedule.T - 1)
    if model.network == "ncsnpp":
        return replace(model, ncsnpp=replace(model.ncsnpp, time_first=start, time_scale=step))
    return replace(model, unet=replace(model.unet, time_first=start, time_scale=step))
