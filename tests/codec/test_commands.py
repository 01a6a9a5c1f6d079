"""``calibrate``, ``compress`` and ``decompress``, from their options to files on the disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from ddpm_eval.cli import app as evaluate
from ddpm_train.cli import app as train
from tests.codec import fields

RUN = CliRunner(env={"COLUMNS": "300", "TERM": "dumb"})
SETTINGS = [
    *("data.source=npz", "unet.image_size=16", "unet.channels=1", "unet.base_channels=32"),
    *("unet.channel_mult=1,1", "unet.num_res_blocks=1", "unet.attn_resolutions=", "schedule.T=50"),
    *("schedule.beta_start=1e-3", "schedule.beta_end=0.4", "optim.steps=60", "optim.lr=2e-3"),
    *("optim.batch_size=16", "optim.warmup_steps=5", "optim.ema_decay=0.8"),
    *("log.sample_every=0", "log.every=50"),
]


def run(*arguments: object, app: object = evaluate, code: int = 0) -> str:
    result = RUN.invoke(app, [str(word) for word in arguments])  # type: ignore[arg-type]
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on gray fields, with its profile."""
    folder = tmp_path_factory.mktemp("run")
    np.savez(folder / "fields.npz", train=fields.pictures(64, seed=1)[..., :1])
    changes = [word for change in SETTINGS for word in ("--set", change)]
    root = folder / "fields"
    run("folder", "--data", folder / "fields.npz", "--out", root, "--quiet", *changes, app=train)
    run("calibrate", root, "-n", "0", "--set", "calibration.rows=12")
    return root


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of gray pictures: two of one tile, one of another size in a folder below."""
    some = fields.pictures(3, seed=2)[..., 0]
    folder = tmp_path / "pictures"
    (folder / "below").mkdir(parents=True)
    Image.fromarray(some[0]).save(folder / "a.png")
    Image.fromarray(some[1]).save(folder / "b.bmp")
    Image.fromarray(np.concatenate([some[2], some[0]], 1)[:13]).save(folder / "below" / "c.tiff")
    return folder


def levels(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_calibrate_writes_a_profile_beside_the_checkpoint(trained: Path) -> None:
    (path,) = (trained / "checkpoints").glob("*.profile.json")
    assert path.name == "step-00000060.profile.json"
    assert not list((trained / "checkpoints").glob("*.unfinished"))


def test_pictures_come_back_in_a_fresh_process(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    text = run("compress", pictures, "--model", trained, "--out", tmp_path / "files")
    assert "3 files" in text and "bits/dim" in text
    names = [tmp_path / "files" / name for name in ("a.ddpm", "b.ddpm", "below/c.ddpm")]
    words = ["decompress", *names, "--model", trained, "--out", tmp_path / "back"]
    command = [sys.executable, "-m", "ddpm_eval", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("lossless, verified") == 3
    for a, b in (("a.png", "a"), ("b.bmp", "b"), ("below/c.tiff", "c")):
        assert (levels(pictures / a) == levels(tmp_path / "back" / f"{b}.png")).all()


def test_what_is_there_already_is_left(trained: Path, pictures: Path) -> None:
    run("compress", pictures, "--model", trained)
    before = (pictures / "a.ddpm").stat().st_mtime_ns
    assert "3 files were there already" in run("compress", pictures, "--model", trained)
    assert (pictures / "a.ddpm").stat().st_mtime_ns == before
    (pictures / "a.ddpm").write_bytes(b"")
    text = run("compress", pictures, "--model", trained)
    assert "2 files were there already" in text
    text = run("decompress", pictures / "a.ddpm", "--model", trained, code=2)
    assert "a.png: is there already" in text
    run("decompress", pictures / "a.ddpm", "--model", trained, "--replace")


def test_other_programs_files_are_not_replaced(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    (pictures / "a.ddpm").write_text("precious")
    text = run("compress", pictures, "--model", trained, code=2)
    assert "a.ddpm: exists, and is no file of ddpm-eval compress" in text
    assert sorted(path.name for path in pictures.glob("*.ddpm")) == ["a.ddpm"]
    np.savez(tmp_path / "images.npz", levels(pictures / "a.png"))
    before = (tmp_path / "images.npz").read_bytes()
    for path in (tmp_path / "images.npz", "/dev/null", pictures):
        text = run("calibrate", trained, "-n", "4", "--profile", path, code=2)
        assert "no profile" in text or "a file is meant" in text or "a device" in text
    assert (tmp_path / "images.npz").read_bytes() == before


def test_what_is_not_read_of_a_folder_is_named(pictures: Path) -> None:
    """Before a model is looked for: there is none here."""
    assert "none: there is no such file" in run("compress", "none", code=2)
    (pictures / "below" / "moving.gif").write_bytes(b"GIF89a")
    assert "moving.gif: of a kind that is not read" in run("compress", pictures, code=2)
    (pictures / "below" / "moving.gif").unlink()
    (pictures / "circle").symlink_to(pictures)
    assert "circle: a link to a folder that holds it" in run("compress", pictures, code=2)


def test_a_part_of_a_file_is_a_picture(trained: Path, pictures: Path, tmp_path: Path) -> None:
    run("compress", pictures / "a.png", "--model", trained)
    file, out = pictures / "a.ddpm", tmp_path / "out"
    text = run("decompress", file, "--model", trained, "--first", 30, "--out", out)
    assert "lossy, from" in text and "the file is cut off" in text
    more = ("--model", trained, "--out", out, "--replace")
    assert "from 1 of" in run("decompress", file, *more, "--layers", 1)
    file.write_bytes(file.read_bytes()[:-3])
    assert "its end is cut off" in run("decompress", file, *more, code=1)
    assert "layer  1" in run("compress", "--show", file, "--model", trained)


def test_lossy_files_end_where_they_are_asked_to(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    for option in (("--bits", 1.5), ("--rmse", 30)):
        run("compress", pictures / "a.png", "--model", trained, *option)
        assert len((pictures / "a.ddpm").read_bytes()) <= 16 * 16 * 1.5 / 8 + 8
        text = run(
            *("decompress", pictures / "a.ddpm", "--model", trained),
            *("--out", tmp_path / "out", "--replace"),
        )
        assert "lossy, from" in text and "(" not in text


def test_arrays_are_pictures_one_by_one(trained: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", test=fields.pictures(2, seed=3)[..., 0])
    run("compress", tmp_path / "some.npz", "--model", trained, "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "some-00000.ddpm",
        "some-00001.ddpm",
    ]


def save(path: Path, mode: str, **options: object) -> None:
    Image.new(mode, (8, 8), **options).save(path)  # type: ignore[arg-type]


def test_pictures_that_cannot_be_are_refused(trained: Path, tmp_path: Path) -> None:
    save(tmp_path / "clear.png", "RGBA")
    save(tmp_path / "deep.png", "I;16")
    save(tmp_path / "ink.tiff", "CMYK")
    save(tmp_path / "colours.png", "RGB")
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "floats.npz", images=np.zeros((2, 8, 8)))
    for name, problem in (
        ("clear.png", "has transparent pixels"),
        ("deep.png", "16 bits per channel"),
        ("ink.tiff", "in CMYK colours"),
        ("colours.png", "a picture of 3 channels; the model knows 1"),
        ("text.png", "a broken picture (cannot be identified)"),
        ("empty", "holds no picture"),
        ("floats.npz", "images is float64 [2, 8, 8, 1], not uint8 images"),
        ("none.png", "no such file"),
    ):
        text = run("compress", tmp_path / name, "--model", trained, code=2)
        assert problem in text and "fix:" in text, text


def test_arrays_without_a_picture_are_refused(tmp_path: Path) -> None:
    for name, shape in (("none", (0, 8, 8, 1)), ("flat", (2, 0, 8, 1))):
        np.savez(tmp_path / f"{name}.npz", np.zeros(shape, np.uint8))
        for command in (["compress"], ["archive", "--out", tmp_path / "a"]):
            text = run(*command, tmp_path / f"{name}.npz", code=2)
            assert f"{name}.npz: holds no picture" in text


@pytest.mark.parametrize("words", [["--rmse", "inf"], ["--bits", "inf"]])
def test_an_end_that_is_no_number_is_refused(pictures: Path, words: list[str]) -> None:
    assert "not a finite number" in run("compress", pictures / "a.png", *words, code=2)


def test_names_that_would_meet_are_refused(trained: Path, pictures: Path) -> None:
    save(pictures / "a.bmp", "L")
    text = run("compress", pictures, "--model", trained, code=2)
    assert "its file would be called as that of" in text


def test_a_profile_is_made_where_it_is_missing(trained: Path, pictures: Path) -> None:
    (path,) = (trained / "checkpoints").glob("*.profile.json")
    copy = path.rename(path.with_suffix(".kept"))
    changes = [("--set", "calibration.n=0"), ("--set", "calibration.rows=12")]
    words = [word for change in changes for word in change]
    text = run("compress", pictures / "a.png", "--model", trained, *words)
    assert "no profile lies beside the checkpoint" in text and path.exists()
    assert path.read_text() == copy.read_text()
    copy.unlink()


def test_options_that_do_not_go_together(trained: Path, pictures: Path) -> None:
    text = run("compress", pictures, "--model", trained, "--lossless", "--bits", 1, code=2)
    assert "--lossless beside --bits or --rmse" in text
    other = pictures / "p.json"
    text = run("compress", pictures, "--model", trained, "--profile", other, code=2)
    assert "p.json: no such profile" in text
    file = pictures / "x.ddpm"
    file.write_bytes(b"\xdd\x13abcdef")
    text = run("decompress", file, "--model", trained, code=2)
    assert "x.ddpm: of another profile (616263" in text
    assert "not a .ddpm file" in run("decompress", pictures / "b.bmp", "--model", trained, code=2)


def test_rate_and_distortion_of_real_files_are_recorded_once(trained: Path, tmp_path: Path) -> None:
    words = ["rate-distortion", trained, "--files", "-n", 2, "--split", "train"]
    words += ["--reports", tmp_path, "--set", "files.effort=10"]
    text = run(*words)
    assert "Bits/dim of files, all bytes, PNG" in text and "2 files (n=2)" in text
    assert "recorded in" in text and "not measured again" not in text
    assert "not measured again" in run(*words)
    run("report", "fields", "--reports", tmp_path)
    assert "## Real files" in (tmp_path / "fields" / "report.md").read_text()
    assert "two measures at once" in run(*words, "--budget", 10, code=2)


def test_an_archive_comes_back_in_a_fresh_process(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    file, out = tmp_path / "all.archive", tmp_path / "back"
    text = run("archive", pictures, "--model", trained, "--out", file)
    assert "3 pictures" in text and "bits/dim" in text
    assert "is there already" in run("archive", pictures, "--model", trained, "--out", file, code=2)
    words = ["decompress", file, "--model", trained, "--out", out]
    command = [sys.executable, "-m", "ddpm_eval", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "3 of 3 pictures lossless, verified" in result.stdout
    for a, b in (("a.png", "a"), ("b.bmp", "b"), ("below/c.tiff", "below/c")):
        assert (levels(pictures / a) == levels(out / f"{b}.png")).all()
    assert "a.png: is there already" in run(*words, code=2)
    file.write_bytes(file.read_bytes()[:-40])
    text = run(*words, "--replace", code=1)
    assert "pictures lossless, the others are lost: the archive is cut off or damaged" in text


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"DDPM_FAST": "0"}, {"OMP_NUM_THREADS": "2"}])
def test_other_paths_of_a_processor_read_the_same_pixels(
    trained: Path, pictures: Path, tmp_path: Path, change: dict[str, str]
) -> None:
    files, out = tmp_path / "files", tmp_path / "back"
    run("compress", pictures, "--model", trained, "--out", files)
    run("archive", pictures, "--model", trained, "--out", tmp_path / "all.archive")
    for names, folder in ((["a.ddpm", "b.ddpm"], files), (["all.archive"], tmp_path)):
        words = ["decompress", *(folder / name for name in names), "--model", trained]
        command = [sys.executable, "-m", "ddpm_eval", *map(str, words), "--out", str(out)]
        result = subprocess.run(
            [*command, "--replace"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | change,
        )
        assert result.returncode == 0, result.stderr
        assert (levels(pictures / "a.png") == levels(out / "a.png")).all()
        assert (levels(pictures / "b.bmp") == levels(out / "b.png")).all()


def test_two_commands_that_need_a_profile_make_one(
    trained: Path, pictures: Path, tmp_path: Path
) -> None:
    root = tmp_path / "run"
    shutil.copytree(trained, root, ignore=shutil.ignore_patterns("*.profile.json"))
    rare = ["--set", "calibration.rows=12", "--set", "calibration.n=16"]
    words = ["compress", pictures / "a.png", "--model", root, *rare, "--out"]
    command = [sys.executable, "-m", "ddpm_eval", *map(str, words)]
    processes = [
        subprocess.Popen([*command, str(tmp_path / name)], stderr=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    output = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], output
    assert not list((root / "checkpoints").glob("*.unfinished"))
    one, two = ((tmp_path / name / "a.ddpm").read_bytes() for name in ("one", "two"))
    assert one == two
