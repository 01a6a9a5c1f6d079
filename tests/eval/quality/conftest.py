"""What every test of quality may ask for."""

from pathlib import Path

import pytest


@pytest.fixture
def features(tmp_path: Path) -> Path:
    return tmp_path / "features"
