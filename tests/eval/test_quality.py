"""The whole comparison, on digits: measured, named, cached, resumed, shared and warned of."""

import math
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddpm_eval.config import QualityConfig
from ddpm_eval.features import Features, bank, open_extractor
from ddpm_eval.job import Job
from ddpm_eval.measure.quality import quality, sanity
from ddpm_eval.measure.quality.quality import Comparison, Reference
from ddpm_eval.measure.quality.scan import statistics_of
from ddpm_eval.metrics.frechet import Gaussian, distance_stderr
from ddpm_eval.progress import quiet
from ddpm_eval.record.schema1 import Measurement
from ddpm_eval.sources import open_images
from ddpm_train.data.arrays import digits
from ddpm_train.data.images import Form, Images, Stack
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests.eval import jobs
from tests.eval.test_frechet import distance_between, of

CPU = torch.device("cpu")
TRAIN, TEST = (digits(split, Form(8, 1)) for split in ("train", "test"))
FD = "FD(digits-cnn)"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Counting:
    """The digits' network, counting images; after ``limit`` of them it is killed."""

    def __init__(self, *, limit: int = 10**9, batch: int = 32, **changes: Any) -> None:
        self._inner = open_extractor("digits-cnn", path=None, device=CPU)
        self.name, self.suffix, self.digest = "digits-cnn", "(digits-cnn)", self._inner.digest
        self.preprocessing, self.sizes = self._inner.preprocessing, self._inner.sizes
        self.batch, self.seen, self.limit, self.bad = batch, 0, limit, False
        self.__dict__.update(changes)

    def check(self, shape: tuple[int, ...]) -> None:
        self._inner.check(shape)

    def __call__(self, pixels: np.ndarray) -> Features:
        self.seen += len(pixels)
        if self.seen > self.limit:
            raise KeyboardInterrupt
        found = self._inner(pixels)
        if self.bad:
            found.pool[0, 0] = np.nan
        return Features(*found)


def reference(images: Images, kind: str = "train") -> Reference:
    return Reference(kind=kind, name=images.name, digest=images.digest, images=images)


def compare(
    samples: Images, against: Images | Reference, work: Path, **options: Any
) -> Measurement:
    parts: dict[str, Any] = {
        "samples": samples,
        "n": len(samples),
        "reference": against if isinstance(against, Reference) else reference(against),
        "extractor": Counting(),
        "world": World(CPU),
        "work": work / "work",
    }
    return quality.compare(Comparison(**(parts | options)))


def blurred(images: Stack, name: str = "blurred") -> Stack:
    x = images.pixels.astype(float)
    return Stack(name, ((x + np.roll(x, 1, 1) + np.roll(x, 1, 2)) / 3).astype(np.uint8))


def test_every_figure_has_its_name_and_its_n(tmp_path: Path) -> None:
    found = compare(blurred(TEST), TRAIN, tmp_path, held_out=TEST)
    assert found.name == "quality"
    assert {*found.quantities} == {
        *("IS(digits-cnn)", FD, "KD(digits-cnn)", "precision(digits-cnn)", "recall(digits-cnn)"),
        f"{FD} of held-out images",
    }
    counts = {name: each.n for name, each in found.quantities.items()}
    assert counts.pop("recall(digits-cnn)") == 1500  # which of these the samples cover
    assert {*counts.values()} == {297}
    assert found.settings["label"] == f"{FD}-297 against digits train (1,500 images)"
    assert found.settings["reference_digest"] == TRAIN.digest
    assert (found.settings["dataset"], found.settings["split"]) == ("digits", "train")
    extractor = Counting()
    x, y = (of(extractor(each.pixels).pool) for each in (blurred(TEST), TRAIN))
    assert found.quantities[FD].value == pytest.approx(distance_between(x, y), rel=1e-5)
    assert found.quantities[f"{FD} of held-out images"].value < found.quantities[FD].value
    pool = extractor(blurred(TEST).pixels).pool
    error = distance_stderr(Gaussian.of(x), Gaussian.of(y), [pool])
    assert found.quantities[FD].stderr == pytest.approx(error, rel=1e-4)
    for name, n in (("precision", 297), ("recall", 1500)):
        share = found.quantities[f"{name}(digits-cnn)"]
        assert share.stderr is not None
        assert share.stderr > np.sqrt(share.value * (1 - share.value) / n)  # both sets vary
    curve = found.curves[f"{FD} over n"]
    assert curve.x.tolist() == [74, 148, 297]
    assert curve.y[-1] == pytest.approx(found.quantities[FD].value, rel=1e-9)


def test_a_second_run_and_another_reference_extract_nothing_twice(
    tmp_path: Path, cache: Path
) -> None:
    first, second = Counting(), Counting()
    once = compare(blurred(TEST), TRAIN, tmp_path, extractor=first)
    again = compare(blurred(TEST), TRAIN, tmp_path, extractor=second)
    assert (first.seen, second.seen) == (297 + 1500, 0)
    assert once.quantities == again.quantities
    compare(blurred(TEST), reference(TEST, "test"), tmp_path, extractor=second)
    assert second.seen == 297


def test_the_cache_knows_content_and_nothing_else(tmp_path: Path) -> None:
    """Another name is the same; other pixels, weights, preprocessing or n are not."""
    extractor = Counting()
    compare(TEST, TEST, tmp_path, extractor=extractor)
    seen = extractor.seen
    compare(replace(TEST, name="renamed"), TEST, tmp_path, extractor=extractor)
    assert extractor.seen == seen
    pixels = TEST.pixels.copy()
    pixels[5, 3, 3] ^= 1
    compare(Stack("digits test", pixels), TEST, tmp_path, extractor=extractor)
    assert extractor.seen == seen + 297
    compare(TEST, TEST, tmp_path, extractor=extractor, n=290)
    assert extractor.seen == seen + 297 + 290
    for change in ({"digest": "0" * 64}, {"preprocessing": "other"}):
        other = Counting(**change)
        compare(TEST, TEST, tmp_path, extractor=other)
        assert other.seen == 297


def test_a_picture_that_changes_unseen_is_another_bank(tmp_path: Path) -> None:
    """Same name, same size, none of those that the folder's own digest samples."""
    for i, image in enumerate(TEST.pixels):
        Image.fromarray(image[..., 0]).save(tmp_path / f"{i:03d}.png", compress_level=0)
    before = open_images(tmp_path, channels=1)
    known = bank.content(before)
    Image.fromarray(255 - TEST.pixels[1, ..., 0]).save(tmp_path / "001.png", compress_level=0)
    after = open_images(tmp_path, channels=1)
    assert before.digest == after.digest
    assert bank.content(after) != known


def test_a_kill_costs_one_shard_and_no_digit(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank, "SHARD_IMAGES", 64)
    killed, resumed = Counting(limit=700), Counting()
    with pytest.raises(KeyboardInterrupt):
        compare(blurred(TEST), TRAIN, tmp_path, extractor=killed)
    found = compare(blurred(TEST), TRAIN, tmp_path, extractor=resumed)
    assert resumed.seen <= 297 + 1500 - 700 + 64 + 32
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "elsewhere"))
    assert compare(blurred(TEST), TRAIN, tmp_path).quantities == found.quantities


def test_damaged_statistics_and_shards_are_made_again(tmp_path: Path, cache: Path) -> None:
    found = compare(blurred(TEST), TRAIN, tmp_path)
    for path in cache.rglob("*.npz"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    extractor = Counting()
    assert (
        compare(blurred(TEST), TRAIN, tmp_path, extractor=extractor).quantities == found.quantities
    )
    assert extractor.seen == 297 + 1500


def test_statistics_of_a_file_stand_for_the_images(tmp_path: Path, cache: Path) -> None:
    found = compare(blurred(TEST), TRAIN, tmp_path)
    file = next(path for path in cache.rglob("statistics.npz"))
    config = QualityConfig(reference=str(file), extractor="digits-cnn")
    against = quality.open_reference(config, lambda _: TRAIN, Counting())
    assert against.images is None
    again = compare(blurred(TEST), against, tmp_path)
    assert again.name == "quality-statistics"
    assert again.quantities[FD] == found.quantities[FD]
    assert "KD(digits-cnn)" not in again.quantities
    assert any("statistics only" in text for text in again.warnings)
    with pytest.raises(FixableError, match="no images"):
        compare(blurred(TEST), against, tmp_path, metrics=("KID",))


def test_a_file_with_statistics_and_images_gives_both(tmp_path: Path) -> None:
    """As ADM's reference batches: FID against all images, recall against those in the file."""
    pool = of(Counting()(TRAIN.pixels).pool)
    file = tmp_path / "adm.npz"
    np.savez(file, mu=pool.mean, sigma=pool.covariance, arr_0=TEST.pixels)
    config = QualityConfig(reference=str(file), extractor="digits-cnn")
    against = quality.open_reference(config, lambda _: TRAIN, Counting())
    found = compare(blurred(TEST), against, tmp_path)
    whole, part = (compare(blurred(TEST), each, tmp_path) for each in (TRAIN, TEST))
    assert found.quantities[FD].value == pytest.approx(whole.quantities[FD].value, rel=1e-6)
    for name in ("KD(digits-cnn)", "recall(digits-cnn)"):
        assert found.quantities[name] == part.quantities[name]
    assert any("does not say which network" in text for text in found.warnings)


def test_only_wanted_figures_are_taken(tmp_path: Path) -> None:
    found = compare(blurred(TEST), TRAIN, tmp_path, metrics=("fid", "Precision"))
    assert {*found.quantities} == {FD, "precision(digits-cnn)"}
    for metric, message in (
        ("LPIPS", "not a metric"),
        ("sFID", "no spatial"),
        ("FID-infinity", "10,000"),
    ):
        with pytest.raises(FixableError, match=message):
            compare(TEST, TRAIN, tmp_path, metrics=(metric,))


# ------------------------------------------------------------------------------------- processes


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
        self.meet.wait(60)
        total = sum(self.table[rank] for rank in range(self.size))
        self.meet.wait(60)
        return total  # type: ignore[return-value]

    def any(self, flag: bool) -> bool:
        return bool(self.sum(torch.tensor(float(flag))))

    def once(self, action: Any) -> None:
        World.once(self, action)  # type: ignore[arg-type]

    def barrier(self) -> None:
        self.sum(torch.zeros(1))


@pytest.mark.parametrize("size", [2, 3])
def test_any_number_of_processes_gives_the_same_numbers(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bank, "SHARD_IMAGES", 100)
    alone = compare(blurred(TEST), TRAIN, tmp_path, held_out=TEST)
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "shared"))
    meet, table = threading.Barrier(size), dict[int, Tensor]()
    extractors = [Counting() for _ in range(size)]
    found: dict[int, Measurement] = {}

    def work(rank: int) -> None:
        world: Any = Thread(rank, size, table, meet)
        options = {"world": world, "extractor": extractors[rank], "held_out": TEST}
        found[rank] = compare(blurred(TEST), TRAIN, tmp_path, **options)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(each.seen for each in extractors) == 297 + 1500 + 297  # nothing twice, no padding
    assert all(each.seen for each in extractors)
    for name, quantity in alone.quantities.items():
        assert found[0].quantities[name].value == pytest.approx(quantity.value, rel=1e-7)
    assert found[1].quantities == {}


def test_who_has_the_statistics_helps_who_has_not(cache: Path) -> None:
    first = [True]

    class Beside(World):
        """Another process came before the file was written, and waits for the sums."""

        def any(self, flag: bool) -> bool:
            return first.pop() if first else flag

    extractor = Counting()
    statistics_of(TEST, len(TEST), extractor, World(CPU), quiet)
    for part in cache.rglob("images-*.npz"):
        part.unlink()
    statistics_of(TEST, len(TEST), extractor, World(CPU), quiet)
    assert extractor.seen == len(TEST)  # the file is there, and alone that is enough
    statistics_of(TEST, len(TEST), extractor, Beside(CPU), quiet)
    assert extractor.seen == 2 * len(TEST)


# ---------------------------------------------------------------------------------------- sanity


def test_nan_features_stop_everything(tmp_path: Path) -> None:
    with pytest.raises(FixableError, match=r"images 0\.\.31 hold NaN"):
        compare(TEST, TRAIN, tmp_path, extractor=Counting(bad=True))


def test_samples_that_are_the_reference_are_named(tmp_path: Path) -> None:
    found = compare(TRAIN, TRAIN, tmp_path, metrics=("FID",))
    assert found.quantities[FD].value == pytest.approx(0, abs=1e-6)
    text = " ".join(found.warnings)
    assert "next to zero" in text
    assert "1,500 of 1,500 samples are exact copies of reference images" in text


def test_copies_among_samples_are_counted(tmp_path: Path) -> None:
    pixels = blurred(TEST).pixels.copy()
    pixels[:5] = pixels[5]
    text = " ".join(compare(Stack("s", pixels), TRAIN, tmp_path).warnings)
    assert "5 of 297 samples are exact copies of other samples" in text


def facts(**changes: Any) -> sanity.Facts:
    fine: dict[str, Any] = {
        "n": 50_000,
        "dim": 2048,
        "name": "FID",
        "suffix": "",
        "reference": "train",
        "samples_pixels": np.arange(50_000),
        "reference_pixels": np.arange(60_000, 61_000),
        "distance": 3.0,
        "bias": 0.7,
        "lossy": 0,
        "made": {"weights": "ema", "step": 800_000, "ema_decay": 0.9999, "steps": 1000, "T": 1000},
    }
    return sanity.Facts(**(fine | changes))


def test_the_paper_s_protocol_needs_no_warning() -> None:
    assert sanity.warnings(facts()) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": 5000, "samples_pixels": np.arange(5000), "bias": 7.1}, "would score about 7.1"),
        ({"dim": 60_000}, "fewer images (50,000) than features (60,000)"),
        ({"suffix": "(x)", "name": "FD(x)"}, "not the published Inception"),
        ({"distance": 1e-9}, "next to zero"),
        ({"reference": "test"}, "test split"),
        ({"reference_pixels": np.arange(3)}, "3 of 50,000 samples are exact copies of reference"),
        ({"lossy": 4}, "4 images are JPEG"),
        ({"made": {"weights": "raw"}}, "raw weights"),
        ({"made": {"weights": "ema", "step": 6931, "ema_decay": 0.9999}}, "younger than"),
        ({"made": {"steps": 50, "T": 1000}}, "50 of 1,000 steps"),
        ({"made": {"precision": "bf16"}}, "bf16"),
        ({"made": {"precision": "tf32"}}, "tf32"),
    ],
)
def test_each_departure_has_its_own_sentence(change: dict[str, Any], message: str) -> None:
    found = sanity.warnings(facts(**change))
    assert len(found) == 1
    assert message in found[0]


def test_an_average_is_old_enough_after_its_half_life() -> None:
    made = {"weights": "ema", "ema_decay": 0.9999}
    assert math.isclose(sanity._half_life(0.9999), 6931.1, abs_tol=0.1)
    assert sanity.warnings(facts(made={**made, "step": 6932})) == ()


# ------------------------------------------------------------------------------------- refusals


def test_images_of_another_size_or_too_few_are_refused(tmp_path: Path) -> None:
    big = Stack("big", np.zeros((20, 16, 16, 1), np.uint8))
    with pytest.raises(FixableError, match="big has images of 16x16, the samples are 8x8"):
        compare(TEST, big, tmp_path)
    few = Stack("few", TEST.pixels[:9])
    with pytest.raises(FixableError, match="samples: 9 images"):
        compare(few, TRAIN, tmp_path)
    with pytest.raises(FixableError, match="digits test has 297 images"):
        compare(TEST, TRAIN, tmp_path, n=298)


# ----------------------------------------------------------------------------------- of a model


def test_a_model_s_samples_are_drawn_and_compared(tmp_path: Path) -> None:
    config = QualityConfig(extractor="digits-cnn")
    job = jobs.job(tmp_path / "work", n=30, quality=config)
    found = quality.measure(replace(job, config=replace(job.config, n=24)))
    assert found.quantities[FD].n == 24
    assert f"{FD} of held-out images" in found.quantities
    settings = found.settings
    assert (settings["weights"], settings["T"], settings["steps"]) == ("ema", 40, 40)
    assert (settings["sampler"], settings["seed"]) == ("ancestral", 0)
    assert settings["dataset"] == "pictures"
    against = quality.measure(
        replace(job, config=replace(job.config, n=24, quality=replace(config, reference="test")))
    )
    assert against.name == "quality-test"
    assert any("test split" in text for text in against.warnings)


def test_a_reference_file_of_another_size_is_refused_before_sampling(tmp_path: Path) -> None:
    np.savez(tmp_path / "big.npz", images=np.zeros((20, 16, 16, 1), np.uint8))
    config = QualityConfig(extractor="digits-cnn", reference=str(tmp_path / "big.npz"))
    job = jobs.job(tmp_path / "work", quality=config, n=30)
    with pytest.raises(FixableError, match="16x16"):
        quality.measure(replace(job, config=replace(job.config, n=24)))
    assert not list((tmp_path / "work").rglob("images-*"))


def test_statistics_of_another_data_set_are_refused_before_sampling(tmp_path: Path) -> None:
    path = tmp_path / "digits.npz"
    compare(TEST, TRAIN, tmp_path, save=str(path))
    config = QualityConfig(extractor="digits-cnn", reference=str(path))
    job = jobs.job(tmp_path / "drawn", quality=config, n=30)
    few = replace(job, config=replace(job.config, n=24))

    def of_model(data: str) -> Job:
        facts = replace(job.subject.facts, file={"data": data})
        return replace(few, subject=replace(job.subject, facts=facts))

    with pytest.raises(FixableError, match="of digits train, the model was trained on faces"):
        quality.measure(of_model("faces train"))
    assert not list((tmp_path / "drawn").rglob("images-*"))
    assert quality.measure(of_model("digits train")).quantities[FD].n == 24
