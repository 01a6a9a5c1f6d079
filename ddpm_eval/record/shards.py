"""Long work in pieces: arrays over image indices, in files that are whole or not there.

Whoever is killed loses the shard at hand. The shards of a folder belong to one set of settings;
any process on any machine that shares the folder can add to them.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ddpm_eval.record import arrays as files
from ddpm_train.errors import FixableError
from ddpm_train.files import write_text
from ddpm_train.reading import read_json
from ddpm_train.settings import differences

if TYPE_CHECKING:
    from ddpm_train.world import World

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Shards:
    """Arrays whose first axis is the image index 0..n-1, ``size`` images to a file.

    ``key`` names the settings: a shard that was made with others is as good as damaged.
    """

    folder: Path
    n: int
    size: int
    key: str = ""

    def parts(self) -> list[range]:
        """The index ranges of all shards."""
        return [range(i, min(i + self.size, self.n)) for i in range(0, self.n, self.size)]

    def missing(self, world: "World | None" = None) -> list[range]:
        """The ranges that are not on the disk, or not whole.

        The processes of a world each look at a share and get the same list, so that they can share
        out the work before anyone begins it.
        """
        parts = self.parts()
        gone = np.zeros(len(parts), np.float32)
        for k in range(len(parts)) if world is None else world.share(range(len(parts))):
            gone[k] = self.load(parts[k]) is None
        if world is not None:
            import torch  # a store is read without it

            gone = world.sum(torch.from_numpy(gone)).cpu().numpy()
        return [part for part, is_gone in zip(parts, gone.tolist(), strict=True) if is_gone]

    def write(self, part: range, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays of a range."""
        files.write(self.path(part), {**arrays, "digest": np.array(self._digest(part, arrays))})

    def read(self) -> Arrays:
        """Join the shards.

        Raises:
            FixableError: One is missing or damaged.
        """
        shards = [self.part(part) for part in self.parts()]
        return {name: np.concatenate([arrays[name] for arrays in shards]) for name in shards[0]}

    def part(self, part: range) -> Arrays:
        """The arrays of a range.

        Raises:
            FixableError: They are missing or damaged.
        """
        arrays = self.load(part)
        if arrays is None:
            raise FixableError(
                f"{self.path(part)}: missing or damaged", "rerun the command that makes it"
            )
        return arrays

    def path(self, part: range) -> Path:
        """The file of a range."""
        return self.folder / f"images-{part.start:07d}-{part.stop:07d}.npz"

    def load(self, part: range) -> Arrays | None:
        """The arrays of a range; None if they are missing or damaged."""
        try:
            arrays = files.read_all(self.path(part))
        except ValueError:
            return None
        digest = str(arrays.pop("digest", ""))
        return arrays if digest == self._digest(part, arrays) else None

    def _digest(self, part: range, arrays: Mapping[str, np.ndarray]) -> str:
        digest = hashlib.sha256(f"{self.key} {part}".encode())
        for name in sorted(arrays):
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype} {array.shape} ".encode())
            digest.update(array.data)
        return digest.hexdigest()


def open_shards(
    folder: Path, settings: Mapping[str, Any], *, n: int, size: int, world: "World | None" = None
) -> Shards:
    """Begin or go on with the shards of a folder, together with the processes of a world.

    Raises:
        FixableError: The folder holds work that was begun with other settings.
    """
    plain = json.loads(json.dumps({**settings, "n": n, "images_per_shard": size}))
    if world is None:
        _begin(folder, plain)
    else:
        world.once(lambda: _begin(folder, plain))
    return Shards(folder, n, size, key_of(plain))


def _begin(folder: Path, settings: dict[str, Any]) -> None:
    path = folder / "settings.json"
    if not path.exists():
        write_text(path, json.dumps(settings, indent=2, sort_keys=True) + "\n")
        return
    changes = differences(read_json(path, fix="delete the folder to begin anew"), settings)
    if changes:
        raise FixableError(
            f"{folder}: unfinished work with other settings: {'; '.join(changes)}",
            "rerun with those settings, or delete the folder to begin anew",
        )


def key_of(settings: Mapping[str, Any]) -> str:
    """A short name for settings: a digest of their JSON."""
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
