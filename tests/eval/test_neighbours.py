"""Neighbours: brute force, planted copies, and a verdict that does not cry wolf."""

import math
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.measure.pictures import nearest, neighbours, samples
from ddpm_eval.measure.pictures.nearest import Neighbours
from ddpm_eval.measure.pictures.neighbours import Real
from ddpm_eval.measure.pictures.settings import NeighbourSettings, SamplingSettings
from ddpm_eval.metrics import clinging
from ddpm_eval.metrics.clinging import Verdict
from ddpm_eval.model import Model
from ddpm_eval.present import verdicts
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream
from ddpm_train.presets import digits
from ddpm_train.schedule import at
from tests.eval import jobs
from tests.eval.pieces import assert_resumes, assert_shared, counting

REAL = Real(
    train=ImageSet.of(jobs.pictures(60, seed=1, name="pictures train"), split="train"),
    held_out=ImageSet.of(jobs.pictures(300, seed=2, name="pictures test"), split="test"),
)


def by_heart(images: Stack, *, mirror: bool = False) -> Model:
    """The best model of a world that holds these images alone: it repeats them."""
    model = jobs.subject()
    process = model.denoise.schedule
    x = data.to_model(images.pixels).double()
    memory = x.flip(3) if mirror else x

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        x_t = x_t.double()
        signal, noise = (
            at(process.alphas_bar.sqrt(), t, x_t),
            at((1 - process.alphas_bar).sqrt(), t, x_t),
        )
        apart = (x_t[:, None] - signal[:, None] * memory).square().flatten(2).sum(2)
        weights = torch.softmax(-apart / (2 * noise.view(-1, 1) ** 2), 1)
        x_0 = torch.einsum("bn,nchw->bchw", weights, memory)
        return ((x_t - signal * x_0) / noise).float()

    denoise = Denoiser(network, process, ObjectiveConfig(variance="fixedsmall"))
    return replace(model, denoise=denoise)


def measure(
    source: Model | ImageSet, n: int = 40, *, real: Real = REAL, batch: int = 64, **changes: Any
) -> Measurement:
    sampling = changes.pop("sampling", SamplingSettings(n=n))
    settings = NeighbourSettings(sampling=sampling, **changes)
    return neighbours.measure(source, real, settings, Runtime(batch=batch))


def search(
    queries: np.ndarray, train: Stack, *, mirrored: bool, k: int = 5
) -> tuple[Neighbours, np.ndarray]:
    space = nearest.pixels(train, mirrored=mirrored)
    embedded = space.embed(queries)
    result = nearest.nearest(space, embedded, train, k=k, runtime=Runtime())
    return result, space.flat(embedded)


def verdict(result: Measurement, space: str = "pixels") -> Verdict:
    facts: Any = result.facts["verdicts"]
    return Verdict(**facts[space])


def medians(result: Measurement) -> list[Any]:
    return [
        result.score("median_distance", whose=whose, space="pixels")
        for whose in ("samples", "held-out images")
    ]


def value(result: Measurement, metric: str) -> float:
    score = result.score(metric)
    assert score is not None
    return score.value


def test_a_model_that_repeats_training_images_is_flagged() -> None:
    result = measure(by_heart(jobs.pictures(60, seed=1)))
    assert verdict(result).is_memorised and str(verdict(result)).startswith("The model repeats")
    assert value(result, "copies") == 40 and verdict(result).copies == 40
    assert value(result, "median_distance") == 0
    grid = result.grids["pixels"]
    rows = grid.images.reshape(8, 6, 8, 8, 1)
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])
    assert [grid.labels[6 * i + 1] for i in range(8)] == ["0.0"] * 8


def test_mirror_images_are_searched_where_training_had_them() -> None:
    model = by_heart(jobs.pictures(60, seed=1), mirror=True)
    result = measure(model)  # a foreign one: nobody knows
    assert verdict(result).is_memorised and "0.0 ↔" in result.grids["pixels"].labels
    rows = result.grids["pixels"].images.reshape(8, 6, 8, 8, 1)
    np.testing.assert_array_equal(rows[:, 0], rows[:, 1])  # shown as they lie nearest
    unflipped = replace(model, facts=replace(model.facts, run=digits()))
    result = measure(unflipped)
    assert result.protocol.settings["mirrored"] is False and value(result, "copies") == 0
    assert value(measure(unflipped, mirrored=True), "copies") == 40


def test_a_model_of_other_images_is_not_flagged() -> None:
    """It repeats images of the same kind that were never trained on."""
    result = measure(by_heart(jobs.pictures(60, seed=3)))
    assert not verdict(result).is_memorised and str(verdict(result)).startswith("No sign")
    ours, theirs = medians(result)
    assert (ours.n, theirs.n) == (40, 300)
    assert ours.value == pytest.approx(theirs.value, rel=0.2)


def test_dull_images_are_near_to_everything_and_no_copies() -> None:
    """A distance alone would take them for copies."""
    dull = Stack("dull", (jobs.pictures(60, seed=3).pixels // 16 + 120).astype(np.uint8))
    result = measure(by_heart(dull))
    ours, theirs = medians(result)
    assert ours.value < 0.9 * theirs.value and not verdict(result).is_memorised


def test_images_are_looked_at_as_samples_are() -> None:
    """Wherever they come from: what a model repeats is seen in its images alone."""
    copies = ImageSet.of(Stack("mine", REAL.train.read(range(40))))
    result = measure(copies)
    assert verdict(result).is_memorised and value(result, "copies") == 40
    assert result.protocol.model == copies.digest and result.protocol.sampling is None
    others = ImageSet.of(jobs.pictures(40, seed=5, name="mine"))
    assert not verdict(measure(others)).is_memorised


def test_a_flat_patch_has_the_mean_colour() -> None:
    pixels = np.array([[[[0, 7], [10, 7]]]], np.uint8)  # two pixels of two channels
    space = nearest.pixels(Stack("x", pixels), mirrored=False)
    np.testing.assert_allclose(space.flat(space.embed(pixels)), [(2 * 25 / 4) ** 0.5])


def test_what_clings_is_nearer_than_the_fifth_and_than_a_flat_patch() -> None:
    distance = np.array([[1, 2, 3, 4, 5], [1, 1, 1, 1, 5], [0, 0, 0, 0, 0], [0, 1, 1, 1, 1.0]])
    assert clinging.cling(distance, np.array([10, 0.5, 1, 0])).tolist() == [0.2, 2, 0, 0]


def test_repeats_among_samples_are_counted() -> None:
    assert value(measure(by_heart(jobs.pictures(1, seed=3)), 9), "repeats") == 8


@pytest.mark.parametrize("mirror", [True, False])
def test_the_search_agrees_with_brute_force(monkeypatch: pytest.MonkeyPatch, mirror: bool) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 4, 5, 3), np.uint8)
    pixels[40:45] = pixels[:5]  # equals: the first counts
    queries = np.concatenate([pixels[:3], rng.integers(0, 256, (6, 4, 5, 3), np.uint8)])
    queries[3] = pixels[7, :, ::-1]
    monkeypatch.setattr(nearest, "SHARD_IMAGES", 11)
    monkeypatch.setattr(nearest, "VALUES", 60 * 4)
    result = search(queries, Stack("x", pixels), mirrored=mirror, k=7)[0]
    for i, query in enumerate(queries.astype(int)):
        distances = [
            min((math.dist(query.ravel(), side.ravel()), flipped)
                for flipped, side in enumerate([image, image[:, ::-1]][: 1 + mirror]))
            for image in pixels.astype(int)
        ]  # fmt: skip
        order = sorted(range(50), key=lambda j: (distances[j][0], j))[:7]
        assert result.index[i].tolist() == order
        assert result.mirrored[i].tolist() == [bool(distances[j][1]) for j in order]
        expected = [distances[j][0] / 60**0.5 for j in order]
        np.testing.assert_allclose(result.distance[i], expected, rtol=1e-14)
    assert (result.distance[3, 0] == 0) is np.bool_(mirror)


def test_one_level_in_one_pixel_is_seen() -> None:
    """Sums of squares beyond what float32 can count."""
    bright = np.random.default_rng(0).integers(240, 256, (6, 32, 32, 3), np.uint8)
    query = bright[3:4].copy()
    query[0, 5, 5, 1] -= 1
    result = search(query, Stack("x", bright), mirrored=False)[0]
    assert result.index[0, 0] == 3
    assert result.distance[0, 0] == pytest.approx(3072**-0.5, rel=1e-15)


CIFAR = Path(__file__).parents[3] / "shared/data/cifar10_3750.npz"


@pytest.mark.skipif(not CIFAR.exists(), reason="needs the 3,750 images of ../shared/data")
def test_on_real_images_copies_are_seen_and_soft_or_dull_pictures_are_not() -> None:
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
    for name, (drawn, flagged) in cases.items():
        queries = np.concatenate([np.clip(drawn, 0, 255).astype(np.uint8), held_out])
        result, flat = search(queries, Stack("x", train), mirrored=True)
        ratio = clinging.cling(result.distance, flat)
        judged = clinging.judge(result.distance[:, 0], ratio, 64)
        assert judged.is_memorised is flagged, name


def test_the_chance_is_exact() -> None:
    """Of all orders of n samples and m held-out images, so many have as many samples in front."""
    n, m, b = 4, 6, 2
    for close in range(n + 1):
        hits = 0
        for places in combinations(range(n + m), m):  # where the held-out images stand
            in_front = places[b - 1] - (b - 1)
            hits += in_front >= close
        exact = Verdict(close=close, n=n, share=b / m, m=m, copies=0)
        assert exact.chance == pytest.approx(hits / math.comb(n + m, m))


def judge(distance: np.ndarray, n: int) -> Verdict:
    ratio = clinging.cling(distance, np.full(len(distance), 9.0))
    return clinging.judge(distance[:, 0], ratio, n)


def test_the_verdict_does_not_cry_wolf_and_is_not_blind() -> None:
    rng = np.random.default_rng(0)

    def judged(closer: int) -> Verdict:
        distance = np.sort(rng.uniform(0.5, 1, (64 + 297, 5)), 1)
        distance[:closer, 0] = 0.05
        return judge(distance, 64)

    alarms = sum(judged(0).is_memorised for _ in range(1000))
    assert alarms <= 1000 * clinging.SIGNIFICANT + 3 * (1000 * 0.01) ** 0.5
    assert sum(judged(6).is_memorised for _ in range(100)) >= 95


def test_one_copy_is_enough_unless_held_out_images_are_copies_too() -> None:
    distance = np.tile(np.linspace(0.5, 1, 5), (120, 1))
    distance[0, 0] = 0
    one = judge(distance, 20)
    assert one.copies == 1 and one.is_memorised and "1 copied to the last bit" in str(one)
    distance[50, 0] = 0  # the data set repeats itself
    two = judge(distance, 20)
    assert two.copies == 0 and not two.is_memorised


def test_held_out_images_in_an_order_are_drawn_by_the_seed_or_are_the_first() -> None:
    """The first of sorted images are no sample of them: here, dull ones."""
    rng = np.random.default_rng(0)
    sharp = jobs.pictures(300, seed=2).pixels
    dull = (sharp[:100] // 16 + rng.integers(100, 140, (100, 1, 1, 1))).astype(np.uint8)
    ordered = ImageSet.of(Stack("sorted test", np.concatenate([dull, sharp[100:]])), split="test")
    real, model = replace(REAL, held_out=ordered), by_heart(jobs.pictures(60, seed=3))
    drawn, first = (measure(model, real=real, held_out=90, first=x) for x in (False, True))
    for result, choice in ((drawn, "drawn"), (first, "first")):
        images = result.protocol.images
        assert images is not None and (images.n, images.choice) == (90, choice)
    yardstick = search(
        choose(ordered, 90, seed=0).read(range(90)),
        REAL.train.source,
        mirrored=True,  # type: ignore[arg-type]
    )[0]
    assert medians(drawn)[1].value == pytest.approx(np.median(yardstick.distance[:, 0]))
    assert medians(first)[1].value < 0.9 * medians(drawn)[1].value


def test_the_sample_of_an_index_is_the_one_that_sample_draws() -> None:
    model = jobs.subject()
    drawn = samples.draw(model, SamplingSettings(n=6), Runtime(batch=4)).read(range(6))
    grid = measure(model, 6, batch=4).grids["pixels"]
    rows = grid.images.reshape(-1, 6, 8, 8, 1)
    numbers = [int(label) for label in grid.labels[::6]]
    assert sorted(numbers) == list(range(6))
    np.testing.assert_array_equal(rows[:, 0], drawn[numbers])


def test_the_report_says_what_is_concluded() -> None:
    result = measure(by_heart(jobs.pictures(60, seed=1)))
    assert verdicts.sentences(result) == [str(verdict(result))]
    facts: Any = result.facts["verdicts"]
    two = replace(
        result, facts={"verdicts": {"pixels": facts["pixels"], "features": facts["pixels"]}}
    )
    first, second = verdicts.sentences(two)
    assert first.startswith("In pixels: the model repeats") and second.startswith("In features: ")
    assert verdicts.sentences(measure(jobs.subject(), 3, held_out=0)) == []


def test_the_protocol_says_how_the_samples_were_drawn() -> None:
    result = measure(jobs.subject(), sampling=SamplingSettings(n=3, sampler="ddim", steps=8))
    sampling = result.protocol.sampling
    assert sampling is not None and (sampling.sampler, sampling.steps, sampling.T, sampling.n) == (
        *("ddim", 8, 40, 3),
    )
    assert (
        "of 3 samples (DDIM (eta 0), 8 of 40 steps, seed 0) the 3" in result.grids["pixels"].caption
    )
    reference = result.protocol.reference
    assert reference is not None and (reference.dataset, reference.split) == ("pictures", "train")


@pytest.mark.parametrize("changes", [{"held_out": 0}, {"real": replace(REAL, held_out=None)}])
def test_without_held_out_images_there_is_no_verdict(changes: dict[str, Any]) -> None:
    result = measure(jobs.subject(), 3, **changes)
    assert result.facts["verdicts"] == {} and "no held-out images" in result.warnings[0]
    assert result.score("close_share") is None


def test_what_cannot_be_compared_is_refused_before_samples_are_drawn() -> None:
    calls: list[int] = []
    model = counting(jobs.subject(), calls)
    tiny = replace(REAL, train=ImageSet.of(jobs.pictures(4, name="tiny")))
    large = replace(REAL, train=ImageSet.of(Stack("large", np.zeros((9, 16, 16, 1), np.uint8))))
    for real, problem in (
        (tiny, "k=5: tiny has 4 images"),
        (large, "16x16x1, the samples are 8x8x1"),
    ):
        with pytest.raises(FixableError, match=problem):
            measure(model, real=real)
    many = replace(model, shape=(4, 8, 8))
    with pytest.raises(FixableError, match="4 channels cannot be shown"):
        measure(many)
    assert not calls


def by(model: Model, runtime: Runtime) -> Measurement:
    real = replace(REAL, held_out=REAL.held_out and REAL.held_out[:30])
    settings = NeighbourSettings(sampling=SamplingSettings(n=8))
    return neighbours.measure(model, real, settings, runtime)


def test_a_killed_measurement_goes_on_and_processes_share_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest, "SHARD_IMAGES", 13)
    runtime = Runtime(cache=tmp_path / "a", batch=3)
    assert_resumes(by, jobs.subject(), runtime, stops=[50, 30])
    assert_shared(by, jobs.subject(), replace(runtime, cache=tmp_path / "b"))


def test_the_stream_of_continuations_is_its_own() -> None:
    draws = {
        Stream(0, name).generator(0, 5).integers(1 << 60)
        for name in ("sample", "continue", "encode")
    }
    assert len(draws) == 3
