"""Archives: exact, for the bits of the bound, and whatever comes before a damage is read."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import ndtr

import ddpm_eval as de
from ddpm_eval.codec import grids, index
from ddpm_eval.codec.archive import Archive, Picture
from ddpm_eval.codec.bitsback import Chain, Tile
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.grids import Grid, edges, reach
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import ArchiveSettings
from ddpm_eval.codec.stack import LANES, EmptyStack, Stack, Tables
from ddpm_eval.codec.words import Array
from ddpm_eval.model import Model
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from tests.codec import fields

FAST = ArchiveSettings(check=False, stride=4)

# ------------------------------------------------------------------------------------- the stack


def random_symbols(seed: int, n: int) -> tuple[Tables, Array, Array]:
    rng = np.random.default_rng(seed)
    inner = np.sort(rng.choice(1 << 24, (5, 6), replace=False), 1)
    ends = np.concatenate([np.zeros((5, 1)), inner, np.full((5, 1), 1 << 24)], 1).astype(np.int64)
    return Tables.of(ends), rng.integers(0, 5, n), rng.integers(0, 7, n)


@pytest.mark.parametrize("n", [0, 1, LANES - 1, LANES, 1000])
def test_what_is_pushed_is_popped_and_what_was_there_stays(n: int) -> None:
    tables, which, symbols = random_symbols(n, n)
    data = np.random.default_rng(1).bytes(3001)
    stack = Stack(data)
    before = stack.bits
    starts, sizes = tables.parts(which, symbols)
    stack.push(starts, sizes)
    assert stack.bits - before == pytest.approx((24 - np.log2(sizes)).sum(), rel=1e-3, abs=1)
    again = Stack.load(stack.dump())
    assert (again.pop(tables, which) == symbols).all() and again.data(3001) == data


def test_popping_gives_samples_for_their_bits_and_pushing_gives_the_bits_back() -> None:
    data, n = np.random.default_rng(2).bytes(20_000), 20_000
    stack, grid = Stack(data), Grid([100, 180])
    which, means = np.arange(n) % 2, np.arange(n) % 777 - 300
    before = stack.bits
    latents = grid.pop(stack, means, which)
    z = (latents - means / 16) / 2.0 ** (np.where(which, 180, 100) / 64)
    assert abs(z.mean()) < 0.03 and z.std() == pytest.approx(1, abs=0.03)
    entropy = 0.5 * np.log2(2 * np.pi * np.e) + (100 + 180) / 128
    assert (before - stack.bits) / n == pytest.approx(entropy, rel=0.01)
    grid.push(stack, latents, means, which)
    assert stack.data(20_000) == data


def test_an_empty_stack_says_so() -> None:
    with pytest.raises(EmptyStack):
        Grid([300]).pop(Stack(b""), np.zeros(4000, np.int64), np.zeros(4000, np.int64))
    with pytest.raises(EmptyStack):
        Stack.load(bytes(100))
    changed = Stack(bytes(600))
    changed.push_numbers(np.arange(40), 20)
    with pytest.raises(EmptyStack):
        changed.data(600)


@pytest.mark.parametrize("deviation", [-64, 0, 77, 400])
def test_grids_have_the_mass_of_their_bins(deviation: int) -> None:
    parts, s, half = edges(deviation), 2.0 ** (deviation / 64), reach(deviation)
    assert (np.diff(parts) >= 1).all() and (parts[:, -1] == 1 << 24).all()
    for fraction in (0, 7, 15):
        places = np.arange(2 * half + 3) - half - 0.5 - fraction / 16
        mass = np.diff(ndtr(places[1:-1] / s))
        assert np.abs(np.diff(parts[fraction])[1:-1] / 2**24 - mass).max() < 1e-4


def test_latents_outside_come_back_too() -> None:
    stack, grid, rng = Stack(bytes(4000)), Grid([64, 120]), np.random.default_rng(0)
    which, means = np.arange(500) % 2, rng.integers(-90, 90, 500)
    latents = means // 16 + np.where(rng.random(500) < 0.1, rng.integers(-3000, 3000, 500), 0)
    grid.push_any(stack, latents, means, which)
    assert (grid.pop_any(stack, means, which) == latents).all() and stack.data(4000) == bytes(4000)


# ------------------------------------------------------------------------------------- archives


@pytest.fixture(scope="module")
def pictures() -> list[Pixels]:
    """Tiles, a grey one, a white one, one of several tiles that are cut."""
    whole = list(fields.pictures(9, seed=11))
    wide = fields.pictures(1, side=48, seed=3)[0][:20, :33]
    return [whole[0], whole[1][..., :1], wide, np.full_like(whole[0], 255), *whole[2:]]


def archive(profile: Profile, model: Model | None = None) -> Archive:
    return Archive(Codec(model or fields.model(), profile, 16))


@pytest.fixture(scope="module")
def data(profile: Profile, pictures: list[Pixels]) -> bytes:
    names = [f"picture-{i}" for i in range(len(pictures))]
    return fields.finish(archive(profile).write(pictures, names, FAST))


def examine(result: list[Picture], pictures: list[Pixels]) -> list[bool]:
    """Which pictures are called lossless; these are the right ones."""
    for picture, original in zip(result, pictures, strict=True):
        assert picture.decoded.picture.shape == original.shape
        if picture.decoded.lossless:
            assert (picture.decoded.picture == original).all()
        else:
            assert "the archive is cut off or damaged" in str(picture.decoded)
    return [picture.decoded.lossless for picture in result]


def test_pictures_come_back_with_their_names(
    profile: Profile, pictures: list[Pixels], data: bytes
) -> None:
    result = fields.finish(archive(profile).read(data, "a"))
    assert all(examine(result, pictures))
    assert [picture.name for picture in result] == [f"picture-{i}" for i in range(len(pictures))]


def test_a_tile_costs_its_entropy(profile: Profile) -> None:
    chain = archive(profile)._chain(archive(profile).rows(ArchiveSettings(stride=0.2)), double=True)
    stack, costs = Stack(np.random.default_rng(0).bytes(4000)), []
    for levels in fields.pictures(12, seed=21).transpose(0, 3, 1, 2):
        before = stack.bits
        fields.finish(chain.push(stack, Tile(levels, np.ones((16, 16), np.bool_), 3)))
        costs.append((stack.bits - before) / levels.size)
    assert fields.entropy() - 0.05 < np.mean(costs) < 1.02 * fields.entropy()


def test_latents_at_the_end_of_their_tables_come_back(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are rare, so tables are cut here where one latent in three is outside."""
    monkeypatch.setattr(grids, "_REACH", 1)
    grids.edges.cache_clear()
    chain = archive(profile)._chain(archive(profile).rows(FAST), double=True)
    levels, inside = fields.pictures(1, seed=21)[0].transpose(2, 0, 1), np.ones((16, 16), np.bool_)
    data = np.random.default_rng(0).bytes(9000)
    stack = Stack(data)
    fields.finish(chain.push(stack, Tile(levels, inside, 3)))
    assert (fields.finish(chain.pop(stack, inside, 3)) == levels).all()
    assert stack.data(9000) == data
    grids.edges.cache_clear()


def test_an_archive_is_smaller_than_its_files(profile: Profile) -> None:
    some = list(fields.pictures(20, seed=31))
    whole = fields.finish(archive(profile).write(some, [""] * 20, FAST))
    files = de.compress(fields.model(), some, profile=profile, effort=10)
    assert len(whole) < sum(map(len, files)) - 200


@pytest.mark.parametrize("part", [0.999, 0.5, 0.2])
def test_pictures_before_the_end_are_read(
    profile: Profile, pictures: list[Pixels], data: bytes, part: float
) -> None:
    exact = examine(
        fields.finish(archive(profile).read(data[: int(part * len(data))], "a")), pictures
    )
    assert exact == sorted(exact, reverse=True) and not all(exact)
    assert sum(exact) >= len(pictures) * part - 6


@pytest.mark.parametrize("count", [4, pytest.param(60, marks=pytest.mark.slow)])
def test_flipped_bits_cost_what_lies_behind_them(
    profile: Profile, pictures: list[Pixels], data: bytes, count: int
) -> None:
    rng, start = np.random.default_rng(5), index.parse(data, "a")[1]
    for _ in range(count):
        damaged, place = bytearray(data), int(rng.integers(8 * start, 8 * len(data)))
        damaged[place // 8] ^= 1 << place % 8
        exact = examine(fields.finish(archive(profile).read(bytes(damaged), "a")), pictures)
        pushed = exact[: -len(index.parse(data, "a")[0].files)]
        assert pushed == sorted(pushed, reverse=True)


def noisy(size: float) -> Model:
    """A machine whose float64 differs by so much, relative to x_0_hat."""
    rng, single = np.random.default_rng(0), fields.model()

    def predict(x: torch.Tensor, t: torch.Tensor, condition: object = None) -> torch.Tensor:
        noise = torch.from_numpy(rng.uniform(-size, size, tuple(x.shape))).to(x)
        return fields.best(x, t) * (1 + noise)

    denoise = single.denoise.__class__(predict, fields.SCHEDULE, single.denoise.objective)
    other = replace(single, denoise=denoise)
    return replace(other, double=lambda: replace(other, dtype=torch.float64))


def test_another_machine_reads_it(profile: Profile, pictures: list[Pixels], data: bytes) -> None:
    result = fields.finish(archive(profile, noisy(1e-14)).read(data, "a"))
    assert all(examine(result, pictures))


def test_a_machine_that_differs_makes_no_false_claim(
    profile: Profile, pictures: list[Pixels], data: bytes
) -> None:
    exact = examine(fields.finish(archive(profile, noisy(1e-6)).read(data, "a")), pictures)
    assert not all(exact)


def test_what_is_no_whole_archive_is_refused(profile: Profile, data: bytes) -> None:
    start = index.parse(data, "a")[1]
    for damaged, words in (
        (data + b"more", "4 bytes too long"),
        (data[:20], "cut off in its index"),
        (data[:4], "cut off in its index"),
        (b"\xdd" + data[1:], "not an archive"),
        (bytes([0xDA, data[1] + 32]) + data[2:], "version 3, newer"),
        (data[: start - 9] + bytes([data[start - 9] ^ 1]) + data[start - 8 :], "damaged in its"),
    ):
        with pytest.raises(FixableError, match=words):
            fields.finish(archive(profile).read(damaged, "a"))
    with pytest.raises(FixableError, match="of another profile"):
        fields.finish(archive(replace(profile, tolerance=0.5)).read(data, "a"))


@pytest.mark.parametrize("name", ["../up", "/root", "a/../../b", "a\0b", "a\\b"])
def test_names_stay_in_their_folder(profile: Profile, pictures: list[Pixels], name: str) -> None:
    whole = fields.finish(archive(profile).write(pictures[:1], [name], FAST))
    with pytest.raises(FixableError, match="damaged in its index"):
        index.parse(whole, "a")


def test_rows_of_another_chain_are_refused(profile: Profile, data: bytes) -> None:
    whole, start = index.parse(data, "a")
    other = replace(whole, rows=(*whole.rows[:-1], profile.rows[-1]))
    with pytest.raises(FixableError, match="its index has no meaning"):
        fields.finish(archive(profile).read(other.pack() + data[start:], "a"))


def test_an_index_of_more_pictures_than_memory_is_refused(profile: Profile, data: bytes) -> None:
    """Each is allowed; ten thousand of them are 4 TB of grey."""
    whole, start = index.parse(data, "a")
    large = replace(whole.entries[0], shape=(1 << 13, 1 << 14, 3))
    other = replace(whole, entries=(*[large] * 10_000, *whole.entries[1:]))
    with pytest.raises(FixableError, match="GB to read, and"):
        fields.finish(archive(profile).read(other.pack() + data[start:], "a"))


def test_from_python(profile: Profile) -> None:
    model, some = fields.model(), list(fields.pictures(3, seed=41))
    whole = de.archive(model, some, profile=profile, stride=4)
    (file,) = de.compress(model, some[:1], profile=profile, effort=10)
    result = de.decompress(model, [file, whole, file], profile=profile)
    assert len(result) == 5 and all(picture.lossless for picture in result)
    assert all((a.picture == b).all() for a, b in zip(result[1:4], some, strict=True))
    assert len(de.decompress(model, whole, profile=profile)) == 3
    plain = de.archive(model, some, profile=profile, stride=4, portable=False)
    assert all(picture.lossless for picture in de.decompress(model, plain, profile=profile))
    with pytest.raises(FixableError, match="names: 1 for 3 pictures"):
        de.archive(model, some, names=["a"], profile=profile)
    with pytest.raises(FixableError, match="images: none"):
        de.archive(model, [], profile=profile)
    with pytest.raises(FixableError, match="cannot be evaluated in float64"):
        de.archive(replace(model, double=None), some, profile=profile)


def test_a_machine_that_cannot_be_relied_on_is_found_when_writing(
    profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its network gives other numbers every time."""
    rng, exact = np.random.default_rng(0), Chain._estimate

    def estimate(self: Chain, latents: Array, k: int) -> Array:
        x_0_hat = exact(self, latents, k)
        return np.clip(x_0_hat + rng.uniform(-1e-4, 1e-4, x_0_hat.shape), -1, 1)

    monkeypatch.setattr(Chain, "_estimate", estimate)
    some = list(fields.pictures(6, seed=51))
    with pytest.raises(FixableError, match="does not read as it was written"):
        de.archive(fields.model(), some, profile=profile, stride=4)
