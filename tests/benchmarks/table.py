"""The README's table and figure from the committed record.

python -m tests.benchmarks.table [RECORD]        prints Markdown, draws figure.svg and figure.png
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Any

JOBS = {"forward": 1, "training step": 3, "sampling": None}  # passes of the network


def race(about: dict[str, Any]) -> str:
    """One row for each job and contestant: images/s, ratio, FLOP/s and share of the roofline."""
    lines = [
        "| | precision | images/s (quartiles) | ratio | GFLOP/s | of a convolution | peak memory |",
        "|---|---|---|---|---|---|---|",
    ]
    records, batch = about["records"], about["batch"]
    for job, passes in JOBS.items():
        passes = passes or about["steps of sampling"]
        for record in (record for record in records if job in record):
            seconds = record[job]
            peak = next(
                item["mib"]
                for item in about["peaks"]
                if item["job"] == job
                and (item["network"], item["precision"]) == (record["network"], record["precision"])
            )
            low, middle, high = statistics.quantiles(
                [batch / s for s in seconds], n=4, method="inclusive"
            )
            if job == "sampling":
                low, middle, high = (item * passes / 1000 for item in (low, middle, high))
            ratio = statistics.median(a / b for a, b in zip(records[0][job], seconds, strict=True))
            flop = about["flop per image"] * batch * passes
            roofline = about["flop of the roofline"]
            # Round by round: both were slowed by the same load.
            share = statistics.median(
                flop / s / (roofline / r) for s, r in zip(seconds, record["roofline"], strict=True)
            )
            lines.append(
                f"| {job}, {record['network']} | {record['precision']} "
                f"| {middle:.3g} ({low:.3g} .. {high:.3g}) | {ratio:.2f} "
                f"| {flop / statistics.median(seconds) / 1e9:.0f} | {share:.0%} "
                f"| {peak:.0f} MiB |"
            )
    return "\n".join([*lines, *busy(about.get("busy", {}))])


def busy(seconds: dict[str, dict[str, list[float]]]) -> list[str]:
    """One line for each policy of OpenMP's threads: our speed over diffusers' on a busy machine."""
    lines = [""] * bool(seconds)
    for policy, networks in seconds.items():
        pairs = zip(networks["diffusers"], networks["ours"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        lines.append(f"One core busy, {policy} OpenMP threads: forward {ratio:.2f} times as fast.")
    return lines


def gpu(record: dict[str, Any]) -> str:
    """What ``tests.benchmarks.gpu`` wrote: agreement, then one row for each job."""
    lines = [f"{record['machine']}, torch {record['torch']}", "", "| computed in | error |"]
    lines += ["|---|---|"]
    lines += [f"| {name} | {error:.2g} |" for name, error in record["agreement"].items()]
    lines += ["", "| network | job | batch | images/s | peak MiB |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['contestant']} | {row['job']} | {row['batch']} "
        f"| {row['passes per second']:.4g} | {row['peak MiB']:.0f} |"
        for row in record["speed"]
    ]
    return "\n".join(lines)


def bf16(about: dict[str, Any]) -> str:
    """One row for each measure of each checkpoint, float32 and bf16."""
    lines = ["| the same noise in | float32 | bf16 |", "|---|---|---|"]
    for name, result in about.items():
        if "bits/dim" in result:
            values = result["bits/dim"]["float32"], result["bits/dim"]["bf16"]
            cells = " | ".join(f"{value:.5f}" for value in values)
            lines.append(f"| bits/dim of {result['images']} images, {name} | {cells} |")
            for step, exact in result["RMSE"]["float32"].items():
                cells = f"{exact:.4f} | {result['RMSE']['bf16'][step]:.4f}"
                lines.append(
                    f"| RMSE of x_0_hat at reverse step {step}, of 255, {name} | {cells} |"
                )
        if "samples" in result:
            values = result["float32"], result["bf16"]
            cells = " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in values)
            lines.append(f"| {result['measure']}, {result['samples']} samples, {name} | {cells} |")
            lines.append(f"| RMSE of these samples, of 255, {name} | 0 | {result['rmse']:.2f} |")
    return "\n".join(lines)


def scaling(points: list[dict[str, Any]], path: Path) -> None:
    """Draw FLOP/s over batch, resolution and threads, ours and diffusers'."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    growing = list(dict.fromkeys(point["over"] for point in points))
    size = (3.4 * len(growing), 3)
    figure, axes = plt.subplots(1, len(growing), figsize=size, layout="constrained", sharey=True)
    for axis, what in zip(axes, growing, strict=True):
        for name, marker in (("ours", "o"), ("diffusers", "s")):
            own = [p for p in points if p["over"] == what and p["network"] == name]
            x = [point[what] for point in own]
            y = [p["flop"] / statistics.median(p["seconds"]) / 1e9 for p in own]
            axis.plot(x, y, marker=marker, label=name)
        axis.set(xlabel=what, xscale="log")
        axis.set_xticks(x, [str(item) for item in x])
        axis.minorticks_off()
    axes[0].set_ylim(0, None)
    axes[0].set_ylabel("GFLOP/s, forward, float32")
    axes[0].legend()
    undated: dict[str, dict[str, None]] = {"svg": {"Date": None}, "png": {"Software": None}}
    with matplotlib.rc_context({"svg.hashsalt": "ddpm-eval"}):
        for suffix, metadata in undated.items():
            figure.savefig(path.with_suffix(f".{suffix}"), dpi=150, metadata=metadata)


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    if "agreement" in record:
        print(gpu(record))
        return
    print(race(record["race"]))
    if "bf16" in record:
        print("\n" + bf16(record["bf16"]))
    if "scaling" in record:
        scaling(record["scaling"]["points"], path.with_name("figure"))


if __name__ == "__main__":
    main()
