"""Settings that lie beside a file of weights: read as text, and never executed.

tqch/ddpm-torch writes ``exp_TIME.info`` (JSON), w86763777/pytorch-ddpm ``flagfile.txt`` (one
``--name=value`` a line), ermongroup/ddim ``config.yml`` (YAML of Python objects, of which the plain
``name: value`` lines are read), the original ``kwargs.json``.
"""

import contextlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ddpm_train.config import ModelConfig, ObjectiveConfig, ScheduleConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats.foreign import Origins
from ddpm_train.reading import list_folder, read_json, read_text
from ddpm_train.schedule import SCHEDULES
from ddpm_train.settings import entry, from_dict

Values = Mapping[str, Any]

_NAMES = {
    **dict.fromkeys(("timesteps", "T", "num_diffusion_timesteps"), "schedule.T"),
    **dict.fromkeys(("beta_start", "beta_1"), "schedule.beta_start"),
    **dict.fromkeys(("beta_end", "beta_T"), "schedule.beta_end"),
    "beta_schedule": "schedule.kind",
    **dict.fromkeys(("model_mean_type", "mean_type"), "objective.prediction"),
    **dict.fromkeys(("model_var_type", "var_type"), "objective.variance"),
}
"""What these systems call the settings of the process."""

_VALUES = {
    "objective.prediction": {
        **{"eps": "eps", "epsilon": "eps"},
        **{"mean": "mu_tilde", "xprev": "mu_tilde", "x_0": "x_0", "xstart": "x_0"},
    },
    "objective.variance": {
        **{"fixed-large": "fixedlarge", "fixedlarge": "fixedlarge"},
        **{"fixed-small": "fixedsmall", "fixedsmall": "fixedsmall", "learned": "learned"},
    },
}


def settings_beside(
    path: Path, kinds: Mapping[str, Callable[[Path], Values]]
) -> tuple[Values, str]:
    """Read the one file of settings beside a file of weights.

    Args:
        path: The weights.
        kinds: Patterns of names, and how such a file is read.

    Returns:
        The values by their names there, and the file's name; nothing and "" if there is none.

    Raises:
        FixableError: There are several, or it is damaged.
    """
    names = {file.name: file for file in list_folder(path.parent)}
    for pattern, read in kinds.items():
        files = [file for name, file in names.items() if re.fullmatch(pattern, name)]
        if len(files) > 1:
            raise FixableError(
                f"{path.parent}: {', '.join(file.name for file in files[:3])} lie there, and it is "
                "not clear which is of these weights",
                f"leave that of {path.name} there, and move the others",
            )
        if files:
            return read(files[0]), files[0].name
    return {}, ""


def process(values: Values, file: str, assumed: ModelConfig) -> tuple[ModelConfig, Origins]:
    """Put the settings of the process that a file has in place of the assumed ones.

    Args:
        values: By their names there; others are not looked at.
        file: Its name.
        assumed: The model without them.

    Raises:
        FixableError: A value is not of the kind that it should be, or cannot be represented.
    """
    groups: dict[str, dict[str, Any]] = {"schedule": {}, "objective": {}}
    origins = Origins()
    for name, setting in _NAMES.items():
        if name not in values:
            continue
        value = values[name]
        if setting in _VALUES and str(value) not in _VALUES[setting]:
            raise FixableError(
                f"{file}: {name}={value} cannot be represented",
                f"only {' or '.join(_VALUES[setting])} can be imported",
            )
        group, _, key = setting.partition(".")
        groups[group][key] = _VALUES[setting][str(value)] if setting in _VALUES else value
        origins.read(file, setting)
    if "kind" in groups["schedule"]:
        entry(SCHEDULES, groups["schedule"]["kind"], f"{file}: beta_schedule")
    objective = {"variance": assumed.objective.variance, **groups["objective"]}
    if objective.get("prediction", "eps") != "eps":
        objective["loss"] = "mse"
    return ModelConfig(
        unet=assumed.unet,
        schedule=from_dict(ScheduleConfig, groups["schedule"], f"{file}: schedule."),
        objective=from_dict(ObjectiveConfig, objective, f"{file}: objective."),
    ), origins


def origins_of(shapes: Origins, process_origins: Origins, file: str, expected: str) -> Origins:
    """Add to the origins of the network those of the process: read, or assumed with the reason.

    Args:
        shapes: Of the network.
        process_origins: What ``process`` read.
        file: Where; empty if there is no such file.
        expected: What such a file is called.
    """
    why = f"{file} does not say" if file else f"there is no {expected}"
    origins = Origins(shapes).assumed(f"{why}; as in the paper", *PAPER_PROCESS)
    origins.assumed(f"{why}; as in the paper at this image size", "objective.variance")
    origins.update(process_origins)
    return origins


PAPER_PROCESS = ("schedule.kind", "schedule.T", "schedule.beta_start", "schedule.beta_end")


def read_nested_json(path: Path) -> Values:
    """Read a JSON object and the values of all objects inside it, by their names.

    Raises:
        FixableError: It is damaged.
    """
    flat: dict[str, Any] = {}

    def gather(plain: Mapping[str, Any]) -> None:
        for key, value in plain.items():
            if isinstance(value, Mapping):
                gather(value)
            else:
                flat[key] = value

    gather(read_json(path))
    return flat


def read_flags(path: Path) -> Values:
    """Read absl's flags, one ``--name=value`` a line.

    Raises:
        FixableError: It is no text.
    """
    lines = (re.fullmatch(r"--(\w+)=(.*)", line) for line in read_text(path).splitlines())
    return {line[1]: _value(line[2]) for line in lines if line}


def read_yaml_lines(path: Path) -> Values:
    """Read the ``name: value`` lines of a YAML file, whatever objects it says they are of.

    Raises:
        FixableError: It is no text.
    """
    lines = (re.match(r"\s*(\w+):\s+([^\s!#][^#]*)", line) for line in read_text(path).splitlines())
    return {line[1]: _value(line[2].strip().strip("'\"")) for line in lines if line}


def _value(text: str) -> Any:
    """The number that a text is, or the text.

    >>> _value("1000"), _value("1e-4"), _value("linear")
    (1000, 0.0001, 'linear')
    """
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
