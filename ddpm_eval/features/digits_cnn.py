"""A small classifier of 8x8 gray digits: a stand-in for Inception where digits are measured.

It tells one model of digits from another, offline and in a second. Its distances are called
FD(digits-cnn): they have nothing to do with the published FID.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from ddpm_eval.features.extractor import Features, exactly
from ddpm_train.data.images import Pixels, to_model
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.reading import reading, sha256_of

FILE = Path(__file__).with_name("digits_cnn.safetensors")
DIGEST = "be937adb4c9675ae856a36f07f6066377eae678a335addb70c440534952d9642"
"""SHA-256 of the file: other weights are another metric, whatever it is called."""
SHAPE = (8, 8, 1)
DIM, CLASSES = 64, 10


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


class DigitsCNN:
    """The network behind one call."""

    name, suffix = "digits-cnn", "(digits-cnn)"
    preprocessing = "levels 0..255 to [-1, 1]"
    sizes = (DIM, CLASSES, 0)
    batch = 256

    def __init__(self, network: Network, digest: str, device: torch.device) -> None:
        self._network, self._device, self.digest = network.to(device).eval(), device, digest

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse all but 8x8 gray images.

        Raises:
            FixableError: They have another shape.
        """
        if tuple(shape) != SHAPE:
            height, width, channels = shape
            raise FixableError(
                f"digits-cnn looks at 8x8x1 digits; these images are {height}x{width}x{channels}",
                "use --extractor inception",
            )

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Features:
        """Give the features of uint8 images [B, 8, 8, 1]."""
        with exactly(self._device):
            pool, logits = self._network(to_model(pixels).to(self._device))
        return Features(pool.cpu().numpy(), logits.cpu().numpy())


def load(device: torch.device) -> DigitsCNN:
    """Load the network with the weights that the package holds.

    Raises:
        FixableError: The installation is damaged.
    """
    digest = sha256_of(FILE)
    if digest != DIGEST:
        raise FixableError(
            f"{FILE}: not the weights that FD(digits-cnn) is defined by: SHA-256 {digest[:16]}..., "
            f"expected {DIGEST[:16]}...",
            "install ddpm-eval again",
        )
    network = Network()
    with reading(FILE, fix="install ddpm-eval again"):
        network.load_state_dict(containers.tensors(containers.read(FILE), str(FILE)))
    return DigitsCNN(network.requires_grad_(requires_grad=False), digest, device)
