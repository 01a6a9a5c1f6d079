"""diffusers' own network and pipeline are the judges of what is read from and written to them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddpm_eval import inspection
from ddpm_train import checkpoint, formats
from ddpm_train.architectures import UNetConfig
from ddpm_train.config import ModelConfig, ObjectiveConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import to_diffusers
from ddpm_train.weights import build_network
from tests.train.peers import agreement, randomise

diffusers = pytest.importorskip("diffusers")

GOOGLE = {  # google/ddpm-cifar10-32, but small
    "sample_size": 16,
    "block_out_channels": (32, 64),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 2,
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
}
TRAPS = {
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "downsample_padding": 1,
    "attention_head_dim": 8,
    "norm_eps": 1e-5,
}
SCALE_SHIFT = {"resnet_time_scale_shift": "scale_shift", "attn_norm_num_groups": 32}
SCHEDULER = {"variance_type": "fixed_large", "clip_sample": True}


def make(folder: Path, *, nested: bool = False, kind: str = "safetensors", **changes: Any) -> Any:
    """Write a random network of diffusers into a folder."""
    scheduler = SCHEDULER | changes.pop("scheduler", {})
    net = diffusers.UNet2DModel(**(GOOGLE | changes)).eval()
    randomise(net)
    process = diffusers.DDPMScheduler(**scheduler)
    if nested:
        diffusers.DDPMPipeline(net, process).save_pretrained(folder)
    else:
        net.save_pretrained(folder, safe_serialization=kind == "safetensors")
        process.save_pretrained(folder)
    return net


def judge(net: Any) -> Any:
    return lambda x, i: net(x, i).sample


def edit(file: Path, **changes: Any) -> None:
    plain = json.loads(file.read_text())
    for key, value in changes.items():
        if value is ...:
            del plain[key]
        else:
            plain[key] = value
    file.write_text(json.dumps(plain))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_the_same_function(tmp_path: Path, kind: str) -> None:
    net = make(tmp_path / "ddpm-ema-small", kind=kind)
    content = formats.load_any(tmp_path / "ddpm-ema-small")
    assert agreement(content, judge(net)) < 5e-6
    assert not content.weights and not content.facts["warnings"]
    assert content.facts["weights"] == "as given"  # a folder's name is for people
    assert content.model.objective.variance == "fixedlarge"


def test_a_pipeline_in_folders(tmp_path: Path) -> None:
    net = make(tmp_path, nested=True, scheduler={"beta_schedule": "squaredcos_cap_v2"})
    for path in (tmp_path, tmp_path / "unet"):
        content = formats.load_any(path)
        assert agreement(content, judge(net)) < 5e-6
        assert content.model.schedule.kind == "cosine"
        assert content.facts["weights"] == "as given"


@pytest.mark.parametrize(
    "changes",
    [
        *({key: value} for key, value in TRAPS.items()),
        TRAPS,
        SCALE_SHIFT,
        {"out_channels": 6, "scheduler": {"variance_type": "learned_range"}},
        {"in_channels": 1, "out_channels": 1, "layers_per_block": 1},
    ],
    ids=str,
)
def test_every_switch_is_read(tmp_path: Path, changes: Any) -> None:
    net = make(tmp_path, **changes)
    assert agreement(formats.load_any(tmp_path), judge(net)) < 5e-6


@pytest.mark.parametrize("trap", TRAPS)
def test_the_fingerprint_sees_every_trap(tmp_path: Path, trap: str) -> None:
    """Each of these loads strictly with the wrong value, and is another function."""
    make(tmp_path)
    right = inspection.fingerprint(formats.load_any(tmp_path))
    again = inspection.fingerprint(formats.load_any(tmp_path))
    assert again == pytest.approx(right, rel=1e-12)
    edit(tmp_path / "config.json", **{trap: TRAPS[trap]})
    wrong = inspection.fingerprint(formats.load_any(tmp_path))
    assert any(f"{wrong[t]:.9f}" != f"{right[t]:.9f}" for t in right)


def test_files_before_attention_was_renamed(tmp_path: Path) -> None:
    """Old files say query and proj_attn, and nothing of heads."""
    net = make(tmp_path)
    renamed = {}
    for name, tensor in net.state_dict().items():
        for new, old in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"),
                         ("to_out.0", "proj_attn")):  # fmt: skip
            name = name.replace(new, old)
        renamed[name] = tensor
    (tmp_path / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(renamed, tmp_path / "diffusion_pytorch_model.bin")
    edit(tmp_path / "config.json", attention_head_dim=...)
    with pytest.raises(FixableError, match=r"does not say unet\.head_channels[^$]*=0"):
        formats.load_any(tmp_path)
    content = formats.load_any(tmp_path, changes=["unet.head_channels=0"])
    assert agreement(content, judge(net)) < 5e-6


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("config", {"act_fn": "gelu"}, "act_fn=gelu"),
        ("config", {"norm_num_groups": 16}, "norm_num_groups=16"),
        ("config", {"center_input_sample": True}, "center_input_sample=True"),
        ("config", {"time_embedding_type": "fourier"}, "time_embedding_type=fourier"),
        ("config", {"downsample_type": "resnet"}, "downsample_type=resnet"),
        ("config", {"num_class_embeds": 0}, "num_class_embeds=0"),
        ("config", {"num_class_embeds": 10, "class_embed_type": "timestep"}, "class_embed_type="),
        ("config", {"_class_name": "UNet2DConditionModel"}, "_class_name=UNet2DConditionModel"),
        ("config", {"resnet_time_scale_shift": "scale_shift"}, "resnet_time_scale_shift="),
        ("config", {"sample_size": None}, "sample_size=None"),
        ("config", {"block_out_channels": [32, 48]}, "not multiples"),
        ("config", {"something_new": 3}, "something_new=3"),
        ("config", {"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}, "SkipDownBlock2D"),
        ("config", {"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "does not mirror"),
        ("config", {"out_channels": 6}, "out_channels=6"),
        ("config", {"layers_per_block": 3}, "do not fit the network"),
        ("scheduler_config", {"prediction_type": "flow_prediction"}, "prediction_type=flow"),
        ("scheduler_config", {"beta_schedule": "sigmoid"}, "beta_schedule=sigmoid"),
        ("scheduler_config", {"trained_betas": [0.1]}, "trained_betas="),
        ("scheduler_config", {"variance_type": "learned"}, "variance_type=learned"),
        ("scheduler_config", {"thresholding": True}, "thresholding=True"),
    ],
)
def test_what_the_network_is_not_is_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    make(tmp_path)
    edit(tmp_path / f"{file}.json", **changes)
    with pytest.raises(FixableError) as caught:
        formats.load_any(tmp_path)
    assert message in caught.value.problem and caught.value.fix


def test_broken_folders(tmp_path: Path) -> None:
    make(tmp_path)
    weights = tmp_path / "diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    for part in (whole[: len(whole) // 2], whole[:5], b""):
        weights.write_bytes(part)
        with pytest.raises(FixableError, match="damaged"):
            formats.load_any(tmp_path)
    weights.unlink()
    with pytest.raises(FixableError, match="no weights"):
        formats.load_any(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(FixableError, match="not JSON"):
        formats.load_any(tmp_path)


def test_weights_in_16_bits(tmp_path: Path) -> None:
    net = make(tmp_path)
    net.half().save_pretrained(tmp_path)
    content = formats.load_any(tmp_path)
    assert agreement(content, judge(net.float())) < 5e-6
    assert any("16 bits" in warning for warning in content.facts["warnings"])


LABELS = torch.tensor([4, 0, 0, 2])


def with_labels(net: Any, labels: Tensor) -> Any:
    return lambda x, i: net(x, i, labels).sample


@pytest.mark.parametrize("changes", [{}, SCALE_SHIFT])
def test_labels_are_embedded_alike_both_ways(tmp_path: Path, changes: Any) -> None:
    net = make(tmp_path / "theirs", num_class_embeds=5, **changes)
    assert net.class_embedding.weight.shape == (5, 128)
    content = formats.load_any(tmp_path / "theirs")
    assert content.model.unet.classes == 5
    assert agreement(content, with_labels(net, LABELS), labels=LABELS) < 5e-6
    assert agreement(content, with_labels(net, 4 - LABELS), labels=LABELS) > 1e-2
    to_diffusers.write(content, tmp_path / "ours")
    back = diffusers.UNet2DModel.from_pretrained(tmp_path / "ours" / "unet").eval()
    assert agreement(content, with_labels(back, LABELS), labels=LABELS) < 5e-6


@pytest.mark.parametrize("changes", [{}, TRAPS, SCALE_SHIFT, {"num_class_embeds": 5}])
def test_there_and_back_again(tmp_path: Path, changes: Any) -> None:
    """Import, export, import: the same files, byte for byte; ours has a checksum besides."""
    make(tmp_path / "theirs", **changes)
    first = formats.load_any(tmp_path / "theirs")
    to_diffusers.write(first, tmp_path / "ours")
    for name, item in (("a", first), ("b", formats.load_any(tmp_path / "ours"))):
        facts = {key: value for key, value in item.facts.items() if key != "checksum"}
        checkpoint.save(tmp_path / f"{name}.pt", replace(item, facts=facts))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    name = "diffusion_pytorch_model.safetensors"
    theirs, ours = tmp_path / "theirs" / name, tmp_path / "ours" / "unet" / name
    assert theirs.read_bytes() == ours.read_bytes()


@pytest.mark.parametrize(
    ("kind", "prediction"),
    [("linear", "eps"), ("quad", "eps"), ("cosine", "eps"), ("linear", "x_0"), ("linear", "v")],
)
def test_the_pipeline_draws_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, prediction: str
) -> None:
    """The whole chain from the same noise: x_T and every z are handed to diffusers."""
    from ddpm_train import noise, schedule
    from ddpm_train.chain import sample
    from ddpm_train.config import ScheduleConfig
    from ddpm_train.denoiser import Denoiser
    from ddpm_train.samplers import Ancestral

    T, shape, stream = 25, (3, 16, 16), noise.Stream(3, "sample")
    model = ModelConfig(
        unet=UNetConfig(image_size=16, base_channels=32, channel_mult=(1, 2), dropout=0.0),
        schedule=ScheduleConfig(kind=kind, T=T, beta_start=1e-3, beta_end=0.3),
        objective=ObjectiveConfig(
            prediction=prediction, loss="L_simple" if prediction == "eps" else "mse"
        ),
    )
    net = build_network(model)
    randomise(net)
    ours = checkpoint.Checkpoint(model=model, step=5, ema=dict(net.state_dict()))
    to_diffusers.write(ours, tmp_path / "out")
    content = formats.load_any(tmp_path / "out")
    assert content.model == model and content.step == 5 and "weights" not in content.facts

    draws = iter([0, *range(T, 1, -1)])
    hand: Any = lambda *_, **__: noise.normal(stream, range(2), shape, steps=next(draws))  # noqa: E731
    monkeypatch.setattr("diffusers.pipelines.ddpm.pipeline_ddpm.randn_tensor", hand)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", hand)
    pipeline = diffusers.DDPMPipeline.from_pretrained(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(batch_size=2, num_inference_steps=T, output_type="np").images

    denoise = Denoiser(checkpoint.network(ours), schedule.build(model.schedule), model.objective)
    samples: Tensor = sample(Ancestral(denoise), range(2), shape, stream, like=torch.zeros(1))
    mine = (samples / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(mine, theirs, atol=2e-4)
    assert mine.std() > 0.1


@pytest.mark.parametrize(
    ("group", "changes"),
    [
        ("unet", {"time_order": "interleaved"}),
        ("unet", {"time_scale": 0.25}),
        ("unet", {"fourier": (7,)}),
        ("schedule", {"kind": "jsd"}),
        ("objective", {"variance": "learned"}),
        ("objective", {"prediction": "mu_tilde"}),
    ],
)
def test_what_diffusers_is_not_is_refused(
    tmp_path: Path, group: str, changes: dict[str, Any]
) -> None:
    from dataclasses import replace

    make(tmp_path / "in")
    content = formats.load_any(tmp_path / "in")
    part = replace(getattr(content.model, group), **changes)
    changed = replace(content, model=replace(content.model, **{group: part}))
    with pytest.raises(FixableError, match=next(iter(changes))):
        to_diffusers.write(changed, tmp_path / "out")
    assert not (tmp_path / "out").exists()
