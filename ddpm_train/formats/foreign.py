"""A checkpoint of another system under our names, and where each of its settings comes from.

Nothing is assumed in silence: every setting is read, derived from others, given by ``--set``, or
assumed with a reason; what matters and cannot be known is asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ddpm_train import settings
from ddpm_train.config import ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.settings import flatten, to_dict
from ddpm_train.weights import Tensors

Kind = Literal["read", "derived", "set", "assumed"]
KINDS: tuple[Kind, ...] = ("read", "derived", "set", "assumed")


class Origins(dict[str, tuple[Kind, str]]):
    """Where each setting comes from: its kind, and the file or the reason."""

    def read(self, source: str, *names: str) -> "Origins":
        """These stand in a file, or follow from the shapes of its weights."""
        self.update(dict.fromkeys(names, ("read", source)))
        return self

    def derived(self, reason: str, *names: str) -> "Origins":
        """These follow from other settings."""
        self.update(dict.fromkeys(names, ("derived", reason)))
        return self

    def assumed(self, reason: str, *names: str) -> "Origins":
        """These cannot be known."""
        self.update(dict.fromkeys(names, ("assumed", reason)))
        return self


def unchanged(model: ModelConfig, _fixed: frozenset[str]) -> ModelConfig:
    """Derive nothing."""
    return model


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """A checkpoint of another system under our names.

    Attention may have ``qkv`` in place of q, k and v, with its rows in one of the orders of
    ``finishing.ROWS``.

    Attributes:
        format: Whose it is.
        model: The settings.
        weights: As trained.
        ema: Their average.
        unlabelled: The only ones, where the format does not say which they are.
        step: Of training, where it is known.
        origins: Where settings come from; those that are not named are the paper's.
        asked: Settings that must be given, each with the value that is likely.
        asked_because: Why, and where a user can look them up.
        derive: Derives settings from others, again after every ``--set``; those that were set
            stay.
        rows: The order of the rows of ``qkv``.
        flags: Flags of that system that ``--set`` takes beside our settings, and what each does
            with its value.
        refused: Flags of that system that a user may look for in vain, with the reason.
        notes: What else a user should know.
    """

    format: str
    model: ModelConfig
    weights: Tensors = field(default_factory=dict)
    ema: Tensors = field(default_factory=dict)
    unlabelled: Tensors = field(default_factory=dict)
    step: int = 0
    origins: Origins = field(default_factory=Origins)
    asked: Mapping[str, object] = field(default_factory=dict)
    asked_because: str = ""
    derive: Callable[[ModelConfig, frozenset[str]], ModelConfig] = unchanged
    rows: str = "legacy"
    flags: Mapping[str, "Flag"] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()

    def flagged(self, changes: Iterable[str]) -> tuple["Foreign", list[str]]:
        """Apply the flags among the changes; give the other changes.

        Raises:
            FixableError: A flag has no such value.
        """
        foreign, rest = self, []
        for change in changes:
            name, _, value = change.partition("=")
            if name in self.flags:
                foreign = self.flags[name](foreign, value)
            else:
                rest.append(change)
        return foreign, rest

    def with_answers(self, *names: str, **parts: Any) -> "Foreign":
        """Change parts; these settings are asked for no longer."""
        asked = {name: value for name, value in self.asked.items() if name not in names}
        return replace(self, asked=asked, **parts)

    def settled(self, changes: Iterable[str]) -> tuple[ModelConfig, Origins]:
        """Apply ``--set``, derive again, and ask for what is still unknown.

        Returns:
            The settings, and where each comes from.

        Raises:
            FixableError: A change is of no effect or cannot be represented, or a setting that
                matters is neither in the file nor given.
        """
        changes = list(changes)
        keys = frozenset(change.partition("=")[0] for change in changes)
        for key in keys & self.refused.keys():
            raise FixableError(f"{key}: {self.refused[key]}", "there is no setting for it")
        model = settings.override(self.model, changes)
        missing = [name for name in self.asked if not keys & {name, _INSTEAD.get(name)}]
        if missing:
            likely = " ".join(f"--set {name}={self.asked[name]}" for name in missing)
            raise FixableError(
                f"{self.format}: the file does not say {', '.join(missing)}, and a wrong value "
                "gives a wrong result without an error",
                f"{self.asked_because}; {likely}",
            )
        origins = Origins(self.origins)
        origins.update(dict.fromkeys(keys, ("set", "--set")))
        return self.derive(model, keys), origins


Flag = Callable[[Foreign, str], Foreign]
_INSTEAD = {"unet.heads": "unet.head_channels", "unet.head_channels": "unet.heads"}
"""Settings that answer the same question."""


def listed(model: ModelConfig, origins: Origins) -> list[list[str]]:
    """The list of all origins as JSON: kind, ``name=value``, source or reason.

    >>> listed(ModelConfig(), Origins().assumed("as in the paper", "schedule.T"))
    [['assumed', 'schedule.T=1000', 'as in the paper']]
    """
    values = flatten(to_dict(model))
    return [
        [kind, f"{name}={_text(values[name])}" if name in values else name, source]
        for kind in KINDS
        for name, (its_kind, source) in origins.items()
        if its_kind == kind
    ]


def sentences(rows: Iterable[Sequence[str]], kind: Kind) -> list[str]:
    """The rows of one kind, those of one source together.

    >>> sentences([["read", "a=1", "x"], ["read", "b=2", "x"], ["assumed", "c=3", "y"]], "read")
    ['a=1, b=2 (x)']
    """
    groups: dict[str, list[str]] = {}
    for its_kind, text, source in rows:
        if its_kind == kind:
            groups.setdefault(source, []).append(text)
    return [f"{', '.join(texts)} ({source})" for source, texts in groups.items()]


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
