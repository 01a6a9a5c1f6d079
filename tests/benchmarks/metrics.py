"""What the metrics of quality cost beside the extraction of features, in processor time.

    python -m tests.benchmarks.metrics                       # n = 10,000, 2,048 features
    python -m tests.benchmarks.metrics --n 500 --features 128 --images 8  # whether it runs

Features are synthetic; the rate of extraction is that of ``--images`` images through an Inception
of random weights. Metrics that FID's command had first (FID, KID, precision, recall, FID-infinity)
are the old ones, the others are new: their time over that of the pass, extraction of both sets and
old metrics, is to be at most 15%. All counts of neighbours read one pass over the pairs, which the
first that needs it pays for.
"""

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ddpm_eval.features import inception
from ddpm_eval.metrics.evidence import Evidence, FeatureSet
from ddpm_eval.metrics.registry import METRICS
from tests.eval import inception_weights

BATCH = 8
OLD = ("fid", "kid", "precision", "recall", "fid_infinity")
NEW = ("density", "coverage", "mind", "memorised_share", "authenticity", "vendi_score")
LIMIT = 0.15


def spent(work: Callable[[], Any]) -> float:
    """Processor seconds of some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def features(n: int, dim: int, seed: int) -> np.ndarray:
    """Skewed features with a falling spectrum, as Inception's are, float32 [n, dim]."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1) ** -0.5
    return np.maximum(rng.normal(size=(n, dim)) * spectrum + 0.1, 0).astype(np.float32)


def extraction(images: int) -> float:
    """Processor seconds for each image, through random weights."""
    pixels = np.random.default_rng(0).integers(0, 256, (images, 32, 32, 3), np.uint8)
    with tempfile.TemporaryDirectory() as work:
        planes = torch.from_numpy(pixels[:BATCH]).permute(0, 3, 1, 2)
        file = inception_weights.write(Path(work, "weights.pth"), planes)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        extractor = inception.load(file, "tf1", torch.device("cpu"), accept=digest)
        extractor(pixels[:BATCH])
        seconds = spent(lambda: [extractor(pixels[i : i + BATCH]) for i in range(0, images, BATCH)])
    return seconds / images


def metrics(n: int, dim: int) -> dict[str, float]:
    """Processor seconds of each metric that n images are enough for, in the order above."""
    sets = [FeatureSet.of(features(n, dim, seed)) for seed in (0, 1)]
    evidence = Evidence(samples=sets[0], reference=sets[1])
    seconds = {}
    for key in (*OLD, *NEW):
        compute = METRICS[key].compute
        if compute is not None and METRICS[key].least <= n:
            seconds[key] = spent(lambda compute=compute: compute(evidence))  # type: ignore[misc]
    return seconds


def main() -> None:
    """Print the seconds of each metric, and what the new ones add to the pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--features", type=int, default=2048, help="of each image")
    parser.add_argument("--images", type=int, default=256, help="images to time the extraction on")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for_each = extraction(options.images)
    seconds = metrics(options.n, options.features)
    old, new = (sum(seconds.get(key, 0) for key in keys) for keys in (OLD, NEW))
    of_sets = 2 * options.n * for_each
    report = {
        "n": options.n,
        "features": options.features,
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        "extraction of both sets": round(of_sets, 1),
        "new metrics over the pass": round(new / (of_sets + old), 4),
        "limit": LIMIT,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
