"""ermongroup's ncsn and ncsnv2: lists of the state dict, the optimizer, epoch, step, and averages.

The first NCSN saves no averages and no levels of noise; NCSNv2's levels are in the state dict.
Sizes lie in ``config.yml`` beside, a YAML of Python objects that is read as text.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ddpm_train.architectures import RefineNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig, schedule_of_levels
from ddpm_train.errors import FixableError
from ddpm_train.formats import beside, containers
from ddpm_train.formats.canonical import SHAPES, Rules, rename, require_pixels
from ddpm_train.formats.foreign import Foreign, Origins
from ddpm_train.settings import check, from_dict
from ddpm_train.weights import Tensors

NAME = "ermongroup/ncsn"
NAME_2 = "ermongroup/ncsnv2"
DEPTHS = {"deepest": "123X45", "deeper": "12345", "standard": "1234"}
"""The numbers of the levels, from the highest resolution; X is 31.

Those of the way up are counted from the lowest; there 31 comes before 3.
"""
SIZES = {"standard": 32, "deeper": 128, "deepest": 256}
_SHARED = ("image_size", "sigma_begin", "sigma_end")  # of config.yml, by the same names
_TOLERANCE = 1e-4  # relative, of a geometric sequence in float32


def recognises(content: Mapping[str, Any]) -> bool:
    """Whether the list's first member, or the dictionary, has these networks' names."""
    inner = content.get("0", content)
    names = inner if isinstance(inner, Mapping) else {}
    bare = {containers.unwrapped(str(name)) for name in names}
    return {"begin_conv.weight", "end_conv.weight"} <= bare


def read(content: Mapping[str, Any], path: Path) -> Foreign:
    """Read the weights, the levels of noise, and the configuration beside if it is there.

    Raises:
        FixableError: The network is none of these, or its configuration is of another one.
    """
    is_list = "0" in content
    theirs = containers.tensors(content["0"] if is_list else content, str(path))
    sigmas = theirs.pop("sigmas", None)
    depth = next(name for name, numbers in DEPTHS.items() if _has(theirs, numbers))
    weights = _canonical(theirs, depth)
    values, file = beside.settings_beside(path, {r"config\.ya?ml": beside.read_yaml_lines})
    config, origins, asked = _settings(weights, depth, sigmas, values, file, path)
    shadow = content.get("4") if is_list else None
    ema = {}
    if isinstance(shadow, Mapping):
        averages = containers.tensors(shadow, f"{path}: 4")
        averages.pop("sigmas", None)
        ema = _canonical(averages, depth)
    return Foreign(
        format=NAME if config.conditional else NAME_2,
        model=ModelConfig(
            network="refinenet",
            refinenet=config,
            schedule=schedule_of_levels(config),
            objective=ObjectiveConfig(prediction="score", loss="mse"),
        ),
        weights=weights if is_list else {},
        ema=ema,
        unlabelled={} if is_list else weights,
        step=containers.step(content.get("3", 0), path),
        origins=origins,
        asked=asked,
        asked_because="look at its config.yml, or put it beside the file",
        derive=_derived,
    )


def _settings(
    weights: Tensors,
    depth: str,
    sigmas: torch.Tensor | None,
    values: Mapping[str, Any],
    file: str,
    path: Path,
) -> tuple[RefineNetConfig, Origins, dict[str, object]]:
    """The settings, where they come from, and those that must be given."""
    _refuse(values, file)
    embed = weights.get("norm_out.embed.weight")
    base, channels = weights["conv_in.weight"].shape[:2]
    require_pixels(channels, str(path))
    names = ("channels", "base_channels", "depth", "conditional")
    origins = Origins().read(SHAPES, "network", *(f"refinenet.{name}" for name in names))
    plain = {name: values[name] for name in _SHARED if name in values}
    config = replace(
        from_dict(RefineNetConfig, {"image_size": SIZES[depth], **plain}, f"{file}: "),
        channels=channels,
        base_channels=base,
        depth=depth,  # type: ignore[arg-type]
        conditional=embed is not None,
        levels=len(embed) if embed is not None else 232,
    )
    if "image_size" in values:
        origins.read(file, "refinenet.image_size")
    else:
        origins.assumed("as the released network of this depth", "refinenet.image_size")
    ends = ("refinenet.levels", "refinenet.sigma_begin", "refinenet.sigma_end")
    origins.derived("the levels of noise", "schedule.T", "schedule.snr_start", "schedule.snr_end")
    if sigmas is not None:
        origins.read("sigmas in the file", *ends)
        return _with_levels(config, sigmas, path), origins, {}
    if {"sigma_begin", "sigma_end"} <= values.keys():
        return config, origins.read(file, *ends), {}
    if embed is not None:
        origins.read(SHAPES, "refinenet.levels")
        return config, origins, {"refinenet.sigma_begin": 1.0, "refinenet.sigma_end": 0.01}
    return config, origins, {ends[0]: 232, ends[1]: 50.0, ends[2]: 0.01}


def _with_levels(config: RefineNetConfig, sigmas: torch.Tensor, path: Path) -> RefineNetConfig:
    """Take the levels of noise from the file; they must be a geometric sequence."""
    sigmas = sigmas.double()
    first, last = sigmas[0].item(), sigmas[-1].item()
    if not 0 < last < first:
        raise FixableError(f"{path}: its levels of noise (sigmas) do not fall", "download it again")
    wanted = torch.linspace(math.log(first), math.log(last), len(sigmas), dtype=sigmas.dtype)
    if not torch.allclose(sigmas.log(), wanted, rtol=0, atol=_TOLERANCE):
        raise FixableError(
            f"{path}: its levels of noise (sigmas) are no geometric sequence",
            "only networks with sigma_dist geometric can be imported",
        )
    begin, end = float(f"{first:.6g}"), float(f"{last:.6g}")
    config = replace(config, levels=len(sigmas), sigma_begin=begin, sigma_end=end)
    check(config, f"{path}: refinenet.")
    return config


def _refuse(values: Mapping[str, Any], file: str) -> None:
    for name in ("rescaled", "logit_transform"):
        if str(values.get(name, "false")).lower() not in ("false", "no", "off"):
            raise FixableError(
                f"{file}: {name}: {values[name]}, so that its images are not those in [0, 1]",
                "only networks of images in [0, 1] can be imported",
            )


def _derived(model: ModelConfig, fixed: frozenset[str]) -> ModelConfig:
    """Derive the process from the noise levels; one that was set stays, to be refused by name."""
    if any(name.startswith("schedule.") for name in fixed):
        return model
    return replace(model, schedule=schedule_of_levels(model.refinenet))


def _has(theirs: Tensors, numbers: str) -> bool:
    last = "31" if "X" in numbers else numbers[-1]
    return any(name.startswith(f"res{last}.") for name in theirs) or numbers == "1234"


def _canonical(theirs: Tensors, depth: str) -> Tensors:
    """Bring the weights under our names."""
    numbers = ["31" if number == "X" else number for number in DEPTHS[depth]]
    upward = sorted(numbers, key=lambda number: 2.5 if number == "31" else int(number))

    def stage(match: re.Match[str]) -> str:
        return f"{match[3]}s.{2 * (int(match[1]) - 1) + int(match[2]) - 1}."

    rules: Rules = [
        (r"^begin_conv\.", "conv_in."),
        (r"^end_conv\.", "conv_out."),
        (r"^normalizer\.", "norm_out."),
        (r"\.(conv2|shortcut)\.conv\.", r".\1."),
        (r"^res(\d+)\.", lambda match: f"down.{_index(numbers, match[1])}."),
        (r"^refine(\d+)\.", lambda match: f"up.{_index(upward, match[1])}."),
        (r"\.adapt_convs\.(\d+)\.", r".adapt.\1."),
        (r"\.output_convs\.", ".output."),
        (r"\.msf\.", ".fusion."),
        (r"\.crp\.", ".pooling."),
        (r"(?<=\.)(\d+)_(\d+)_(conv|norm)\.", stage),
    ]
    return rename(theirs, rules)


def _index(numbers: list[str], number: str) -> int:
    return numbers.index(number) if number in numbers else len(numbers)
