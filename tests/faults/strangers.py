"""What strangers' files may hold: more than fits anywhere, and signs that steer a terminal."""

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from tests.faults import server
from tests.faults.material import archive_of, png
from tests.faults.matrix import Case

CNN = ("--extractor", "digits-cnn", "--metrics", "FID")
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\u202e"
Put = Callable[[Path], object]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _huge_png(side: int) -> bytes:
    """A picture that claims side x side pixels."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = _chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + data + _chunk(b"IEND", b"")


def _npy(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    text = f"{{'descr': {kind!r}, 'fortran_order': False, 'shape': {shape}, }}"
    head = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + bytes(64)


def _zip(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def _folder(path: Path, name: str, data: bytes) -> None:
    path.mkdir()
    (path / name).write_bytes(data)


def _config(root: Path, changes: dict[str, object]) -> None:
    """Our export, with other settings and no digest of ours."""
    path = next(root.glob("diffusers/**/config.json"))
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


FID, TRAIN, INSPECT = (
    ("ddpm-eval", "fid"),
    ("ddpm-train", "folder", "--data"),
    ("ddpm-eval", "inspect"),
)
BOMBS: dict[str, tuple[Put, tuple[str, ...]]] = {
    "a picture of 2.5 billion pixels": (
        lambda root: _folder(root / "x", "a.png", _huge_png(50_000)),
        (*FID, "x", "--reference", "images.npz", *CNN),
    ),
    "such a picture, to train on": (
        lambda root: _folder(root / "x", "a.png", _huge_png(50_000)),
        (*TRAIN, "x", "--out", "o"),
    ),
    "such a picture, to compress": (
        lambda root: _folder(root / "x", "a.png", _huge_png(50_000)),
        ("ddpm-eval", "compress", "x", "--model", "r"),
    ),
    "an .npz that claims a billion images": (
        lambda root: _zip(root / "x.npz", {"images.npy": _npy((10**9, 32, 32, 3))}),
        (*FID, "x.npz", "--reference", "images.npz", *CNN),
    ),
    "such an .npz, to train on": (
        lambda root: _zip(root / "x.npz", {"train.npy": _npy((10**9, 32, 32, 3))}),
        (*TRAIN, "x.npz", "--out", "o"),
    ),
    "a .npy that claims a billion images": (
        lambda root: (root / "x.npy").write_bytes(_npy((10**9, 32, 32, 3))),
        (*FID, "x.npy", "--reference", "images.npz", *CNN),
    ),
    "an .npz of negative shape": (
        lambda root: _zip(root / "x.npz", {"images.npy": _npy((-3, 8, 8, 1))}),
        (*FID, "x.npz", "--reference", "images.npz", *CNN),
    ),
    "a zip that inflates a thousandfold": (
        lambda root: _zip(root / "x.zip", {"a.png": bytes(200_000_000)}, zipfile.ZIP_DEFLATED),
        (*FID, "x.zip", "--reference", "images.npz", *CNN),
    ),
    "an .npz that inflates a thousandfold": (
        lambda root: _zip(root / "x.npz", {"images.npy": bytes(200_000_000)}, zipfile.ZIP_DEFLATED),
        (*FID, "x.npz", "--reference", "images.npz", *CNN),
    ),
    "statistics of a million features": (
        lambda root: _zip(
            root / "x.npz",
            {"mu.npy": _npy((10**6,), "<f8"), "sigma.npy": _npy((10**6, 10**6), "<f8")},
        ),
        (*FID, "images.npz", "--reference", "x.npz", *CNN),
    ),
    "a network of 10^9 channels": (
        lambda root: _config(root, {"block_out_channels": [10**9]}),
        (*INSPECT, "diffusers"),
    ),
    "a network of 10^6 layers": (
        lambda root: _config(root, {"layers_per_block": 10**6}),
        (*INSPECT, "diffusers"),
    ),
    "a safetensors header of 2^63 bytes": (
        lambda root: (root / "x.safetensors").write_bytes(struct.pack("<Q", 2**63) + b"{}"),
        (*INSPECT, "x.safetensors"),
    ),
    "a store of 10^12 samples": (
        lambda root: _store(root, n=10**12),
        ("ddpm-eval", "store", "verify", "store"),
    ),
    "JSON of 10^6 brackets": (
        lambda root: (root / "reports" / "r" / "results.json").write_text("[" * 10**6),
        ("ddpm-eval", "report", "r"),
    ),
    "a config of 10^6 brackets": (
        lambda root: next(root.glob("diffusers/**/config.json")).write_text("[" * 10**6),
        (*INSPECT, "diffusers"),
    ),
    "a log of one line of 50 MB": (
        lambda root: (root / "r" / "log.jsonl").write_bytes(b"1" * 50_000_000),
        ("ddpm-eval", "training", "r"),
    ),
    "an archive that inflates a thousandfold": (
        lambda root: archive_of(root, {"cifar-10-batches-py/data_batch_1": bytes(200_000_000)}),
        ("ddpm-train", "cifar10", "--archive", "cifar-10-python.tar.gz", "--out", "o"),
    ),
}


def _store(root: Path, **changes: object) -> None:
    path = root / "store" / "store.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _tensors(path: Path) -> None:
    torch.save({f"{ESCAPE}weight": torch.zeros(2)}, path)


def _safetensors(path: Path) -> None:
    from safetensors.torch import save_file

    save_file({f"{ESCAPE}weight": torch.zeros(2)}, path)


def _pictures(root: Path) -> None:
    (root / ESCAPE).mkdir()
    (root / ESCAPE / f"{ESCAPE}.png").write_bytes(png(0)[:40])


ESCAPES: dict[str, tuple[Put, tuple[str, ...]]] = {
    "names of tensors in .pt": (lambda root: _tensors(root / "x.pt"), (*INSPECT, "x.pt")),
    "names of tensors in .safetensors": (
        lambda root: _safetensors(root / "x.safetensors"),
        (*INSPECT, "x.safetensors"),
    ),
    "a class in config.json": (
        lambda root: _config(root, {"_class_name": ESCAPE}),
        (*INSPECT, "diffusers"),
    ),
    "a key in config.json": (lambda root: _config(root, {ESCAPE: 1}), (*INSPECT, "diffusers")),
    "an activation in config.json": (
        lambda root: _config(root, {"act_fn": ESCAPE}),
        (*INSPECT, "diffusers"),
    ),
    "names of arrays": (
        lambda root: _zip(root / "x.npz", {f"{ESCAPE}.npy": _npy((64,))}),
        (*FID, "x.npz", "--reference", "images.npz", *CNN),
    ),
    "names of pictures": (_pictures, (*FID, ESCAPE, "--reference", "images.npz", *CNN)),
    "names of pictures to train on": (_pictures, (*TRAIN, ESCAPE, "--out", "o")),
    "names in a zip": (
        lambda root: _zip(root / "x.zip", {f"{ESCAPE}.png": png(0)[:40]}),
        (*FID, "x.zip", "--reference", "images.npz", *CNN),
    ),
    "other files in a zip": (
        lambda root: _zip(root / "x.zip", {"a.png": png(0), f"b.{ESCAPE}": b""}),
        (*TRAIN, "x.zip", "--out", "o"),
    ),
    "a store's facts": (
        lambda root: _store(root, facts={ESCAPE: ESCAPE}),
        ("ddpm-eval", "store", "verify", "store"),
    ),
    "a record's name": (
        lambda root: (root / "reports" / "r").rename(root / "reports" / ESCAPE),
        ("ddpm-eval", "report", ESCAPE),
    ),
    "a run's settings": (
        lambda root: (root / "r" / "config.json").write_text(json.dumps({ESCAPE: ESCAPE})),
        ("ddpm-train", "resume", "r"),
    ),
    "a line of the log": (
        lambda root: (root / "r" / "log.jsonl").write_text(json.dumps({ESCAPE: 1}) + "\n"),
        ("ddpm-eval", "training", "r"),
    ),
    "a text that is no JSON": (
        lambda root: (root / "r" / "config.json").write_text(ESCAPE),
        ("ddpm-train", "resume", "r"),
    ),
    "a profile": (
        lambda root: (root / "p.json").write_text(json.dumps({"format": ESCAPE, ESCAPE: 1})),
        ("ddpm-eval", "decompress", "images.npz", "--model", "r", "--profile", "p.json"),
    ),
}


def bombs(material: Path, share: float) -> Iterator[Case]:
    """Files that claim, or inflate to, more than there is."""
    for name, (put, words) in list(BOMBS.items())[:: max(1, round(0.5 / share))]:
        yield Case("bombs", name, _attack(put, words, material))


def escapes(material: Path, share: float) -> Iterator[Case]:
    """Signs that steer a terminal, wherever a stranger's text is shown."""
    for name, (put, words) in list(ESCAPES.items())[:: max(1, round(0.5 / share))]:
        yield Case("escapes", name, _attack(put, words, material))


def _attack(put: Put, words: tuple[str, ...], material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        for name in ("r", "store", "images.npz", "diffusers", "reports"):
            os.system(f"cp -r '{material / name}' '{folder}/'")
        put(folder)
        result = server.run(words, folder, limit=60)
        if result.has_traceback or result.status not in (0, 2):
            return str(result)
        steering = sorted(
            {sign for sign in result.text if sign in ESCAPE and not sign.isprintable()}
        )
        if steering:
            return f"{steering} reach the terminal: {result}"
        longest = max(map(len, result.text.splitlines()), default=0)
        return f"a line of {longest:,} characters" if longest > 5_000 else ""

    return attack
