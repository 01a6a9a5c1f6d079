"""Features are extracted once: kept, resumed, made again where damaged, shared by processes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddpm_eval.features import (
    bank,
    open_extractor,
)
from ddpm_eval.measure.quality import quality
from ddpm_eval.measure.quality.reference import Comparison, Reference
from ddpm_eval.measure.quality.scan import statistics_of
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.record.record import Measurement
from ddpm_eval.runtime import Runtime
from ddpm_eval.sources import open_images
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError
from ddpm_train.world import World
from tests.eval.quality.comparisons import (
    CPU,
    TEST,
    TRAIN,
    Counting,
    blurred,
    compare,
    images,
    value,
)


@pytest.mark.parametrize(("cut", "said"), [(4, "8 of 12"), (12, "0 of 12")])
def test_rows_that_are_cut_off_are_an_error(tmp_path: Path, cut: int, said: str) -> None:
    """Another process's file that ends early gave whatever the memory held."""
    rows = np.arange(12, dtype=np.float32).reshape(4, 3)
    (tmp_path / "rows").write_bytes(rows.tobytes()[:-cut])
    with (tmp_path / "rows").open("rb") as file:
        kept = bank.FileRows(file, 4, 3)
        assert np.array_equal(kept.take(np.array([2, 0])), rows[[2, 0]])
        with pytest.raises(FixableError, match=f"features of image 3: {said} bytes"):
            kept.take(np.array([0, 3]))


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
