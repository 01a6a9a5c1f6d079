"""``ddpm-eval fid`` against torch-fidelity's command: two folders, one file of weights, whole runs.

    python -m tests.benchmarks.fid --data IMAGES.npz

Both commands take IS, FID, KID, precision and recall of 2,000 PNGs against 2,000 others, in turns,
each as a process of its own with an empty cache, on ``--threads`` cores. The weights are random, in
torch-fidelity's format. The second folder's images are paler, so that distances are large beside
the rounding of float32, in which torch-fidelity averages. ``--memory 8000`` adds a run of ours on
so many images: its peak must be that of 2,000. Times are of a busy machine: only ratios count.

torch-fidelity takes distances in float32, and its features differ from ours in their last bits: an
image as close to the edge of a ball as that may be counted by one and not by the other. How many
are within a hundred-thousandth of their radius is told beside precision and recall.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ddpm_eval import sources
from ddpm_eval.features import bank, inception
from ddpm_eval.record import disk
from ddpm_eval.runtime import Runtime
from ddpm_train import world
from tests.eval import inception_weights

ROOT = Path(__file__).parents[2]
EDGE = 1e-5
THEIRS = {
    "IS": "inception_score_mean",
    "FID": "frechet_inception_distance",
    "KID": "kernel_inception_distance_mean",
    "precision": "precision",
    "recall": "recall",
}


def pictures(data: Path | None, n: int, *, seed: int) -> np.ndarray:
    """So many 32x32 images: of a file (again, with grain, where it has fewer), or smooth noise."""
    rng = np.random.default_rng(seed)
    if data is None:
        coarse = rng.integers(0, 256, (n, 5, 5, 3), np.uint8)
        return np.stack([np.asarray(Image.fromarray(item).resize((32, 32), 3)) for item in coarse])
    levels = np.load(data)["train"]
    chosen = levels[rng.permutation(len(levels))[np.arange(n) % len(levels)]]
    grain = rng.integers(-6, 7, chosen.shape) * (np.arange(n) >= len(levels))[:, None, None, None]
    return np.clip(chosen.astype(int) + grain, 0, 255).astype(np.uint8)


def folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(path / f"{i:05d}.png")
    return path


def timed(command: list[str], **environment: str) -> tuple[float, float, str]:
    """Seconds, peak MB of the largest process, and what was printed."""
    with tempfile.TemporaryFile() as out:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, stdout=out, env=os.environ | environment
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{command[0]} failed: {process.returncode}")
        out.seek(0)
        return seconds, usage.ru_maxrss / 1000, out.read().decode()


def undecided(a: Path, b: Path, weights: Path, cache: Path) -> dict[str, int]:
    """Images on the edges of the other set's manifold, from the features in our cache."""
    os.environ["DDPM_CACHE"] = str(cache)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    processes = world.join("cpu")
    extractor = inception.load(weights, "tf1", processes.device, accept=digest)
    sets = []
    for item in (a, b):
        images = sources.open_images(item, channels=3)
        filled = bank.extract(images, len(images), extractor, Runtime(world=processes, cache=cache))
        sets.append(torch.from_numpy(np.concatenate(list(filled.pools()))).double())
    return {name: edges(*pair) for name, pair in (("precision", sets), ("recall", sets[::-1]))}


def edges(points: torch.Tensor, centres: torch.Tensor) -> int:
    """How many points are inside or outside all balls by less than a share of their radius."""
    exactly = "donot_use_mm_for_euclid_dist"
    radii = torch.cdist(centres, centres, compute_mode=exactly).kthvalue(4).values
    beyond = torch.cdist(points, centres, compute_mode=exactly) / radii - 1
    return int((beyond.amin(1).abs() < EDGE).sum())


def ours(
    a: Path, b: Path, weights: Path, threads: int, cache: Path
) -> tuple[float, float, dict[str, float]]:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as work:
        reports = Path(work, "reports")
        seconds, peak, _ = timed(
            [
                *("ddpm_eval", "fid", str(a), "--reference", str(b), "--quiet", "--device", "cpu"),
                *("--inception", str(weights), "--accept-weights", digest),
                *("--metrics", ",".join(THEIRS), "--reports", str(reports)),
            ],
            DDPM_CACHE=str(cache),
            OMP_NUM_THREADS=str(threads),
        )
        (quality,) = disk.load(reports / a.name).of("quality")
    values = {score.definition.title: score.value for score in quality.scores}
    return seconds, peak, {name: values[name[0].upper() + name[1:]] for name in THEIRS}


def theirs(
    a: Path, b: Path, weights: Path, threads: int, n: int
) -> tuple[float, float, dict[str, float]]:
    seconds, peak, text = timed(
        [
            *("torch_fidelity.fidelity", "--cpu", "-i", "-f", "-k", "-r", "--json", "--silent"),
            *("--feature-extractor", "inception-v3-compat", "--no-cache"),
            *("--feature-extractor-weights-path", str(weights)),
            *("--kid-subset-size", str(1000 if n >= 1000 else n // 2)),
            *("--input1", str(a), "--input2", str(b)),
        ],
        OMP_NUM_THREADS=str(threads),
    )
    result = json.loads(text)
    return seconds, peak, {name: result[key] for name, key in THEIRS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="an .npz with 32x32 images: train")
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, default=0, help="images of a second run of ours")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        images = pictures(options.data, options.images, seed=0)
        a = folder(Path(work, "a"), images)
        b = folder(Path(work, "b"), pictures(options.data, options.images, seed=1) // 2 + 90)
        planes = torch.from_numpy(images[:32]).permute(0, 3, 1, 2)
        weights = inception_weights.write(Path(work, "weights.pth"), planes)
        rounds = []
        for number in range(options.rounds):
            cache = Path(work, f"cache-{number}")
            own = ours(a, b, weights, options.threads, cache)
            peer = theirs(a, b, weights, options.threads, options.images)
            rounds.append((own, peer))
            print(f"ours {own[0]:.0f} s, theirs {peer[0]:.0f} s", file=sys.stderr, flush=True)
        report: dict[str, Any] = {
            "images": options.images,
            "time ratio": statistics.median(peer[0] / own[0] for own, peer in rounds),
            "seconds": [[own[0], peer[0]] for own, peer in rounds],
            "peak MB": [rounds[0][0][1], rounds[0][1][1]],
        }
        for name in THEIRS:
            own, peer = rounds[0][0][2][name], rounds[0][1][2][name]
            report[name] = {"ours": own, "theirs": peer, "relative": abs(own / peer - 1)}
        report["images on an edge"] = undecided(a, b, weights, cache)
        if options.memory:
            many = folder(Path(work, "many"), pictures(options.data, options.memory, seed=2))
            _, peak, _ = ours(many, b, weights, options.threads, Path(work, "cache-many"))
            report[f"peak MB of {options.memory} images"] = peak
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
