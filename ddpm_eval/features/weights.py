"""Files of weights: where they are, whether they are the published ones, how they are fetched."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ddpm_train.data.download import Published, Track, download
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, expanded, sha256_of
from ddpm_train.weights import Tensors


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsFile:
    """A published file of weights.

    Attributes:
        what: What they are called: ``Inception-v3``.
        fetch: What ``ddpm-eval fetch`` calls them.
        published: Its size, digest and mirrors.
        names: What the file is called, the name that ``fetch`` writes first.
        variable: The environment variable that names it.
        meanwhile: What can be done without.
    """

    what: str
    fetch: str
    published: Published
    names: Sequence[str]
    variable: str
    meanwhile: str = ""

    @property
    def fix(self) -> str:
        """What somebody without the file can do."""
        size = f"{self.published.size / 1e6:,.0f} MB"
        return (
            f"on a machine with network run ddpm-eval fetch {self.fetch}, copy the {size} file "
            "here and pass extractor_weights=PATH"
        )

    def verified(self, path: Path | None, accept: str = "") -> tuple[Path, str]:
        """Find the file and compare its digest before anything reads it.

        Args:
            path: The file; ``None`` looks where it usually is.
            accept: The digest of other weights that are meant, eight digits at least.

        Returns:
            The file and its SHA-256.

        Raises:
            FixableError: There is no file, or it is not the published one.
        """
        file = existing(str(path), f"the {self.what} weights") if path else self._find()
        digest = sha256_of(file)
        wanted = len(accept) >= 8 and digest.startswith(accept.lower())
        if digest != self.published.sha256 and not wanted:
            raise FixableError(
                f"{file}: not the published {self.what} weights"
                f"\n  SHA-256 {digest}, expected {accept or self.published.sha256}",
                f"ddpm-eval fetch {self.fetch}; or accept_weights={digest[:8]} if these are "
                "meant: their numbers are named after them",
            )
        return file, digest

    def download(self, target: Path | None = None, *, track: Track | None = None) -> Path:
        """Download the published file to where other tools look too; what is there is checked.

        Raises:
            FixableError: There is no network, or another file is in the way.
        """
        file = target or hub() / self.names[0]
        if file.exists():
            digest = sha256_of(file)
            if digest != self.published.sha256:
                raise FixableError(
                    f"{file}: not the published {self.what} weights"
                    f"\n  SHA-256 {digest}, expected {self.published.sha256}",
                    f"delete it and run ddpm-eval fetch {self.fetch} again",
                )
            return file
        download(file, self.published, fix=self.fix, track=track)
        return file

    def _find(self) -> Path:
        named = os.environ.get(self.variable)
        places = [expanded(named)] if named else []
        places += [hub() / name for name in self.names]
        for place in places:
            if place.is_file():
                return place
        also = [] if named else [f"${self.variable}"]
        looked = ", ".join(["extractor_weights", *also, *map(str, places)])
        meanwhile = f"\n  meanwhile: {self.meanwhile}" if self.meanwhile else ""
        raise FixableError(
            f"{self.what} weights not found\n  looked in: {looked}", f"{self.fix}{meanwhile}"
        )


def hub() -> Path:
    """The folder where torch hub keeps weights."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    home = Path(os.environ.get("TORCH_HOME", cache))
    return expanded(home) / "hub" / "checkpoints"


def check(weights: Tensors, expected: dict[str, Tensor], file: Path, what: str) -> None:
    """Compare every name, shape and kind of number before anything is copied.

    Raises:
        FixableError: Names the first three that differ.
    """
    wrong = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    wrong += [f"{name} is not part of it" for name in weights.keys() - expected.keys()]
    wrong += [
        f"{name} is {weights[name].dtype} {list(weights[name].shape)}, not {list(value.shape)}"
        for name, value in expected.items()
        if name in weights
        and (weights[name].shape != value.shape or weights[name].dtype != value.dtype)
    ]
    wrong += [f"{name} holds NaN" for name, value in weights.items() if not value.isfinite().all()]
    if wrong:
        raise FixableError(
            f"{file}: not weights of {what}: {'; '.join(sorted(wrong)[:3])}",
            "name the right file, or fetch it: ddpm-eval fetch --help",
        )
