"""What tests of several files stand on."""

from pathlib import Path

import pytest
import torch

from ddpm_train import checkpoint, presets
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.weights import build_network
from tests.eval.test_door import TINY


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint of a run on digits."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.pt"
    weights = {
        name: value + 0.02 * torch.sin(torch.arange(value.numel())).view(value.shape)
        for name, value in build_network(TINY).state_dict().items()
    }
    checkpoint.save(path, Checkpoint(model=TINY, step=7, ema=weights, run=presets.digits()))
    return path
