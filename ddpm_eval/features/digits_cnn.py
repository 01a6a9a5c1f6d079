"""A small classifier of 8x8 gray digits: a stand-in for Inception where digits are measured.

It tells one model of digits from another, offline and in a second. Its distances are called
FD(digits-cnn): they have nothing to do with the published FID.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_eval.features.extractor import Description, Extractor, Outputs
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.reading import reading, sha256_of

FILE = Path(__file__).with_name("digits_cnn.safetensors")
DIM, CLASSES = 64, 10
DESCRIPTION = Description(
    name="digits-cnn",
    dim=DIM,
    logits=CLASSES,
    channels=1,
    side=8,
    resizes=("",),
    normalisation="levels 0..255 to [-1, 1]",
    published="be937adb4c9675ae856a36f07f6066377eae678a335addb70c440534952d9642",
    batch=(256, 256),
    classes=tuple("0123456789"),
)


class Network(nn.Module):
    """Three convolutions and two dense layers, 86,170 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(1, 32, 3, padding=1)
        self.conv_2 = nn.Conv2d(32, 64, 3, padding=1)
        self.conv_3 = nn.Conv2d(64, 80, 3, padding=1)
        self.dense = nn.Linear(80 * 2 * 2, DIM)
        self.classify = nn.Linear(DIM, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the features [B, 64] and the logits [B, 10] of images [B, 1, 8, 8] in [-1, 1]."""
        act, pool = nn.functional.silu, nn.functional.avg_pool2d
        x = act(self.conv_2(act(self.conv_1(x))))
        x = pool(act(self.conv_3(pool(x, 2))), 2)
        features = act(self.dense(x.flatten(1)))
        return features, self.classify(features)


def load(path: Path | None, resize: str, device: torch.device, *, accept: str = "") -> Extractor:
    """Load the network with the weights that the package holds.

    Raises:
        FixableError: The installation is damaged, or other weights are named.
    """
    if path is not None or accept:
        raise FixableError(
            f"extractor_weights={path or accept}: digits-cnn has its weights in the package",
            "leave it out",
        )
    digest = sha256_of(FILE)
    if digest != DESCRIPTION.published:
        raise FixableError(
            f"{FILE}: not the weights that FD(digits-cnn) is defined by: SHA-256 {digest[:16]}..., "
            f"expected {DESCRIPTION.published[:16]}...",
            "install ddpm-eval again",
        )
    network = Network()
    with reading(FILE, fix="install ddpm-eval again"):
        network.load_state_dict(containers.tensors(containers.read(FILE), str(FILE)))
    network = network.to(device).eval().requires_grad_(requires_grad=False)
    return Extractor(
        description=DESCRIPTION,
        network=lambda levels: Outputs(*network(levels / 127.5 - 1)),
        digest=digest,
        resize=resize,
        device=device,
    )
