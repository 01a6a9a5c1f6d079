"""``ddpm-eval fid`` against torch-fidelity's command: two folders, one file of weights, whole runs.

    python -m tests.benchmarks.fid --data IMAGES.npz

Both commands take IS, FID, KID, precision and recall of 2,000 PNGs against 2,000 others, in turns,
each as a process of its own with an empty cache, on ``--threads`` cores. The weights are random, in
torch-fidelity's format. The second folder's images are paler, so that distances are large beside
the rounding of float32, in which torch-fidelity averages. ``--memory 8000`` adds a run of ours on
so many images: its peak must be that of 2,000. Times are of a busy machine: only ratios count.
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

from ddpm_eval import results
from tests.eval import inception_weights

ROOT = Path(__file__).parents[2]
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
        return np.stack([np.asarray(Image.fromarray(each).resize((32, 32), 3)) for each in coarse])
    found = np.load(data)["train"]
    chosen = found[rng.permutation(len(found))[np.arange(n) % len(found)]]
    grain = rng.integers(-6, 7, chosen.shape) * (np.arange(n) >= len(found))[:, None, None, None]
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


def ours(a: Path, b: Path, weights: Path, threads: int) -> tuple[float, float, dict[str, float]]:
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory() as work:
        reports = Path(work, "reports")
        seconds, peak, _ = timed(
            [
                *("ddpm_eval", "fid", str(a), "--reference", str(b), "--quiet", "--device", "cpu"),
                *("--inception", str(weights), "--accept-weights", digest),
                *("--metrics", ",".join(THEIRS), "--reports", str(reports)),
            ],
            DDPM_CACHE=str(Path(work, "cache")),
            OMP_NUM_THREADS=str(threads),
        )
        found = results.load(reports / a.name).measurements[f"quality-{b.name}"].quantities
    suffix = f"(inception-{digest[:8]})"
    plain = {name.removesuffix(suffix): each.value for name, each in found.items()}
    return seconds, peak, {name: plain[name.replace("ID", "D")] for name in THEIRS}


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
    found = json.loads(text)
    return seconds, peak, {name: found[key] for name, key in THEIRS.items()}


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
        for _ in range(options.rounds):
            own = ours(a, b, weights, options.threads)
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
        if options.memory:
            many = folder(Path(work, "many"), pictures(options.data, options.memory, seed=2))
            report[f"peak MB of {options.memory} images"] = ours(many, b, weights, options.threads)[
                1
            ]
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
