"""Every command takes a foreign checkpoint; import, inspect and export say what they found."""

from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.record import disk
from ddpm_train import checkpoint, formats
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.weights import weights_digest
from tests.train import bundles, foreign_networks, sde_files
from tests.train.golden import filled
from tests.train.peers import randomise
from tests.train.test_formats_tensorflow import original

RUN = CliRunner()


def run(*arguments: object, code: int = 0) -> str:
    result = RUN.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One network as three systems would have saved it, and images to measure it on."""
    root = tmp_path_factory.mktemp("foreign")
    net = foreign_networks.Pesser(foreign_networks.Size(attn=(1,))).eval()
    randomise(net)
    pesser = root / "ema_diffusion_cifar10_model-500.ckpt"
    torch.save(net.state_dict(), pesser)
    bundles.write(root / "model.ckpt-500", original(net, "/ExponentialMovingAverage"))
    rng = np.random.default_rng(0)
    images = {split: rng.integers(0, 256, (16, 32, 32, 3), np.uint8) for split in ("train", "test")}
    np.savez(root / "images.npz", **images)
    run("export", pesser, root / "folder")
    return {"pesser": pesser, "tensorflow": root / "model.ckpt-500",
            "diffusers": root / "folder", "images": root / "images.npz"}  # fmt: skip


def weights(content: Checkpoint) -> str:
    return weights_digest(content.ema, content.model)


def test_formats_of_one_network_are_one_checkpoint(files: dict[str, Path]) -> None:
    kinds = ("pesser", "tensorflow", "diffusers")
    assert len({weights(formats.load_any(files[kind])) for kind in kinds}) == 1


def test_the_numbers_are_the_same(files: dict[str, Path], tmp_path: Path) -> None:
    def short(source: Path, name: str) -> Path:
        out = tmp_path / f"{name}.pt"
        run("import", source, out, "--set", "schedule.T=20", "--set", "schedule.beta_end=0.4")
        return out

    one, two = short(files["diffusers"], "one"), short(files["pesser"], "two")
    for path in (one, two):
        run("sample", path, "-n", "2", "--reports", tmp_path, "--quiet")
        run("nll", path, "-n", "2", "--dataset", "npz", "--data", files["images"],
            "--reports", tmp_path, "--quiet")  # fmt: skip
    pair = [disk.load(tmp_path / name) for name in ("one", "two")]
    a, b = (record.of("samples")[0].grids["samples"].images for record in pair)
    np.testing.assert_array_equal(a, b)
    one, two = (record.of("bound")[0].scores[0].value for record in pair)
    assert one == two


def test_a_folder_and_a_prefix_are_measured_as_they_are(
    files: dict[str, Path], tmp_path: Path
) -> None:
    place = ["--reports", tmp_path, "--quiet"]
    for kind in ("tensorflow", "diffusers"):
        run("nll", files[kind], "--budget", "128", "-n", "16", "--dataset", "npz",
            "--data", files["images"], *place)  # fmt: skip
    assert {path.name for path in tmp_path.iterdir()} == {"model.ckpt-500", "folder"}
    (subject,) = disk.load(tmp_path / "folder").subjects.values()
    assert subject["step"] == 500 and subject["weights"] == "ema"


def test_without_the_name_of_the_data(files: dict[str, Path], tmp_path: Path) -> None:
    text = run("nll", files["pesser"], "-n", "1", "--reports", tmp_path, code=2)
    assert "does not say what it was trained on" in text and "--dataset" in text
    text = run("nll", files["pesser"], "--dataset", "mnist", "--reports", tmp_path, code=2)
    assert "--dataset mnist" in text and "cifar10" in text


def test_inspect_says_it_all(files: dict[str, Path]) -> None:
    text = run("inspect", files["pesser"])
    for part in ("pesser/pytorch_diffusion", "step 500", "averaged (EMA)", "32x32x3",
                 "linear 0.0001 .. 0.02, T = 1,000", "fixedlarge", "not comparable",
                 "unet.base_channels: 128 -> 32", "fingerprint", "assumed: "):  # fmt: skip
        assert part in text, part
    parameters = sum(v.numel() for v in formats.load_any(files["pesser"]).ema.values())
    assert f"parameters {parameters:,}" in text
    assert run("inspect", files["pesser"]) == text


def test_a_run_folder_is_ours_whatever_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/config.json").write_text("{")
    (tmp_path / "run/checkpoints/step-00000001.pt").write_bytes(b"PK")
    assert "step-00000001.pt: damaged" in run("inspect", tmp_path / "run", code=2)


def test_weights_that_nobody_names_are_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    plain = tmp_path / "model.ckpt"
    plain.write_bytes(files["pesser"].read_bytes())
    place = ["--dataset", "npz", "--data", files["images"], "--reports", tmp_path, "--quiet"]
    for words in (["nll", plain, "-n", "2", *place], ["import", plain, tmp_path / "a.pt"]):
        text = run(*words, code=2)
        assert "does not say whether they are averaged" in text and "--weights ema" in text
    assert not (tmp_path / "a.pt").exists()
    for kind in ("ema", "raw"):
        text = run("import", plain, tmp_path / f"{kind}.pt", "--weights", kind)
        assert f"{kind}: as the user says" in text
        group = checkpoint.load(tmp_path / f"{kind}.pt")
        assert bool(group.ema) == (kind == "ema") and bool(group.weights) == (kind == "raw")
    assert "one set, not said whether averaged" in run("inspect", plain)


def test_set_on_our_checkpoint_is_applied_or_refused(
    files: dict[str, Path], tmp_path: Path
) -> None:
    ours = tmp_path / "ours.pt"
    run("import", files["pesser"], ours)
    assert "there is no setting foo.bar" in run("inspect", ours, "--set", "foo.bar=1", code=2)
    assert "unet.heads=x" in run("inspect", ours, "--set", "unet.heads=x", code=2)
    assert "do not fit" in run("inspect", ours, "--set", "unet.num_res_blocks=3", code=2)
    text = run("inspect", ours, "--set", "objective.variance=fixedsmall")
    assert "variance fixedsmall" in text
    assert "changed by --set, in place of what it was trained with" in text


def test_flags_of_its_system_are_given_to_every_command(tmp_path: Path) -> None:
    """Here to a network with classes, which ``inspect`` could not evaluate."""
    path = tmp_path / "edm.pt"
    torch.save(filled(sde_files.edm(classes=5)), path)
    words = ("sample", path, "-n", "1", "--steps", "2", "--weights", "ema", "--reports", tmp_path)
    assert "the file does not say preconditioning" in run(*words, code=2)
    assert "recorded in" in run(*words, "--set", "preconditioning=vp")
    assert "fingerprint" in run("inspect", path, "--set", "preconditioning=vp")
    assert "there is no setting precondition" in run(*words, "--set", "precondition=vp", code=2)


def test_bad_input(files: dict[str, Path], tmp_path: Path) -> None:
    taken = tmp_path / "taken.pt"
    taken.write_bytes(b"mine")
    assert "new file" in run("import", files["pesser"], taken, code=2)
    assert taken.read_bytes() == b"mine"
    text = run("import", files["pesser"], tmp_path / "a.pt", "--set", "unet.headz=3", code=2)
    assert "did you mean unet.heads" in text
    assert "choose diffusers" in run("export", files["pesser"], tmp_path / "x", "--format", "onnx",
                                     code=2)  # fmt: skip
    assert "exists" in run("export", files["pesser"], files["diffusers"], code=2)
    assert "only averaged" in run(
        "export", files["pesser"], tmp_path / "x", "--weights", "raw", code=2
    )
    assert not (tmp_path / "x").exists() and not (tmp_path / "a.pt").exists()
