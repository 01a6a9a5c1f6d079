"""Files of version 2 and an archive: both decoders read what is listed, on any machine."""

import json
from typing import Any

import numpy as np
import pytest

from ddpm_eval.codec import format, reading
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.bits import BitReader
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import ArchiveSettings
from tests.codec import cases, cases2, fields, second

INDEX: dict[str, Any] = json.loads((cases2.FOLDER / "index.json").read_text())
PLAIN: dict[str, Any] = json.loads((cases2.FOLDER / "profile.json").read_text())
NAMES, NETWORK = list(INDEX["files"]), cases2.estimate(INDEX)


@pytest.fixture(scope="module")
def written() -> Profile:
    return profiles.load(cases2.FOLDER / "profile.json")


def stored(name: str) -> bytes:
    return (cases2.FOLDER / f"{name}.ddpm").read_bytes()


def first(profile: Profile, data: bytes) -> Decoded:
    work = reading.decompress(profile, NETWORK, [Reader(profile, data)])
    return fields.finish(work)[0]


def test_files_and_profile_are_of_version_2(written: Profile) -> None:
    assert written.version == PLAIN["version"] == 2 and set(NAMES) == set(cases2.files())
    assert all(format.parse(stored(name))[0].version == 2 for name in NAMES)
    assert {len(p.scale) for passes in written.sets for p in passes} == {5}


@pytest.mark.parametrize("name", NAMES)
def test_both_decoders_read_what_is_listed(written: Profile, name: str) -> None:
    data, listed = stored(name), INDEX["files"][name]
    assert cases.digest(np.frombuffer(data, np.uint8)) == listed["file"]
    decoded = first(written, data)
    assert cases.digest(decoded.picture) == listed["pixels"]
    assert decoded.lossless == listed["lossless"]
    pixels, verified = second.decode(data, PLAIN, NETWORK)
    assert list(pixels.shape) == listed["shape"] and verified == listed["lossless"]
    assert cases.digest(pixels) == listed["pixels"]


@pytest.mark.parametrize("name", ["tile", "odd"])
def test_both_decoders_read_any_prefix_alike(written: Profile, name: str) -> None:
    data = stored(name)
    start = format.parse(data)[1]
    for part in (0.1, 0.5):
        prefix = data[: start + int(part * (len(data) - start))]
        pixels, verified = second.decode(prefix, PLAIN, NETWORK)
        assert not verified and (first(written, prefix).picture == pixels).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_encoder_still_writes_these_bytes(written: Profile, name: str) -> None:
    """Or, where another machine's sums let the search choose others, a file of the same layout."""
    data = stored(name)
    fresh = cases.encode(written, cases2.files()[name], NETWORK)
    if fresh == data:
        return
    old, new = Reader(written, data), Reader(written, fresh)
    assert (new.head, new.ends[:2]) == (old.head, old.ends[:2])
    assert cases.digest(first(written, fresh).picture) == INDEX["files"][name]["pixels"]
    pytest.skip("another choice of codewords, which the search is free to make")


def test_lists_of_errors_are_among_them(written: Profile) -> None:
    """So that the parities of h are read, not only their absence."""
    counts = []
    for name in ("tile", "odd", "lanes"):
        reader = Reader(written, stored(name))
        bits = BitReader(reader.body)
        bits.array(reader.ends[-1] + 3)
        means = bits.rice(2)
        shift = bits.number(5) if means else 0
        for _ in range(means):
            bits.rice(shift)
            bits.number(1)
        counts.append(bits.rice(0))
    assert max(counts) > 0


def test_the_archive_is_read_to_what_is_listed_and_written_again(written: Profile) -> None:
    data, listed = (cases2.FOLDER / "pictures.archive").read_bytes(), INDEX["archive"]
    assert cases.digest(np.frombuffer(data, np.uint8)) == listed["file"] and data[1] >> 4 == 2
    codec = cases2.archive(written, INDEX)
    results = fields.finish(codec.read(data, "a"))
    assert [cases.digest(picture.decoded.picture) for picture in results] == listed["pixels"]
    names = [picture.name for picture in results]
    fresh = fields.finish(codec.write(cases2.archived(), names, ArchiveSettings(check=False)))
    if fresh != data:
        pytest.skip("another choice of codewords in its files, or another zlib: both are free")
