"""Whole files with wrong contents: tensors and settings of another type, shape, name or value."""

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ddpm_train.architectures import ClassifierConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats.classifiers import OURS, ClassifierFile
from ddpm_train.settings import from_dict
from tests.faults import mutations, server
from tests.faults.matrix import Case
from tests.faults.mutations import Kind

Weights = dict[Any, Any]

FINITE: Mapping[str, Callable[[Tensor], object]] = {
    "64 bits": lambda tensor: tensor.double(),
    "16 bits": lambda tensor: tensor.half(),
    "huge numbers": lambda tensor: torch.full_like(tensor, 1e30),
}
"""Weights that may be meant: a number comes of them."""
VALUES: Mapping[str, Callable[[Tensor], object]] = {
    **FINITE,
    "NaN": lambda tensor: torch.full_like(tensor, torch.nan),
    "infinity": lambda tensor: torch.full_like(tensor, -torch.inf),
    "numbers beyond 32 bits": lambda tensor: torch.full_like(tensor, 1e300, dtype=torch.float64),
    "8 bits": lambda tensor: tensor.to(torch.float8_e4m3fn),
    "whole numbers": lambda tensor: tensor.long(),
    "flags": lambda tensor: tensor > 0,
    "complex numbers": lambda tensor: tensor.to(torch.complex64),
    "a sparse tensor": lambda tensor: tensor.to_sparse(),
    "the axes turned round": lambda tensor: tensor.permute(*reversed(range(tensor.ndim))),
    "one axis": lambda tensor: tensor.flatten(),
    "one axis more": lambda tensor: tensor[None],
    "no numbers": lambda tensor: tensor[:0],
    "one number": lambda tensor: tensor.flatten()[0],
    "a row less": lambda tensor: tensor[1:],
    "a row more": lambda tensor: torch.cat([tensor, tensor[:1]]),
    "a billion numbers": lambda _: torch.zeros(1).expand(10**9),
    "a text": lambda _: "weights",
    "a number": lambda _: -7,
    "nothing": lambda _: None,
    "a list": lambda tensor: [tensor],
    "a dictionary": lambda tensor: {"weight": tensor},
}
"""What stands in place of a tensor."""


def _rename(weights: Weights, name: str, other: object) -> None:
    weights[other] = weights.pop(name)


def _number(name: str, digits: str) -> str:
    """A name with another number of its layer, or behind it."""
    return re.sub(r"\d+", digits, name, count=1) if re.search(r"\d", name) else f"{name}.{digits}"


NAMES: Mapping[str, Callable[[Weights, str], object]] = {
    "one missing": lambda weights, name: weights.pop(name),
    "one more": lambda weights, name: weights.update({f"{name}.more": weights[name]}),
    "one under two names": lambda weights, name: weights.update({f"module.{name}": weights[name]}),
    "a name in capitals": lambda weights, name: _rename(weights, name, name.upper()),
    "a number as a name": lambda weights, name: _rename(weights, name, 7),
    "an empty name": lambda weights, name: _rename(weights, name, ""),
    "layer 99": lambda weights, name: _rename(weights, name, _number(name, "99")),
    "one more, of layer 99": lambda weights, name: weights.update(
        {_number(name, "99"): weights[name]}
    ),
    "a layer of 30 digits": lambda weights, name: _rename(weights, name, _number(name, "9" * 30)),
    "one alone": lambda weights, name: [weights.pop(other) for other in {*weights} - {name}],
}
"""What happens to the names of a dictionary of tensors."""

ODD = ("x", "", -1, 0.5, 10**30, 1e300, [1, 2], [], {}, {"a": 1}, None, True)
"""Values that are wrong for nearly every setting."""


@dataclass(frozen=True)
class Wrong:
    """A change of a file: what it is called, and whether another result may be right."""

    name: str
    apply: Callable[[Path, random.Random], None]
    is_meant: bool = False


KINDS = {kind.name: kind for kind in mutations.KINDS}
CLASSIFIER = "classifier"
FILES = {
    "NCSN": "ncsn/checkpoint.pth",
    "NCSNv2": "ncsnv2/checkpoint.pth",
    "guided-diffusion": "adm/ema_0.9999_000100.pt",
    "score_sde": "score_sde/checkpoint_8.pth",
    "EDM": "edm/edm.pt",
    "pesser": "ema_diffusion_x_model-10.ckpt",
    CLASSIFIER: "guide.pt",
    "guided-diffusion's classifier": "pool/64x64_classifier.pt",
}
"""Files of tensors, by their kind."""
TEXTS = {"NCSN": "ncsn/config.yml", "TensorFlow": "bundle/kwargs.json"}
"""Settings that lie beside them."""
DHARIWAL = replace(
    KINDS["EDM"],
    name="EDM of ADM",
    needs=("edm-adm",),
    words=(*mutations.INSPECT, "edm-adm/edm.pt", "--set", "preconditioning=edm"),
)


def contents(material: Path, share: float) -> Iterator[Case]:
    """Every change of every file of tensors, and odd values for all settings."""
    cases = [*_cases(material)]
    yield from cases[:: max(1, round(1 / share))]


def _cases(material: Path) -> Iterator[Case]:
    kinds = [(KINDS[name], file) for name, file in FILES.items()]
    for kind, file in [*kinds, (DHARIWAL, "edm-adm/edm.pt")]:
        changes = [*map(_of_value, VALUES), *map(_of_names, NAMES), *map(_of_member, ODD)]
        if kind.name == CLASSIFIER:
            changes += [_of_classifier(seed) for seed in range(len(ODD))]
        yield from (_case(kind, file, wrong, material) for wrong in changes)
    for name, file in TEXTS.items():
        for value in ODD:
            yield _case(KINDS[name], file, _of_text(value), material)


def _case(kind: Kind, file: str, wrong: Wrong, material: Path) -> Case:
    def attack(folder: Path) -> str:
        expected = mutations.clean(kind, folder, material)
        if expected.status != 0:
            return f"the clean file is refused: {expected}"
        mutations.copy(kind, material, folder)
        wrong.apply(folder / file, random.Random(f"{kind.name} {wrong.name}"))
        return _judge(server.run(kind.words, folder), expected, wrong)

    return Case(f"wrong contents: {kind.name}", wrong.name, attack)


def _judge(result: server.Result, expected: server.Result, wrong: Wrong) -> str:
    """What is wrong with a result on such a file; empty if nothing."""
    if result.status == 0:
        if re.search(r"\b(nan|inf)\b", result.text):
            return f"no number, without a word: {result}"
        words = [
            {line for line in mutations.said(one) if re.match("warning|note", line)}
            for one in (result, expected)
        ]
        is_said = bool(words[0] - words[1])
        if wrong.is_meant or is_said or mutations.said(result) == mutations.said(expected):
            return "" if not result.has_traceback else str(result)
        return f"another result without a word: {result}"
    return mutations.refusal(result)


# -------------------------------------------------------------------------------- what is changed


def _of_value(name: str) -> Wrong:
    def apply(file: Path, draw: random.Random) -> None:
        content = torch.load(file, weights_only=True)
        weights = draw.choice([*_dictionaries(content)])
        chosen = draw.choice(sorted(weights))
        weights[chosen] = VALUES[name](weights[chosen])
        _save(content, file)

    return Wrong(name, apply, is_meant=name in FINITE)


def _of_names(name: str) -> Wrong:
    def apply(file: Path, draw: random.Random) -> None:
        content = torch.load(file, weights_only=True)
        weights = draw.choice([*_dictionaries(content)])
        NAMES[name](weights, draw.choice(sorted(weights)))
        _save(content, file)

    return Wrong(name, apply)


def _of_member(value: object) -> Wrong:
    """An odd value in place of a member of the file that is no tensor, or of all of it."""

    def apply(file: Path, draw: random.Random) -> None:
        content = torch.load(file, weights_only=True)
        places = content.items() if isinstance(content, dict) else enumerate(content)
        names = [name for name, member in places if not isinstance(member, Tensor)]
        if names:
            content[draw.choice(names)] = value
        torch.save(content if names else value, file)

    return Wrong(f"{value!r} in place of a member", apply)


def _of_classifier(seed: int) -> Wrong:
    """An odd value of a setting of our own classifier, with the digest of what is there then."""

    def apply(file: Path, _: random.Random) -> None:
        content = torch.load(file, weights_only=True)
        plain, draw = json.loads(content[OURS]), random.Random(seed)
        places = [*_leaves(plain)]
        group, name = draw.choice(places)
        group[name] = ODD[seed]
        content[OURS] = json.dumps(plain)
        _save(content, file)

    return Wrong(f"{ODD[seed]!r} as a setting", apply, is_meant=True)


def _of_text(value: object) -> Wrong:
    """An odd value of a setting in a file beside: JSON, or lines of YAML."""

    def apply(file: Path, draw: random.Random) -> None:
        text = file.read_text()
        pattern = r'(?<=: )("?[\w.]+"?)(?=[,}\n])'
        places = [*re.finditer(pattern, text)]
        place = draw.choice(places)
        shown = json.dumps(value) if file.suffix == ".json" else str(value)
        file.write_text(text[: place.start()] + shown + text[place.end() :])

    return Wrong(f"{value!r} beside", apply, is_meant=True)


def _dictionaries(content: object) -> Iterator[Weights]:
    """Every dictionary of tensors inside a file's content."""
    if isinstance(content, dict):
        if content and all(isinstance(member, Tensor) for member in content.values()):
            yield content
        content = [*content.values()]
    if isinstance(content, list):
        for member in content:
            yield from _dictionaries(member)


def _leaves(plain: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every setting, and the group that it stands in."""
    for name, value in plain.items():
        if isinstance(value, dict):
            yield from _leaves(value)
        elif name != "digest":
            yield plain, name


def _save(content: Any, file: Path) -> None:
    """Write a content; a classifier of ours gets the digest that it then has, if it has one."""
    if isinstance(content, dict) and OURS in content:
        with suppress(FixableError, AttributeError, TypeError, ValueError, RuntimeError):
            plain = json.loads(content[OURS])
            config = from_dict(ClassifierConfig, plain["config"])
            plain["digest"] = ClassifierFile(config=config, weights=content["tensors"]).digest
            content[OURS] = json.dumps(plain)
    torch.save(content, file)
