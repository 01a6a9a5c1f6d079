"""What the codec's files need, and how long they take, on test images.

    python -m tests.benchmarks.codec CHECKPOINT --images 16 [--dataset npz --data IMAGES.npz]

compresses so many test images, decodes prefixes here and the whole files in a fresh process, and
prints a table: files over the bound with the best variance, prefixes over their KL and their RMSE
over that of x_t ~ q, what portable files cost, the final stage over -log2 p, seconds beside the
network on one thread (the processor's time), and sizes beside other codecs. The figures join the
record. ``--archive`` puts the images into an archive instead (``archives``). Without ``--profile``
one is learned from 256 training images first.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import ddpm_eval as de
from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.codec import codec as codecs
from ddpm_eval.codec import final
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Reader
from ddpm_eval.measure.files.settings import FileSettings
from ddpm_eval.model import Model
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve
from tests.benchmarks import archives

RATES = (0.06, 0.17, 0.55, 1.6)  # bits/dim of layers at which they are held against their KL
RMSE_RATIOS = ("x_t ~ q, mean", "x_t ~ q, worst", "rounded x_t ~ q, worst")
LEAST_RATE = 0.1  # bits/dim from which RMSE is held against that of x_t ~ q


class Clock:
    """The processor's seconds inside the network, and the final stage's bits, while it runs."""

    def __init__(self) -> None:
        self.network, self.ideal, self.written, self.evaluations = 0.0, 0.0, 0.0, 0

    @contextmanager
    def running(self) -> Iterator[None]:
        estimator, encode = codecs.estimator, final.encode

        def timed(model: Model, *, batch: int, errors: bool = False) -> Any:
            estimate = estimator(model, batch=batch, errors=errors)

            def evaluate(x_t: Any, row: int) -> Any:
                began = time.process_time()
                x_0_hat = estimate(x_t, row)
                self.network += time.process_time() - began
                self.evaluations += len(x_t)
                return x_0_hat

            return evaluate

        def counted(symbols: Any) -> bytes:
            data = encode(symbols)
            self.ideal += float(np.sum(final.bits(symbols)))
            self.written += 8 * len(data)
            return data

        with (
            mock.patch.object(codecs, "estimator", timed),
            mock.patch.object(final, "encode", counted),
        ):
            yield


def timed(work: Any) -> tuple[Any, dict[str, float]]:
    """Do some work; the processor's seconds in all and beside the network."""
    clock, began = Clock(), time.process_time()
    with clock.running():
        result = work()
    whole = time.process_time() - began
    times = {"seconds": whole, "seconds beside the network": whole - clock.network}
    counts = {"ideal": clock.ideal, "written": clock.written, "evaluations": clock.evaluations}
    return result, times | counts


def decoded_elsewhere(
    options: argparse.Namespace, files: Sequence[bytes], profile: Profile, pixels: np.ndarray
) -> int:
    """Decode files in a fresh process; count those with the exact pixels."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        profile.save(folder / "profile.json")
        paths = [folder / f"{i}.ddpm" for i in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        command = ["decompress", *map(str, paths), "--profile", str(folder / "profile.json")]
        command += ["--model", str(options.checkpoint), "--out", str(folder / "out"), "--quiet"]
        command += ["--weights", options.weights] * bool(options.weights)
        command += ["--threads", "1", "--set", "compute.batch=1"]
        subprocess.run([sys.executable, "-m", "ddpm_eval", *command], check=True)
        pictures = [
            np.asarray(Image.open(folder / "out" / f"{i}.png")).reshape(pixels.shape[1:])
            for i in range(len(files))
        ]
    return int(sum((a == b).all() for a, b in zip(pictures, pixels, strict=True)))


def curve(measurement: Measurement, metric: str, **of: str) -> Curve:
    """The curve of a metric over the reverse steps."""
    return next(
        line
        for line in measurement.curves
        if (line.metric, line.over) == (metric, "reverse_steps")
        and all(getattr(line.of, name) == text for name, text in of.items())
    )


def prefixes(measurement: Measurement, head: float) -> dict[str, Any]:
    """Bits of layers over their KL at some rates of layers, and RMSE over that of x_t ~ q.

    ``head`` is what the head of a file has, bits/dim: it is no part of these rates, and said.
    Between layers, what is told lies on lines over the logarithm of the rate.
    """
    rate = curve(measurement, "file_bits_per_dim", whose=".ddpm")
    ours, theirs = (curve(measurement, "rmse", whose=whose) for whose in (".ddpm", "model"))
    wanted = np.interp(rate.x, theirs.x, theirs.y)
    rounded = np.sqrt(wanted**2 + 1 / 12)  # x_0_hat of x_t ~ q as levels, too
    above = rate.y > LEAST_RATE
    layers, ratios = rate.y - head, dict[str, Any]()

    def at(values: np.ndarray) -> dict[str, float]:
        lines = np.interp(np.log(RATES), np.log(layers[layers > 0]), values[layers > 0])
        return {f"{rate:g}": float(value) for rate, value in zip(RATES, lines, strict=True)}

    for variance in ("fixedsmall", "optimal"):
        kl = curve(measurement, "rate", variance=variance)
        ratios[variance] = at(layers / np.interp(rate.x, kl.x, kl.y))
    return {
        "head": head,
        "over KL": ratios,
        "RMSE": at(ours.y),
        "RMSE over x_t ~ q, mean": float((ours.y / wanted)[above].mean()),
        "RMSE over x_t ~ q, worst": float((ours.y / wanted)[above].max()),
        "RMSE over rounded x_t ~ q, worst": float((ours.y / rounded)[above].max()),
    }


def measure(options: argparse.Namespace, model: Model, chosen: ImageSet) -> dict[str, Any]:
    """Everything about the codec of one model on some images."""
    profile = learned(options, model)
    files = FileSettings(effort=options.effort)
    measurement = de.rate_distortion(
        model, chosen, files=files, profile=profile, cache=options.cache
    )
    pixels = chosen.read(range(len(chosen)))
    coded: dict[str, Any] = {"profile": profile, "effort": options.effort}
    portable, writing = timed(lambda: de.compress(model, pixels, **coded))
    plain = de.compress(model, pixels, **coded, portable=False)
    _, reading = timed(lambda: de.decompress(model, portable, profile=profile))
    scores = {
        f"{score.metric} {score.of.whose} {score.of.variance}".strip(): [
            score.value,
            None if score.error is None else score.error.size,
        ]
        for score in measurement.scores
        if score.of.at is None
    }
    n = len(chosen)
    return {
        "images": n,
        "effort": options.effort,
        "strides": len(profile.rows) - 1,
        "scores": scores,
        **prefixes(measurement, 8 * Reader(profile, portable[0]).start / pixels[0].size),
        "portable adds": sum(map(len, portable)) / sum(map(len, plain)) - 1,
        "final stage adds": writing["written"] / writing["ideal"] - 1,
        "evaluations to encode": writing["evaluations"] / n,
        "encode": writing["seconds"] / n,
        "encode beside the network": writing["seconds beside the network"] / n,
        "decode": reading["seconds"] / n,
        "decode beside the network": reading["seconds beside the network"] / n,
        "exact in a fresh process": decoded_elsewhere(options, portable, profile, pixels),
    }


def learned(options: argparse.Namespace, model: Model) -> Profile:
    """The profile that is named, or one that is learned from training images."""
    if options.profile:
        return profiles.load(options.profile)
    return de.calibrate(model, images(options, model, "train"))


def images(options: argparse.Namespace, model: Model, split: str) -> ImageSet:
    """The images that are named, or those of the run."""
    return de.images(options.dataset or model, split=split, path=options.data, like=model)


def table(about: dict[str, Any]) -> str:
    """The figures as Markdown."""

    def score(name: str) -> str:
        value, error = about["scores"].get(name, (np.nan, None))
        return f"{value:.3f}" + ("" if error is None else f" ± {error:.3f}")

    over_q = {name: about[f"RMSE over {name}"] for name in RMSE_RATIOS}
    rows = [
        ("lossless, bits/dim with all bytes", score("file_bits_per_dim .ddpm")),
        ("bound with the best variance, bits/dim", score("bits_per_dim model optimal")),
        ("files over that bound", score("file_over_bound model optimal")),
        *(
            (f"{name}, bits/dim", score(f"file_bits_per_dim {name}"))
            for name in ("JPEG XL", "WebP", "JPEG 2000", "PNG")
        ),
        ("files over JPEG XL's", score("size_ratio .ddpm")),
        ("portable adds", f"{about['portable adds']:.2%}"),
        ("the head of a file, bits/dim", f"{about['head']:.3f}"),
        *(
            (f"layers over their KL ({variance}) at {rate} bits/dim", f"{over:.3f}")
            for variance, ratios in about["over KL"].items()
            for rate, over in ratios.items()
        ),
        *((f"RMSE over {name}, above 0.1 bits/dim", f"{over_q[name]:.3f}") for name in RMSE_RATIOS),
        ("final stage over -log2 p", f"{about['final stage adds']:.3%}"),
        ("network evaluations to encode", f"{about['evaluations to encode']:.0f}"),
        ("network evaluations to decode", f"{about['strides'] + 1}"),
        *(
            (f"{name}, s an image", f"{about[name]:.3f}")
            for name in ("encode", "encode beside the network", "decode")
        ),
        ("decode beside the network, s an image", f"{about['decode beside the network']:.3f}"),
        ("exact in a fresh process, batches of 1", str(about["exact in a fresh process"])),
    ]
    lines = [f"| {about['images']} images, effort {about['effort']} | |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {name} | {text} |" for name, text in rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--images", type=int, default=16, help="test images, drawn by the seed")
    parser.add_argument("--dataset")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--weights", default="")
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--cache", type=Path, help="where unfinished work survives")
    parser.add_argument("--effort", type=int, default=14)
    parser.add_argument("--archive", action="store_true", help="put them into an archive instead")
    parser.add_argument("--plain", action="store_true", help="archives: the network in float32")
    parser.add_argument("--label", help="what the record calls the checkpoint; its name")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("record.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = de.load(options.checkpoint, weights=options.weights or None)
    chosen = choose(images(options, model, "test"), options.images)
    if options.archive:
        about = archives.measure(options, model, chosen, learned(options, model))
    else:
        about = measure(options, model, chosen)
    group, name = "archive" if options.archive else "codec", options.checkpoint.name
    record = json.loads(options.out.read_text()) if options.out.exists() else {}
    record.setdefault(group, {})[options.label or name] = about
    options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(archives.table(about) if options.archive else table(about))
    print(f"{time.process_time() / about['images']:.0f} s of the processor an image")


if __name__ == "__main__":
    main()
