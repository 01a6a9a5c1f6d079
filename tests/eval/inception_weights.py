"""Random weights in torch-fidelity's format, for the tests and the benchmark of ``fid``."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3


class Blank(FeatureExtractorInceptionV3):
    """Their network as it is built, without weights from a file."""

    def __init__(self) -> None:
        empty = io.BytesIO()
        torch.save({}, empty)
        empty.seek(0)
        features = ["2048", "logits_unbiased"]
        super().__init__("inception-v3-compat", features, feature_extractor_weights_path=empty)

    def load_state_dict(self, weights: Any, *args: Any, **kwargs: Any) -> Any:
        return super().load_state_dict(weights, *args, **kwargs) if weights else None


def random_network(images: torch.Tensor, *, seed: int = 0) -> Blank:
    """Random weights, with the normalisation fitted to uint8 images [B, 3, H, W]."""
    network = Blank()
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over what it sees
            module.reset_running_stats()
    nn.init.normal_(network.fc.weight, std=0.05, generator=generator)
    network.train()
    with torch.no_grad():
        network(images)
    return network.eval()


def write(path: Path, images: torch.Tensor, *, seed: int = 0) -> Path:
    """Save such weights as torch-fidelity reads them."""
    torch.save(random_network(images, seed=seed).state_dict(), path)
    return path
