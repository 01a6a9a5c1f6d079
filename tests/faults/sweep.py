"""Every bit of a small checkpoint flipped, one after the other: noticed, or nothing is changed."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ddpm_train import checkpoint
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig
from ddpm_train.errors import FixableError
from tests.faults.matrix import Case

PARTS = 8


def sweep(_material: Path, share: float) -> Iterator[Case]:
    """All bits, in parts; every n-th where only a share is asked for."""
    step = max(1, round(1 / share))
    for part in range(PARTS):
        name = f"bits {part} modulo {PARTS}" + (f", every {step}th" if step > 1 else "")
        yield Case("every bit of a checkpoint", name, _attack(part, step))


def _attack(part: int, step: int) -> Callable[[Path], str]:
    def attack(folder: Path) -> str:
        path = folder / "a.pt"
        tensors = {"w": torch.arange(6.0).reshape(2, 3)}
        checkpoint.save(path, Checkpoint(model=ModelConfig(), step=3, weights=tensors, ema=tensors))
        whole = path.read_bytes()
        clean = checkpoint.load(path)
        noticed = tried = 0
        for bit in range(part, 8 * len(whole), PARTS * step):
            data = bytearray(whole)
            data[bit // 8] ^= 1 << bit % 8
            path.write_bytes(data)
            tried += 1
            try:
                content = checkpoint.load(path)
            except FixableError:
                noticed += 1
                continue
            same = torch.equal(content.weights["w"], clean.weights["w"]) and torch.equal(
                content.ema["w"], clean.ema["w"]
            )
            if not same or (content.model, content.step, content.facts) != (
                clean.model, clean.step, clean.facts
            ):  # fmt: skip
                return f"bit {bit} changes what is loaded, without a word"
        return "" if noticed > tried // 3 else f"only {noticed} of {tried} flips were noticed"

    return attack
