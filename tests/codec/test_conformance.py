"""Ten files of version 1 and an archive: decoders read what is listed, on any machine."""

import ast
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddpm_eval.codec import format, reading
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.bits import BitReader
from ddpm_eval.codec.index import parse
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import ArchiveSettings
from ddpm_eval.codec.words import Array
from tests.codec import cases, fields, second

INDEX: dict[str, Any] = json.loads((cases.FOLDER / "index.json").read_text())
NAMES = list(INDEX["files"])


def network(x_t: Array, t: int) -> Array:
    return cases.network(INDEX["network"], x_t, t)


@pytest.fixture(scope="module")
def written() -> Profile:
    return profiles.load(cases.FOLDER / "profile.json")


def stored(name: str) -> bytes:
    return (cases.FOLDER / f"{name}.ddpm").read_bytes()


def first(profile: Profile, data: bytes) -> Decoded:
    work = reading.decompress(profile, network, [Reader(profile, data)])
    return fields.finish(work)[0]


def test_there_are_ten_files_and_nothing_else() -> None:
    assert len(NAMES) == 10 and set(NAMES) == set(cases.cases())
    names = {path.name for path in cases.FOLDER.iterdir()}
    assert names == {f"{name}.ddpm" for name in NAMES} | {
        "index.json",
        "profile.json",
        "pictures.archive",
    }
    kinds = [format.parse(stored(name))[0] for name in NAMES]
    assert any(head.stored for head in kinds) and any(head.checksum is None for head in kinds)
    assert any(head.grey for head in kinds) and any(not head.portable for head in kinds)
    assert sum(head.size is not None for head in kinds) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_the_first_decoder_reads_what_is_listed(written: Profile, name: str) -> None:
    data, listed = stored(name), INDEX["files"][name]
    assert cases.digest(np.frombuffer(data, np.uint8)) == listed["file"]
    decoded = first(written, data)
    assert cases.digest(decoded.picture) == listed["pixels"]
    assert list(decoded.picture.shape) == listed["shape"]
    assert decoded.lossless == listed["lossless"]


@pytest.mark.parametrize("name", NAMES)
def test_the_second_decoder_reads_what_is_listed(name: str) -> None:
    plain = json.loads((cases.FOLDER / "profile.json").read_text())
    listed = INDEX["files"][name]
    pixels, verified = second.decode(stored(name), plain, network)
    assert list(pixels.shape) == listed["shape"] and verified == listed["lossless"]
    assert cases.digest(pixels) == listed["pixels"]


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


@pytest.mark.parametrize("name", NAMES)
def test_both_decoders_read_any_prefix_alike(written: Profile, name: str) -> None:
    plain = json.loads((cases.FOLDER / "profile.json").read_text())
    data = stored(name)
    start = format.parse(data)[1]
    for part in (0.1, 0.6) if not format.parse(data)[0].stored else ():
        prefix = data[: start + int(part * (len(data) - start))]
        pixels, verified = second.decode(prefix, plain, network)
        assert not verified and (first(written, prefix).picture == pixels).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_still_writes_these_bytes(written: Profile, name: str) -> None:
    """Or, where another machine's sums let the search choose others, a file of the same layout."""
    case, data = cases.cases()[name], stored(name)
    fresh = cases.encode(written, case, network)
    if fresh == data:
        return
    old, new = Reader(written, data), Reader(written, fresh)
    assert (new.head, new.ends[:2]) == (old.head, old.ends[:2])
    assert cases.digest(first(written, fresh).picture) == INDEX["files"][name]["pixels"]
    pytest.skip("another choice of codewords, which the search is free to make")


def test_a_list_of_means_is_among_them(written: Profile) -> None:
    """So that the parities of portable files are read, not only their absence."""
    data = stored("tile")
    reader = Reader(written, data)
    bits = BitReader(reader.body)
    bits.array(reader.ends[-1] + 3)
    assert bits.rice(2) > 0


def test_the_archive_is_read_to_what_is_listed_and_written_again(written: Profile) -> None:
    data, listed = (cases.FOLDER / "pictures.archive").read_bytes(), INDEX["archive"]
    assert cases.digest(np.frombuffer(data, np.uint8)) == listed["file"]
    codec = cases.archive(written, INDEX["network"])
    assert len(parse(data, "a")[0].files) < len(listed["pixels"]) - 3  # some are on the stack
    result = fields.finish(codec.read(data, "a"))
    assert all(picture.decoded.lossless for picture in result)
    assert [cases.digest(picture.decoded.picture) for picture in result] == listed["pixels"]
    names = [picture.name for picture in result]
    fresh = fields.finish(codec.write(cases.archived(), names, ArchiveSettings(check=False)))
    if fresh != data:
        pytest.skip("another choice of codewords in its files, or another zlib: both are free")
