"""Nothing is assumed in silence: settings are read, derived, given, or assumed aloud."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ddpm_train import checkpoint, formats
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.errors import FixableError
from ddpm_train.formats import to_diffusers
from ddpm_train.weights import weights_digest
from tests.train import foreign_networks as peers
from tests.train.peers import agreement, randomise
from tests.train.test_formats_diffusers import edit, judge, make
from tests.train.test_formats_files import CONTENT, FLAGS, SIZE, nets, write

diffusers = pytest.importorskip("diffusers")
WEIGHTS = "diffusion_pytorch_model"


def origins(content: Checkpoint) -> dict[str, str]:
    """The kind of each setting."""
    rows = content.facts["origins"]
    return {text.partition("=")[0]: kind for kind, text, _ in rows}


# ------------------------------------------------------------------------- diffusers


def training_output(root: Path, **scheduler: Any) -> tuple[Any, Any]:
    """What a training script leaves: both sets of weights, and the scheduler above."""
    from diffusers.training_utils import EMAModel

    net = make(root / "checkpoint-500" / "unet")
    (root / "checkpoint-500" / "unet" / "scheduler_config.json").unlink()
    averaged = make(root / "scratch")
    average = EMAModel(averaged.parameters(), decay=0.999, model_cls=diffusers.UNet2DModel,
                       model_config=averaged.config)  # fmt: skip
    average.optimization_step = 500
    average.save_pretrained(root / "checkpoint-500" / "unet_ema")
    if scheduler:
        diffusers.DDPMScheduler(**scheduler).save_pretrained(root / "scheduler")
    return net, averaged


def test_what_a_training_script_leaves(tmp_path: Path) -> None:
    net, averaged = training_output(
        tmp_path, num_train_timesteps=500, beta_schedule="squaredcos_cap_v2"
    )
    randomise(net, seed=1)
    net.save_pretrained(tmp_path / "checkpoint-500" / "unet")
    content = formats.load_any(tmp_path / "checkpoint-500")
    assert (content.model.schedule.kind, content.model.schedule.T) == ("cosine", 500)
    assert agreement(content, judge(averaged)) < 5e-6
    assert agreement(content, judge(net), ema=False) < 5e-6
    assert "weights" not in content.facts
    alone = formats.load_any(tmp_path / "checkpoint-500" / "unet_ema")
    assert alone.ema and not alone.weights and alone.step == 500
    assert alone.model.schedule.T == 500
    raw = formats.load_any(tmp_path / "checkpoint-500" / "unet" / f"{WEIGHTS}.safetensors")
    assert raw.facts["weights"] == "as given" and agreement(raw, judge(net)) < 5e-6


def test_without_a_scheduler_the_papers_process_of_this_size_is_assumed(tmp_path: Path) -> None:
    for size, variance in ((16, "fixedlarge"), (64, "fixedsmall")):
        make(tmp_path / str(size), sample_size=size)
        (tmp_path / str(size) / "scheduler_config.json").unlink()
        content = formats.load_any(tmp_path / str(size))
        assert content.model.objective.variance == variance
        notes = " ".join(content.facts["warnings"])
        assert f"objective.variance={variance}" in notes and "schedule.kind=linear" in notes


def test_a_scheduler_of_something_else_is_not_read(tmp_path: Path) -> None:
    make(tmp_path / "mine")
    (tmp_path / "mine" / "scheduler_config.json").unlink()
    other = diffusers.DDPMScheduler(num_train_timesteps=7, beta_end=0.9)
    other.save_pretrained(tmp_path / "scheduler")
    assert formats.load_any(tmp_path / "mine").model.schedule.T == 1000


@pytest.mark.parametrize(
    "wrap", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]
)
def test_prefixes_of_wrappers(tmp_path: Path, wrap: str) -> None:
    net = make(tmp_path)
    file = tmp_path / f"{WEIGHTS}.safetensors"
    save_file({wrap + name: value for name, value in load_file(file).items()}, file)
    assert agreement(formats.load_any(tmp_path), judge(net)) < 5e-6


def test_shards(tmp_path: Path) -> None:
    net = make(tmp_path)
    (tmp_path / f"{WEIGHTS}.safetensors").unlink()
    net.save_pretrained(tmp_path, max_shard_size="1MB")
    shards = sorted(tmp_path.glob(f"{WEIGHTS}-*"))
    assert len(shards) > 1
    assert agreement(formats.load_any(tmp_path), judge(net)) < 5e-6
    whole = shards[0].read_bytes()
    shards[0].write_bytes(shards[1].read_bytes())
    with pytest.raises(FixableError, match=r"weights are not as .*index\.json says"):
        formats.load_any(tmp_path)
    shards[0].unlink()
    with pytest.raises(FixableError, match="no such file"):
        formats.load_any(tmp_path)
    shards[0].write_bytes(whole)
    edit(tmp_path / f"{WEIGHTS}.safetensors.index.json", weight_map={"a": "../secret.bin"})
    with pytest.raises(FixableError, match="does not name files beside it"):
        formats.load_any(tmp_path)


def test_variants_of_weights(tmp_path: Path) -> None:
    net = make(tmp_path)
    plain = tmp_path / f"{WEIGHTS}.safetensors"
    plain.rename(tmp_path / f"{WEIGHTS}.non_ema.safetensors")
    content = formats.load_any(tmp_path)
    assert content.weights and not content.ema and agreement(content, judge(net), ema=False) < 5e-6
    other = make(tmp_path / "other")
    randomise(other, seed=5)
    other.save_pretrained(tmp_path / "other")
    (tmp_path / "other" / plain.name).rename(tmp_path / f"{WEIGHTS}.mine.safetensors")
    with pytest.raises(FixableError, match="not clear which is meant"):
        formats.load_any(tmp_path)
    named = formats.load_any(tmp_path / f"{WEIGHTS}.mine.safetensors")
    assert agreement(named, judge(other)) < 5e-6


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: edit(root / "model_index.json", _class_name="LDMPipeline"), "LDMPipeline"),
        (lambda root: (root / "vqvae").mkdir(), "works on the latents of vqvae/"),
        (lambda root: edit(root / "unet/config.json", in_channels=4, out_channels=4), "4 channels"),
        (lambda root: edit(root / "unet/config.json", in_channels=6), "super-resolution"),
    ],
)
def test_networks_of_more_than_an_image(
    tmp_path: Path, damage: Callable[[Path], object], words: str
) -> None:
    make(tmp_path, nested=True)
    damage(tmp_path)
    for path in (tmp_path, tmp_path / "unet"):
        with pytest.raises(FixableError, match=words):
            formats.load_any(path)


VALUES: list[Any] = [None, True, -1, 0, 3.5, 1e400, "x", "8", [], [1, "a"], {}, {"a": 1}, 10**30]


@pytest.mark.parametrize("file", ["config.json", "scheduler_config.json"])
def test_any_value_of_any_key_is_read_or_one_line(tmp_path: Path, file: str) -> None:
    make(tmp_path)
    clean = (tmp_path / file).read_text()
    keys = [key for key in json.loads(clean) if key != "_diffusers_version"]
    draw = random.Random(0)
    for key in keys:
        for value in draw.sample(VALUES, 4):
            (tmp_path / file).write_text(json.dumps(json.loads(clean) | {key: value}))
            try:
                formats.load_any(tmp_path, changes=["unet.head_channels=0"])
            except FixableError as error:
                assert len(error.problem) < 400 and "\n" not in error.problem


# ------------------------------------------------------------------------- our own export


def exported(root: Path) -> Path:
    make(root / "theirs")
    content = formats.label(formats.load_any(root / "theirs"), "ema", root)
    checkpoint.save(root / "ours.pt", replace(content, step=77))
    to_diffusers.write(formats.load_any(root / "ours.pt"), root / "out")
    return root / "out"


def test_an_export_says_which_weights_it_is_of(tmp_path: Path) -> None:
    out = exported(tmp_path)
    content = formats.load_any(out)
    assert content.ema and content.step == 77 and "weights" not in content.facts
    about = json.loads((out / "unet/config.json").read_text())
    ours = checkpoint.load(tmp_path / "ours.pt")
    assert about["_of"] == weights_digest(ours.ema, ours.model)
    assert about["_weights"] == "ema"


def swap(out: Path) -> None:
    file = out / "unet" / f"{WEIGHTS}.safetensors"
    weights = load_file(file)
    a, b = "mid_block.resnets.0.conv1.weight", "mid_block.resnets.1.conv1.weight"
    weights[a], weights[b] = weights[b], weights[a]
    save_file(weights, file)


@pytest.mark.parametrize(
    "change",
    [
        swap,
        lambda out: edit(out / "scheduler/scheduler_config.json", beta_end=0.03),
        lambda out: edit(out / "unet/config.json", freq_shift=0),
        lambda out: edit(out / "unet/config.json", _weights="raw"),
    ],
)
def test_no_label_outlives_a_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    out = exported(tmp_path)
    change(out)
    with pytest.raises(FixableError, match="not those that were exported"):
        formats.load_any(out)
    edit(out / "unet/config.json", _digest=...)  # the change is meant
    assert formats.load_any(out).facts["weights"] == "as given"


# ------------------------------------------------------------------------- files beside


def test_settings_of_improved_diffusion_are_derived_again(tmp_path: Path) -> None:
    path = write(tmp_path, "improved")
    flags = ["unet.heads=1", "schedule.kind=linear"]
    for T in (4000, 500):
        content = formats.load_any(path, changes=[*flags, f"schedule.T={T}"])
        assert content.model.unet.time_scale == 1000 / T
        assert content.model.schedule.beta_end == pytest.approx(20 / T)
        kinds = origins(content)
        assert kinds["schedule.T"] == "set" and kinds["schedule.beta_end"] == "derived"
        assert not any("schedule.T" in note for note in content.facts["warnings"])
    fixed = [*flags, "schedule.T=4000", "schedule.beta_end=0.3", "unet.time_scale=1"]
    model = formats.load_any(path, changes=fixed).model
    assert (model.schedule.beta_end, model.unet.time_scale) == (0.3, 1.0)


def test_super_resolution_networks_are_refused(tmp_path: Path) -> None:
    net = peers.Improved(SIZE).eval()
    weights = dict(net.state_dict())
    first = weights["input_blocks.0.0.weight"]
    weights["input_blocks.0.0.weight"] = torch.cat([first, first], 1)
    torch.save(weights, tmp_path / "ema_0.9999_100000.pt")
    with pytest.raises(FixableError, match="6 channels: a super-resolution network"):
        formats.load_any(tmp_path / "ema_0.9999_100000.pt", changes=FLAGS["improved"])


@pytest.mark.parametrize(
    ("kind", "name", "text"),
    [
        ("tqch", "exp_0101.info", json.dumps({"diffusion": {
            "timesteps": 300, "beta_start": 1e-3, "beta_end": 0.05, "beta_schedule": "quad",
            "model_mean_type": "eps", "model_var_type": "fixed-small"}})),
        ("w86763777", "flagfile.txt",
         ("--T=1000\n--beta_1=0.001\n--beta_T=0.05\n--mean_type=epsilon\n--var_type=fixedsmall\n"
          "--noparallel\n--ch_mult=1\n--ch_mult=2\n")),
        ("pesser", "config.yml",
         ("!!python/object:argparse.Namespace\ndiffusion: !!python/object:argparse.Namespace\n"
         "  beta_end: 0.05\n  beta_schedule: quad\n  beta_start: 0.001\n"
         "  num_diffusion_timesteps: 300\nmodel: !!python/object:argparse.Namespace\n"
         "  var_type: fixedsmall  # of p\n")),
    ],
)  # fmt: skip
def test_settings_that_lie_beside_a_file(tmp_path: Path, kind: str, name: str, text: str) -> None:
    path = write(tmp_path, kind)
    before = formats.load_any(path)
    assert origins(before)["objective.variance"] == "assumed"
    (tmp_path / name).write_text(text)
    content = formats.load_any(path)
    schedule = content.model.schedule
    assert (schedule.beta_start, schedule.beta_end) == (0.001, 0.05)
    assert content.model.objective.variance == "fixedsmall"
    assert (schedule.kind, schedule.T) == (
        ("linear", 1000) if kind == "w86763777" else ("quad", 300)
    )
    assert not any("objective.variance" in note for note in content.facts["warnings"])
    for wrong in (text.replace("0.05", "-5"), text.replace("small", "odd"), text[:20] + "\xff"):
        (tmp_path / name).write_bytes(wrong.encode("latin1"))
        try:
            formats.load_any(path)
        except FixableError as error:
            assert name in error.problem or "beta_end" in error.problem
    if kind == "tqch":
        (tmp_path / "exp_0202.info").write_text(text)
        with pytest.raises(FixableError, match="not clear which is of these weights"):
            formats.load_any(path)


def test_the_list_that_ddim_saves(tmp_path: Path) -> None:
    net, raw = nets("pesser")
    wrapped = {f"module.{name}": value for name, value in raw.state_dict().items()}
    content = [wrapped, {"state": {}}, 12, 3456, dict(net.state_dict())]
    torch.save(content, tmp_path / "ckpt.pth")
    loaded = formats.load_any(tmp_path / "ckpt.pth")
    assert agreement(loaded, net) < 5e-6 and agreement(loaded, raw, ema=False) < 5e-6
    assert loaded.step == 3456 and loaded.facts["format"] == "ermongroup/ddim"


@pytest.mark.parametrize(
    ("kind", "name", "averaged"),
    [
        ("pesser", "ema_diffusion_cifar10_model/model-790000.ckpt", True),
        ("pesser", "diffusion_cifar10_model/model-790000.ckpt", False),
        ("pesser", "non-ema.ckpt", None),
        ("pesser", "my_ema.ckpt", None),
        ("improved", "ema_0.9999_500000.pt", True),
        ("improved", "model500000.pt", False),
        ("improved", "no_ema.pt", None),
    ],
)
def test_averaged_or_raw_by_the_formats_own_names(
    tmp_path: Path, kind: str, name: str, averaged: bool | None
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    torch.save(CONTENT[kind](*nets(kind)), tmp_path / name)
    content = formats.load_any(tmp_path / name, changes=FLAGS.get(kind, []))
    assert (content.facts.get("weights") == "as given") == (averaged is None)
    assert bool(content.ema) == (averaged is not False) and bool(content.weights) == (
        averaged is False
    )


def test_a_network_that_is_only_claimed_is_never_built(tmp_path: Path) -> None:
    make(tmp_path)
    edit(tmp_path / "config.json", block_out_channels=[4096, 8192], layers_per_block=64)
    with pytest.raises(FixableError, match="do not fit the network of these weights"):
        formats.load_any(tmp_path)
