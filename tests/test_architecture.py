"""Data flows one way; this table is the picture of it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOOR = {  # what ddpm_eval may take from ddpm_train
    "",
    "architectures",
    "archives",
    "chain",
    "checkpoint",
    "config",
    "data",
    "diffusion",
    "errors",
    "files",
    "folders",
    "formats",
    "guidance",
    "denoiser",
    "fast",
    "langevin",
    "leaves",
    "locks",
    "log",
    "networks",
    "noise",
    "predictions",
    "presets",
    "reading",
    "meter",
    "runs",
    "samplers",
    "schedule",
    "settings",
    "spacing",
    "tensorfiles",
    "terminal",
    "variances",
    "weights",
    "world",
}
MAY = {  # module of ddpm_train: its neighbours that it may import
    "errors": set(),
    "archives": {"errors", "reading"},
    "files": {"errors", "locks"},
    "folders": {"errors", "files", "locks"},
    "keeping": {"config", "errors", "files", "runs"},
    "locks": {"errors"},
    "log": {"errors", "files", "reading"},
    "reading": {"errors"},
    "tensorfiles": {"archives", "errors", "reading"},
    "leaves": {"errors"},
    "settings": {"errors", "leaves"},
    "architectures": {"leaves"},
    "config": {"architectures", "errors", "leaves"},
    "presets": {"architectures", "config"},
    "noise": {"errors"},
    "schedule": {"config", "errors", "settings"},
    "diffusion": {"schedule"},
    "predictions": {"diffusion", "schedule"},
    "variances": {"config", "diffusion", "errors", "schedule"},
    "denoiser": {"config", "diffusion", "predictions", "schedule", "settings", "variances"},
    "networks": {"architectures", "errors", "fast", "networks", "noise", "settings"},
    "weights": {"config", "errors", "networks", "settings"},
    "fast": {"denoiser", "errors", "fast", "networks"},
    "checkpoint": {
        *("", "config", "errors", "files", "networks", "reading", "settings", "tensorfiles"),
        "weights",
    },
    "runs": {"checkpoint", "errors", "reading"},
    "formats": {
        *("architectures", "checkpoint", "config", "errors", "files", "folders", "formats"),
        *("leaves", "networks", "reading", "schedule", "settings", "tensorfiles", "weights"),
    },
    "spacing": {"errors"},
    "heun": {"denoiser", "diffusion", "schedule"},
    "langevin": {"denoiser", "diffusion", "schedule"},
    "samplers": {
        *("config", "denoiser", "diffusion", "errors", "heun", "langevin", "schedule"),
        *("settings", "spacing"),
    },
    "chain": {"diffusion", "errors", "noise", "samplers"},
    "guidance": {"denoiser", "diffusion", "errors", "samplers", "schedule"},
    "world": {"errors"},
    "terminal": {"errors", "reading"},
    "meter": {"terminal"},
    "events": set(),
    "ema": set(),
    "adam": {"checkpoint", "config"},
    "running_errors": {"schedule"},
    "times": {"noise", "schedule"},
    "classifier_run": {"architectures", "config", "errors", "leaves", "presets"},
    "classifying": {
        *("adam", "batches", "checkpoint", "classifier_run", "config", "data", "diffusion", "ema"),
        *("errors", "formats", "loop", "networks", "noise", "schedule", "settings", "weights"),
        "world",
    },
    "batches": {"", "config", "data", "noise", "schedule", "times", "world"},
    "objective": {"config", "denoiser", "diffusion", "errors", "schedule"},
    "data": {"archives", "config", "data", "errors", "files", "locks", "reading"},
}
FORBIDDEN = {  # room: what may not be imported there
    "ddpm_train": {"ddpm_eval", "matplotlib", "torchvision", "torch_fidelity", "pandas"},
    "ddpm_train/config.py": {"torch", "numpy"},
    "ddpm_train/architectures.py": {"torch", "numpy"},
    "ddpm_train/settings.py": {"torch", "numpy", "ddpm_train.config", "ddpm_train.presets"},
    "ddpm_train/diffusion.py": {"rich", "typer", "numpy"},
    "ddpm_train/loop.py": {"rich", "typer", "ddpm_train.session", "ddpm_train.cli"},
    "ddpm_train/session.py": {"rich", "typer", "ddpm_train.cli", "ddpm_train.terminal"},
    "ddpm_eval/measure": {
        *("rich", "typer", "matplotlib", "ddpm_eval.present", "ddpm_eval.cli"),
        "ddpm_eval.commands",
    },
    "ddpm_eval/codec": {
        *("rich", "typer", "matplotlib", "ddpm_eval.present", "ddpm_eval.measure"),
        *("ddpm_eval.commands", "ddpm_eval.cli", "ddpm_eval.door"),
    },
    "ddpm_eval/features": {"typer", "matplotlib", "ddpm_eval.measure", "ddpm_eval.commands"},
    "ddpm_eval/progress.py": {"torch", "rich", "typer", "ddpm_train", "ddpm_eval"},
    **{
        f"ddpm_eval/record/{name}.py": {
            *("torch", "rich", "typer", "matplotlib", "ddpm_eval.measure", "ddpm_eval.commands"),
        }
        for name in ("record", "scores", "protocol", "ranking", "identity", "layout", "disk")
    },
    "ddpm_eval/present/references.py": {"torch", "rich", "typer", "matplotlib"},
    "ddpm_eval/record/store.py": {
        "rich",
        "typer",
        "matplotlib",
        "ddpm_eval.measure",
        "ddpm_eval.commands",
    },
    "ddpm_eval/record/export.py": {
        "rich",
        "typer",
        "matplotlib",
        "ddpm_eval.record.store",
        "ddpm_eval.commands",
    },
    "ddpm_eval/present": {
        *("torch", "typer", "ddpm_eval.measure", "ddpm_eval.cli", "ddpm_eval.commands"),
    },
}


def imports(file: Path) -> set[str]:
    """Every module that a file names, those inside functions and for type checkers too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def files(room: str) -> list[Path]:
    path = ROOT / room
    result = [path] if path.is_file() else sorted(path.rglob("*.py"))
    assert result, f"{room} is gone; update the table"
    return result


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_only_look_upstream(room: str) -> None:
    for file in files(room):
        for name in imports(file):
            bad = {f for f in FORBIDDEN[room] if name == f or name.startswith(f + ".")}
            assert not bad, f"{file.relative_to(ROOT)} imports {name}; move that code downstream"


def neighbours(file: Path) -> set[str]:
    """The modules of ddpm_train that a file imports ("" is the package itself)."""
    modules = {path.stem for path in (ROOT / "ddpm_train").iterdir()}
    result = set()
    for name in imports(file):
        if name == "ddpm_train" or name.startswith("ddpm_train."):
            module = name.removeprefix("ddpm_train").lstrip(".").split(".")[0]
            result.add(module if module in modules else "")
    return result


@pytest.mark.parametrize("module", MAY)
def test_every_module_of_the_floor_knows_its_place(module: str) -> None:
    name = module if (ROOT / "ddpm_train" / module).is_dir() else f"{module}.py"
    for file in files(f"ddpm_train/{name}"):
        extra = neighbours(file) - MAY[module] - {""}
        assert not extra, f"{file.relative_to(ROOT)} imports {sorted(extra)}"


def test_evaluation_stands_on_the_floor_alone() -> None:
    for file in files("ddpm_eval"):
        extra = neighbours(file) - FLOOR
        assert not extra, f"{file.relative_to(ROOT)} imports ddpm_train.{sorted(extra)}"


@pytest.mark.parametrize(
    "module",
    [
        "ddpm_eval.present.document",
        "ddpm_eval.present",
        "ddpm_eval.record.disk",
        "ddpm_eval.cli",
        "ddpm_train.cli",
    ],
)
def test_reports_and_help_need_no_torch(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
