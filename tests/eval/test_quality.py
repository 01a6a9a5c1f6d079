"""The whole comparison, on digits: measured, named, cached, resumed, shared and warned of."""

import math
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import ddpm_eval as de
from ddpm_eval.choice import ImageSet
from ddpm_eval.features import (
    EXTRACTORS,
    Entry,
    Extractor,
    Outputs,
    bank,
    digits_cnn,
    open_extractor,
)
from ddpm_eval.measure.quality import quality, sanity
from ddpm_eval.measure.quality.origin import Origin
from ddpm_eval.measure.quality.quality import Comparison
from ddpm_eval.measure.quality.reference import Reference
from ddpm_eval.measure.quality.scan import statistics_of
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.metrics import registry
from ddpm_eval.metrics.estimate import Error, Estimate
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.metrics.registry import Metric
from ddpm_eval.model import Model
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score
from ddpm_eval.runtime import Runtime
from ddpm_eval.sources import open_images
from ddpm_train.data.arrays import digits
from ddpm_train.data.images import Form, Split, Stack
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests.eval import jobs
from tests.eval.pieces import counting
from tests.eval.test_frechet import distance_between, of

CPU = torch.device("cpu")


def stack(split: Split) -> Stack:
    """The digits without their classes."""
    images = digits(split, Form(8, 1)).images
    assert isinstance(images, Stack)
    return images


TRAIN, TEST = stack("train"), stack("test")
FD = "FD(digits-cnn)"


@pytest.fixture
def features(tmp_path: Path) -> Path:
    return tmp_path / "features"


@dataclass
class Counting:
    """Counts the images that the digits' network sees; after ``limit`` of them it is killed.

    Threads play processes here, and ``+=`` of two of them may lose a count: it takes turns.
    """

    limit: int = 10**9
    seen: int = 0
    turn: threading.Lock = field(default_factory=threading.Lock)
    bad: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "Counting":
        """Be the extractor ``digits-cnn`` from now on."""
        entry = EXTRACTORS["digits-cnn"]
        whole = digits_cnn.load(None, "", CPU)
        description = replace(entry.description, batch=(32, 32))

        def network(levels: Tensor) -> Outputs:
            with self.turn:
                self.seen += len(levels)
            if self.seen > self.limit:
                raise KeyboardInterrupt
            outputs = whole.network(levels)
            if self.bad:
                outputs.pool[0, 0] = torch.nan
            return outputs

        def load(path: Any, resize: str, device: torch.device, *, accept: str = "") -> Extractor:
            counting = replace(whole, description=description, network=network)
            return replace(counting, **self.changes)

        monkeypatch.setitem(EXTRACTORS, "digits-cnn", Entry(entry.description, load))
        return self


def images(source: Stack, split: str = "") -> ImageSet:
    return ImageSet.of(source, split=split)


def compare(
    samples: Stack | ImageSet,
    against: Stack | Reference,
    features: Path | None = None,
    *,
    held_out: Stack | None = None,
    world: Any = None,
    **settings: Any,
) -> Measurement:
    (only,) = compare_all(samples, against, features, held_out=held_out, world=world, **settings)
    return only


def compare_all(
    samples: Stack | ImageSet,
    against: Stack | Reference,
    features: Path | None = None,
    *,
    held_out: Stack | None = None,
    world: Any = None,
    **settings: Any,
) -> tuple[Measurement, ...]:
    reference = against
    if isinstance(against, Stack):
        split = "test" if against.name.endswith("test") else "train"
        reference = Reference(images=images(against, split))
    assert isinstance(reference, Reference)
    comparison = Comparison(
        samples=samples if isinstance(samples, ImageSet) else images(samples),
        reference=reference,
        held_out=None if held_out is None else images(held_out, "test"),
    )
    runtime = Runtime(world=world or World(CPU), features=features)
    plain = {"extractors": ("digits-cnn",), **settings}
    return quality.measure(comparison, QualitySettings(**plain), runtime)


def blurred(stack: Stack, name: str = "blurred") -> Stack:
    x = stack.pixels.astype(float)
    return Stack(name, ((x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3).astype(np.uint8))


def value(measurement: Measurement, metric: str, **of: object) -> Score:
    score = measurement.score(metric, **of)
    assert score is not None
    return score


ALL = {
    *("inception_score", "fid", "kid", "precision", "recall", "density", "coverage", "mind"),
    *("memorised_share", "authenticity", "vendi_score"),
}


def test_every_figure_has_its_name_and_its_n(features: Path) -> None:
    result = compare(blurred(TEST), TRAIN, features, held_out=TEST)
    assert result.measure == "quality"
    whose = {(score.metric, score.of.whose) for score in result.scores}
    assert whose == {
        *((metric, "samples") for metric in ALL),
        *(("fid", "held-out images"), ("relative_fd", "samples")),
    }
    assert {score.of.extractor for score in result.scores} == {"(digits-cnn)"}
    assert value(result, "fid").label == FD
    counts = {score.metric: score.n for score in result.scores}
    assert counts.pop("recall") == counts.pop("coverage") == 1500  # shares of these
    assert {*counts.values()} == {297}
    assert result.facts["label"] == f"{FD}-297 against digits train (1,500 images)"
    protocol = result.protocol
    assert protocol.reference is not None and protocol.extractor is not None
    assert protocol.reference.digest == TRAIN.digest
    assert (protocol.reference.dataset, protocol.reference.split) == ("digits", "train")
    assert protocol.extractor.name == "digits-cnn"
    extractor = open_extractor("digits-cnn", device=CPU)
    x, y = (of(extractor(item.pixels).pool) for item in (blurred(TEST), TRAIN))
    distance = value(result, "fid", whose="samples")
    assert distance.value == pytest.approx(distance_between(x, y), rel=1e-5)
    real = value(result, "fid", whose="held-out images")
    assert real.value < distance.value
    ratio = value(result, "relative_fd")
    assert ratio.value == pytest.approx(distance.value / real.value)
    pool = extractor(blurred(TEST).pixels).pool
    error = distance_stderr(Gaussian.of(x), Gaussian.of(y), [pool])
    assert distance.error is not None
    assert distance.error.size == pytest.approx(error, rel=1e-4)
    curve = result.curve("fid")
    assert curve is not None
    assert curve.x.tolist() == [74, 148, 297]
    assert curve.y[-1] == pytest.approx(distance.value, rel=1e-9)


def test_the_terms_of_the_distance_add_up_to_it(features: Path) -> None:
    result = compare(blurred(TEST), TRAIN, features, held_out=TEST)
    terms: Any = result.facts["terms"]
    for whose in ("samples", "held-out images"):
        four = terms[whose]
        total = four["mean"] + four["trace"] + four["reference_trace"] - four["cross"]
        assert total == pytest.approx(value(result, "fid", whose=whose).value, rel=1e-9)


def test_fewer_held_out_images_than_samples_are_compared_at_equal_n(features: Path) -> None:
    few = Stack("digits test", TEST.pixels[:100])
    result = compare(blurred(TEST), TRAIN, features, held_out=few, metrics=("fid",))
    ratio, whole = value(result, "relative_fd"), value(result, "fid", whose="samples")
    real = value(result, "fid", whose="held-out images")
    assert (ratio.n, real.n, whole.n) == (100, 100, 297)
    assert ratio.value > whole.value / real.value  # 100 samples score more than 297 do


def test_in_memory_it_is_the_same_and_nothing_is_written(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting().install(monkeypatch)
    first = compare(blurred(TEST), TRAIN, features, held_out=TEST)
    seen = counting.seen
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    free = compare(blurred(TEST), TRAIN, None, held_out=TEST)
    assert counting.seen == 2 * seen == 2 * (297 + 1500 + 297)
    assert free.scores == first.scores and free.key == first.key
    assert sorted(tmp_path.rglob("*")) == before


def test_a_second_run_and_another_reference_extract_nothing_twice(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting().install(monkeypatch)
    once = compare(blurred(TEST), TRAIN, features)
    assert counting.seen == 297 + 1500
    again = compare(blurred(TEST), TRAIN, features)
    assert counting.seen == 297 + 1500
    assert once.scores == again.scores
    compare(blurred(TEST), TEST, features)
    assert counting.seen == 297 + 1500 + 297


def test_a_finished_measurement_is_given_back(features: Path) -> None:
    once = compare(blurred(TEST), TRAIN, features)
    comparison = Comparison(
        samples=images(blurred(TEST)), reference=Reference(images=images(TRAIN, "train"))
    )
    asked = []

    def recorded(measure: str, protocol: Any) -> Measurement:
        asked.append((measure, protocol.key))
        return once

    runtime = Runtime(features=features, recorded=recorded)
    settings = QualitySettings(extractors=("digits-cnn",))
    assert quality.measure(comparison, settings, runtime) == (once,)
    assert asked == [once.key]


def test_the_cache_knows_content_and_nothing_else(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another name is the same; other pixels, weights, preprocessing or n are not."""
    counting = Counting().install(monkeypatch)
    compare(TEST, TEST, features)
    seen = counting.seen
    compare(replace(TEST, name="renamed"), TEST, features)
    assert counting.seen == seen
    pixels = TEST.pixels.copy()
    pixels[5, 3, 3] ^= 1
    compare(Stack("digits test", pixels), TEST, features)
    assert counting.seen == seen + 297
    compare(TEST, TEST, features, n=290)
    assert counting.seen == seen + 297 + 290
    for change in ({"digest": "0" * 64}, {"resize": "tf1"}):
        other = Counting(changes=change).install(monkeypatch)
        compare(TEST, TEST, features)
        assert other.seen == 297


def test_a_picture_that_changes_unseen_is_another_bank(tmp_path: Path) -> None:
    """Same name, same size, none of those that the folder's own digest samples."""
    for i, image in enumerate(TEST.pixels):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i:03d}.png", compress_level=0)
    digest = bank.content(open_images(tmp_path, channels=1))
    Image.fromarray(255 - TEST.pixels[1, ..., 0]).save(tmp_path / "001.png", compress_level=0)
    assert bank.content(open_images(tmp_path, channels=1)) != digest


def test_a_kill_costs_one_shard_and_no_digit(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank, "SHARD_IMAGES", 64)
    Counting(limit=700).install(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        compare(blurred(TEST), TRAIN, features)
    resumed = Counting().install(monkeypatch)
    result = compare(blurred(TEST), TRAIN, features)
    assert resumed.seen <= 297 + 1500 - 700 + 64 + 32
    assert compare(blurred(TEST), TRAIN, tmp_path / "elsewhere").scores == result.scores


def test_damaged_statistics_and_shards_are_made_again(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting().install(monkeypatch)
    result = compare(blurred(TEST), TRAIN, features)
    for path in features.rglob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    assert compare(blurred(TEST), TRAIN, features).scores == result.scores
    assert counting.seen == 2 * (297 + 1500)


def test_a_short_read_is_an_error_and_no_number(tmp_path: Path) -> None:
    with (tmp_path / "rows").open("w+b") as file:
        file.write(np.zeros((3, 4), np.float32).data)
        file.flush()
        rows = bank.FileRows(file, 4, 4)
        assert rows.take(np.array([2])).shape == (1, 4)
        with pytest.raises(FixableError, match="features of image 3: 0 of 16 bytes"):
            rows.take(np.array([0, 3]))


def test_statistics_of_a_file_stand_for_the_images(features: Path, tmp_path: Path) -> None:
    file = tmp_path / "statistics.npz"
    result = compare(blurred(TEST), TRAIN, features, save=str(file))
    again = compare(blurred(TEST), Reference(file=file), features)
    assert value(again, "fid") == value(result, "fid")
    assert again.protocol.reference == result.protocol.reference  # known by content
    assert again.score("kid") is None
    assert any("statistics only" in text for text in again.warnings)
    with pytest.raises(FixableError, match="metrics=KID: the reference has statistics only"):
        compare(blurred(TEST), Reference(file=file), features, metrics=("KID",))


def test_a_file_with_statistics_and_images_gives_both(features: Path, tmp_path: Path) -> None:
    """As ADM's reference batches: FID against all images, recall against those in the file."""
    pool = of(open_extractor("digits-cnn", device=CPU)(TRAIN.pixels).pool)
    file = tmp_path / "adm.npz"
    np.savez(file, mu=pool.mean, sigma=pool.covariance, arr_0=TEST.pixels)
    result = de.quality(blurred(TEST).pixels, file, extractor="digits-cnn")
    whole, part = (compare(blurred(TEST), item, features) for item in (TRAIN, TEST))
    assert value(result, "fid").value == pytest.approx(value(whole, "fid").value, rel=1e-6)
    for metric in ("kid", "recall", "density"):
        assert value(result, metric) == value(part, metric)
    assert any("does not say which network" in text for text in result.warnings)


def test_only_wanted_figures_are_taken(features: Path) -> None:
    result = compare(blurred(TEST), TRAIN, features, metrics=("fid", "Precision"))
    assert {score.metric for score in result.scores} == {"fid", "precision"}
    for metric, message in (
        ("LPIPS", "not a metric"),
        ("sFID", "no spatial"),
        ("FID-infinity", "it takes 10,000 images, and there are 297"),
        ("CMMD", "defined through clip-l14-336"),
    ):
        with pytest.raises(FixableError, match=message):
            compare(TEST, TRAIN, features, metrics=(metric,))


@pytest.mark.parametrize("n", [1, 2, 5, 9])
def test_few_images_are_measured_by_what_can_be_said_of_them(features: Path, n: int) -> None:
    few = Stack("few", TEST.pixels[:n])
    if n == 1:
        with pytest.raises(FixableError, match="n=1: no metric works on so few images"):
            compare(few, TRAIN, features)
        with pytest.raises(FixableError, match="metrics=FID: it takes 2 images, and there are 1"):
            compare(few, TRAIN, features, metrics=("FID",))
        return
    result = compare(few, TRAIN, features)
    assert result.score("inception_score") is None
    for score in result.scores:
        assert score.error is None or score.error.size > 0


def test_some_of_a_folder_are_drawn_and_not_the_first(features: Path) -> None:
    """Of an ordered set the first are no sample."""
    order = np.argsort(TRAIN.pixels.reshape(1500, -1).sum(1))
    ordered = Stack("ordered", TRAIN.pixels[order])
    drawn = compare(ordered, TRAIN, features, n=150, metrics=("fid",))
    first = compare(ordered, TRAIN, features, n=150, metrics=("fid",), first=True)
    facts = drawn.protocol.images
    assert facts is not None and (facts.choice, facts.n, facts.seed) == ("drawn", 150, 0)
    assert value(first, "fid").value > 3 * value(drawn, "fid").value
    assert drawn.key != first.key


# ------------------------------------------------------------- a metric and an extractor by entry


def test_a_metric_is_one_entry(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    toy = Metric(
        title="Mean step",
        better="lower",
        needs=frozenset({"moments"}),
        compute=lambda evidence: Estimate(
            value=float(np.linalg.norm(evidence.samples.pool.mean - evidence.reference.pool.mean)),
            n=evidence.n,
            error=Error(size=0.5, over="samples"),
        ),
    )
    monkeypatch.setitem(registry._METRICS, "toy", toy)
    result = compare(blurred(TEST), TRAIN, features)
    score = value(result, "toy")
    assert score.label == "Mean step(digits-cnn)" and score.value > 0
    only = compare(blurred(TEST), TRAIN, features, metrics=("mean step",))
    assert [score.metric for score in only.scores] == ["toy"]
    assert "Mean step(digits-cnn)" in str(only)


def test_an_extractor_without_logits_is_one_entry(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(monkeypatch)
    measurements = compare_all(
        blurred(TEST), TRAIN, features, held_out=TEST, extractors=("digits-cnn", "toy")
    )
    assert len(measurements) == 3  # side by side, and the mean of their ratios
    digits_, toy, mean = measurements
    assert {item.key for item in measurements} == {digits_.key, toy.key, mean.key} and len(
        measurements
    ) == 3
    assert toy.score("inception_score") is None
    assert value(toy, "fid", whose="samples").label == "FD(toy)"
    assert toy.protocol.extractor is not None and toy.protocol.extractor.name == "toy"
    ratios = [value(item, "relative_fd") for item in (digits_, toy)]
    score = value(mean, "relative_fd")
    assert score.value == pytest.approx(np.mean([ratio.value for ratio in ratios]))
    assert score.label == "FDr(mean of 2)"
    with pytest.raises(FixableError, match="metrics=IS: toy gives no logits"):
        compare(TEST, TRAIN, features, extractors=("toy",), metrics=("IS",))


def install_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An extractor of 8 features, two ways of resizing, and no logits."""
    description = replace(
        EXTRACTORS["digits-cnn"].description,
        **{"name": "toy", "dim": 8, "logits": 0, "side": 4, "resizes": ("tf1", "antialias")},
        normalisation="none",
        published="7" * 64,
    )

    def load(path: Any, resize: str, device: torch.device, *, accept: str = "") -> Extractor:
        return Extractor(
            description=description,
            network=lambda levels: Outputs(levels[:, 0].flatten(1)[:, :8]),
            digest="7" * 64,
            resize=resize,
            device=device,
        )

    monkeypatch.setitem(EXTRACTORS, "toy", Entry(description, load))


def test_ways_of_resizing_stand_side_by_side(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(monkeypatch)
    pair = compare_all(
        blurred(TEST), TRAIN, features, extractors=("toy",), protocols=("tf1", "antialias")
    )
    labels = [value(item, "fid").label for item in pair]
    assert labels == ["FD(toy)", "FD(toy)[antialias]"]
    assert pair[0].key != pair[1].key
    assert value(pair[0], "fid").value != value(pair[1], "fid").value
    with pytest.raises(FixableError, match="protocols=clean: not a way of resizing for toy"):
        compare(TEST, TRAIN, features, extractors=("toy",), protocols=("clean",))
    with pytest.raises(FixableError, match="2 extractors or protocols, one file"):
        compare_all(
            TEST, TRAIN, features, extractors=("toy",), protocols=("tf1", "antialias"), save="a"
        )


def test_statistics_of_another_resizing_are_refused(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_toy(monkeypatch)
    file = tmp_path / "s.npz"
    compare(TEST, TRAIN, features, extractors=("toy",), save=str(file))
    with pytest.raises(FixableError, match="prepared otherwise"):
        compare(TEST, Reference(file=file), features, extractors=("toy",), protocols=("antialias",))


# ------------------------------------------------------------------------------------- processes

PATIENCE = 1200  # seconds that a thread waits for the others, however busy the machine is


@dataclass(frozen=True)
class Thread:
    """One of several processes, played by a thread: what they add up, they all get."""

    rank: int
    size: int
    table: dict[int, Tensor] = field(default_factory=dict)
    meet: threading.Barrier | None = None
    device: torch.device = CPU

    def share(self, items: Any) -> Any:
        return World(CPU, self.rank, self.size).share(items)

    def sum(self, values: Tensor) -> Tensor:
        assert self.meet is not None
        self.table[self.rank] = values
        self.meet.wait(PATIENCE)
        total = sum(self.table[rank] for rank in range(self.size))
        self.meet.wait(PATIENCE)
        return total  # type: ignore[return-value]

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(float(flag))))

    def once(self, action: Any) -> None:
        World.once(self, action)  # type: ignore[arg-type]

    def barrier(self) -> None:
        self.sum(torch.zeros(1))


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_processes_gives_the_same_numbers(
    features: Path, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank, "SHARD_IMAGES", 100)
    alone = compare(blurred(TEST), TRAIN, features, held_out=TEST)
    meet, table = threading.Barrier(size), dict[int, Tensor]()
    counting = Counting().install(monkeypatch)

    def work(rank: int) -> Measurement:
        world: Any = Thread(rank, size, table, meet)
        try:
            return compare(blurred(TEST), TRAIN, tmp_path / "shared", held_out=TEST, world=world)
        except BaseException:
            meet.abort()  # nobody waits for one that ended
            raise

    with ThreadPoolExecutor(size) as threads:
        results = list(threads.map(work, range(size)))
    assert counting.seen == 297 + 1500 + 297  # nothing twice, no padding
    for score in alone.scores:
        other = value(results[0], score.metric, whose=score.of.whose)
        assert other.value == pytest.approx(score.value, rel=1e-7)
    assert results[1].scores == ()
    assert results[1].key == alone.key


def test_who_has_the_statistics_helps_who_has_not(
    features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = [True]

    class Beside(World):
        """Another process came before the file was written, and waits for the sums."""

        def any(self, flag: bool) -> bool:
            return first.pop() if first else flag

    counting = Counting().install(monkeypatch)
    extractor = open_extractor("digits-cnn", device=CPU)
    alone = Runtime(features=features)
    statistics_of(TEST, len(TEST), extractor, alone)
    for part in features.rglob("images-*.npz"):
        part.unlink()
    statistics_of(TEST, len(TEST), extractor, alone)
    assert counting.seen == len(TEST)  # the file is there, and alone that is enough
    statistics_of(TEST, len(TEST), extractor, replace(alone, world=Beside(CPU)))
    assert counting.seen == 2 * len(TEST)


# ---------------------------------------------------------------------------------------- sanity


def test_nan_features_stop_everything(features: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Counting(bad=True).install(monkeypatch)
    with pytest.raises(FixableError, match=r"images 0\.\.31 hold NaN"):
        compare(TEST, TRAIN, features)


def test_samples_that_are_the_reference_are_named(features: Path) -> None:
    result = compare(TRAIN, TRAIN, features, metrics=("FID",))
    assert value(result, "fid").value == pytest.approx(0, abs=1e-6)
    text = " ".join(result.warnings)
    assert "next to zero" in text
    assert "1,500 of 1,500 samples are exact copies of reference images" in text


def test_memorised_samples_are_flagged(features: Path) -> None:
    """Training images, one grey level off: nothing equals them to the last bit."""
    noise = np.random.default_rng(0).integers(-1, 2, TRAIN.pixels.shape)
    near = np.clip(TRAIN.pixels.astype(int) + noise, 0, 255).astype(np.uint8)
    result = compare(Stack("near", near), TRAIN, features, held_out=TEST)
    text = " ".join(result.warnings)
    assert "exact copies" not in text
    assert "even fresh images of the same kind would score" in text
    assert "three times nearer to one reference image" in text
    assert value(result, "authenticity").value < 20
    fresh = compare(TEST, TRAIN, features, held_out=Stack("b", blurred(TEST).pixels))
    text = " ".join(fresh.warnings)
    assert "three times nearer" not in text and "fresh images" not in text


def test_copies_among_samples_are_counted(features: Path) -> None:
    pixels = blurred(TEST).pixels.copy()
    pixels[:5] = pixels[5]
    text = " ".join(compare(Stack("s", pixels), TRAIN, features).warnings)
    assert "5 of 297 samples are exact copies of other samples" in text


def test_the_score_of_few_images_is_warned_of(features: Path) -> None:
    few = Stack("few", TRAIN.pixels[:30])
    text = " ".join(compare(few, TEST, features, metrics=("IS",)).warnings)
    assert "IS rises as n grows: its ten parts have 3 images each" in text
    many = compare(TRAIN, TEST, features, metrics=("IS",))
    assert "IS rises" not in " ".join(many.warnings)


PAPER = SamplingFacts(sampler="ancestral", steps=1000, T=1000, seed=0, n=50_000)


def facts(**changes: Any) -> sanity.Facts:
    fine: dict[str, Any] = {
        "n": 50_000,
        "dim": 2048,
        "name": "FID",
        "suffix": "",
        "split": "train",
        "samples_pixels": np.arange(50_000),
        "reference_pixels": np.arange(60_000, 61_000),
        "distance": 3.0,
        "bias": 0.7,
        "ratio": Estimate(value=1.2, n=10_000, error=Error(size=0.1)),
        "memorised": Estimate(value=0.01, n=50_000, error=Error(size=0.001)),
        "origin": Origin(weights="ema", step=800_000, ema_decay=0.9999, sampling=PAPER),
    }
    return sanity.Facts(**(fine | changes))


def test_the_paper_s_protocol_needs_no_warning() -> None:
    assert sanity.warnings(facts()) == ()


SCORE = Estimate(value=2.4, n=50_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"n": 5000, "samples_pixels": np.arange(5000), "bias": 7.1, "distance": 9},
            "would score about 7.1",
        ),
        ({"dim": 60_000}, "fewer images (50,000) than features (60,000)"),
        ({"suffix": "(x)", "name": "FD(x)"}, "x is not the published Inception"),
        ({"suffix": "[clean]", "name": "FID[clean]"}, "resizes images otherwise"),
        ({"distance": 1e-9}, "next to zero"),
        ({"distance": 0.3}, "only 0.3"),
        ({"split": "test"}, "test split"),
        ({"reference_pixels": np.arange(3)}, "3 of 50,000 samples are exact copies of reference"),
        ({"ratio": Estimate(value=0.2, n=9, error=Error(size=0.1))}, "of what held-out real"),
        ({"memorised": Estimate(value=0.2, n=9, error=Error(size=0.05))}, "20.0% of the samples"),
        ({"score": SCORE, "score_limit": 6.8}, "it would be about 6.8, not 2.4"),
        ({"lossy": 4}, "4 images are JPEG"),
        ({"origin": Origin(weights="raw")}, "raw weights"),
        ({"origin": Origin(weights="ema", step=6931, ema_decay=0.9999)}, "younger than"),
        ({"origin": Origin(sampling=replace(PAPER, steps=50))}, "50 of 1,000 steps"),
        ({"origin": Origin(precision="bf16")}, "bf16"),
        ({"origin": Origin(precision="tf32")}, "tf32"),
    ],
)
def test_each_departure_has_its_own_sentence(change: dict[str, Any], message: str) -> None:
    texts = sanity.warnings(facts(**change))
    assert len(texts) == 1
    assert message in texts[0]


def test_an_average_is_old_enough_after_its_half_life() -> None:
    assert math.isclose(sanity._half_life(0.9999), 6931.1, abs_tol=0.1)
    origin = Origin(weights="ema", ema_decay=0.9999, step=6932)
    assert sanity.warnings(facts(origin=origin)) == ()


# ------------------------------------------------------------------------------------- refusals


def test_images_of_another_size_or_too_few_are_refused(features: Path) -> None:
    big = Stack("big", np.zeros((20, 16, 16, 1), np.uint8))
    with pytest.raises(FixableError, match="big train has images of 16x16, the samples are 8x8"):
        compare(TEST, big, features)
    with pytest.raises(FixableError, match="digits test has 297 images"):
        compare(TEST, TRAIN, features, n=298)


# -------------------------------------------------------------------------- from Python: the door

DIGITS: Any = {"extractor": "digits-cnn"}


def pictures(split: str) -> ImageSet:
    n, seed = (60, 1) if split == "train" else (30, 2)
    return images(jobs.pictures(n, seed=seed, name=f"pictures {split}"), split)


def test_arrays_folders_files_and_stores_are_alike(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = blurred(TEST)
    wanted = compare(stack, TRAIN, features, metrics=("FID", "recall")).scores
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(stack.pixels):
        Image.fromarray(image[..., 0]).save(tmp_path / "folder" / f"{i:03d}.png")
    np.savez(tmp_path / "array.npz", images=stack.pixels)
    np.savez(tmp_path / "train.npz", images=TRAIN.pixels)
    options: Any = {**DIGITS, "metrics": ["FID", "recall"], "cache": tmp_path / "cache"}
    for samples, against in (
        (stack.pixels, TRAIN.pixels),
        (str(tmp_path / "folder"), tmp_path / "train.npz"),
        (tmp_path / "array.npz", images(TRAIN, "train")),
    ):
        result = de.quality(samples, against, **options)
        assert [score for score in result.scores if score.metric != "relative_fd"] == [*wanted]


def test_a_model_s_samples_are_drawn_and_compared() -> None:
    model = jobs.subject()
    train, test = pictures("train"), pictures("test")
    result = de.quality(model, train, test, n=24, **DIGITS)
    assert value(result, "fid", whose="samples").n == 24
    assert value(result, "fid", whose="held-out images").n == 24
    protocol = result.protocol
    assert protocol.sampling is not None and protocol.images is None
    assert (protocol.weights, protocol.sampling.T, protocol.sampling.steps) == ("ema", 40, 40)
    assert (protocol.sampling.sampler, protocol.seed) == ("ancestral", 0)
    assert protocol.reference is not None and protocol.reference.dataset == "pictures"
    drawn = de.quality(de.sample(model, 24), train, test, **DIGITS)
    assert drawn.scores == result.scores
    against = de.quality(model, test, n=24, **DIGITS)
    assert against.key != result.key
    assert any("test split" in text for text in against.warnings)
    with pytest.raises(FixableError, match="does not say what it was trained on"):
        de.quality(model, n=24, **DIGITS)


def test_what_does_not_fit_is_refused_before_sampling(tmp_path: Path) -> None:
    calls: list[int] = []
    model = counting(jobs.subject(), calls)
    np.savez(tmp_path / "big.npz", images=np.zeros((20, 16, 16, 1), np.uint8))
    with pytest.raises(FixableError, match="16x16"):
        de.quality(model, tmp_path / "big.npz", n=24, **DIGITS)
    with pytest.raises(FixableError, match="looks at 8x8x1"):
        de.quality(replace(model, shape=(1, 16, 16)), pictures("train"), n=24, **DIGITS)
    with pytest.raises(FixableError, match="not the published"):
        de.quality(model, pictures("train"), n=24, extractor_weights=__file__)
    file = tmp_path / "digits.npz"
    de.quality(TEST.pixels, images(TRAIN, "train"), save=file, **DIGITS)

    def of_model(data: str) -> Model:
        return replace(model, facts=replace(model.facts, file={"data": data}))

    with pytest.raises(FixableError, match="of digits; the model was trained on faces"):
        de.quality(of_model("faces train"), file, n=24, **DIGITS)
    assert not calls
    assert value(de.quality(of_model("digits train"), file, n=24, **DIGITS), "fid").n == 24
    assert calls
