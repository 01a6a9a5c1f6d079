"""``ddpm-eval sample`` and ``store``: the whole way from a checkpoint to what evaluators read."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.record import disk, export
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.store import open_store
from ddpm_train import checkpoint, data
from ddpm_train.config import DataConfig
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError
from ddpm_train.files import PARTIAL
from ddpm_train.folders import folder_atomically
from ddpm_train.weights import build_network
from tests.eval import forks
from tests.train.conftest import make_tiny

ROOT = Path(__file__).parents[2]
RUN = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"})


def run(*arguments: object, code: int = 0) -> str:
    result = RUN.invoke(app, [str(word) for word in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network of random weights, T = 20, 8x8 gray."""
    path = tmp_path_factory.mktemp("model") / "tiny.pt"
    model = make_tiny().model
    weights = build_network(model, seed=3).state_dict()
    checkpoint.save(path, checkpoint.Checkpoint(model=model, step=1, ema=weights))
    return path


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "store"
    reports = folder.parent / "reports"
    run("sample", model, "-n", 10, "--batch", 4, "--out", folder, "--reports", reports)
    return folder


def test_two_halves_made_apart_are_the_whole(
    model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is recorded before it is whole."""
    monkeypatch.chdir(tmp_path)
    text = run("sample", model, "-n", 10, "--batch", 4, "--indices", "0:5", "--out", "a")
    assert "still missing of 10: 8..9" in text
    assert not list(tmp_path.rglob("results.json"))
    text = run("sample", model, "-n", 10, "--batch", 4, "--indices=5:10", "--out", "b")
    assert "still missing of 10: 0..7" in text
    assert "samples 8..9 are not" not in run("store", "merge", "a", "b", "--out", "c")
    assert forks.contents(tmp_path / "c") == forks.contents(whole)
    text = run("sample", model, "-n", 10, "--batch", 4, "--indices", "9:", "--out", "c")
    assert "none of 10 is missing: the same command without --indices" in text
    run("sample", model, "-n", 10, "--batch", 4, "--out", "c", "--reports", "r")
    drawn = samples(tmp_path / "r" / "tiny").grids["samples"].images
    np.testing.assert_array_equal(drawn, open_store(whole).read(range(10)))


def samples(folder: Path) -> Measurement:
    """What the record in a folder says of samples."""
    (measurement,) = disk.load(folder).of("samples")
    return measurement


def test_the_printed_command_goes_on(model: Path, whole: Path, tmp_path: Path) -> None:
    line = f"-m ddpm_eval sample {model} -n 10 --batch 4 --indices 4:8 --out {tmp_path}/a --quiet"
    loud = [sys.executable, *shlex.split(line.replace(" --quiet", ""))]
    result = subprocess.run(loud, capture_output=True, text=True, check=True, cwd=ROOT)
    command = re.search(r"^ *ddpm-eval (.*)$", result.stderr, re.MULTILINE)
    assert command is not None
    run(*shlex.split(command[1]))
    assert forks.contents(tmp_path / "a") == forks.contents(whole)


def test_torchrun_shares_the_work(model: Path, whole: Path, tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    words = f"-m ddpm_eval sample {model} -n 10 --batch 4 --device cpu --out {tmp_path}/a"
    subprocess.run(
        [*torchrun, *words.split(), "--reports", str(tmp_path / "reports"), "--quiet"],
        check=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert forks.contents(tmp_path / "a") == forks.contents(whole)
    sampling = samples(tmp_path / "reports" / "tiny").protocol.sampling
    assert sampling is not None and sampling.n == 10


def test_by_default_the_store_lies_beside_the_record(model: Path, tmp_path: Path) -> None:
    options = ["--steps", 3, "--sampler", "ddim", "--eta", 0.5, "--reports", tmp_path]
    text = run("sample", model, "-n", 3, "--batch", 3, *options)
    (store,) = (tmp_path / "tiny" / "store").iterdir()
    assert "ddim3-eta0.5-batch3" in store.name and store.name in text
    drawn = samples(tmp_path / "tiny")
    assert "DDIM (eta 0.5), 3 of 20 steps" in drawn.grids["samples"].caption
    facts = {name: open_store(store).facts[name] for name in ("sampler", "steps", "eta", "batch")}
    sampling = drawn.protocol.sampling
    assert {name: getattr(sampling, name) for name in facts} == facts
    assert not (tmp_path / "tiny" / "unfinished").exists()


def test_a_whole_batch_is_announced(model: Path, tmp_path: Path) -> None:
    text = run("sample", model, "-n", 2, "--batch", 6, "--steps", 2, "--reports", tmp_path)
    assert "a whole batch of 6 samples is drawn" in text and "a batch of 2 draws 2" in text


def test_verify_names_what_is_damaged(whole: Path, tmp_path: Path) -> None:
    text = run("store", "verify", whole)
    assert "10 samples, all whole" in text and open_store(whole).digest in text
    assert re.search(r"^sampler +ancestral$", text, re.MULTILINE)
    folder = tmp_path / "store"
    folder.mkdir()
    for name, content in forks.contents(whole).items():
        (folder / name).write_bytes(content)
    (folder / "images-0000004-0000008.npz").write_bytes(b"")
    (folder / "images-0000008-0000012.npz").unlink()
    text = run("store", "verify", folder, code=2)
    assert "2 of 3 files are missing or damaged: samples 4..9" in text
    assert "damaged: images-0000004-0000008.npz\n" in text
    text = run("store", "merge", folder, "--out", tmp_path / "merged")
    assert "of 10 samples 4..9 are missing still" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--indices", "10:20"], "not a part of 0:10"),
        (["--indices", "7"], "write two ends"),
        (["--indices", "a:b"], "write two ends"),
        (["--indices", "-3:5"], "not a part of 0:10"),
        (["--sampler", "euler"], "choose ancestral, ddim, heun or langevin"),
        (["--steps", "21"], "choose 1 to 20"),
        (["--eta", "0.5"], "set --sampler ddim"),
        (["--sampler", "ddim", "--eta", "-1"], "from 0 to 1"),
    ],
)
def test_bad_options_are_one_line_and_a_fix(
    model: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    text = run("sample", model, "-n", 10, "--out", tmp_path / "a", *arguments, code=2)
    assert message in text and "fix:" in text and len(text.strip().splitlines()) == 2
    assert not list(tmp_path.iterdir())


def test_what_the_store_command_cannot_do(whole: Path, tmp_path: Path) -> None:
    for words in (["verify", tmp_path], ["export", tmp_path, tmp_path / "x"]):
        assert "there is no store of samples" in run("store", *words, code=2)
    text = run("store", "export", whole, tmp_path / "x.npz", "-n", 99, code=2)
    assert "not made yet: 12..98" in text and not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------------- exports


def test_an_npz_is_what_evaluators_read(whole: Path, tmp_path: Path) -> None:
    run("store", "export", whole, tmp_path / "out.npz")
    store = open_store(whole)
    with np.load(tmp_path / "out.npz") as result:
        assert result.files == ["arr_0"]
        np.testing.assert_array_equal(result["arr_0"], store.read(range(10)))
    config = DataConfig(source="npz", path=str(tmp_path / "out.npz"))
    assert data.load(config, image_size=8, channels=1).digest == store.digest
    assert "exists" in run("store", "export", whole, tmp_path / "out.npz", code=2)


def test_pictures_are_named_in_order(whole: Path, tmp_path: Path) -> None:
    run("store", "export", whole, tmp_path / "out", "-n", 9)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [
        f"{i}.png" for i in range(9)
    ]
    run("store", "export", whole, tmp_path / "all")
    config = DataConfig(source="folder", path=str(tmp_path / "all"))
    result = data.load(config, image_size=8, channels=1)
    np.testing.assert_array_equal(result.read(range(10)), open_store(whole).read(range(10)))


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_colours_and_chunks_survive(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    images = Stack("noise", rng.integers(0, 256, (600, 4, 6, 3), dtype=np.uint8))
    export.write(images, tmp_path / name)
    if name == "out":
        paths = sorted((tmp_path / name).iterdir())
        assert [path.name for path in paths[9:11]] == ["009.png", "010.png"]
        result = np.stack([np.asarray(Image.open(path)) for path in paths])
    else:
        result = np.load(tmp_path / name)["arr_0"]
    np.testing.assert_array_equal(result, images.pixels)


@pytest.mark.parametrize("name", ["out", "out.npz"])
def test_an_export_that_fails_leaves_nothing(tmp_path: Path, name: str) -> None:
    class Broken(Stack):
        def read(self, indices: object) -> np.ndarray:
            if 300 in indices:  # type: ignore[operator]
                raise FixableError("shard 300: damaged", "make it again")
            return super().read(indices)  # type: ignore[arg-type]

    (tmp_path / f"out{PARTIAL}").mkdir()  # litter of an export that was killed
    with pytest.raises(FixableError, match="shard 300"):
        export.write(Broken("broken", np.zeros((600, 4, 4, 1), np.uint8)), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] in ([], [f"out{PARTIAL}"])
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("kind", ["file", "device", "dangling link", "link to a file"])
@pytest.mark.parametrize("suffix", ["", ".npz", ".NPZ"])
def test_nothing_that_has_the_name_is_replaced(tmp_path: Path, kind: str, suffix: str) -> None:
    images = Stack("grey", np.full((3, 4, 4, 1), 7, np.uint8))
    target, precious = tmp_path / f"out{suffix}", tmp_path / "precious"
    precious.write_text("thesis")
    {
        "file": lambda: target.write_text("thesis"),
        "device": lambda: target.symlink_to("/dev/null"),
        "dangling link": lambda: target.symlink_to(tmp_path / "nowhere"),
        "link to a file": lambda: target.symlink_to(precious),
    }[kind]()
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(FixableError, match="exists"):
        export.write(images, target)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert precious.read_text() == "thesis" and Path("/dev/null").is_char_device()


def test_unfinished_work_of_others_is_left_alone(tmp_path: Path) -> None:
    images = Stack("grey", np.full((3, 4, 4, 1), 7, np.uint8))
    theirs = tmp_path / "out.partial"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("dear")
    export.write(images, tmp_path / "out")
    assert forks.contents(theirs) == {"thesis.tex": b"dear"}
    with folder_atomically(tmp_path / "two"):  # another export writes it now
        status = forks.wait(forks.child(lambda: export.write(images, tmp_path / "two")))
    assert status != 0 and not list((tmp_path / "two").iterdir())


def test_a_killed_export_is_begun_again(tmp_path: Path) -> None:
    images = Stack("grey", np.full((3, 4, 4, 1), 7, np.uint8))
    calls = [(Image.Image, "save"), (Path, "mkdir"), (Path, "rename"), (Path, "unlink")]
    for k in range(1, 8):
        target = tmp_path / f"{k}"
        status = forks.dies_at_call(k, calls, lambda: export.write(images, target))  # noqa: B023
        assert status == 9
        if target.exists():  # the kill came after it took its name
            assert len(list(target.glob("*.png"))) == 3
            continue
        export.write(images, target)
        assert sorted(forks.contents(target)) == ["0.png", "1.png", "2.png"]
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("channels", [2, 4, 5])
def test_channels_that_no_picture_has_are_refused_before_work(
    tmp_path: Path, channels: int
) -> None:
    images = Stack("many", np.zeros((3, 4, 4, channels), np.uint8))
    with pytest.raises(FixableError, match=f"{channels} channels cannot be shown") as caught:
        export.write(images, tmp_path / "out")
    assert ".npz" in caught.value.fix and not list(tmp_path.iterdir())
    export.write(images, tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as file:
        assert file["arr_0"].shape == (3, 4, 4, channels)


def test_a_file_in_place_of_the_folder_above_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    for name in ("x", "x.npz"):
        with pytest.raises(FixableError, match="a file, where a folder is meant"):
            export.write(Stack("grey", np.zeros((1, 4, 4, 1), np.uint8)), tmp_path / "f" / name)


def test_the_home_folder_is_known_wherever_a_path_is_given(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell does not expand the ~ of --out=~/x."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    run("store", "merge", whole, "--out=~/merged")
    run("store", "verify", "~/merged")
    run("store", "export", "~/merged", "~/x.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"merged", "x.npz"}
