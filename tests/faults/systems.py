"""Small files of other systems: NCSN, guided-diffusion, score_sde, EDM, and a classifier."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from tests.train import ncsn_files, openai_files, sde_files
from tests.train.golden import filled
from tests.train.test_golden_ncsn import CONFIG

SMALL = openai_files.Flags(mult=(1, 2), attention=(2,), resample="block", classes=10)


def write(root: Path) -> None:
    """Write one file of each kind, and what lies beside it, each into a folder of its own."""
    for name, content in _contents().items():
        path = root / name
        path.parent.mkdir(parents=True)
        torch.save(content, path)
    (root / "ncsn/config.yml").write_text(CONFIG)


def _contents() -> dict[str, Any]:
    ncsn, ncsnv2 = filled(ncsn_files.refinenet(levels=10)), filled(ncsn_files.refinenet())
    ends = math.log(50), math.log(0.01)
    levels = torch.linspace(*ends, 20, dtype=torch.float64).exp().float()
    ncsnpp = filled(sde_files.score_sde(plus=True, residual=True))
    pool = replace(SMALL, inputs=1)
    return {
        "ncsn/checkpoint.pth": [ncsn, {"state": {}}],
        "ncsnv2/checkpoint.pth": [{**ncsnv2, "sigmas": levels}, {"state": {}}, 3, 45, ncsnv2],
        "adm/ema_0.9999_000100.pt": filled(openai_files.unet(SMALL)),
        "score_sde/checkpoint_8.pth": {
            "model": ncsnpp,
            "ema": {"shadow_params": list(ncsnpp.values())},
            "step": 3,
        },
        "edm/edm.pt": filled(sde_files.edm(classes=5)),
        "edm-adm/edm.pt": filled(sde_files.dhariwal(4)),
        "pool/64x64_classifier.pt": filled(openai_files.classifier(pool, "adaptive", pixels=4)),
    }
