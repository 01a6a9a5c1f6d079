"""Damage to every kind of file: refused in one sentence, or nothing that is said changes."""

import os
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.faults import server
from tests.faults.matrix import Case


@dataclass(frozen=True)
class Kind:
    """A kind of file, and the command that reads it.

    Attributes:
        name: What it is.
        files: Which files of the material, as a pattern.
        needs: What of the material the command needs, as patterns.
        words: The command.
        ours: Whether the format is ours: then damage that changes a number must be noticed.
        count: How many mutations.
        lossy: What is said, with status 1, of a file that gives less than all.
    """

    name: str
    files: str
    needs: tuple[str, ...]
    words: tuple[str, ...]
    ours: bool = True
    count: int = 25
    lossy: str = ""


NLL = ("ddpm-eval", "nll")
QUIET = ("--reports", "reports", "--quiet", "-n", "2")
INSPECT = ("ddpm-eval", "inspect")
FLAGS = (
    *("--set", "schedule.kind=linear", "--set", "schedule.T=100"),
    *("--set", "unet.head_channels=32", "--set", "use_new_attention_order=False"),
)
GUIDED = ("ddpm-eval", "sample", "r", "-n", "2", "--batch", "2", "--out", "s", "--classifier")
DECOMPRESS = ("ddpm-eval", "decompress", "field.ddpm", "--model", "c", "--out", "back")
KINDS = (
    Kind("checkpoint", "r/checkpoints/step-00000006.pt", ("r",), (*INSPECT, "r"), count=60),
    Kind("log", "r/log.jsonl", ("r",), ("ddpm-eval", "training", "r", "--quiet"), count=50),
    Kind("config.json", "r/config.json", ("r",), ("ddpm-train", "resume", "r"), count=25),
    Kind("own .npz", "images.npz", ("own", "images.npz"), (*NLL, "own", *QUIET), count=40),
    Kind("folder of pictures", "pictures/train/0*.png", ("pictures", "store"),
         ("ddpm-eval", "fid", "store", "--reference", "pictures/train", "--extractor",
          "digits-cnn", "--metrics", "FID"), ours=False),
    Kind("zip of pictures", "pictures.zip", ("pictures.zip", "store"),
         ("ddpm-eval", "fid", "store", "--reference", "pictures.zip", "--extractor",
          "digits-cnn", "--metrics", "FID"), count=40),
    Kind("store's description", "store/store.json", ("store",),
         ("ddpm-eval", "store", "verify", "store")),
    Kind("store's shards", "store/images-*", ("store",), ("ddpm-eval", "store", "verify", "store"),
         count=35),
    Kind("record", "reports/r/results.json", ("reports",), ("ddpm-eval", "report", "r")),
    Kind("record's arrays", "reports/r/arrays.npz", ("reports",), ("ddpm-eval", "report", "r")),
    Kind("our export", "diffusers/*/*", ("diffusers",), (*INSPECT, "diffusers"), count=50),
    Kind("pesser", "ema_diffusion_x_model-10.ckpt", ("ema_*",),
         (*INSPECT, "ema_diffusion_x_model-10.ckpt"), count=25),
    Kind("old torch file", "legacy.ckpt", ("legacy.ckpt",), (*INSPECT, "legacy.ckpt"), ours=False),
    Kind("TensorFlow", "bundle/*", ("bundle",), (*INSPECT, "bundle"), ours=False, count=50),
    Kind("NCSN", "ncsn/*", ("ncsn",), (*INSPECT, "ncsn/checkpoint.pth"), ours=False),
    Kind("NCSNv2", "ncsnv2/*", ("ncsnv2",),
         (*INSPECT, "ncsnv2/checkpoint.pth", "--set", "refinenet.image_size=32")),
    Kind("guided-diffusion", "adm/*", ("adm",), (*INSPECT, "adm/ema_0.9999_000100.pt", *FLAGS)),
    Kind("score_sde", "score_sde/*", ("score_sde",),
         (*INSPECT, "score_sde/checkpoint_8.pth", "--set", "sde=vp")),
    Kind("EDM", "edm/*", ("edm",), (*INSPECT, "edm/edm.pt", "--set", "preconditioning=vp")),
    Kind("run of NCSN", "n/checkpoints/*.pt", ("n",), (*INSPECT, "n")),
    Kind("classifier", "guide.pt", ("r", "guide.pt"), (*GUIDED, "guide.pt")),
    Kind("guided-diffusion's classifier", "pool/*", ("r", "pool"),
         (*GUIDED, "pool/64x64_classifier.pt", "--set", "encoder.image_size=8",
          "--set", "encoder.head_channels=32")),
    Kind("codec's profile", "c/checkpoints/*.profile.json", ("c", "field.ddpm"), DECOMPRESS),
    Kind("compressed picture", "field.ddpm", ("c", "field.ddpm"), DECOMPRESS, count=40,
         lossy="lossy"),
    Kind("archive", "some.archive", ("c", "some.archive"),
         ("ddpm-eval", "decompress", "some.archive", "--model", "c", "--out", "back"),
         lossy="lost"),
)  # fmt: skip


def mutations(material: Path, share: float) -> Iterator[Case]:
    """All mutations of all kinds; what a clean file gives is asked once for each worker."""
    for kind in KINDS:
        for seed in range(max(1, round(kind.count * share))):
            yield Case(f"damaged: {kind.name}", f"seed {seed}", _attack(kind, seed, material))


def _attack(kind: Kind, seed: int, material: Path) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        expected = clean(kind, folder, material)
        if expected.status != 0:
            return f"the clean file is refused: {expected}"
        copy(kind, material, folder)
        draw = random.Random(f"{kind.name} {seed}")
        file = draw.choice(sorted(path for path in folder.glob(kind.files) if path.is_file()))
        what = mutate(file, draw)
        problem = _judge(kind, server.run(kind.words, folder), expected)
        return problem and f"{what} of {file.relative_to(folder)}: {problem}"

    return attack


_clean: dict[str, server.Result] = {}


def clean(kind: Kind, folder: Path, material: Path) -> server.Result:
    """What a clean file gives, asked once for each worker. The folder is empty."""
    if kind.name not in _clean:
        copy(kind, material, folder)
        _clean[kind.name] = server.run(kind.words, folder)
        server.fresh(folder)
    return _clean[kind.name]


def copy(kind: Kind, material: Path, folder: Path) -> None:
    """Copy what the command needs."""
    for pattern in kind.needs:
        for source in material.glob(pattern):
            os.system(f"cp -r '{source}' '{folder}/'")


def _judge(kind: Kind, result: server.Result, expected: server.Result) -> str:
    """What is wrong with a result on a damaged file; empty if nothing."""
    if kind.lossy and result.status == 1 and kind.lossy in result.text:
        return str(result) if result.has_traceback else ""
    if result.status != 0 or result.has_traceback:
        return refusal(result)
    if kind.ours and said(result) != said(expected) and "warning" not in result.text:
        return f"another result without a word: {result}"
    return ""


def refusal(result: server.Result) -> str:
    """What is wrong with a refusal; empty if it is status 2, and one error with one fix."""
    if result.has_traceback or result.status != 2:
        return str(result)
    lines = [line.strip() for line in result.text.splitlines()]
    errors = [line for line in lines if line.startswith("error:")]
    fixes = [line for line in lines if line.startswith("fix:")]
    return "" if len(errors) == len(fixes) == 1 else f"no error with a fix: {result}"


def said(result: server.Result) -> list[str]:
    """The words of a result without times, paths of pipes and progress."""
    lines = re.sub(r"\d+(\.\d+)? s\b|\d\d:\d\d:\d\d", "", result.text).splitlines()
    return [line for line in lines if line.strip()]


def mutate(path: Path, draw: random.Random) -> str:
    """Damage a file in one of the ways that disks, networks and people have; say how."""
    data = bytearray(path.read_bytes())
    size = len(data)
    start = draw.randrange(size)
    length = min(draw.choice((1, 4, 64, 512, 4096)), size - start)
    ways: dict[str, Callable[[], bytes]] = {
        "a flipped bit": lambda: _flipped(data, draw.randrange(8 * size)),
        "a flipped bit at the end": lambda: _flipped(
            data, 8 * size - 1 - draw.randrange(min(8 * size, 4000))
        ),
        "a flipped bit at the start": lambda: _flipped(data, draw.randrange(min(8 * size, 4000))),
        f"{length} zeros at {start}": lambda: data[:start] + bytes(length) + data[start + length :],
        f"an end at {start}": lambda: data[:start],
        f"{length} bytes cut at {start}": lambda: data[:start] + data[start + length :],
        f"{length} bytes twice at {start}": lambda: data[: start + length] + data[start:],
        "another digit": lambda: _other_digit(data, draw),
        "random bytes": lambda: data[:start] + draw.randbytes(length) + data[start + length :],
    }
    weights = [4, 3, 3, 1, 1, 1, 1, 3, 1]
    name = draw.choices(list(ways), weights)[0]
    path.write_bytes(ways[name]())
    return name


def _flipped(data: bytearray, bit: int) -> bytes:
    data[bit // 8] ^= 1 << bit % 8
    return bytes(data)


def _other_digit(data: bytearray, draw: random.Random) -> bytes:
    """Another digit where one stands: what an edit by hand does to a text."""
    places = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
    if places:
        data[draw.choice(places)] = draw.randrange(48, 58)
    return bytes(data)
