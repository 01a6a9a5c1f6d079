"""What can be refused without torch is refused before it is imported: half a second, not five."""

import subprocess
import sys
from pathlib import Path

LINES = """
ddpm-eval nll none.pt
ddpm-eval nll --device tpu
ddpm-eval fid none --reference train
ddpm-eval fid images.npz --reference none
ddpm-eval report none
ddpm-eval report
ddpm-eval compress none
ddpm-eval compress images.npz none
ddpm-eval decompress none.ddpm
ddpm-eval inspect none
ddpm-eval import none out.pt
ddpm-eval import images.npz images.npz
ddpm-eval export none out
ddpm-eval export images.npz out --format onnx
ddpm-eval watch none
ddpm-eval neighbours none
ddpm-eval sample none --set samples.eta=2
ddpm-eval store verify none
ddpm-train digits --device tpu
ddpm-train digits --set compute.device=cuda:x
ddpm-train digits --set optim.lr=-1
ddpm-train folder --data none
ddpm-train resume none
"""

PROGRAM = """
import contextlib, importlib, sys
for line in sys.stdin.read().strip().splitlines():
    sys.argv = line.split()
    main = importlib.import_module(sys.argv[0].replace("-", "_") + ".cli").main
    with contextlib.suppress(SystemExit):
        main()
        print(line, "is not refused")
    if "torch" in sys.modules:
        print(line, "imports torch")
        break
"""


def test_errors_that_need_no_torch_do_not_wait_for_it(tmp_path: Path) -> None:
    (tmp_path / "images.npz").touch()
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=LINES,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert result.stderr.count("error:") == len(LINES.split("\n")) - 2, result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["images.npz"]
