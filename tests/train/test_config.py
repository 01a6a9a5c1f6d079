import dataclasses
import json
import re
import typing
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from ddpm_eval.settings import EvalSettings
from ddpm_train import leaves, presets
from ddpm_train.config import RunConfig
from ddpm_train.errors import FixableError
from ddpm_train.presets import PRESETS
from ddpm_train.settings import check, flatten, from_dict, override, to_dict
from ddpm_train.weights import build_network


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


def test_digits_likelihood_is_digits_with_the_objective_and_decay_of_likelihood32() -> None:
    ours, plain, like32 = presets.digits_likelihood(), presets.digits(), presets.likelihood32()
    assert (ours.objective, ours.optim.decay) == (like32.objective, like32.optim.decay)
    line = replace(like32.schedule, T=plain.schedule.T, snr_start=2e3, snr_end=1e-3)
    assert ours.schedule == line
    optim = replace(ours.optim, decay=plain.optim.decay, grad_clip=plain.optim.grad_clip)
    like = replace(ours, preset="digits", objective=plain.objective, schedule=plain.schedule)
    assert replace(like, optim=optim) == plain  # as long, as large, the same images


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


@pytest.mark.parametrize("name", PRESETS)
def test_values_are_read_the_way_they_are_printed(name: str) -> None:
    """By ``ddpm-train presets`` (Python's str), in config.json, and by Python's repr."""
    preset = PRESETS[name]()
    plain_of_preset = to_dict(preset)  # without groups of other networks
    plain = flatten(plain_of_preset)
    for write in (str, json.dumps, repr):
        changes = [f"{key}={write(value)}" for key, value in plain.items()]
        read = override(presets.digits(), changes)
        assert to_dict(read) == plain_of_preset


def test_a_text_keeps_its_quotes_inside_and_its_commas() -> None:
    run = override(presets.folder(), ["data.path=it's, here"])
    assert run.data.path == "it's, here"


SMALL = presets.digits()


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        ("log.keep=-1", "log.keep of 0 or more"),
        ("log.every=0", "log.every of 1 or more"),
        ("log.samples=0", "log.samples from 1"),
        ("log.checkpoint_every=0", "log.checkpoint_every of 1 or more"),
        ("log.checkpoint_minutes=0", "log.checkpoint_minutes above 0"),
        ("optim.grad_clip=-1", "optim.grad_clip of 0 or more"),
        ("optim.warmup_steps=-1", "optim.warmup_steps of 0 or more"),
        ("optim.ema_decay=1.5", "optim.ema_decay of 0 or more and below 1"),
        ("optim.lr=-1", "optim.lr above 0"),
        ("optim.lr=0", "optim.lr above 0"),
        ("optim.batch_size=1000000000000", "optim.batch_size from 1 to 1,000,000"),
        ("optim.steps=0", "optim.steps from 1"),
        ("compute.microbatch=-1", "compute.microbatch of 0 or more"),
        ("compute.threads=-1", "compute.threads from 0"),
        ("schedule.T=1", "schedule.T from 2"),
        ("schedule.beta_end=2", "schedule.beta_end"),
        ("unet.dropout=1", "unet.dropout of 0 or more and below 1"),
        ("unet.norm_eps=-1", "unet.norm_eps"),
        ("unet.channel_mult=", "unet.channel_mult of 1 to 12 values"),
        ("unet.channel_mult=1,0", "unet.channel_mult from 1 to 64"),
        ("seed=-1", "seed from 0 to 18,446,744,073,709,551,615"),
        (f"seed={2**64}", "seed from 0 to 18,446,744,073,709,551,615"),
    ],
)
def test_what_is_out_of_range_is_refused_from_any_side(change: str, fix: str) -> None:
    """As a text, as a value in a file, and in a tree built in Python."""
    key, _, text = change.partition("=")
    *groups, name = key.split(".")
    plain = to_dict(SMALL)
    group = plain[groups[0]] if groups else plain
    group[name] = [int(part) for part in text.split(",") if part] if "mult" in name else float(text)
    if isinstance(group[name], float) and "." not in text:
        group[name] = int(text)
    tree: Any = SMALL
    value = tuple(group[name]) if isinstance(group[name], list) else group[name]
    if groups:
        tree = replace(SMALL, **{groups[0]: replace(getattr(SMALL, groups[0]), **{name: value})})
    else:
        tree = replace(SMALL, **{name: value})
    for refuse in (
        lambda: override(SMALL, [change]),
        lambda: from_dict(RunConfig, plain),
        lambda: check(tree),
    ):
        with pytest.raises(FixableError, match=re.escape(key)) as caught:
            refuse()
        assert fix in caught.value.fix and "\n" not in caught.value.problem + caught.value.fix


@pytest.mark.parametrize("tree", [RunConfig, EvalSettings])
def test_every_number_has_a_range(tree: type) -> None:
    """Of each leaf, and of each member of a tuple, some value is refused."""
    for key, hint in numbers(tree):
        value = -1e9 if key.endswith("time_first") else -1  # which may have any sign
        with pytest.raises(FixableError):
            leaves.read(hint, value, key)


def numbers(kind: type, group: str = "") -> Iterator[tuple[str, object]]:
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        bare = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
        if dataclasses.is_dataclass(hint):
            yield from numbers(hint, f"{group}{name}.")
        elif typing.get_origin(bare) is tuple:
            yield f"{group}{name}", typing.get_args(bare)[0]
        elif bare in (int, float):
            yield f"{group}{name}", hint


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (str, 3),
        (str, None),
        (int, "3"),
        (int, True),
        (int, 2.5),
        (int, float("inf")),
        (float, "1"),
        (float, float("nan")),
        (float, 10**400),
        (float, False),
        (bool, 1),
        (bool, "true"),
        (tuple[int, ...], 3),
        (tuple[int, ...], "3"),
        (tuple[int, ...], [1, "2"]),
        (tuple[int, int], [1]),
        (Literal["a", "b"], ["a"]),
        (Literal["a", "b"], "c"),
        (int | None, "1"),
        (float, "1\n2" * 1000),
    ],
)
def test_a_value_of_another_type_is_one_line_and_a_fix(hint: object, value: object) -> None:
    with pytest.raises(FixableError, match=r"^group\.leaf") as caught:
        leaves.read(hint, value, "group.leaf")
    assert caught.value.fix and len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int | None, "none", None),
        (int | None, " 3 ", 3),
        (tuple[tuple[int, int], ...], "[[0, 1], (2, 3)]", ((0, 1), (2, 3))),
        (tuple[str, ...], "['a', \"b\", c]", ("a", "b", "c")),
        (tuple[float, ...], "(0.5,)", (0.5,)),
        (tuple[float, ...], "[]", ()),
        (Literal["a", "b"], '"a"', "a"),
        (bool, "Yes", True),
        (float, "1", 1.0),
    ],
)
def test_texts_of_every_type(hint: object, text: str, value: object) -> None:
    assert leaves.parse(hint, text, "leaf") == value


def test_numbers_of_numpy_are_numbers() -> None:
    assert (
        leaves.read(int, np.int64(3), "n") == 3 and type(leaves.read(int, np.int64(3), "n")) is int
    )
    assert leaves.read(float, np.float32(0.5), "x") == 0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("optim.learnrate=1", "no setting optim.learnrate"),
        ("otpim.lr=1", "did you mean optim.lr"),
        ("optim.lr", "no value"),
        ("optim.lr=fast", "not a number"),
        ("optim.lr=nan", "not a finite number"),
        ("optim.lr=1e999", "not a finite number"),
        ("optim.steps=1.5", "not a whole number"),
        ("data.flip=maybe", "not true or false"),
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
    with pytest.raises(FixableError, match="not a whole number"):
        from_dict(RunConfig, {**plain, "seed": 1.5})


def test_the_settings_of_improved_ddpm() -> None:
    """Nichol and Dhariwal (2021): a network of 52.5M parameters that tells its variance."""
    run = presets.iddpm_cifar10()
    assert (run.schedule.kind, run.schedule.T, run.objective.loss) == ("cosine", 4000, "hybrid")
    assert run.unet.time_scale * run.schedule.T == 1000
    network = build_network(run.model)
    assert sum(item.numel() for item in network.parameters()) == pytest.approx(52.5e6, rel=0.005)
    assert network.conv_out.out_channels == 6
