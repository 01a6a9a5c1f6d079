"""Typed, frozen trees of settings: JSON there and back, dotted overrides, differences.

Generic: a tree is a frozen dataclass whose leaves are numbers, texts, flags, choices and tuples.
Training, evaluation and protocols of records use the same code.
"""

import dataclasses
import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, TypeVar

from ddpm_train.errors import FixableError

Tree = TypeVar("Tree")
Entry = TypeVar("Entry")


def to_dict(tree: Any) -> dict[str, Any]:
    """Turn a settings tree into plain JSON values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(tree)))
    return plain


def from_dict(kind: type[Tree], plain: Mapping[str, Any], where: str = "") -> Tree:
    """Read a settings tree back; the inverse of ``to_dict``.

    Raises:
        FixableError: A key is unknown or missing, or a value has the wrong type.

    >>> from ddpm_train.config import RunConfig
    >>> from ddpm_train.presets import cifar10
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

    >>> from ddpm_train.presets import cifar10
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


def entry(registry: Mapping[str, Entry], name: str, setting: str) -> Entry:
    """Look up the entry of a registry that a setting names.

    Raises:
        FixableError: There is none; the names that exist are listed.

    >>> entry({"linear": 1, "cosine": 2}, "cubic", "schedule.kind")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: schedule.kind=cubic: unknown
      fix: choose linear or cosine
    """
    if name not in registry:
        *names, last = registry
        choices = f"{', '.join(names)} or {last}" if names else last
        raise FixableError(f"{setting}={name}: unknown", f"choose {choices}")
    return registry[name]


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
