"""A whole store, and a copy of it to damage."""

import shutil
from pathlib import Path

import pytest

from ddpm_eval.record.store import SampleStore
from tests.eval.store.stores import make


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> SampleStore:
    return make(tmp_path_factory.mktemp("whole") / "store")


@pytest.fixture
def copy(whole: SampleStore, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole.folder, tmp_path / "store"))
