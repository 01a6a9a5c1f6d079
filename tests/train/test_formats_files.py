"""One file, one dictionary: every system's network and ours are the same function."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ddpm_eval import inspection
from ddpm_train import checkpoint, formats
from ddpm_train.errors import FixableError
from tests.train import foreign_networks as peers
from tests.train.peers import agreement, randomise

Content = dict[str, Any]
SIZE = peers.Size()
THREE = peers.Size(mult=(1, 2, 4), blocks=1, attn=(1, 2), channels=1)
PLAIN = {"pesser": peers.Pesser, "tqch": peers.Tqch,
         "w86763777": lambda size: peers.W86763777(size, 1000),
         "improved": peers.Improved}  # fmt: skip


def pesser(net: nn.Module, raw: nn.Module) -> Content:
    return dict(net.state_dict())


def tqch(net: nn.Module, raw: nn.Module) -> Content:
    ema = {"decay": 0.9999, "shadow": dict(net.named_parameters()), "num_updates": 5}
    return {"model": raw.state_dict(), "ema": ema, "optimizer": {}, "epoch": 3}


def w86763777(net: nn.Module, raw: nn.Module) -> Content:
    return {"net_model": raw.state_dict(), "ema_model": net.state_dict(), "step": 1234,
            "sched": {"lr_lambdas": [None]}, "x_T": torch.zeros(4, 3, 32, 32)}  # fmt: skip


CONTENT: dict[str, Callable[[nn.Module, nn.Module], Content]] = {
    "pesser": pesser, "tqch": tqch, "w86763777": w86763777, "improved": pesser}  # fmt: skip
FLAGS = {"improved": ["schedule.kind=linear", "schedule.T=1000", "unet.heads=1"]}
FILE = {"pesser": "ema_diffusion_cifar10_model-790000.ckpt", "tqch": "cifar10_2040.pt",
        "w86763777": "ckpt.pt", "improved": "ema_0.9999_500000.pt"}  # fmt: skip


def nets(kind: str, size: peers.Size = SIZE) -> tuple[nn.Module, nn.Module]:
    networks = [PLAIN[kind](size).eval() for _ in range(2)]
    for seed, net in enumerate(networks):
        randomise(net, seed=seed)
    if kind == "w86763777":  # its table is frozen
        for net in networks:
            table = net.time_embedding.timembedding[0].weight
            table.data = peers.interleaved(*table.shape)
    return networks[0], networks[1]


def write(folder: Path, kind: str, change: Callable[[Content], None] | None = None) -> Path:
    content = CONTENT[kind](*nets(kind))
    if change:
        change(content)
    path = folder / FILE[kind]
    torch.save(content, path)
    return path


@pytest.mark.parametrize("kind", [torch.complex64, torch.int64, torch.bool])
def test_weights_of_another_type_are_refused(tmp_path: Path, kind: torch.dtype) -> None:
    """Complex ones lost their imaginary part."""

    def change(content: Content) -> None:
        content["conv_in.bias"] = content["conv_in.bias"].to(kind)

    with pytest.raises(FixableError, match=r"conv_in\.bias holds \w+ numbers"):
        formats.load_any(write(tmp_path, "pesser", change))


def test_numbers_that_32_bits_do_not_hold_are_refused(tmp_path: Path) -> None:
    """1e300 became infinite behind the check."""

    def change(content: Content) -> None:
        content["conv_in.bias"] = torch.full_like(
            content["conv_in.bias"], 1e300, dtype=torch.double
        )

    with pytest.raises(FixableError, match=r"conv_in\.bias holds NaN or Inf"):
        formats.load_any(write(tmp_path, "pesser", change))


def test_weights_in_64_bits_are_said(tmp_path: Path) -> None:
    def change(content: Content) -> None:
        content["conv_in.bias"] = content["conv_in.bias"].double()

    warnings = formats.load_any(write(tmp_path, "pesser", change)).facts["warnings"]
    assert "weights were stored in 64 bits and are used in 32" in warnings


@pytest.mark.parametrize("step", [-1, 0.5, "x", True, 10**30, None, [1], torch.zeros(2)], ids=str)
def test_a_step_that_is_none_is_refused(tmp_path: Path, step: object) -> None:
    def change(content: Content) -> None:
        content["step"] = step

    with pytest.raises(FixableError, match=r"step=.*(not a whole number|out of range)"):
        formats.load_any(write(tmp_path, "w86763777", change))


@pytest.mark.parametrize("size", [SIZE, THREE], ids=["two levels", "three levels"])
@pytest.mark.parametrize("kind", PLAIN)
def test_the_same_function(tmp_path: Path, kind: str, size: peers.Size) -> None:
    net, raw = nets(kind, size)
    content = CONTENT[kind](net, raw)
    content.pop("x_T", None)
    path = tmp_path / FILE[kind]
    torch.save(content, path)
    ours = formats.load_any(path, changes=FLAGS.get(kind, []))
    assert agreement(ours, net) < 5e-6
    if kind in ("tqch", "w86763777"):
        assert agreement(ours, raw, ema=False) < 5e-6
        assert agreement(ours, raw) > 0.1  # EMA and raw are not confused
    assert kind in str(ours.facts["format"]) and ours.facts["warnings"]
    assert ours.model.unet.image_size == 32  # attention at level 1 is at 16x16
    steps = {"pesser": 790_000, "w86763777": 1234, "improved": 500_000, "tqch": 0}
    assert ours.step == steps[kind]


@pytest.mark.parametrize(
    ("kind", "switches"),
    [
        ("w86763777", ["time_order=sin_cos", "time_freq_shift=1", "pad_down=bottom_right",
                       "norm_eps=1e-6"]),
        ("improved", ["time_order=sin_cos", "time_freq_shift=1", "pad_down=bottom_right",
                      "norm_eps=1e-6", "heads=2", "time_scale=0.5"]),
        ("pesser", ["time_order=cos_sin", "pad_down=both", "norm_eps=1e-5", "heads=8"]),
        ("tqch", ["time_order=cos_sin", "pad_down=both", "norm_eps=1e-5"]),
    ],
)  # fmt: skip
def test_the_fingerprint_sees_every_wrong_switch(
    tmp_path: Path, kind: str, switches: list[str]
) -> None:
    path = write(tmp_path, kind)
    flags = FLAGS.get(kind, [])
    right = inspection.fingerprint(formats.load_any(path, changes=flags))
    for switch in switches:
        wrong = inspection.fingerprint(formats.load_any(path, changes=[*flags, f"unet.{switch}"]))
        assert any(f"{wrong[t]:.9f}" != f"{right[t]:.9f}" for t in right), switch


@pytest.mark.parametrize("heads", [1, 4])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("learned", [False, True])
def test_the_flags_of_improved_diffusion(
    tmp_path: Path, heads: int, scaled: bool, learned: bool
) -> None:
    net = peers.Improved(SIZE, heads=heads, scaled=scaled, learned=learned, time_scale=0.25).eval()
    randomise(net)
    path = tmp_path / "cifar10_uncond_50M_500K.pt"
    torch.save(net.state_dict(), path)
    flags = [f"unet.heads={heads}", "schedule.T=4000", "schedule.kind=linear"]
    content = formats.load_any(path, changes=flags)
    assert agreement(content, net) < 5e-6
    assert content.model.objective.variance == ("learned_range" if learned else "fixedlarge")
    assert content.facts["weights"] == "as given"
    assert content.model.unet.time_scale == 0.25
    assert (content.model.schedule.beta_start, content.model.schedule.beta_end) == (2.5e-5, 0.005)
    for missing in flags:
        with pytest.raises(FixableError, match=f"does not say {missing.partition('=')[0]}, and"):
            formats.load_any(path, changes=[flag for flag in flags if flag != missing])
    with pytest.raises(FixableError, match="num_heads_upsample"):
        formats.load_any(path, changes=[*flags, "num_heads_upsample=2"])


@pytest.mark.parametrize("kind", PLAIN)
def test_a_prefix_of_dataparallel_and_16_bits(tmp_path: Path, kind: str) -> None:
    net, raw = nets(kind)

    def parallel(part: nn.Module) -> nn.Module:
        return peers.Named(module=part)

    plain, wrapped = tmp_path / "plain.pt", tmp_path / "wrapped.pt"
    torch.save(CONTENT[kind](net.half(), raw.half()), plain)
    torch.save(CONTENT[kind](parallel(net), parallel(raw)), wrapped)
    flags = FLAGS.get(kind, [])
    one, two = (formats.load_any(path, changes=flags) for path in (plain, wrapped))
    assert one.ema.keys() == two.ema.keys()
    assert all(torch.equal(one.ema[name], two.ema[name]) for name in one.ema)
    assert any("16 bits" in str(warning) for warning in one.facts["warnings"])


@pytest.mark.parametrize("kind", ["tqch", "w86763777"])
def test_without_averaged_weights(tmp_path: Path, kind: str) -> None:
    def drop(content: Content) -> None:
        content.pop("ema", None)
        content["ema_model"] = None

    content = formats.load_any(write(tmp_path, kind, drop))
    assert any("weights=raw" in warning for warning in content.facts["warnings"])
    with pytest.raises(FixableError, match="only raw weights"):
        checkpoint.network(content)
    assert checkpoint.network(content, ema=False)


@pytest.mark.parametrize("kind", PLAIN)
def test_the_first_mismatches_are_named(tmp_path: Path, kind: str) -> None:
    def one(content: Content) -> Any:
        return content.get("ema_model") or content.get("ema", {}).get("shadow") or content

    def lose(content: Content) -> None:
        weights = one(content)
        name = next(n for n, v in weights.items() if n.endswith("weight") and v.ndim == 4)
        weights[name] = weights[name][:, :, :1]
        weights["surplus.weight"] = torch.zeros(2)

    with pytest.raises(FixableError) as caught:
        formats.load_any(write(tmp_path, kind, lose), changes=FLAGS.get(kind, []))
    assert "surplus.weight is not part of this network" in str(caught.value)
    assert "instead of" in str(caught.value)


def test_a_weight_that_is_nan(tmp_path: Path) -> None:
    def spoil(content: Content) -> None:
        content["conv_in.bias"] = content["conv_in.bias"] * float("nan")

    with pytest.raises(FixableError, match=r"conv_in.bias holds NaN"):
        formats.load_any(write(tmp_path, "pesser", spoil))


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_half_of_a_download(tmp_path: Path, keep: float, zipped: bool) -> None:
    path = tmp_path / "model.ckpt"
    torch.save(pesser(*nets("pesser")), path, _use_new_zipfile_serialization=zipped)
    if not zipped:  # the old container is read too
        assert formats.load_any(path).facts["format"]
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(FixableError, match=r"model\.ckpt: damaged"):
        formats.load_any(path)


def test_imported_is_ours_and_equal(tmp_path: Path) -> None:
    content = formats.load_any(write(tmp_path, "w86763777"))
    checkpoint.save(tmp_path / "out.pt", content)
    again = formats.load_any(tmp_path / "out.pt")
    assert inspection.fingerprint(again) == inspection.fingerprint(content)
    assert again.facts == content.facts and again.model == content.model
    assert replace(again, weights={}, ema={}) == replace(content, weights={}, ema={})
