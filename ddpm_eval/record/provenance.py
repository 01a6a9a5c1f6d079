"""Where a number comes from: versions, hardware, wall time and the exact command."""

import contextlib
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ddpm_train
from ddpm_train.reading import read_bytes


def gather(
    argv: Sequence[str], *, seconds: float, device: torch.device, size: int
) -> dict[str, Any]:
    """What the record says of a measurement beside its settings. Home and host are left out.

    Args:
        argv: The command line, as in ``sys.argv``; empty where there is none.
        seconds: The wall time of the measurement.
        device: Where the network ran.
        size: The number of processes.
    """
    return {
        "command": public(shlex.join(_command(argv))),
        "seconds": round(seconds, 1),
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "processes": size,
        "hardware": hardware(device),
        "versions": {
            "ddpm-eval": ddpm_train.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
    }


def _command(argv: Sequence[str]) -> list[str]:
    """The words that start the program again, without the folder that it lies in.

    >>> _command(["/usr/bin/ddpm-eval", "nll"]), _command(["/x/ddpm_eval/__main__.py", "nll"])
    (['ddpm-eval', 'nll'], ['python', '-m', 'ddpm_eval', 'nll'])
    """
    if not argv:
        return []
    program = Path(argv[0])
    is_module = program.name == "__main__.py"
    return [*(["python", "-m", program.parent.name] if is_module else [program.name]), *argv[1:]]


_BEGINNING = r"(?<![^\s'\"=:,])"  # of a path: nothing, or what stands before one


def public(text: str) -> str:
    """Name paths as seen from the working folder, else from the user's home, ``~``.

    >>> public(f"ddpm-eval --reports {Path.cwd() / 'reports'} nll runs/a")
    'ddpm-eval --reports reports nll runs/a'
    >>> public(f"nll /other{Path.cwd()}/a") == f"nll /other{Path.cwd()}/a"
    True
    """
    with contextlib.suppress(OSError):  # the working folder may be gone
        if (folder := str(Path.cwd())) != "/":
            text = re.sub(rf"{_BEGINNING}{re.escape(folder)}/", "", text)
    with contextlib.suppress(RuntimeError):  # no HOME and no entry for the user
        if (home := str(Path.home())) != "/":
            text = re.sub(rf"{_BEGINNING}{re.escape(home)}(?![^/\s'\"])", "~", text)
    return text


def hardware(device: torch.device) -> str:
    """The processor that the network ran on."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if sys.platform == "linux" and cpuinfo.exists():
        lines = read_bytes(cpuinfo).decode("utf-8", "replace").splitlines()
        models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        name = models[0] if models else name
    return f"{name}, {torch.get_num_threads()} threads"
