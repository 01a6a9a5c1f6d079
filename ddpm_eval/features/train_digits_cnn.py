"""Make the weights of the digits classifier: ``python -m ddpm_eval.features.train_digits_cnn``.

They are trained on the 1,500 training digits, dequantised as everywhere here and moved by a pixel
at most; nothing is random but what a fixed seed draws, and one thread adds in one order.
"""

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from ddpm_eval.features.digits_cnn import FILE, Network
from ddpm_train.data.arrays import digits
from ddpm_train.data.images import Form, Split, to_model
from ddpm_train.files import write_atomically
from ddpm_train.reading import sha256_of
from ddpm_train.terminal import output, say

STEPS, BATCH, RATE = 600, 64, 2e-3


def train(*, steps: int = STEPS, seed: int = 0) -> Network:
    """Fit the classifier to the training digits."""
    images, labels = labelled("train")
    draws = np.random.Generator(np.random.Philox(key=seed))
    network = Network()
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if name.endswith("weight"):
            nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=generator)
        else:
            nn.init.zeros_(weight)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    for _ in range(steps):
        chosen = torch.from_numpy(draws.integers(len(images), size=BATCH))
        moves = draws.integers(-1, 2, size=2).tolist()
        batch = shift(images[chosen], *moves)
        loss = nn.functional.cross_entropy(network(batch)[1], labels[chosen], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def labelled(split: Split) -> tuple[Tensor, Tensor]:
    """The digits of a split in [-1, 1], and what they are."""
    images = digits(split, Form(8, 1))
    return to_model(images.read(range(len(images)))), torch.from_numpy(images.labels)


def shift(images: Tensor, down: int, right: int) -> Tensor:
    """Move images by whole pixels; what comes in is black."""
    padded = nn.functional.pad(images, (1, 1, 1, 1), value=-1.0)
    size = images.shape[-1]
    return padded[..., 1 - down : 1 - down + size, 1 - right : 1 - right + size]


def accuracy(network: Network, split: Split) -> float:
    """The share of a split's digits that the classifier names."""
    images, labels = labelled(split)
    with torch.inference_mode():
        accuracy: float = (network(images)[1].argmax(1) == labels).float().mean().item()
    return accuracy


def main() -> None:
    """Train, test, write."""
    torch.set_num_threads(1)
    network = train()
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    write_atomically(FILE, lambda file: file.write(save(weights)))
    say(f"{FILE.name}: {accuracy(network, 'test'):.1%} of the test digits", to=output)
    say(f"digits_cnn.DIGEST is to be {sha256_of(FILE)}", to=output)


if __name__ == "__main__":
    main()
