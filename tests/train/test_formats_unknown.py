"""What is not read is refused by name, and nothing in a file is ever executed."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from ddpm_train import formats
from ddpm_train.errors import FixableError


class Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("name", ["a.pt", "a.ckpt", "a.bin", "a.pth", "a.pkl"])
@pytest.mark.parametrize("kind", ["zip", "old", "bare"])
def test_a_pickle_is_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    if kind == "bare":
        path.write_bytes(pickle.dumps({"net_model": Bomb()}))
    else:
        content = {"net_model": Bomb(), "temb.dense.0.weight": torch.zeros(2)}
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    with pytest.raises(FixableError) as caught:
        formats.load_any(path)
    assert caught.value.fix and not (tmp_path / "exploded").exists()


def test_a_pickle_in_a_folder_of_diffusers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diffusers = pytest.importorskip("diffusers")
    monkeypatch.chdir(tmp_path)
    net = diffusers.UNet2DModel(sample_size=16, block_out_channels=(32, 64),
                                down_block_types=("DownBlock2D", "AttnDownBlock2D"),
                                up_block_types=("AttnUpBlock2D", "UpBlock2D"))  # fmt: skip
    net.save_config(tmp_path)
    torch.save({"conv_in.weight": Bomb()}, tmp_path / "diffusion_pytorch_model.bin")
    with pytest.raises(FixableError, match="never executed"):
        formats.load_any(tmp_path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("content", "owner"),
    [
        ({"step": 1, "model": {"model.init_conv.weight": torch.zeros(2)}, "ema": {}}, "lucidrains"),
        ({"state_dict": {"model.diffusion_model.out.0.weight": torch.zeros(2)}}, "latent"),
    ],
)
def test_other_networks_are_called_by_name(
    tmp_path: Path, content: dict[str, Any], owner: str
) -> None:
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(FixableError, match=owner) as caught:
        formats.load_any(tmp_path / "other.pt")
    assert "diffusers" in caught.value.fix


def test_anything_else(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "a.pt")
    with pytest.raises(FixableError, match=r"no known format \(it holds layer.weight"):
        formats.load_any(tmp_path / "a.pt")
    torch.save([1, 2], tmp_path / "b.pt")
    with pytest.raises(FixableError, match="holds a list"):
        formats.load_any(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_text("<html>not found</html>")
    with pytest.raises(FixableError, match=r"c\.pt: damaged"):
        formats.load_any(tmp_path / "c.pt")
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4dc4\nsize 143\n"
    (tmp_path / "p.safetensors").write_text(text)
    with pytest.raises(FixableError, match="LFS pointer"):
        formats.load_any(tmp_path / "p.safetensors")
    with pytest.raises(FixableError, match="no such file"):
        formats.load_any(tmp_path / "none.pt")
    with pytest.raises(FixableError, match="no checkpoint in this folder"):
        formats.load_any(tmp_path)
    torch.save({"temb.dense.0.weight": torch.zeros(2), "note": "hello"}, tmp_path / "d.pt")
    with pytest.raises(FixableError, match="note is a str"):
        formats.load_any(tmp_path / "d.pt")
    torch.save({"temb.dense.0.weight": torch.zeros(2)}, tmp_path / "e.pt")
    with pytest.raises(FixableError, match="no whole U-Net"):
        formats.load_any(tmp_path / "e.pt")
