"""torch-fidelity's Inception-v3, the network of the published FID, with weights read safely.

torch-fidelity's constructor unpickles the file of weights, which may run anything. Here the file's
digest is compared first, it is read as plain tensors, and the constructor gets an empty one.
"""

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_eval.features.extractor import Description, Extractor, Outputs
from ddpm_eval.features.weights import WeightsFile, check
from ddpm_train.data.download import Published
from ddpm_train.formats import containers

_FILE = "weights-inception-2015-12-05-6726825d.pth"
_SAME = "pt_inception-2015-12-05-6726825d.pth"  # pytorch-fid's name of the same file
WEIGHTS = WeightsFile(
    what="Inception-v3",
    fetch="inception",
    published=Published(
        urls=(
            f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{_FILE}",
            f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{_SAME}",
        ),
        size=95_628_359,
        sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    ),
    names=(_FILE, _SAME),
    variable="DDPM_INCEPTION",
    meanwhile="for 8x8 digits extractor=digits-cnn gives FD(digits-cnn), not comparable with "
    "published FID",
)
BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1"),
    *("Conv2d_4a_3x3", "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b"),
    *("Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)
SPATIAL_CHANNELS = 7  # of mixed_6/conv, which is Mixed_6d's 1x1 branch after its ReLU
DESCRIPTION = Description(
    name="inception-v3",
    short="inception",
    dim=2048,
    logits=1008,
    spatial=17 * 17 * SPATIAL_CHANNELS,
    side=299,
    resizes=("tf1", "antialias", "clean"),
    normalisation="(levels - 128) / 128",
    published=WEIGHTS.published.sha256,
    plain=True,
)


class _Network:
    """The network as one call that gives features, logits and spatial features."""

    def __init__(self, network: nn.Module) -> None:
        self._network, self._spatial = network, torch.empty(0)
        network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(self._keep)

    def __call__(self, levels: Tensor) -> Outputs:
        """Map levels 0..255 [B, 3, 299, 299]."""
        x = ((levels - 128) / 128).contiguous(memory_format=torch.channels_last)
        for name in BLOCKS:
            x = self._network.get_submodule(name)(x)
        pool = x.flatten(1)
        logits = pool @ self._network.get_parameter("fc.weight").T  # without the bias, as theirs
        spatial, self._spatial = self._spatial, torch.empty(0)
        return Outputs(pool, logits, spatial)

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._spatial = spatial_features(output)


def spatial_features(activations: Tensor) -> Tensor:
    """Flatten the first 7 channels of [B, C, 17, 17] in ADM's order, [B, 17 x 17 x 7].

    TensorFlow's activations have the channels last: row, column, channel.
    """
    return activations[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)


def load(path: Path | None, resize: str, device: torch.device, *, accept: str = "") -> Extractor:
    """Find, verify and load the weights.

    Args:
        path: The file; ``None`` looks in ``$DDPM_INCEPTION`` and torch hub's folder.
        resize: How images are resized.
        device: Where the network computes.
        accept: The digest of other weights that are meant, eight digits at least.

    Raises:
        FixableError: There is no file, it is damaged, or it is not the published one.
    """
    file, digest = WEIGHTS.verified(path, accept)
    module = _module(file).to(device).to(memory_format=torch.channels_last)
    return Extractor(
        description=DESCRIPTION,
        network=_Network(module),
        digest=digest,
        resize=resize,
        device=device,
    )


def _module(file: Path) -> nn.Module:
    """Build torch-fidelity's network around verified weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import (  # takes two seconds
        FeatureExtractorInceptionV3,
    )

    weights = containers.tensors(containers.read(file), str(file))

    class Verified(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, _nothing: object, *_: Any, **__: Any) -> Any:
            check(weights, self.state_dict(), file, "torch-fidelity's Inception")
            return super().load_state_dict(weights, assign=True)

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.device("meta"):  # its own initial weights would only be overwritten
        network: nn.Module = Verified(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=empty
        )
    return network.eval().requires_grad_(requires_grad=False)
