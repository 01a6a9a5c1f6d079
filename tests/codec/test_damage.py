"""Damaged files: never a crash, never wrong pixels that are called lossless."""

import numpy as np
import pytest

from ddpm_eval.codec import format, reading
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Reader
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from tests.codec import fields
from tests.codec.test_files import write


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    whole = fields.pictures(4, side=40, seed=5)
    return [*fields.pictures(8, seed=4), whole[0][:20, :31], whole[1][:16, :16, :1]]


@pytest.fixture(scope="module")
def files(profile: Profile, pictures: list[Pixels]) -> list[bytes]:
    return [writer.file for writer in write(profile, pictures)]


def examine(profile: Profile, damaged: list[tuple[bytes, Pixels]]) -> dict[str, int]:
    """Read damaged files; count what came out."""
    counts = {"unreadable": 0, "lossy": 0, "lossless": 0}
    readers, originals = [], []
    for file, picture in damaged:
        try:
            readers.append(Reader(profile, file))
            originals.append(picture)
        except FixableError:
            counts["unreadable"] += 1
    for start in range(0, len(readers), 50):
        part = readers[start : start + 50]
        result = fields.finish(reading.decompress(profile, fields.estimate(), part))
        for item, picture in zip(result, originals[start : start + 50], strict=True):
            counts["lossless" if item.lossless else "lossy"] += 1
            same = item.picture.shape == picture.shape and (item.picture == picture).all()
            assert same or not item.lossless
    return counts


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_files_that_are_cut_off(
    profile: Profile, pictures: list[Pixels], files: list[bytes], count: int
) -> None:
    rng = np.random.default_rng(0)
    damaged = []
    for i in range(count):
        file = files[i % 10]
        damaged.append((file[: rng.integers(0, len(file))], pictures[i % 10]))
    counts = examine(profile, damaged)
    assert counts["lossy"] > 0.9 * count


@pytest.mark.parametrize("count", [60, pytest.param(2000, marks=pytest.mark.slow)])
def test_flipped_bits(
    profile: Profile, pictures: list[Pixels], files: list[bytes], count: int
) -> None:
    rng = np.random.default_rng(1)
    damaged = []
    for i in range(count):
        file = bytearray(files[i % 10])
        place = int(rng.integers(0, 8 * len(file)))
        file[place // 8] ^= 1 << place % 8
        damaged.append((bytes(file), pictures[i % 10]))
    counts = examine(profile, damaged)
    assert counts["lossy"] > 0.9 * count


def test_what_goes_on_behind_its_end_is_refused(profile: Profile, files: list[bytes]) -> None:
    for file in files:
        for more in (b"\0", b"more", b"\xff" * 20):
            words = f"{len(more)} bytes too long\n.*first {len(file):,} bytes"
            with pytest.raises(FixableError, match=words):
                reader = Reader(profile, file + more)
                fields.finish(reading.decompress(profile, fields.estimate(), [reader]))


def test_heads_say_what_is_wrong(profile: Profile, files: list[bytes]) -> None:
    file = files[8]  # of another size than a tile
    for damaged, words in (
        (b"", "not a .ddpm file"),
        (b"\x89PNG" + file, "not a .ddpm file"),
        (file[:6], "cut off in its head"),
        (file[:9], "cut off in its head"),
        (b"\xdd\x12" + file[2:5], "cut off in its head"),  # lossy, without its layers
        (bytes([file[0], file[1] & 15]) + file[2:], "not a .ddpm file"),
        (file[:10] + b"\2" + file[11:], "its head has no meaning"),
        (
            bytes([file[0], 0x1A]) + file[2:],
            "its head has no meaning",
        ),  # stored, without a checksum
        (bytes([file[0], file[1] + 32]) + file[2:], "version 3, newer"),
        (bytes([file[0], file[1] + 16]) + file[2:], "damaged, its profile is of version 1"),
        (file[:2] + b"abc" + file[5:], "of another profile .616263"),
        (
            file[:8] + b"\xff\xff\xff\x7f\xff\xff\xff\x7f\0",
            "it says 268,435,455x",
        ),
    ):
        with pytest.raises(FixableError, match=words):
            Reader(profile, damaged)


def test_the_checksum_covers_the_shape() -> None:
    picture = np.zeros((4, 8, 3), np.uint8)
    shapes = [(4, 8, 3), (8, 4, 3), (2, 16, 3), (12, 8, 1)]
    assert len({format.checksum(picture.reshape(shape)) for shape in shapes}) == len(shapes)


def test_a_head_that_claims_too_much_takes_no_time(profile: Profile, files: list[bytes]) -> None:
    head = files[8][:8] + b"\xff\x3f\xff\x3f\x00"  # 8191 x 8191
    result = Reader(profile, head + b"abcdef").decoded
    assert result is not None and result.picture.shape == (8191, 8191, 3) and not result.lossless
