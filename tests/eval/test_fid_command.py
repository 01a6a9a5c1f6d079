"""``ddpm-eval fid`` and ``fetch`` from the command line: folders, files, stores, and bad input."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.features import EXTRACTORS
from ddpm_eval.metrics import registry
from ddpm_eval.metrics.estimate import Estimate
from ddpm_eval.metrics.registry import Metric
from ddpm_eval.record import disk, filling
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score
from ddpm_eval.record.store import SampleStore
from tests.eval.quality.comparisons import FD, TEST, blurred, install_toy

runner = CliRunner(env={"COLUMNS": "200", "TERM": "dumb"})
DIGITS = ("--extractor", "digits-cnn", "--dataset", "digits")
FEATURES = EXTRACTORS["digits-cnn"].description.dim


@pytest.fixture(autouse=True)
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DDPM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("DDPM_INCEPTION", raising=False)
    monkeypatch.chdir(tmp_path)


def folder(path: Path, pixels: np.ndarray, suffix: str = ".png") -> Path:
    path.mkdir()
    for i, image in enumerate(pixels):
        Image.fromarray(image[..., 0]).save(path / f"{i:04d}{suffix}")
    return path


def fid(*args: object) -> str:
    result = runner.invoke(app, ["fid", *map(str, args)])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*args: object) -> str:
    result = runner.invoke(app, ["fid", *map(str, args)])
    assert result.exit_code == 2, result.output
    assert "error:" in result.output
    assert "fix:" in result.output
    assert "Traceback" not in result.output
    assert not Path("reports").exists()
    return result.output


def test_a_folder_and_an_npz_of_the_same_images_score_the_same() -> None:
    images = blurred(TEST)
    folder(Path("pictures"), images.pixels)
    np.savez("array.npz", images=images.pixels)
    text = fid("pictures", *DIGITS)
    fid("array.npz", *DIGITS, "--quiet")
    assert f"{FD}-297 against digits train (1,500 images)" in text
    assert "warning 1: digits-cnn is not the published Inception" in text
    once, again = (measured(name)[0] for name in ("pictures", "array"))
    assert once.scores == again.scores
    assert once.protocol.images is not None
    (subject,) = disk.load(Path("reports/pictures")).subjects
    assert once.protocol.images.digest == once.protocol.model == subject


def measured(name: str) -> list[Measurement]:
    """The measurements of quality in a record, in the order in which they came."""
    return list(disk.load(Path("reports", name)).measurements)


def distance(measurement: Measurement) -> Score:
    score = measurement.score("fid", whose="samples")
    assert score is not None
    return score


def test_pictures_in_a_folder_called_store_have_a_record_of_their_own() -> None:
    Path("deep/store").mkdir(parents=True)
    folder(Path("deep/store/pictures"), blurred(TEST).pixels)
    fid("deep/store/pictures", *DIGITS, "--quiet")
    assert [item.measure for item in measured("pictures")] == ["quality"]
    assert [path.name for path in Path("deep").iterdir()] == ["store"]


def test_the_next_command_is_given_as_it_can_be_typed() -> None:
    folder(Path("two words"), TEST.pixels[:40])
    assert fid("two words", *DIGITS).endswith("up with: ddpm-eval report 'two words'\n")
    text = fid("two words", *DIGITS, "--reports", "else where")
    assert text.endswith("ddpm-eval report 'two words' --reports 'else where'\n")


def test_the_reference_can_be_a_split_a_folder_or_statistics() -> None:
    folder(Path("a"), blurred(TEST).pixels)
    folder(Path("b"), TEST.pixels)
    fid("a", *DIGITS, "--reference", "test", "--quiet")
    fid("a", "--extractor", "digits-cnn", "--reference", "b", "--quiet")
    file = next(Path("cache").rglob("statistics-*.npz"))
    fid("a", "--extractor", "digits-cnn", "--reference", file, "--quiet")
    results = measured("a")
    references = [result.protocol.reference for result in results]
    names = {
        (reference.dataset, reference.split) for reference in references if reference is not None
    }
    assert len(results) == 3 and names == {("digits", "test"), ("b", "")}
    values = [distance(result).value for result in results]
    assert max(values) == pytest.approx(min(values), rel=1e-9)


def test_statistics_that_were_saved_are_a_reference() -> None:
    folder(Path("a"), blurred(TEST).pixels)
    fid("a", *DIGITS, "--set", "quality.save=train.npz", "--quiet")
    text = fid("a", "--extractor", "digits-cnn", "--reference", "train.npz")
    assert f"{FD}-297 against digits train (1,500 images)" in text
    pair = measured("a")
    assert len({item.key for item in pair}) == 2  # without features, fewer metrics
    assert distance(pair[0]) == distance(pair[1])
    assert {item.protocol.reference for item in pair} == {pair[0].protocol.reference}
    assert sum(item.score("fid", whose="held-out images") is not None for item in pair) == 1


def test_statistics_replace_no_other_file() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 1), np.uint8)
    folder(Path("a"), levels)
    np.savez("levels.npz", levels)
    before = Path("levels.npz").read_bytes()
    small = ("--extractor", "digits-cnn", "--metrics", "FID", "--reference", "levels.npz")
    for name in ("levels.npz", "a", "/dev/null"):
        refused("a", *small, "--set", f"quality.save={name}")
    assert Path("levels.npz").read_bytes() == before and not Path("reports").exists()
    for _ in range(2):  # our own may be written again
        fid("a", *small, "--set", "quality.save=ours.npz", "--replace")


def test_a_store_of_samples_brings_its_facts_into_its_model_s_record() -> None:
    facts = {"checkpoint": "c" * 64, "weights": "raw", "seed": 3, "sampler": "ddim", "steps": 20}
    facts |= {"eta": 0.0, "T": 1000, "clip": True, "precision": "float32"}
    facts |= {"shape": [8, 8, 1], "batch": 32}
    store = SampleStore(Path("reports/model/store/x"), facts, 64)
    filling.begin(store)
    for part in store.shards.parts():
        store.shards.write(part, {"images": TEST.pixels[part.start : part.stop]})
    protocol = Protocol(version=1, model="c" * 64)
    bound = Measurement(measure="bound", protocol=protocol)
    disk.add(Path("reports/model"), bound, {"c" * 64: {"step": 7}})
    text = fid(store.folder, *DIGITS, "-n", "50")
    assert "20 of 1,000 steps" in text
    assert "raw weights" in text
    record = disk.load(Path("reports/model"))
    assert record.subjects == {"c" * 64: {"step": 7}}
    assert {item.measure for item in record.measurements} == {"bound", "quality"}
    (quality,) = record.of("quality")
    sampling = quality.protocol.sampling
    assert sampling is not None
    assert (sampling.seed, sampling.sampler, sampling.n) == (3, "ddim", 50)


def test_jpeg_files_are_warned_of() -> None:
    folder(Path("a"), TEST.pixels[:40], ".jpg")
    text = fid("a", *DIGITS)
    assert "40 images are JPEG files" in text


def test_pictures_of_mixed_sizes_need_a_filter() -> None:
    path = folder(Path("a"), TEST.pixels[:40])
    Image.new("L", (12, 12)).save(path / "0030.png")
    text = refused("a", *DIGITS)
    assert "0030.png: 12x12 pixels; the first picture makes it 8x8" in text
    assert "--resize lanczos" in text
    fid("a", *DIGITS, "--resize", "lanczos", "--quiet")
    assert "not a choice" in runner.invoke(app, ["fid", "a", *DIGITS, "--resize", "soft"]).output


def test_a_broken_picture_is_named_and_nothing_is_lost() -> None:
    path = folder(Path("a"), blurred(TEST).pixels)
    whole = (path / "0290.png").read_bytes()
    (path / "0290.png").write_bytes(whole[:-30])
    text = refused("a", *DIGITS)
    assert "0290.png: a broken picture" in text
    (path / "0290.png").write_bytes(whole)
    fid("a", *DIGITS, "--quiet")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--extractor", "digits-cnn"), "of which data set?"),
        ((*DIGITS, "-n", "400"), "has 40 images"),
        ((*DIGITS, "--reference", "none"), "no data set and no path"),
        ((*DIGITS, "--reference", "stats.pkl"), "statistics in a pickle"),
        ((*DIGITS, "--reference", "big"), "has images of 16x16, the samples are 8x8"),
        ((*DIGITS, "--metrics", "FIDD"), "not a metric"),
        (("--dataset", "digits"), "Inception-v3 weights not found"),
        (("--dataset", "digits", "--inception", "w.pth"), "no such file"),
        (("--dataset", "digits", "--inception", "stats.pkl"), "not the published Inception"),
        ((*DIGITS, "--extractor", "dino"), "not an extractor"),
        ((*DIGITS, "--metrics", "recall", "-n", "5"), "it takes 6 images, and there are 5"),
        ((*DIGITS, "--metrics", "recall", "-n", "5"), "take 6 or more, or leave it out"),
        ((*DIGITS, "--metrics", "IS", "-n", "9"), "it takes 10 images, and there are 9"),
        ((*DIGITS, "--metrics", "CMMD"), "choose --extractor clip-l14-336, or leave it out"),
        ((*DIGITS, "--metrics", "sFID"), "choose --extractor inception"),
        ((*DIGITS, "--reference", "s.npz", "--metrics", "MIND"), "the reference has statistics"),
        ((*DIGITS, "--reference", "s.npz", "--metrics", "MIND"), "name the images themselves"),
        ((*DIGITS, "--reference", "other.npz"), "statistics of 3 features; digits-cnn"),
        ((*DIGITS, "--reference", "other.npz"), "choose the extractor that they were made with"),
    ],
)
def test_bad_input_is_refused_with_its_fix(args: tuple[str, ...], message: str) -> None:
    folder(Path("a"), TEST.pixels[:40])
    folder(Path("big"), np.zeros((20, 16, 16, 1), np.uint8))
    Path("stats.pkl").write_bytes(b"\x80\x04N.")
    np.savez("s.npz", mu=np.zeros(FEATURES), sigma=np.eye(FEATURES))
    np.savez("other.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert message in refused("a", *args)


@pytest.mark.parametrize(
    "args",
    [
        *(("--steps", "10"), ("--set samples", "sampler=ddim"), ("--weights", "raw")),
        *(("--set samples", "seed=3"), ("--set compute", "batch=8")),
    ],
)
def test_how_samples_are_drawn_is_refused_where_they_are_there(args: tuple[str, ...]) -> None:
    folder(Path("a"), TEST.pixels[:40])
    group = args[0].removeprefix("--set ")
    words = ["--set", f"{group}.{args[1]}"] if args[0].startswith("--set ") else args
    text = refused("a", *DIGITS, *words)
    assert f"{args[0]}: of no effect on a" in text
    assert "name the checkpoint in place of the images" in text


def test_a_path_that_leads_nowhere_may_have_meant_images() -> None:
    assert "nothing: no such file or folder" in refused("nothing", *DIGITS)


def test_weights_of_a_network_that_is_not_used_are_refused() -> None:
    folder(Path("a"), TEST.pixels[:40])
    text = refused("a", *DIGITS, "--inception", "w.pth")
    assert "--extractor-weights w.pth: of no effect with --extractor digits-cnn" in text


@pytest.mark.parametrize("path", ["empty", "nothing", "text.npz", "number.npz", "list.npz"])
def test_no_images_are_refused(path: str) -> None:
    Path("empty").mkdir()
    Path("text.npz").write_text("hello")
    np.savez("number.npz", arr_0=np.uint8(3))
    np.savez("list.npz", arr_0=np.arange(8, dtype=np.uint8))
    assert path in refused(path, *DIGITS)


@pytest.mark.parametrize(
    ("shape", "words"), [((20, 3, 32, 32), "channels first"), ((20, 8, 6, 1), "images are 8x6x1")]
)
def test_an_npz_of_another_layout_is_refused_with_ours(shape: tuple[int, ...], words: str) -> None:
    np.savez("other.npz", arr_0=np.zeros(shape, np.uint8))
    text = refused("other.npz", *DIGITS)
    assert words in text and "--set" not in text


def test_fetch_knows_the_extractors() -> None:
    result = runner.invoke(app, ["fetch", "clip"])
    assert result.exit_code == 2
    assert "clip-l14-336" in result.output
    result = runner.invoke(app, ["fetch", "digits-cnn"])
    assert result.exit_code == 2 and "in the package" in result.output


def test_a_metric_and_an_extractor_of_one_s_own_are_in_the_command_and_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One entry each; the extractor has no logits."""
    install_toy(monkeypatch)
    toy = Metric(
        title="Mean step",
        better="lower",
        needs=frozenset({"moments"}),
        compute=lambda evidence: Estimate(
            value=float(abs(evidence.samples.pool.mean - evidence.reference.pool.mean).max()),
            n=evidence.n,
        ),
    )
    monkeypatch.setitem(registry._METRICS, "mean_step", toy)
    folder(Path("a"), blurred(TEST).pixels)
    options = ["--dataset", "digits", "--extractor", "digits-cnn,toy"]
    text = fid("a", *options, "--metrics", "IS,FID,mean step", "--protocols", "")
    assert "Mean step(toy)" in text and "Mean step(digits-cnn)" in text and "IS(toy)" not in text
    assert "FDr(mean of 2)" in text
    by_extractor = {score.of.extractor for item in measured("a") for score in item.scores}
    assert by_extractor == {"(digits-cnn)", "(toy)", "(mean of 2)"}
    assert runner.invoke(app, ["report", "a"]).exit_code == 0
    report = Path("reports/a/report.md").read_text("utf-8")
    for title in ("FD(toy)", "FD(digits-cnn)", "Mean step"):
        assert title in report


def test_ways_of_resizing_are_measurements_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    install_toy(monkeypatch)
    folder(Path("a"), blurred(TEST).pixels)
    options = ["--dataset", "digits", "--extractor", "toy", "--metrics", "FID"]
    text = fid("a", *options, "--protocols", "tf1,antialias")
    assert "FD(toy)-297 against" in text and "FD(toy)[antialias]-297 against" in text
    assert len(measured("a")) == 2
    assert "choose tf1, antialias" in refused_again("a", *options, "--protocols", "clean")


def refused_again(*args: object) -> str:
    result = runner.invoke(app, ["fid", *map(str, args)])
    assert result.exit_code == 2, result.output
    return result.output


@pytest.mark.parametrize("name", ["levels.npy", "IMAGES.NPZ", "archive"])
def test_images_are_known_by_their_content(name: str) -> None:
    levels = TEST.read(range(20))
    with Path(name).open("wb") as file:
        (np.save if name == "levels.npy" else np.savez)(file, levels)
    np.savez("reference.npz", levels)
    assert f"{FD}-20 against reference" in fid(name, "--reference", "reference.npz", *DIGITS)


def test_the_home_folder_is_known_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DDPM_CACHE", "~/cache")
    np.savez("x.npz", TEST.read(range(20)))
    fid("x.npz", "--reference", "x.npz", *DIGITS)
    assert (tmp_path / "home" / "cache").is_dir() and not Path("~").exists()
