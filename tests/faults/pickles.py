"""Malicious pickles in every file that may hold one: never run."""

import io
import os
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.faults import server
from tests.faults.material import archive_of
from tests.faults.matrix import Case

MARK = "exploded"


class Bomb:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _bombs() -> dict[str, Any]:
    code = f"open({MARK!r}, 'w').close()"
    return {
        "os.mkdir": Bomb(os.mkdir, MARK),
        "os.system": Bomb(os.system, f"touch {MARK}"),
        "exec": Bomb(exec, code),
        "eval": Bomb(eval, f"__import__('os').mkdir({MARK!r})"),
        "numpy": Bomb(np.savetxt, MARK, np.zeros(1)),
        "torch.save": Bomb(torch.save, {}, MARK),
        "getattr": Bomb(getattr, Bomb(__import__, "os"), "mkdir"),
        "nested": {"model": {"ema": [Bomb(os.mkdir, MARK)]}},
    }


def _raw() -> dict[str, bytes]:
    """Pickles written by hand: opcodes that picklers do not emit."""
    call = MARK.encode()
    return {
        "global": b"cos\nmkdir\n(V" + call + b"\ntR.",
        "inst": b"(S'" + call + b"'\nios\nmkdir\n.",
        "obj": b"(cos\nmkdir\nS'" + call + b"'\no.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x05mkdir\x93\x8c"
        + bytes([len(call)])
        + call
        + b"\x85R.",
        "build": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(cos\nmkdir\nV" + call + b"\ntR.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent id": b"\x80\x02X\x07\x00\x00\x00storagecos\nmkdir\n(V" + call + b"\ntRQ.",
    }


def _zip(path: Path, data: bytes) -> None:
    """A file of torch.save whose pickle is this."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", b"little")
        archive.writestr("archive/version", b"3\n")


def _npy(data: bytes) -> bytes:
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


CONTAINERS: dict[str, tuple[Callable[[Path, bytes], object], list[str]]] = {
    "zip .pt": (lambda root, data: _zip(root / "a.pt", data), ["ddpm-eval", "inspect", "a.pt"]),
    "bare .ckpt": (
        lambda root, data: (root / "a.ckpt").write_bytes(data), ["ddpm-eval", "inspect", "a.ckpt"]),
    "classifier": (
        lambda root, data: _zip(root / "k.pt", data),
        ["ddpm-eval", "sample", "r", "-n", "2", "--batch", "2", "--classifier", "k.pt"]),
    "NCSN": (lambda root, data: _zip(root / "checkpoint.pth", data),
             ["ddpm-eval", "inspect", "checkpoint.pth"]),
    ".pkl": (
        lambda root, data: (root / "a.pkl").write_bytes(data), ["ddpm-eval", "inspect", "a.pkl"]),
    "run": (lambda root, data: _in_run(root, data), ["ddpm-train", "resume", "r"]),
    ".npz": (lambda root, data: _npz(root / "a.npz", data),
             ["ddpm-eval", "fid", "a.npz", "--reference", "a.npz", "--extractor", "digits-cnn"]),
    "CIFAR batch": (lambda root, data: archive_of(root, {
        f"cifar-10-batches-py/{name}": data for name in ("data_batch_1", "test_batch")}),
        ["ddpm-train", "cifar10", "--archive", "cifar-10-python.tar.gz"]),
    "CIFAR reader": (lambda root, data: (root / "batch").write_bytes(data), []),
    "Inception": (lambda root, data: _zip(root / "w.pth", data),
                  ["ddpm-eval", "fid", "images.npz", "--reference", "images.npz", "--inception",
                   "w.pth", "--accept-weights", "ACCEPT"]),
}  # fmt: skip


def _npz(path: Path, data: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", _npy(data))


def _in_run(root: Path, data: bytes) -> None:
    _zip(root / "r" / "checkpoints" / "step-00000006.pt", data)


def pickles(material: Path, share: float) -> Iterator[Case]:
    """Every pickle in every container."""
    bombs = {name: _dumped(bomb) for name, bomb in _bombs().items()} | _raw()
    cases = [(name, data, container) for container in CONTAINERS for name, data in bombs.items()]
    for name, data, container in cases[:: max(1, round(1 / share))]:
        yield Case(
            "malicious pickles", f"{name} in {container}", _attack(data, container, material)
        )


def _dumped(bomb: Any) -> bytes:
    out = io.BytesIO()
    pickle.Pickler(out, 2).dump(bomb)
    return out.getvalue()


def _attack(data: bytes, container: str, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        write, words = CONTAINERS[container]
        for name in ("r", "images.npz"):
            os.system(f"cp -r '{material / name}' '{folder}/'")
        write(folder, data)
        if not words:
            return _read_batch(folder)
        digest = server.sha256_of(folder / "w.pth") if container == "Inception" else ""
        result = server.run([digest if word == "ACCEPT" else word for word in words], folder)
        if list(folder.rglob(MARK)):
            return f"it was run: {result}"
        refused = result.status == 2 or (container == "run" and result.status == 0)
        return "" if refused and not result.has_traceback else str(result)

    return attack


def _read_batch(folder: Path) -> str:
    """What the reader of CIFAR's batches makes of it; the archive's digest comes before it."""
    from ddpm_train.data import cifar
    from ddpm_train.errors import FixableError

    before = Path.cwd()
    os.chdir(folder)
    try:
        cifar._batch((folder / "batch").read_bytes(), folder / "batch")
    except FixableError:
        return "it was run" if list(folder.rglob(MARK)) else ""
    finally:
        os.chdir(before)
    return "it was read"
