"""Files are opened, listed and deleted behind the doors, and nowhere else."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOORS = ("files", "folders", "reading", "locks", "archives", "tensorfiles")
METHODS = {
    *("open", "read_text", "read_bytes", "write_text", "write_bytes", "unlink", "rename", "touch"),
    *("mkdir", "rmdir", "iterdir", "symlink_to", "hardlink_to", "readinto"),
}
FUNCTIONS = {
    *("open", "load_file", "save_file", "safe_open", "json.load", "pickle.load", "fcntl.flock"),
    *("fcntl.lockf", "Image.open", "zipfile.ZipFile", "zipfile.is_zipfile", "tarfile.open"),
    *("lmdb.open", "torch.load", "torch.save", "os.open", "os.fdopen", "os.fsync", "os.pread"),
    *("os.preadv", "os.rename", "os.replace", "os.unlink", "os.remove", "os.makedirs", "os.mkdir"),
    *("os.scandir", "os.listdir", "os.walk", "shutil.rmtree", "shutil.move", "shutil.copy"),
    *("shutil.copyfile", "np.load", "np.save", "np.savez", "np.memmap", "tempfile.mkdtemp"),
}
INSIDE = {  # what is done to bytes or files that a door has opened, or inside its guard
    "ddpm_train/checkpoint.py": {"torch.save"},
    "ddpm_train/log.py": {"os.fsync"},
    "ddpm_train/formats/classifiers.py": {"torch.save"},
    "ddpm_train/data/cifar.py": {"tarfile.open"},
    "ddpm_train/data/download.py": {"partial.unlink", "os.fsync"},
    "ddpm_train/data/pictures.py": {"Image.open"},
    "ddpm_train/data/lmdbs.py": {"lmdb.open"},
    "ddpm_train/data/stores.py": {"os.scandir"},
    "ddpm_eval/codec/pictures.py": {"Image.open"},
    "ddpm_eval/features/bank.py": {"os.preadv"},
    "ddpm_eval/features/inception.py": {"torch.save"},
    "ddpm_eval/measure/files/codecs.py": {"Image.open"},
    "ddpm_eval/record/arrays.py": {"zipfile.ZipFile", "archive.open"},
    "ddpm_eval/record/export.py": {"zipfile.ZipFile", "archive.open"},
    "ddpm_eval/sources.py": {"Image.open"},
}


def calls(file: Path) -> set[str]:
    """Every call in a file that opens, lists or deletes one; our own package data aside."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            method = isinstance(node.func, ast.Attribute) and node.func.attr in METHODS
            own = name.startswith(("resources.files(", "Path(__file__)"))
            if (name in FUNCTIONS or method) and not own:
                names.add(name)
    return names


FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for package in ("ddpm_train", "ddpm_eval")
    for path in (ROOT / package).rglob("*.py")
)


@pytest.mark.parametrize("file", FILES)
def test_only_doors_open_files(file: str) -> None:
    if file in {f"ddpm_train/{door}.py" for door in DOORS}:
        return
    extra = calls(ROOT / file) - INSIDE.get(file, set())
    assert not extra, f"{file} calls {sorted(extra)}: use ddpm_train.reading or ddpm_train.files"


def test_what_is_allowed_is_done() -> None:
    for file, names in INSIDE.items():
        assert names <= calls(ROOT / file), f"{file}: the table is out of date"


def test_the_test_sees_a_file_being_opened(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def f(p):\n    return p.open().read(), np.load(p), open(p)")
    assert calls(tmp_path / "a.py") == {"p.open", "np.load", "open"}
