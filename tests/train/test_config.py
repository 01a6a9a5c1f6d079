import json

import pytest

from ddpm_train import presets
from ddpm_train.checkpoint import build_network
from ddpm_train.config import RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.presets import PRESETS
from ddpm_train.settings import from_dict, override, to_dict


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name: str) -> None:
    preset = PRESETS[name]()
    assert preset.preset == name
    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(preset)))) == preset


def test_the_papers_settings() -> None:
    """PROTOCOL.md section 2."""
    cifar = presets.cifar10()
    assert (cifar.optim.lr, cifar.optim.batch_size, cifar.optim.steps) == (2e-4, 128, 800_000)
    assert (cifar.unet.dropout, cifar.data.flip, cifar.objective.variance) == (
        0.1,
        True,
        "fixedlarge",
    )
    steps = {"celebahq256": 0.5, "lsun-church": 1.2, "lsun-bedroom": 2.4, "lsun-cat": 1.8}
    for name, millions in steps.items():
        run = PRESETS[name]()
        assert run.optim.steps == millions * 1e6
        assert (run.optim.lr, run.optim.batch_size, run.unet.dropout) == (2e-5, 64, 0.0)
        assert run.unet.channel_mult == (1, 1, 2, 2, 4, 4) and run.unet.image_size == 256
        assert run.objective.variance == "fixedsmall"
        assert run.data.flip == (name in ("celebahq256", "lsun-church"))
    large = PRESETS["lsun-bedroom-large"]()
    assert (large.unet.base_channels, large.optim.steps, large.data.flip) == (192, 1_150_000, False)
    for run in (cifar, large):
        assert (run.schedule.T, run.schedule.beta_start, run.schedule.beta_end) == (
            1000,
            1e-4,
            0.02,
        )
        assert (run.optim.warmup_steps, run.optim.grad_clip, run.optim.ema_decay) == (
            5000,
            1,
            0.9999,
        )


def test_overrides_are_read_by_the_type_of_their_leaf() -> None:
    run = override(
        presets.cifar10(),
        [
            "optim.steps=1_000",
            "optim.lr=1e-3",
            "data.flip=no",
            "objective.loss=L",
            "unet.attn_resolutions=16,8",
            "data.path=a=b",
        ],
    )
    assert (run.optim.steps, run.optim.lr, run.data.flip) == (1000, 1e-3, False)
    assert (run.objective.loss, run.unet.attn_resolutions) == ("L", (16, 8))
    assert run.data.path == "a=b"
    assert override(run, ["unet.attn_resolutions="]).unet.attn_resolutions == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.learnrate=1", "no setting optim.learnrate"),
        ("otpim.lr=1", "did you mean optim.lr"),
        ("optim.lr", "no value"),
        ("optim.lr=fast", "not of type float"),
        ("optim.lr=nan", "not of type float"),
        ("optim.steps=1.5", "not of type int"),
        ("data.flip=maybe", "not of type bool"),
        ("objective.loss=MSE", "one of L_simple, mse, L"),
        ("unet.channel_mult=1,x", "unet.channel_mult=x"),
        ("optim=3", "no setting optim"),
    ],
)
def test_bad_overrides_name_the_key_and_the_fix(change: str, message: str) -> None:
    with pytest.raises(FixableError, match="fix: ") as caught:
        override(presets.cifar10(), [change])
    assert message in str(caught.value)


def test_a_damaged_settings_file_is_named() -> None:
    plain = to_dict(presets.cifar10())
    with pytest.raises(FixableError, match=r"no setting optim\.extra"):
        from_dict(RunConfig, {**plain, "optim": {"extra": 1}})
    with pytest.raises(FixableError, match=r"setting data\.source is missing"):
        from_dict(RunConfig, {**plain, "data": {}})
    with pytest.raises(FixableError, match="optim is a group"):
        from_dict(RunConfig, {**plain, "optim": 3})
    with pytest.raises(FixableError, match="not of type int"):
        from_dict(RunConfig, {**plain, "seed": 1.5})


def test_the_settings_of_improved_ddpm() -> None:
    """Nichol and Dhariwal (2021): a network of 52.5M parameters that tells its variance."""
    run = presets.iddpm_cifar10()
    assert (run.schedule.kind, run.schedule.T, run.objective.loss) == ("cosine", 4000, "hybrid")
    assert run.unet.time_scale * run.schedule.T == 1000
    network = build_network(run.model)
    assert sum(each.numel() for each in network.parameters()) == pytest.approx(52.5e6, rel=0.005)
    assert network.conv_out.out_channels == 6
