"""Neighbours: brute force, planted copies, and a verdict that does not cry wolf."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval.config import SamplingConfig
from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import nearest, neighbours
from ddpm_eval.measure.pictures.nearest import Found
from ddpm_eval.measure.pictures.neighbours import Verdict
from ddpm_train import data
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream
from ddpm_train.presets import digits
from ddpm_train.schedule import at
from tests.eval import jobs
from tests.eval.interrupted import ask, resumes, shared


def by_heart(images: Stack, *, mirror: bool = False) -> Callable[[Tensor, Tensor], Tensor]:
    """The best network for a world that holds these images alone: it repeats them."""
    process = jobs.subject().denoise.schedule
    x = data.to_model(images.pixels).double()
    known = x.flip(3) if mirror else x

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        x_t = x_t.double()
        signal, noise = (
            at(process.alphas_bar.sqrt(), t, x_t),
            at((1 - process.alphas_bar).sqrt(), t, x_t),
        )
        apart = (x_t[:, None] - signal[:, None] * known).square().flatten(2).sum(2)
        weights = torch.softmax(-apart / (2 * noise.view(-1, 1) ** 2), 1)
        x_0 = torch.einsum("bn,nchw->bchw", weights, known)
        return ((x_t - signal * x_0) / noise).float()

    return network


def on(network: Callable[[Tensor, Tensor], Tensor], folder: Path, **options: object) -> Job:
    made = jobs.subject()
    denoise = Denoiser(network, made.denoise.schedule, ObjectiveConfig(variance="fixedsmall"))
    train, test = jobs.pictures(60, seed=1, name="pictures train"), jobs.pictures(300, seed=2)
    job = jobs.job(
        folder, made=replace(made, denoise=denoise), images={"train": train, "test": test}.get
    )
    return ask(job, **({"n": 40} | options))


def search(
    job: Job, queries: np.ndarray, train: Stack, *, mirrored: bool
) -> tuple[Found, np.ndarray]:
    space = nearest.pixels(train, mirrored=mirrored)
    embedded, k = space.embed(queries), job.config.pictures.k
    found = nearest.nearest(job, space, embedded, len(train), {"k": k})
    return found, space.flat(embedded)


def memorised(found: object) -> bool:
    return bool(found.settings["memorised"])  # type: ignore[attr-defined]


def test_a_model_that_repeats_training_images_is_flagged(tmp_path: Path) -> None:
    job = on(by_heart(jobs.pictures(60, seed=1)), tmp_path)
    found = neighbours.measure(job)
    assert memorised(found) and str(found.settings["verdict"]).startswith("The model repeats")
    assert found.quantities["copies of training images"].value == 40
    assert found.quantities["median distance of samples (pixels)"].value == 0
    grid = found.grids["pixels"]
    rows = grid.images.reshape(8, 6, 8, 8, 1)
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])
    assert [grid.labels[6 * i + 1] for i in range(8)] == ["0.0"] * 8


def test_mirror_images_are_found_where_training_had_them(tmp_path: Path) -> None:
    network = by_heart(jobs.pictures(60, seed=1), mirror=True)
    found = neighbours.measure(on(network, tmp_path / "a"))  # a foreign one: nobody knows
    assert memorised(found) and "0.0 ↔" in found.grids["pixels"].labels
    rows = found.grids["pixels"].images.reshape(8, 6, 8, 8, 1)
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])  # shown as they were found
    job = on(network, tmp_path / "b")
    unflipped = replace(job, subject=replace(job.subject, run=digits()))
    found = neighbours.measure(unflipped)
    assert (
        found.settings["mirrored"] is False
        and found.quantities["copies of training images"].value == 0
    )


def test_a_model_of_other_images_is_not_flagged(tmp_path: Path) -> None:
    """It repeats images of the same kind that were never trained on."""
    found = neighbours.measure(on(by_heart(jobs.pictures(60, seed=3)), tmp_path))
    assert not memorised(found) and str(found.settings["verdict"]).startswith("No sign")
    ours, theirs = (
        found.quantities[f"median distance of {x} (pixels)"] for x in ("samples", "held-out images")
    )
    assert (ours.n, theirs.n) == (40, 300)
    assert ours.value == pytest.approx(theirs.value, rel=0.2)


def test_dull_images_are_near_to_everything_and_no_copies(tmp_path: Path) -> None:
    """A distance alone would take them for copies."""
    dull = Stack("dull", (jobs.pictures(60, seed=3).pixels // 16 + 120).astype(np.uint8))
    found = neighbours.measure(on(by_heart(dull), tmp_path))
    ours, theirs = (
        found.quantities[f"median distance of {x} (pixels)"] for x in ("samples", "held-out images")
    )
    assert ours.value < 0.9 * theirs.value and not memorised(found)


def test_what_clings_is_nearer_than_the_fifth_and_than_a_flat_patch() -> None:
    distance = np.array([[1, 2, 3, 4, 5], [1, 1, 1, 1, 5], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1.0]])
    found = Found(distance, np.zeros_like(distance, int), np.zeros_like(distance, bool))
    assert neighbours.cling(found, np.array([10, 0.5, 1, 0])).tolist() == [0.2, 2, 0, 0]
    pixels = np.array([[[[0, 7], [10, 7]]]], np.uint8)  # two pixels of two channels
    space = nearest.pixels(Stack("x", pixels), mirrored=False)
    np.testing.assert_allclose(space.flat(space.embed(pixels)), [(2 * 25 / 4) ** 0.5])


def test_repeats_among_samples_are_counted(tmp_path: Path) -> None:
    found = neighbours.measure(on(by_heart(jobs.pictures(1, seed=3)), tmp_path, n=9))
    assert found.quantities["repeats of other samples"].value == 8


@pytest.mark.parametrize("mirror", [True, False])
def test_the_search_agrees_with_brute_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mirror: bool
) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 4, 5, 3), np.uint8)
    pixels[40:45] = pixels[:5]  # equals: the first counts
    queries = np.concatenate([pixels[:3], rng.integers(0, 256, (6, 4, 5, 3), np.uint8)])
    queries[3] = pixels[7, :, ::-1]
    monkeypatch.setattr(nearest, "SHARD_IMAGES", 11)
    monkeypatch.setattr(nearest, "VALUES", 60 * 4)
    job = ask(jobs.job(tmp_path), k=7)
    found = search(job, queries, Stack("x", pixels), mirrored=mirror)[0]
    for i, query in enumerate(queries.astype(int)):
        each = [
            min((math.dist(query.ravel(), side.ravel()), flipped)
                for flipped, side in enumerate([image, image[:, ::-1]][: 1 + mirror]))
            for image in pixels.astype(int)
        ]  # fmt: skip
        order = sorted(range(50), key=lambda j: (each[j][0], j))[:7]
        assert found.index[i].tolist() == order
        assert found.mirrored[i].tolist() == [bool(each[j][1]) for j in order]
        expected = [each[j][0] / 60**0.5 for j in order]
        np.testing.assert_allclose(found.distance[i], expected, rtol=1e-14)
    assert (found.distance[3, 0] == 0) is np.bool_(mirror)


def test_one_level_in_one_pixel_is_seen(tmp_path: Path) -> None:
    """Sums of squares beyond what float32 can count."""
    bright = np.random.default_rng(0).integers(240, 256, (6, 32, 32, 3), np.uint8)
    query = bright[3:4].copy()
    query[0, 5, 5, 1] -= 1
    found = search(jobs.job(tmp_path), query, Stack("x", bright), mirrored=False)[0]
    assert found.index[0, 0] == 3
    assert found.distance[0, 0] == pytest.approx(3072**-0.5, rel=1e-15)


CIFAR = Path(__file__).parents[3] / "shared/data/cifar10_3750.npz"


@pytest.mark.skipif(not CIFAR.exists(), reason="needs the 3,750 images of ../shared/data")
def test_on_real_images_copies_are_seen_and_soft_or_dull_pictures_are_not(tmp_path: Path) -> None:
    with np.load(CIFAR) as file:
        train, test = file["train"][:1500], file["test"]
    new, held_out, seen = test[:64], test[64:], train[:8].astype(float)
    grain = np.random.default_rng(0).normal(0, 15, seen.shape)
    soft = np.mean(
        [np.roll(new.astype(float), (i, j), (1, 2)) for i in range(3) for j in range(3)], 0
    )
    cases = {
        "new": (new, False),
        "soft": (soft, False),
        "dull": (128 + (new.astype(float) - 128) / 8, False),
        "noisy copies": (np.concatenate([seen + grain, new[8:]]), True),
        "dimmed mirror images": (np.concatenate([0.9 * seen[:, :, ::-1], new[8:]]), True),
    }
    for name, (samples, flagged) in cases.items():
        queries = np.concatenate([np.clip(samples, 0, 255).astype(np.uint8), held_out])
        job = jobs.job(tmp_path / name)
        found, flat = search(job, queries, Stack("x", train), mirrored=True)
        clinging = neighbours.cling(found, flat)
        assert neighbours.judge(found, clinging, 64).memorised is flagged, name


def test_the_chance_is_exact() -> None:
    """Of all orders of n samples and m held-out images, so many have as many samples in front."""
    n, m, b = 4, 6, 2
    for close in range(n + 1):
        hits = 0
        for places in combinations(range(n + m), m):  # where the held-out images stand
            in_front = places[b - 1] - (b - 1)
            hits += in_front >= close
        verdict = Verdict(close=close, n=n, share=b / m, m=m, copies=0)
        assert verdict.chance == pytest.approx(hits / math.comb(n + m, m))


def judge(distance: np.ndarray, n: int) -> Verdict:
    found = Found(distance, np.zeros_like(distance, int), np.zeros_like(distance, bool))
    return neighbours.judge(found, neighbours.cling(found, np.full(len(distance), 9.0)), n)


def test_the_verdict_does_not_cry_wolf_and_is_not_blind() -> None:
    rng = np.random.default_rng(0)

    def verdict(closer: int) -> Verdict:
        distance = np.sort(rng.uniform(0.5, 1, (64 + 297, 5)), 1)
        distance[:closer, 0] = 0.05
        return judge(distance, 64)

    alarms = sum(verdict(0).memorised for _ in range(1000))
    assert alarms <= 1000 * neighbours.SIGNIFICANT + 3 * (1000 * 0.01) ** 0.5
    assert sum(verdict(6).memorised for _ in range(100)) >= 95


def test_one_copy_is_enough_unless_held_out_images_are_copies_too() -> None:
    distance = np.tile(np.linspace(0.5, 1, 5), (120, 1))
    distance[0, 0] = 0
    one = judge(distance, 20)
    assert one.copies == 1 and one.memorised and "1 copied to the last bit" in str(one)
    distance[50, 0] = 0  # the data set repeats itself
    both = judge(distance, 20)
    assert both.copies == 0 and not both.memorised


def test_the_sample_of_an_index_is_the_one_that_sample_draws(tmp_path: Path) -> None:
    from ddpm_eval.measure.pictures import samples

    job = ask(jobs.job(tmp_path / "a", batch=4), n=6)
    drawn = samples.measure(replace(job, work=tmp_path / "b")).grids["samples"].images
    grid = neighbours.measure(job).grids["pixels"]
    rows = grid.images.reshape(-1, 6, 8, 8, 1)
    numbers = [int(label) for label in grid.labels[::6]]
    assert sorted(numbers) == list(range(6))
    np.testing.assert_array_equal(rows[:, 0], drawn[numbers])


def test_the_record_says_how_the_samples_were_made(tmp_path: Path) -> None:
    how = SamplingConfig(sampler="ddim", steps=8)
    found = neighbours.measure(ask(jobs.job(tmp_path), n=3, sampling=how))
    assert (found.settings["sampler"], found.settings["steps"], found.settings["T"]) == (
        "ddim",
        8,
        40,
    )
    assert (
        "of 3 samples (DDIM (eta 0), 8 of 40 steps, seed 0) the 3" in found.grids["pixels"].caption
    )


def test_without_held_out_images_there_is_no_verdict(tmp_path: Path) -> None:
    job = ask(jobs.job(tmp_path / "a"), n=3, held_out=0)
    found = neighbours.measure(job)
    assert "verdict" not in found.settings and "no held-out images" in found.warnings[0]

    def no_test(split: str) -> Stack:
        if split == "test":
            raise FixableError("faces: has no test split", "make train/ and test/")
        return jobs.pictures(60)

    job = ask(replace(job, images=no_test, work=tmp_path / "b"), held_out=9)
    with pytest.raises(FixableError, match="no test split") as caught:
        neighbours.measure(job)
    assert "make train/ and test/; or --held-out 0" in caught.value.fix


def test_a_tiny_training_set_is_refused(tmp_path: Path) -> None:
    job = replace(jobs.job(tmp_path), images=lambda _split: jobs.pictures(4))
    with pytest.raises(FixableError, match="has 4 images"):
        neighbours.measure(job)


def test_a_killed_measurement_goes_on_and_processes_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "SHARD_IMAGES", 13)
    job = ask(jobs.job(tmp_path / "a", batch=3), n=8)
    resumes(neighbours.measure, job, stops=[50, 30])
    shared(neighbours.measure, replace(job, work=tmp_path / "b"))


def test_the_stream_of_continuations_is_its_own() -> None:
    draws = {
        Stream(0, name).generator(0, 5).integers(1 << 60)
        for name in ("sample", "continue", "encode")
    }
    assert len(draws) == 3
