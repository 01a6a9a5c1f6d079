"""The sample store: the same bytes whoever fills it, no damage unnoticed, nothing mixed."""

import errno
import fcntl
import itertools
import json
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval.measure.pictures import sample_facts, samples
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record import arrays, filling, store
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_eval.record.shards import Shards, key_of
from ddpm_eval.record.store import SampleStore, open_store
from ddpm_eval.runtime import Runtime
from ddpm_train.config import ObjectiveConfig
from ddpm_train.data.images import Stack
from ddpm_train.denoiser import Denoiser
from ddpm_train.errors import FixableError
from ddpm_train.presets import digits
from ddpm_train.settings import to_dict
from ddpm_train.world import World
from tests.eval import forks, jobs
from tests.eval.pieces import counting

N = 18  # in batches of 4: five shards, the last of which holds two more
T = 6
CALLS: list[tuple[Any, str]] = [
    *((os, "fsync"), (Path, "open"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")),
    (arrays.zipfile, "ZipFile"),
]


def model(*, seconds: float = 0.0, digest: str = "a") -> Model:
    """A model whose network feels its whole batch: another composition gives other images."""
    plain = jobs.subject(T=T, digest=digest)
    inner = plain.denoise.network

    def network(x: Tensor, t: Tensor) -> Tensor:
        time.sleep(seconds)
        return inner(x, t) + 0.2 * x.mean() + 0.01 * len(x)

    denoise = Denoiser(network, plain.denoise.schedule, ObjectiveConfig())
    return replace(plain, denoise=denoise)


def fill(folder: Path, n: int = N, within: range | None = None, **options: Any) -> list[range]:
    """Fill a store; options belong to the model, to Runtime or to the settings."""
    parts = {key: options.pop(key) for key in ("seconds", "digest") if key in options}
    of_runtime = {key: options.pop(key) for key in ("world", "notify", "batch") if key in options}
    runtime = Runtime(**{"batch": 4, **of_runtime})
    subject = options.pop("subject", None) or model(**parts)
    return samples.fill_store(subject, SamplingSettings(n=n, **options), runtime, folder, within)


def make(folder: Path, n: int = N, **options: Any) -> SampleStore:
    fill(folder, n, **options)
    return open_store(folder, n)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SampleStore:
    return make(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def copy(whole: SampleStore, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.folder, tmp_path / "store"))


def assert_same_files(folder: Path, whole: SampleStore) -> None:
    assert forks.contents(folder) == forks.contents(whole.folder)


# ------------------------------------------------------------------------------ the same bytes


def test_the_first_of_many_are_those_of_few(whole: SampleStore, tmp_path: Path) -> None:
    few = make(tmp_path / "few", 6)
    np.testing.assert_array_equal(few.read(range(6)), whole.read(range(6)))
    assert len(few) == 6 and len({image.tobytes() for image in whole.read(range(N))}) == N
    more = make(tmp_path / "few")  # and few grow into many
    assert_same_files(more.folder, whole)


def test_any_number_of_processes_and_a_kill_give_the_same_files(
    whole: SampleStore, tmp_path: Path
) -> None:
    for size in (2, 3):
        folder = tmp_path / str(size)

        def work(world: World) -> None:
            assert make(folder, seconds=0.05, world=world).digest == whole.digest  # noqa: B023

        pids = forks.start_world(size, work)
        while len(list(folder.glob("images-*.npz"))) < 2:
            time.sleep(0.01)
        assert forks.kill(pids) == [-signal.SIGKILL] * size
        first = {path: path.stat().st_mtime_ns for path in folder.glob("images-*.npz")}
        assert 2 <= len(first) < 5
        assert [forks.wait(pid) for pid in forks.start_world(size, work)] == [0] * size
        assert_same_files(folder, whole)
        assert first == {path: path.stat().st_mtime_ns for path in first}  # none is made twice


def test_an_error_of_the_first_process_stops_all(tmp_path: Path) -> None:
    make(tmp_path / "store", 4)

    def work(world: World) -> None:
        with pytest.raises((FixableError, SystemExit)) as caught:
            make(tmp_path / "store", 4, seed=1, world=world)
        assert isinstance(caught.value, FixableError) == (world.rank == 0)

    assert [forks.wait(pid) for pid in forks.start_world(2, work)] == [0, 0]


def test_parts_that_machines_make_apart_merge_into_the_whole(
    whole: SampleStore, tmp_path: Path
) -> None:
    """A batch belongs to the part that holds its first image: none is made twice or by nobody."""
    cuts = [0, 3, 9, 10, N]
    names = []
    for k, (start, stop) in enumerate(itertools.pairwise(cuts)):
        folder = tmp_path / str(k)
        fill(folder, within=range(start, stop))
        names.append({path.name for path in folder.glob("*.npz")})
    assert sum(map(len, names)) == 5 == len(set.union(*names))
    folders = [tmp_path / str(k) for k in (2, 0, 3)]
    merged = filling.merge(folders, tmp_path / "merged")
    assert [tuple(part) for part in merged.shards.missing()] == [(4, 5, 6, 7), (8, 9, 10, 11)]
    with pytest.raises(FixableError, match=r"not made yet: 4\.\.11"):
        open_store(merged.folder)
    filling.merge([merged.folder, tmp_path / "1"], merged.folder)
    assert_same_files(merged.folder, whole)
    assert store.verify(merged.folder)[1] == []
    times = [path.stat().st_mtime_ns for path in sorted(merged.folder.iterdir())]
    filling.merge([tmp_path / "1", merged.folder], merged.folder)  # what is there is left alone
    assert times == [path.stat().st_mtime_ns for path in sorted(merged.folder.iterdir())]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    missing = fill(tmp_path / "a", within=range(4, 12))
    assert store.spans(missing, N) == "0..3, 12..17"
    assert fill(tmp_path / "a") == []


# --------------------------------------------------------------------------------------- kills


def test_killed_at_every_call_that_touches_the_disk(whole: SampleStore, tmp_path: Path) -> None:
    k, killed = 1, True
    while killed:
        folder = tmp_path / str(k)
        status = forks.dies_at_call(k, CALLS, lambda: make(folder))  # noqa: B023
        assert status in (0, 9)
        killed = status == 9
        make(folder)
        assert_same_files(folder, whole)
        k += 1
    assert k > 30


def test_killed_at_random_moments(whole: SampleStore, tmp_path: Path) -> None:
    folder, chance, kills = tmp_path / "store", random.Random(3), 0
    while True:
        pid = forks.child(lambda: make(folder, seconds=0.01))
        time.sleep(chance.uniform(0.02, 0.2))
        os.kill(pid, signal.SIGKILL)
        if forks.wait(pid) == 0:
            break
        kills += 1
        assert len(list(folder.glob("*.partial"))) <= 1
    assert kills >= 3
    assert_same_files(folder, whole)


def test_two_jobs_write_the_same_pieces_at_once(tmp_path: Path) -> None:
    """As when several fill one cache, which has no owner."""
    pieces = Shards(tmp_path, 30 * 8, 8, "key")
    arrays, start = {"pool": np.zeros((8, 50_000), np.float32)}, time.monotonic() + 0.5

    def work() -> None:
        time.sleep(start - time.monotonic())
        for part in pieces.parts():
            pieces.write(part, arrays)
            assert pieces.load(part) is not None

    assert [forks.wait(pid) for pid in [forks.child(work) for _ in range(3)]] == [0] * 3
    assert pieces.missing() == [] and not list(tmp_path.glob("*.partial"))


# -------------------------------------------------------------------------------------- damage


def swap(a: Path, b: Path) -> None:
    one, two = a.read_bytes(), b.read_bytes()
    a.write_bytes(two)
    b.write_bytes(one)


def damage(kind: str, paths: list[Path], strange: Path) -> list[int]:
    """Damage the second shard; gives the places of what is not whole then."""
    path, clean = paths[1], paths[1].read_bytes()
    middle = len(clean) // 2
    if kind == "swapped":
        swap(path, paths[2])
        return [1, 2]
    content = {
        "truncated": clean[:middle],
        "flipped": clean[:middle] + bytes([clean[middle] ^ 1]) + clean[middle + 1 :],
        "empty": b"",
        "zeroed": clean[:100] + bytes(100) + clean[200:],
        "of another seed": (strange / path.name).read_bytes(),
    }[kind]
    path.write_bytes(content)
    return [1]


@pytest.mark.parametrize(
    "kind", ["truncated", "flipped", "empty", "zeroed", "swapped", "of another seed"]
)
def test_a_damaged_shard_is_named_and_made_again(
    whole: SampleStore, copy: Path, tmp_path: Path, kind: str
) -> None:
    strange = make(tmp_path / "strange", seed=1)
    paths = sorted(copy.glob("images-*.npz"))
    bad = damage(kind, paths, strange.folder)
    result, gone = store.verify(copy)
    parts = result.shards.parts()
    assert gone == [parts[k] for k in bad]
    opened = open_store(copy)
    np.testing.assert_array_equal(opened.read([0, 17]), whole.read([0, 17]))
    with pytest.raises(FixableError, match=paths[1].name):
        opened.read([0, 5])
    left_out = filling.merge([copy], tmp_path / "merged")
    assert left_out.shards.missing() == gone
    output: list[str] = []
    make(copy, notify=output.append)
    assert [paths[k].name in text for k, text in zip(bad, output, strict=True)] == [True] * len(bad)
    assert_same_files(copy, whole)


def test_no_flipped_byte_is_read(whole: SampleStore, copy: Path) -> None:
    """Wherever it is: in a header, a name, the pixels, the digest or the zip's directory."""
    path = sorted(copy.glob("images-*.npz"))[1]
    clean, part = path.read_bytes(), whole.shards.parts()[1]
    images, refused = whole.read(part), 0
    for at in range(0, len(clean), 7):
        content = bytearray(clean)
        content[at] ^= 0xFF
        path.write_bytes(content)
        result = replace(whole, folder=copy).shards.load(part)
        refused += result is None
        assert result is None or np.array_equal(result["images"], images)
    assert refused > 0.8 * len(clean) / 7


def test_a_damaged_store_json_is_refused_and_made_again(whole: SampleStore, copy: Path) -> None:
    path = copy / store.NAME
    for content in (
        b"",
        path.read_bytes()[:-50],
        path.read_bytes().replace(b'"n": 18', b'"n": 17'),
    ):
        path.write_bytes(content)
        for read in (open_store, store.verify):
            with pytest.raises(FixableError, match=r"store\.json: damaged"):
                read(copy)
        make(copy)
        assert_same_files(copy, whole)


def test_a_newer_store_is_refused(copy: Path) -> None:
    path = copy / store.NAME
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": 2}))
    before = forks.contents(copy)
    for act in (open_store, make):
        with pytest.raises(FixableError, match="newer ddpm-eval"):
            act(copy)
    assert forks.contents(copy) == before


def test_a_pickle_is_never_executed(whole: SampleStore, copy: Path, tmp_path: Path) -> None:
    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "executed"),)

    path = sorted(copy.glob("images-*.npz"))[0]
    np.savez(path, images=np.array([Malicious()], object), digest=np.array(""))
    with pytest.raises(FixableError, match="missing or damaged"):
        open_store(copy).read([0])
    assert not (tmp_path / "executed").exists()


# ------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"digest": "b"}, "checkpoint: a -> b"),
        ({"seed": 1}, "seed: 0 -> 1"),
        ({"clip": False}, "clip: True -> False"),
        ({"batch": 8}, "batch: 4 -> 8"),
        ({"steps": 3}, "steps: 6 -> 3"),
        ({"sampler": "ddim"}, "eta: None -> 0.0; sampler: ancestral -> ddim"),
    ],
)
def test_other_settings_are_refused_by_name(
    copy: Path, options: dict[str, Any], difference: str
) -> None:
    before = forks.contents(copy)
    with pytest.raises(FixableError, match=difference) as caught:
        make(copy, **options)
    assert "out=FOLDER" in caught.value.fix
    assert forks.contents(copy) == before


def test_each_setting_has_a_folder_of_its_own(tmp_path: Path) -> None:
    runtime = Runtime(batch=4, stores=tmp_path / "all")
    changes: list[dict[str, Any]] = [
        *({}, {"seed": 1}, {"clip": False}, {"steps": 3}, {"sampler": "ddim"}),
        *({"sampler": "ddim", "eta": 0.5}, {"steps": 3, "spacing": "trailing"}),
        *({"spacing": "2,1"}, {"spacing": "1,1"}),
    ]
    folders = {samples.store_of(model(), SamplingSettings(**change), runtime) for change in changes}
    folders |= {
        samples.store_of(model(), SamplingSettings(), replace(runtime, batch=2)),
        samples.store_of(model(digest="b"), SamplingSettings(), runtime),
    }
    assert len(folders) == len(changes) + 2
    assert {folder.parent for folder in folders} == {tmp_path / "all"}


def test_a_respacing_string_counts_its_steps() -> None:
    settings = SamplingSettings(spacing="2,1")
    assert sample_facts.facts_of(model(), settings, Runtime())["steps"] == 3
    assert (
        "3 of 6 steps, 2,1 spacing"
        in samples.draw(model(), replace(settings, n=1), Runtime(batch=1)).name
    )


def test_without_a_folder_samples_stay_in_memory_and_are_the_same(
    whole: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for n in (N, 5):
        drawn = samples.draw(model(), SamplingSettings(n=n), Runtime(batch=4))
        np.testing.assert_array_equal(drawn.read(range(n)), whole.read(range(n)))
        assert drawn.facts == whole.facts and len(drawn) == n and drawn.name == whole.name
    assert not list(tmp_path.iterdir())
    first = samples.draw(model(), SamplingSettings(n=N), Runtime(batch=4, cache=tmp_path / "cache"))
    assert isinstance(first, SampleStore) and first.folder.parent == tmp_path / "cache" / "store"
    assert_same_files(first.folder, whole)


def test_stores_of_different_things_do_not_merge(whole: SampleStore, tmp_path: Path) -> None:
    other = make(tmp_path / "other", seed=1)
    with pytest.raises(FixableError, match="seed: 1 -> 0"):
        filling.merge([whole.folder, other.folder], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("dear")
    with pytest.raises(FixableError, match="not a store of samples, and not empty"):
        make(tmp_path)
    assert forks.contents(tmp_path) == {"thesis.tex": b"dear"}
    with pytest.raises(FixableError, match="there is no store"):
        open_store(tmp_path)


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("dear")
    with pytest.raises(FixableError, match="f: a file, where a folder is meant"):
        make(tmp_path / "f")
    assert forks.contents(tmp_path) == {"f": b"dear"}


def test_more_samples_than_a_store_holds_are_refused_before_they_are_listed(copy: Path) -> None:
    began = time.monotonic()
    for act in (make, open_store):
        with pytest.raises(FixableError, match="a store holds 1 to 10,000,000"):
            act(copy, 10**12)
    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    "change",
    [
        {"n": "18"},
        {"n": 10**12},
        {"n": -1},
        {"facts": []},
        {"about": 3},
        {"batch": 0},
        {"shape": 8},
    ],
)
def test_a_description_of_the_wrong_kind_is_damaged(copy: Path, change: dict[str, Any]) -> None:
    """Though its digest is right: a stranger can compute one."""
    path = copy / store.NAME
    plain = json.loads(path.read_text())
    del plain["digest"]
    (plain if change.keys() <= {"n", "facts", "about"} else plain["facts"]).update(change)
    path.write_text(json.dumps({**plain, "digest": key_of(plain)}))
    with pytest.raises(FixableError, match=r"store\.json: damaged"):
        open_store(copy)


def test_without_locks_the_work_is_done_by_one_at_a_time(
    whole: SampleStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(fcntl, "flock", refuse)
    make(tmp_path / "store")
    assert_same_files(tmp_path / "store", whole)
    store_opened = open_store(tmp_path / "store")
    with filling.reserve(store_opened, range(8)):
        status = forks.wait(
            forks.child(lambda: filling.reserve(store_opened, range(8)).__enter__())
        )
    assert status == 1 and not list((tmp_path / "store").glob("*.owner*"))


def test_a_second_writer_of_the_same_samples_is_refused(copy: Path) -> None:
    opened = open_store(copy)

    def second(part: range) -> Callable[[], None]:
        def act() -> None:
            with filling.reserve(opened, part):
                pass

        return act

    with filling.reserve(opened, range(4, 10)):
        assert forks.wait(forks.child(second(range(10, N)))) == 0
        assert forks.wait(forks.child(second(range(4)))) == 0
        assert forks.wait(forks.child(second(range(9, N)))) == 1
    assert forks.wait(forks.child(second(range(9, N)))) == 0


def test_what_is_there_is_read_while_others_write(copy: Path, whole: SampleStore) -> None:
    def write() -> None:
        with filling.reserve(open_store(copy), range(N)):
            (copy.parent / "begun").touch()
            time.sleep(60)

    pid = forks.child(write)
    while not (copy.parent / "begun").exists():
        time.sleep(0.01)
    np.testing.assert_array_equal(make(copy).read(range(N)), whole.read(range(N)))
    sorted(copy.glob("*.npz"))[0].unlink()
    with pytest.raises(FixableError, match="another process is making"):
        make(copy)
    forks.kill([pid])
    make(copy)
    assert_same_files(copy, whole)


def test_a_nan_is_not_kept(tmp_path: Path) -> None:
    denoise = Denoiser(lambda x, t: x / 0 * 0, model().denoise.schedule, ObjectiveConfig())
    with pytest.raises(FixableError, match="NaN"):
        make(tmp_path / "store", 4, subject=replace(model(), denoise=denoise))
    assert set(forks.contents(tmp_path / "store")) == {store.NAME, ".lock"}


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": 1}, {"clip": False}, {"batch": 3}),
        *({"steps": 1}, {"steps": 4}, {"sampler": "ddim"}, {"sampler": "ddim", "eta": 1.0}),
    ],
)
def test_every_fact_matters(whole: SampleStore, tmp_path: Path, change: dict[str, Any]) -> None:
    other = make(tmp_path / "store", 4, **change)
    assert (other.read(range(3)) != whole.read(range(3))).any()
    is_named = store.label(other.facts) != store.label(whole.facts)
    assert is_named or "seed" in change or "batch" in change


# ------------------------------------------------------------------------------------ the disk


def test_a_full_disk_leaves_nothing_half_written(whole: SampleStore, tmp_path: Path) -> None:
    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
        with pytest.raises(FixableError, match="the disk is full"):
            make(tmp_path / "store")

    assert forks.wait(forks.child(full)) == 0
    assert set(forks.contents(tmp_path / "store")) == {store.NAME, ".lock"}
    make(tmp_path / "store")
    assert_same_files(tmp_path / "store", whole)


def test_space_is_looked_for_before(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(FixableError, match="MB are free"):
        make(tmp_path / "store")
    assert not list(tmp_path.rglob("*.npz"))


# -------------------------------------------------------------------------------------- images


def test_a_store_is_images(whole: SampleStore) -> None:
    pixels = whole.read(range(N))
    assert pixels.dtype == np.uint8 and pixels.shape == (N, 8, 8, 1)
    order = [17, 0, 5, 5, 9]
    np.testing.assert_array_equal(whole.read(order), pixels[order])
    assert whole.digest == Stack("memory", pixels).digest
    assert open_store(whole.folder, 6).digest == Stack("memory", pixels[:6]).digest
    for outside in ([N], [-1]):  # the last batch holds more, which is not looked at
        with pytest.raises(IndexError):
            whole.read(outside)
    assert whole.name == "samples (ancestral, 6 steps, seed 0)"


def test_only_what_is_asked_for_is_read(copy: Path, whole: SampleStore) -> None:
    opened = open_store(copy)
    for path in sorted(copy.glob("images-*.npz"))[1:]:
        path.unlink()
    np.testing.assert_array_equal(opened.read([3, 1]), whole.read([3, 1]))


def test_pixels_are_rounded(tmp_path: Path) -> None:
    """The last x_0_hat of a network that knows its answer, 99.6 grey levels, is stored as 100."""
    process = model().denoise.schedule

    def network(x: Tensor, t: Tensor) -> Tensor:
        bar = process.alphas_bar[t].view(-1, 1, 1, 1)
        return ((x - bar.sqrt() * (99.6 / 127.5 - 1)) / (1 - bar).sqrt()).float()

    denoise = Denoiser(network, process, ObjectiveConfig())
    result = make(tmp_path / "store", 3, subject=replace(model(), denoise=denoise))
    assert np.unique(result.read(range(3))).tolist() == [100]


def test_the_measurement_says_what_was_drawn(tmp_path: Path) -> None:
    settings = SamplingSettings(n=70, sampler="ddim", steps=3, eta=0.5)
    texts: list[str] = []
    runtime = Runtime(batch=4, notify=texts.append)
    result = samples.measure(model(), settings, runtime, tmp_path / "a")
    grid, opened = result.grids["samples"], open_store(tmp_path / "a", 70)
    np.testing.assert_array_equal(grid.images, opened.read(range(64)))
    assert (grid.columns, grid.labels[63]) == (8, "63")
    assert "DDIM (eta 0.5), 3 of 6 steps" in grid.caption
    assert result.protocol.sampling == SamplingFacts(
        sampler="ddim", steps=3, T=6, seed=0, n=70, eta=0.5, batch=4
    )
    assert opened.sampling == result.protocol.sampling
    assert result.facts["samples_digest"] == opened.digest
    assert texts == [f"samples 0..69 are in {tmp_path / 'a'}"]


def test_finished_samples_are_shown_and_not_drawn_again(tmp_path: Path) -> None:
    settings, calls = SamplingSettings(n=4), []
    first = samples.measure(model(), settings, Runtime(batch=4))
    runtime = Runtime(batch=4, recorded=lambda name, protocol: first if (name, protocol) == (
        "samples", first.protocol) else None)  # fmt: skip
    assert samples.measure(counting(model(), calls), settings, runtime) is first and not calls
    again = samples.measure(counting(model(), calls), replace(settings, seed=1), runtime)
    assert again is not first and calls


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_cannot_be_shown_are_refused_before_work(channels: int) -> None:
    calls: list[int] = []
    many = replace(counting(model(), calls), shape=(channels, 8, 8))
    with pytest.raises(FixableError, match=f"{channels} channels cannot be shown"):
        samples.measure(many, SamplingSettings(n=4), Runtime())
    assert not calls


def test_a_store_knows_what_its_model_was_trained_on(tmp_path: Path) -> None:
    facts = replace(model().facts, run=digits(), name="step-9.pt", file={"data_digest": "d"})
    subject = replace(model(), facts=facts)
    opened = make(tmp_path / "a", subject=subject)
    assert opened.about["data"] == to_dict(digits().data) and opened.about["data_digest"] == "d"
    merged = filling.merge([tmp_path / "a"], tmp_path / "b")
    assert merged.about == opened.about == open_store(tmp_path / "b").about
    assert make(tmp_path / "c").about == {}  # nobody knows


def test_processes_share_the_look_at_what_is_there(whole: SampleStore, copy: Path) -> None:
    class Alone(World):
        """A process that hears nothing from the others."""

        def sum(self, values: Tensor) -> Tensor:
            return values

    for path in copy.glob("*.npz"):
        path.unlink()
    shards, cpu = replace(whole, folder=copy).shards, torch.device("cpu")
    seen = [shards.missing(Alone(cpu, rank, 2)) for rank in range(2)]
    assert seen[0] + seen[1] == shards.parts() and all(seen)
