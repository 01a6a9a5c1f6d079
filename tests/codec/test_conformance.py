"""The frozen files of both versions: two decoders read what is listed, on any machine."""

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ddpm_eval.codec import format, reading
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.archive import Archive
from ddpm_eval.codec.bits import BitReader
from ddpm_eval.codec.index import parse
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import ArchiveSettings
from ddpm_eval.codec.words import Array
from tests.codec import cases, cases2, fields, second


@dataclass(frozen=True)
class Frozen:
    """The files of one version, with what is listed of them."""

    version: int
    rules: ModuleType
    network: Callable[[dict[str, Any]], Callable[[Array, int], Array]]
    archive: Callable[[Profile, dict[str, Any]], Archive]

    @cached_property
    def index(self) -> dict[str, Any]:
        """What is listed."""
        index: dict[str, Any] = json.loads((self.folder / "index.json").read_text())
        return index

    @cached_property
    def plain(self) -> dict[str, Any]:
        """The profile as its file says it."""
        plain: dict[str, Any] = json.loads((self.folder / "profile.json").read_text())
        return plain

    @cached_property
    def profile(self) -> Profile:
        """The profile."""
        return profiles.load(self.folder / "profile.json")

    @property
    def folder(self) -> Path:
        """Where they lie."""
        folder: Path = self.rules.FOLDER
        return folder

    def estimate(self, x_t: Array, t: int) -> Array:
        """Evaluate the network."""
        return self.network(self.index)(x_t, t)

    def stored(self, name: str) -> bytes:
        """Read a file."""
        return (self.folder / f"{name}.ddpm").read_bytes()

    def first(self, data: bytes) -> Decoded:
        """Decode a file with the codec."""
        work = reading.decompress(self.profile, self.estimate, [Reader(self.profile, data)])
        return fields.finish(work)[0]

    def second(self, data: bytes) -> tuple[Array, bool]:
        """Decode a file with the decoder that was written from the page alone."""
        return second.decode(data, self.plain, self.estimate)


ONE = Frozen(
    1,
    cases,
    lambda index: lambda x_t, t: cases.network(index["network"], x_t, t),
    lambda profile, index: cases.archive(profile, index["network"]),
)
TWO = Frozen(2, cases2, cases2.estimate, cases2.archive)
BOTH = pytest.mark.parametrize("frozen", [ONE, TWO], ids=["version 1", "version 2"])
FILES = [
    pytest.param(frozen, name, id=f"{frozen.version}-{name}")
    for frozen in (ONE, TWO)
    for name in frozen.index["files"]
]
EVERY = pytest.mark.parametrize(("frozen", "name"), FILES)
LAYERED = pytest.mark.parametrize(
    ("frozen", "name"),
    [file for file in FILES if not format.parse(file.values[0].stored(file.values[1]))[0].stored],
)


@BOTH
def test_the_folder_holds_what_is_listed_and_nothing_else(frozen: Frozen) -> None:
    listed = frozen.index["files"]
    assert set(listed) == set(frozen.rules.files())
    names = {path.name for path in frozen.folder.iterdir()}
    others = {"index.json", "profile.json", "pictures.archive"}
    assert names == {f"{name}.ddpm" for name in listed} | others
    assert all(format.parse(frozen.stored(name))[0].version == frozen.version for name in listed)
    assert frozen.profile.version == frozen.plain["version"] == frozen.version


def test_the_ten_files_of_version_1_are_of_every_kind() -> None:
    kinds = [format.parse(ONE.stored(name))[0] for name in ONE.index["files"]]
    assert len(kinds) == 10
    assert any(head.stored for head in kinds) and any(head.checksum is None for head in kinds)
    assert any(head.grey for head in kinds) and any(not head.portable for head in kinds)
    assert sum(head.size is not None for head in kinds) >= 5


def test_passes_of_version_2_have_a_fifth_integer() -> None:
    assert {len(p.scale) for passes in TWO.profile.sets for p in passes} == {5}


@EVERY
def test_both_decoders_read_what_is_listed(frozen: Frozen, name: str) -> None:
    data, listed = frozen.stored(name), frozen.index["files"][name]
    assert cases.digest(np.frombuffer(data, np.uint8)) == listed["file"]
    decoded = frozen.first(data)
    pixels, verified = frozen.second(data)
    assert list(decoded.picture.shape) == list(pixels.shape) == listed["shape"]
    assert cases.digest(decoded.picture) == cases.digest(pixels) == listed["pixels"]
    assert decoded.lossless == verified == listed["lossless"]


@LAYERED
def test_both_decoders_read_any_prefix_alike(frozen: Frozen, name: str) -> None:
    data = frozen.stored(name)
    start = format.parse(data)[1]
    for part in (0.1, 0.6):
        prefix = data[: start + int(part * (len(data) - start))]
        pixels, verified = frozen.second(prefix)
        assert not verified and (frozen.first(prefix).picture == pixels).all()


@EVERY
def test_the_encoder_still_writes_these_bytes(frozen: Frozen, name: str) -> None:
    """Or, where another machine's sums let the search choose others, a file of the same layout."""
    data = frozen.stored(name)
    fresh = cases.encode(frozen.profile, frozen.rules.files()[name], frozen.estimate)
    if fresh == data:
        return
    old, new = Reader(frozen.profile, data), Reader(frozen.profile, fresh)
    assert (new.head, new.ends[:2]) == (old.head, old.ends[:2])
    assert cases.digest(frozen.first(fresh).picture) == frozen.index["files"][name]["pixels"]
    pytest.skip("another choice of codewords, which the search is free to make")


@BOTH
def test_the_archive_is_read_to_what_is_listed_and_written_again(frozen: Frozen) -> None:
    data, listed = (frozen.folder / "pictures.archive").read_bytes(), frozen.index["archive"]
    assert cases.digest(np.frombuffer(data, np.uint8)) == listed["file"]
    assert data[1] >> 4 == frozen.version
    assert len(parse(data, "a")[0].files) < len(listed["pixels"]) - 3  # some are on the stack
    codec = frozen.archive(frozen.profile, frozen.index)
    results = fields.finish(codec.read(data, "a"))
    assert all(picture.decoded.lossless for picture in results)
    assert [cases.digest(picture.decoded.picture) for picture in results] == listed["pixels"]
    names = [picture.name for picture in results]
    pictures = frozen.rules.archived()
    fresh = fields.finish(codec.write(pictures, names, ArchiveSettings(check=False)))
    if fresh != data:
        again = fields.finish(codec.read(fresh, "a"))
        assert all(picture.decoded.lossless for picture in again)
        assert [cases.digest(picture.decoded.picture) for picture in again] == listed["pixels"]
        pytest.skip("another choice of codewords in its files, or another zlib: both are free")


def listed_numbers(frozen: Frozen, name: str) -> tuple[int, int]:
    """Count the means and, in version 2, the logarithms of errors that a file lists."""
    reader = Reader(frozen.profile, frozen.stored(name))
    bits = BitReader(reader.body)
    bits.array(reader.ends[-1] + 3)
    means = bits.rice(2)
    shift = bits.number(5) if means else 0
    for _ in range(means):
        bits.rice(shift)
        bits.number(1)
    return means, bits.rice(0) if frozen.version == 2 else 0


def test_lists_are_among_them() -> None:
    """So that the parities of portable files are read, not only their absence."""
    assert listed_numbers(ONE, "tile")[0] > 0
    assert max(listed_numbers(TWO, name)[1] for name in ("tile", "odd", "lanes")) > 0


def test_the_second_decoder_stands_alone() -> None:
    tree = ast.parse(Path(second.__file__).read_text())
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    allowed = {"collections.abc", "hashlib", "math", "numpy", "numpy.typing", "struct", "typing"}
    assert modules == allowed
