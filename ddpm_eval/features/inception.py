"""torch-fidelity's Inception-v3, the network of the published FID, with weights read safely.

torch-fidelity's constructor unpickles the file of weights, which may run anything. Here the file's
digest is compared first, it is read as plain tensors, and the constructor gets an empty one.
"""

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ddpm_eval.features.extractor import Features, exactly
from ddpm_train.checkpoint import Tensors
from ddpm_train.data.download import Published, Track, download
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from ddpm_train.formats import containers
from ddpm_train.reading import existing, sha256_of

FILE = "weights-inception-2015-12-05-6726825d.pth"
SAME = "pt_inception-2015-12-05-6726825d.pth"  # pytorch-fid's name of the same file
PUBLISHED = Published(
    urls=(
        f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}",
        f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{SAME}",
    ),
    size=95_628_359,
    sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)
SIDE = 299
BLOCKS = (
    *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "MaxPool_1", "Conv2d_3b_1x1"),
    *("Conv2d_4a_3x3", "MaxPool_2", "Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b"),
    *("Mixed_6c", "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c", "AvgPool"),
)
SPATIAL_CHANNELS = 7  # of mixed_6/conv, which is Mixed_6d's 1x1 branch after its ReLU
_FETCH = (
    "on a machine with network run ddpm-eval fetch inception, copy the "
    f"{PUBLISHED.size / 1e6:.0f} MB file here and pass --inception PATH"
)


class Inception:
    """The network behind one call; images of any size are resized as TensorFlow 1 did."""

    name = "inception-v3"
    preprocessing = "gray to RGB by repetition; TensorFlow 1's bilinear resize to 299x299"
    sizes = (2048, 1008, SPATIAL_CHANNELS * 17 * 17)

    def __init__(self, network: nn.Module, digest: str, device: torch.device) -> None:
        self._network = network.to(device).to(memory_format=torch.channels_last)
        self._device = device
        self._spatial = torch.empty(0)
        network.get_submodule("Mixed_6d.branch1x1").register_forward_hook(self._keep)
        self.digest = digest
        self.suffix = "" if digest == PUBLISHED.sha256 else f"(inception-{digest[:8]})"
        self.batch = 8 if device.type == "cpu" else 128  # what fits the caches of a CPU is fastest

    def check(self, shape: tuple[int, ...]) -> None:
        """Refuse images that are neither gray nor RGB.

        Raises:
            FixableError: They have another number of channels.
        """
        if shape[-1] not in (1, 3):
            raise FixableError(
                f"images of {shape[-1]} channels; Inception looks at gray or RGB", "convert them"
            )

    @torch.inference_mode()
    def __call__(self, pixels: Pixels) -> Features:
        """Give the features of uint8 images [B, H, W, C], in float32 and nothing shorter."""
        with exactly(self._device):
            return self._features(pixels)

    def _features(self, pixels: Pixels) -> Features:
        x = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2).float()
        x = (resize(x.expand(-1, 3, -1, -1), SIDE) - 128) / 128
        x = x.contiguous(memory_format=torch.channels_last)
        for name in BLOCKS:
            x = self._network.get_submodule(name)(x)
        pool = x.flatten(1)
        logits = pool @ self._network.get_parameter("fc.weight").T  # without the bias, as theirs
        spatial, self._spatial = self._spatial, torch.empty(0)
        return Features(*(part.float().cpu().numpy() for part in (pool, logits, spatial)))

    def _keep(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        self._spatial = output[:, :SPATIAL_CHANNELS].flatten(1)


def resize(x: Tensor, side: int) -> Tensor:
    """Resize images [B, C, H, W] as TensorFlow 1 did: bilinear, corners and centres not aligned.

    The same operations in the same order as torch-fidelity's, so the same bits, but columns first,
    while there are few rows.
    """
    columns, beside, share = _grid(x.shape[3], side, x)
    left, right = x[..., columns], x[..., beside]
    x = left + (right - left) * share
    rows, below, share = _grid(x.shape[2], side, x)
    top, bottom = x[:, :, rows], x[:, :, below]
    return top + (bottom - top) * share[:, None]


def _grid(size: int, side: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For each of ``side`` places: the pixel before, the one after, and the latter's share."""
    scale = torch.tensor(size / side, dtype=torch.float32, device=like.device)
    places = torch.arange(side, dtype=torch.float32, device=like.device) * scale
    before = places.long()
    return before, (before + 1).clamp_max(size - 1), places - before


# ------------------------------------------------------------------------------------- the file


def load(path: Path | None, device: torch.device, *, accept: str = "") -> Inception:
    """Find, verify and load the weights.

    Args:
        path: The file; ``None`` looks in ``$DDPM_INCEPTION`` and torch hub's folder.
        device: Where the network computes.
        accept: The digest of other weights that are meant, eight digits at least.

    Raises:
        FixableError: There is no file, it is damaged, or it is not the published one.
    """
    file = existing(str(path), "the Inception weights") if path else _find()
    digest = sha256_of(file)
    wanted = len(accept) >= 8 and digest.startswith(accept.lower())
    if digest != PUBLISHED.sha256 and not wanted:
        raise FixableError(
            f"{file}: not the published Inception weights"
            f"\n  SHA-256 {digest}, expected {accept or PUBLISHED.sha256}",
            f"ddpm-eval fetch inception; or --accept-weights {digest[:8]} if these are meant: "
            f"they give FD(inception-{digest[:8]}), never FID",
        )
    return Inception(_network(file), digest, device)


def fetch(target: Path | None = None, *, track: Track | None = None) -> Path:
    """Download the published weights to where torch-fidelity looks too; what is there is checked.

    Raises:
        FixableError: There is no network, or another file is in the way.
    """
    file = target or hub() / FILE
    if file.exists():
        digest = sha256_of(file)
        if digest != PUBLISHED.sha256:
            raise FixableError(
                f"{file}: not the published Inception weights"
                f"\n  SHA-256 {digest}, expected {PUBLISHED.sha256}",
                "delete it and run ddpm-eval fetch inception again",
            )
        return file
    download(file, PUBLISHED, fix=_FETCH, track=track)
    return file


def hub() -> Path:
    """The folder where torch hub keeps weights."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    home = Path(os.environ.get("TORCH_HOME", cache))
    return home.expanduser() / "hub" / "checkpoints"


def _find() -> Path:
    """Look where the weights usually are."""
    named = os.environ.get("DDPM_INCEPTION")
    places = [Path(named).expanduser()] if named else []
    places += [hub() / FILE, hub() / SAME]
    for place in places:
        if place.is_file():
            return place
    looked = ", ".join(["--inception", *([] if named else ["$DDPM_INCEPTION"]), *map(str, places)])
    raise FixableError(
        f"Inception-v3 weights not found; FID and IS need them\n  looked in: {looked}",
        f"{_FETCH}\n  meanwhile: for 8x8 digits --extractor digits-cnn gives FD(digits-cnn), "
        "not comparable with published FID",
    )


def _network(file: Path) -> nn.Module:
    """Build torch-fidelity's network around verified weights."""
    from torch_fidelity.feature_extractor_inceptionv3 import (  # takes two seconds
        FeatureExtractorInceptionV3,
    )

    weights = containers.tensors(containers.read(file), str(file))

    class Verified(FeatureExtractorInceptionV3):  # type: ignore[misc]
        def load_state_dict(self, _nothing: object, *_: Any, **__: Any) -> Any:
            _check(weights, self.state_dict(), file)
            return super().load_state_dict(weights, assign=True)

    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.device("meta"):  # its own initial weights would only be overwritten
        network: nn.Module = Verified(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=empty
        )
    return network.eval().requires_grad_(requires_grad=False)


def _check(weights: Tensors, expected: Tensors, file: Path) -> None:
    """Every name, shape and kind of number, before anything is copied."""
    wrong = [f"{name} is missing" for name in expected.keys() - weights.keys()]
    wrong += [f"{name} is not part of it" for name in weights.keys() - expected.keys()]
    wrong += [
        f"{name} is {weights[name].dtype} {list(weights[name].shape)}, not {list(value.shape)}"
        for name, value in expected.items()
        if name in weights
        and (weights[name].shape != value.shape or weights[name].dtype != value.dtype)
    ]
    wrong += [f"{name} holds NaN" for name, value in weights.items() if not value.isfinite().all()]
    if wrong:
        raise FixableError(
            f"{file}: not weights of torch-fidelity's Inception: {'; '.join(sorted(wrong)[:3])}",
            "ddpm-eval fetch inception",
        )
