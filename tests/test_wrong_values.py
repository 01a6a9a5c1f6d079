"""What cannot be is refused by every command in one line, before torch is imported."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("more", [[], pytest.param(["--thorough"], marks=pytest.mark.slow)])
def test_every_wrong_value_of_every_option_and_setting_is_refused_at_once(
    more: list[str], tmp_path: Path
) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.wrong_values", *more],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    *problems, count = result.stdout.splitlines()
    assert result.returncode == 0 and not problems, result.stdout + result.stderr
    assert int(count.split()[0].replace(",", "")) > 1500
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"there.npz", "run"}
