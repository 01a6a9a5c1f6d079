"""What bf16 changes: bits/dim, RMSE, FD and the samples, beside float32 on the same noise.

    python -m tests.benchmarks.precision CHECKPOINT --images 16 [--dataset npz --data IMAGES.npz]
    python -m tests.benchmarks.precision runs/digits --samples 512 --extractor digits-cnn

Both precisions run ``ddpm-eval nll`` and ``rate-distortion`` on so many test images, and
``ddpm-eval fid`` on so many samples. What is found joins the record, from which
``tests.benchmarks.table`` prints it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.record import disk
from ddpm_eval.record.record import Record

PRECISIONS = ("float32", "bf16")


def evaluate(precision: str, reports: Path, *command: str) -> Record:
    """Run a command of ``ddpm-eval`` in a precision; give the record so far."""
    where = ("--reports", str(reports), "--name", precision, "--quiet")
    subprocess.run([sys.executable, "-m", "ddpm_eval", *command, *where], check=True)
    return disk.load(reports / precision)


def bound(options: argparse.Namespace, data: list[str], work: Path) -> dict[str, Any]:
    """Bits/dim in both precisions, and the error of x_0_hat after some of the reverse steps."""
    about: dict[str, Any] = {"images": options.images, "bits/dim": {}, "RMSE": {}}
    for precision in PRECISIONS:
        for measure in ("nll", "rate-distortion"):  # the second takes the sweep of the first
            compute = ("--set", f"compute.precision={precision}")
            command = (measure, str(options.checkpoint), "-n", str(options.images), *data, *compute)
            record = evaluate(precision, work, *command)
        bound, curves = record.of("bound")[0], record.of("rate_distortion")[0]
        curve = curves.curve("rmse")
        if curve is None:
            raise SystemExit("the record has no distortion")
        about["bits/dim"][precision] = bound.scores[0].value
        about["RMSE"][precision] = {
            str(int(curve.x[i])): float(curve.y[i])
            for i in (len(curve.x) * share // 10 for share in (0, 5, 9))
        }
    return about


def distance(options: argparse.Namespace, data: list[str], work: Path) -> dict[str, Any]:
    """FD in both precisions with its error, and how far apart samples of the same noise are."""
    command = ("fid", str(options.checkpoint), "-n", str(options.samples), *data)
    about: dict[str, Any] = {"samples": options.samples}
    for precision in PRECISIONS:
        through = ("--extractor", options.extractor, "--precision", precision)
        quality = evaluate(precision, work, *command, *through).of("quality")[0]
        score = quality.score("fid", whose="samples")
        if score is None:
            raise SystemExit("the record has no FID")
        error = None if score.error is None else score.error.size
        about |= {"measure": score.label, precision: [score.value, error]}
    exact, short = (pixels(work / precision / "store") for precision in PRECISIONS)
    return about | {"rmse": float(np.sqrt(np.square(exact - short).mean()))}


def pixels(stores: Path) -> np.ndarray:
    """All samples of the only store in a folder, float64."""
    (store,) = stores.iterdir()
    file = stores.with_suffix(".npz")
    command = ("store", "export", str(store), str(file))
    subprocess.run([sys.executable, "-m", "ddpm_eval", *command], check=True)
    with np.load(file) as arrays:
        return np.asarray(arrays["arr_0"], np.float64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--label", help="what the record calls the checkpoint; its name")
    parser.add_argument("--images", type=int, default=0, help="test images for bits/dim")
    parser.add_argument("--samples", type=int, default=0, help="samples for FD")
    parser.add_argument("--extractor", default="inception")
    parser.add_argument("--dataset")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("record.json"))
    options = parser.parse_args()
    data = ["--dataset", options.dataset] * bool(options.dataset)
    data += ["--data", str(options.data)] * bool(options.data)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        if options.images:
            result |= bound(options, data, Path(folder))
        if options.samples:
            result |= distance(options, data, Path(folder))
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    labelled = record.setdefault("bf16", {})
    label = options.label or options.checkpoint.name
    labelled[label] = labelled.get(label, {}) | result
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
