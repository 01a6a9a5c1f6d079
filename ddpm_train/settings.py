"""Typed, frozen trees of settings: JSON there and back, dotted overrides, checks, differences.

Generic: a tree is a frozen dataclass whose branches are such dataclasses and whose leaves are typed
(``leaves``). Training, evaluation, records and the readers of foreign files use the same code.
"""

import dataclasses
import difflib
import json
import typing
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ddpm_train import leaves
from ddpm_train.errors import FixableError

Tree = TypeVar("Tree")
Entry = TypeVar("Entry")


def to_dict(tree: Any) -> dict[str, Any]:
    """Turn a settings tree into plain JSON values, without what the tree says is ``unused``."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(tree)))
    for name in getattr(tree, "unused", ()):
        del plain[name]
    return plain


def from_dict(kind: type[Tree], plain: Mapping[str, Any], group: str = "") -> Tree:
    """Read a settings tree back; the inverse of ``to_dict``.

    Args:
        kind: The dataclass.
        plain: JSON values.
        group: The dotted name of the tree within a larger one, with a dot at its end; for messages.

    Raises:
        FixableError: A key is unknown or missing, or a value has the wrong type or range.

    >>> from ddpm_train.config import RunConfig
    >>> from ddpm_train.presets import cifar10
    >>> from_dict(RunConfig, to_dict(cifar10())) == cifar10()
    True
    """
    hints = _hints(kind)
    for key in plain:
        if key not in hints:
            raise _unknown(f"{group}{key}", [group + name for name in hints])
    values: dict[str, Any] = {}
    for key, value in plain.items():
        hint = hints[key]
        if not dataclasses.is_dataclass(hint):
            values[key] = leaves.read(hint, value, group + key)
        elif isinstance(value, Mapping):
            values[key] = from_dict(typing.cast(type, hint), value, f"{group}{key}.")
        else:
            raise FixableError(
                f"{group}{key} is a group of settings, not {value!r}",
                f"set one of {', '.join(_hints(hint))} inside it",
            )
    for item in dataclasses.fields(typing.cast(Any, kind)):
        required = item.default is dataclasses.MISSING
        if required and item.default_factory is dataclasses.MISSING and item.name not in values:
            raise FixableError(
                f"the setting {group}{item.name} is missing", f"add {group}{item.name}"
            )
    return kind(**values)


def check(tree: Any, group: str = "") -> None:
    """Check every leaf of a tree that was built in Python, where nothing checks types and ranges.

    Raises:
        FixableError: A value has the wrong type or range.

    >>> from ddpm_train.config import OptimConfig
    >>> check(OptimConfig(batch_size=0), "optim.")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: optim.batch_size=0: out of range
      fix: choose optim.batch_size from 1 to 1,000,000
    """
    for name, hint in _hints(type(tree)).items():
        value = getattr(tree, name)
        if not dataclasses.is_dataclass(hint):
            leaves.read(hint, value, group + name)
        elif dataclasses.is_dataclass(value):
            check(value, f"{group}{name}.")
        else:
            raise FixableError(
                f"{group}{name} is a group of settings, not {value!r}",
                f"give a {getattr(hint, '__name__', hint)}",
            )


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
      fix: did you mean optim.warmup_steps?
    """
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise FixableError(f"{change}: no value", "write group.name=value")
        if key not in _names(type(config)):
            raise _unknown(key, _names(type(config)))
        config = _set(config, key.split("."), text, key)
    return config


def flatten(plain: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Give every leaf its dotted name.

    >>> flatten({"optim": {"lr": 0.1}, "seed": 3})
    {'optim.lr': 0.1, 'seed': 3}
    """
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{group}{key}.")
        else:
            flat[group + key] = value
    return flat


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


def entry(registry: Mapping[str, Entry], name: object, setting: str) -> Entry:
    """Look up the entry of a registry that a setting names.

    Raises:
        FixableError: There is none; the names that exist are listed.

    >>> entry({"linear": 1, "cosine": 2}, "cubic", "schedule.kind")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: schedule.kind=cubic: unknown
      fix: choose linear or cosine
    """
    if not isinstance(name, str) or name not in registry:
        *names, last = registry
        choices = f"{', '.join(names)} or {last}" if names else last
        raise FixableError(f"{setting}={name}: unknown", f"choose {choices}")
    return registry[name]


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _names(kind: Any, group: str = "") -> list[str]:
    """The dotted names of all leaves."""
    names: list[str] = []
    for name, hint in _hints(kind).items():
        branch = dataclasses.is_dataclass(hint)
        names += _names(hint, f"{group}{name}.") if branch else [group + name]
    return names


def _set(tree: Tree, path: list[str], text: str, key: str) -> Tree:
    name, rest = path[0], path[1:]
    value: Any
    if rest:
        value = _set(getattr(tree, name), rest, text, key)
    else:
        value = leaves.parse(_hints(type(tree))[name], text, key)
    return typing.cast(Tree, replace(typing.cast(Any, tree), **{name: value}))


def _unknown(key: str, names: list[str]) -> FixableError:
    near = difflib.get_close_matches(key, names, 1, 0.5)
    group = [name for name in names if name.startswith(f"{key.partition('.')[0]}.")] or names
    fix = f"did you mean {near[0]}?" if near else f"choose among {', '.join(group)}"
    return FixableError(f"there is no setting {key}", fix)
