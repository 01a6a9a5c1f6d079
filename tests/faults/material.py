"""What is attacked: a small run, its measurements, and files of every kind that is read."""

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.faults import server, systems

TINY = (
    *("unet.image_size=8", "unet.channels=1"),
    *("unet.base_channels=32", "unet.channel_mult=1", "unet.num_res_blocks=1"),
    *("unet.attn_resolutions=", "schedule.T=10", "schedule.beta_end=0.9", "optim.batch_size=4"),
    *("optim.warmup_steps=2", "log.every=1", "log.sample_every=0", "log.checkpoint_every=2"),
)
"""Settings of a run that takes a second."""


def train(*changes: str, source: str = "digits", out: str = "r", data: str = "") -> list[str]:
    """The command that trains the small run."""
    place = ["--data", data] if data else []
    return with_settings(["ddpm-train", source, "--out", out, *place], *TINY, *changes)


def with_settings(words: list[str], *changes: str) -> list[str]:
    """A command and its ``--set``."""
    return [*words, *(word for change in changes for word in ("--set", change))]


def pixels(seed: int, *shape: int) -> np.ndarray:
    """Random levels."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def png(seed: int, size: int = 8) -> bytes:
    """A random gray picture."""
    out = io.BytesIO()
    Image.fromarray(pixels(seed, size, size)).save(out, "PNG")
    return out.getvalue()


def make(root: Path) -> Path:
    """Write everything into a folder, which attacks copy."""
    root.mkdir(parents=True)
    arrays = {name: pixels(i, 24, 8, 8, 1) for i, name in enumerate(("train", "test"))}
    np.savez(root / "images.npz", **arrays)
    for split in ("train", "test"):
        for i in range(12):
            file = root / "pictures" / split / f"{i:02}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png(100 * (split == "test") + i))
    with zipfile.ZipFile(root / "pictures.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((root / "pictures").rglob("*.png")):
            archive.write(file, file.relative_to(root / "pictures"))
    _run(root, train("optim.steps=6", "log.keep=0"))
    _run(root, train("optim.steps=2", source="folder", out="own", data="images.npz"))
    _run(root, ["ddpm-eval", "nll", "r", "-n", "4", "--quiet"])
    _run(root, ["ddpm-eval", "sample", "r", "-n", "16", "--out", "store", "--quiet"])
    _foreign(root)
    systems.write(root)
    _guiding(root)
    _compressed(root)
    return root


def _run(root: Path, words: list[str]) -> None:
    result = server.run(words, root)
    if result.status != 0:
        raise RuntimeError(f"the material cannot be made: {result}")


def _foreign(root: Path) -> None:
    """The same network as three other systems would save it."""
    from tests.train import bundles, foreign_networks
    from tests.train.peers import randomise
    from tests.train.test_formats_tensorflow import original

    _run(root, ["ddpm-eval", "export", "r", "diffusers"])
    size = foreign_networks.Size(mult=(1,), blocks=1, attn=(0,), channels=1)
    net = foreign_networks.Pesser(size).eval()
    randomise(net)
    torch.save(net.state_dict(), root / "ema_diffusion_x_model-10.ckpt")
    torch.save(net.state_dict(), root / "legacy.ckpt", _use_new_zipfile_serialization=False)
    (root / "bundle").mkdir()
    bundles.write(root / "bundle" / "model.ckpt-10", original(net, "/ExponentialMovingAverage"))
    kwargs = {"dataset": "cifar10", "beta_schedule": "linear", "num_diffusion_timesteps": 1000}
    (root / "bundle" / "kwargs.json").write_text(json.dumps(kwargs))


ENCODER = tuple(f"classifier.encoder{name[4:]}" for name in TINY if name.startswith("unet."))
"""A classifier's, in place of the small network's."""
PROCESS = ("schedule.T=10", "schedule.beta_end=0.9")
SCORES = (
    *("refinenet.base_channels=8", "refinenet.levels=5", "optim.batch_size=4", "optim.steps=2"),
    *("schedule.T=5", "log.every=1", "log.checkpoint_every=2"),
)


def _guiding(root: Path) -> None:
    """A classifier of noisy digits for the small network, and a score network."""
    words = ["ddpm-train", "classifier", "--out", "guide.pt"]
    _run(root, with_settings(words, *ENCODER, *PROCESS, "optim.steps=2", "optim.batch_size=4"))
    _run(root, with_settings(["ddpm-train", "ncsn-digits", "--out", "n"], *SCORES))


def _compressed(root: Path) -> None:
    """A network that has learned something, its profile, and a picture in a file."""
    from tests.codec import fields

    np.savez(root / "fields.npz", train=fields.pictures(64, seed=1)[..., :1])
    changes = (
        *("unet.image_size=16", "schedule.T=50", "schedule.beta_start=1e-3"),
        *("schedule.beta_end=0.4", "optim.steps=60", "optim.lr=2e-3", "optim.batch_size=16"),
        *("optim.warmup_steps=5", "optim.ema_decay=0.8", "log.checkpoint_every=60"),
    )
    _run(root, train(*changes, source="folder", out="c", data="fields.npz"))
    _run(root, ["ddpm-eval", "calibrate", "c", "-n", "24", "--set", "calibration.rows=12"])
    Image.fromarray(fields.pictures(1, seed=2)[0, ..., 0]).save(root / "field.png")
    _run(root, ["ddpm-eval", "compress", "field.png", "--model", "c"])
    np.savez(root / "some.npz", fields.pictures(3, seed=3)[..., :1])
    _run(root, ["ddpm-eval", "archive", "some.npz", "--out", "some.archive", "--model", "c"])
    (root / "some").mkdir()
    for i in range(3):
        (root / "some" / f"{i}.png").write_bytes((root / "field.png").read_bytes())


def archive_of(root: Path, content: dict[str, bytes]) -> Path:
    """A tar.gz as CIFAR-10's is laid out."""
    path = root / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def tree(folder: Path) -> dict[str, object]:
    """Every path below a folder, with the bytes of files: what must not change."""
    paths = {}
    for path in sorted(folder.rglob("*")):
        name = os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace")
        paths[name] = path.read_bytes() if path.is_file() else "folder"
    return paths
