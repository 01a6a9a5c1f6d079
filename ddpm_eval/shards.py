"""Long work in pieces: arrays over image indices, in files that are whole or not there.

Whoever is killed loses the shard at hand. The shards of a folder belong to one set of settings;
any process on any machine that shares the folder can add to them.
"""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_train.config import differences
from ddpm_train.errors import FixableError
from ddpm_train.files import write_atomically, write_text

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Shards:
    """Arrays whose first axis is the image index 0..n-1, ``size`` images to a file."""

    folder: Path
    n: int
    size: int

    def parts(self) -> list[range]:
        """The index ranges of all shards."""
        return [range(i, min(i + self.size, self.n)) for i in range(0, self.n, self.size)]

    def missing(self) -> list[range]:
        """The ranges that are not on the disk, or not whole."""
        return [part for part in self.parts() if self._read(part) is None]

    def write(self, part: range, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays of a range."""
        whole: Any = {**arrays, "digest": np.array(_digest(part, arrays))}
        write_atomically(self._path(part), lambda file: np.savez(file, **whole))

    def read(self) -> Arrays:
        """Join the shards.

        Raises:
            FixableError: One is missing or damaged.
        """
        found = []
        for part in self.parts():
            arrays = self._read(part)
            if arrays is None:
                raise FixableError(
                    f"{self._path(part)}: missing or damaged", "rerun the same command"
                )
            found.append(arrays)
        return {name: np.concatenate([arrays[name] for arrays in found]) for name in found[0]}

    def _path(self, part: range) -> Path:
        return self.folder / f"images-{part.start:07d}-{part.stop:07d}.npz"

    def _read(self, part: range) -> Arrays | None:
        try:
            with np.load(self._path(part), allow_pickle=False) as file:
                arrays = dict(file)
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        digest = str(arrays.pop("digest", ""))
        return arrays if digest == _digest(part, arrays) else None


def open_shards(folder: Path, settings: Mapping[str, Any], *, n: int, size: int) -> Shards:
    """Begin or go on with the shards of a folder.

    Raises:
        FixableError: The folder holds work that was begun with other settings.
    """
    path = folder / "settings.json"
    plain = json.loads(json.dumps({**settings, "n": n, "images_per_shard": size}))
    if path.exists():
        try:
            changes = differences(json.loads(path.read_text(encoding="utf-8")), plain)
        except ValueError:
            changes = [f"{path} does not parse"]
        if changes:
            raise FixableError(
                f"{folder}: unfinished work with other settings: {'; '.join(changes)}",
                "rerun with those settings, or delete the folder to begin anew",
            )
    else:
        write_text(path, json.dumps(plain, indent=2, sort_keys=True) + "\n")
    return Shards(folder, n, size)


def _digest(part: range, arrays: Mapping[str, np.ndarray]) -> str:
    found = hashlib.sha256(str(part).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype} {array.shape} ".encode())
        found.update(array.tobytes())
    return found.hexdigest()
