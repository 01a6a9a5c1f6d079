import numpy as np
import pytest
import torch

from ddpm_train.noise import STREAMS, Stream, keep_mask, normal

CPU = torch.device("cpu")


def test_an_image_has_its_noise_in_any_batch() -> None:
    stream = Stream(1, "train")
    whole = normal(stream, range(6), [3, 2, 2], steps=4)
    parts = [normal(stream, part, [3, 2, 2], steps=4) for part in ([0, 1, 2, 3], [4, 5])]
    assert torch.equal(whole, torch.cat(parts))
    mixed = normal(stream, [5, 2], [3, 2, 2], steps=[4, 9])
    assert torch.equal(mixed[0], whole[5])
    assert torch.equal(mixed[1], normal(stream, [2], [3, 2, 2], steps=9)[0])


def test_no_two_names_share_a_sequence() -> None:
    """Seeds, streams, indices and steps, also those that agree in their low 32 bits."""
    names = [
        (seed, stream, index, step)
        for seed in (0, 1, 1 << 32, (1 << 32) + 1)
        for stream in STREAMS
        for index in (0, 1, 2, 1 << 16)
        for step in (0, 1, 2, 1000)
    ]
    draws = {normal(Stream(s, n), [i], [4], steps=k).numpy().tobytes() for s, n, i, k in names}
    assert len(draws) == len(names)


def test_noise_is_standard_normal() -> None:
    x = normal(Stream(0, "nll"), range(200), [1000])
    n = x.numel()
    assert x.mean().item() == pytest.approx(0, abs=4 / n**0.5)
    assert x.var().item() == pytest.approx(1, abs=4 * (2 / n) ** 0.5)
    assert (x[:-1] * x[1:]).mean().item() == pytest.approx(0, abs=4 / n**0.5)


def test_masks_keep_the_stated_share_and_belong_to_the_image() -> None:
    stream, n = Stream(0, "dropout"), 40_001  # not a multiple of the four that a word holds
    mask = keep_mask(stream, [3, 8], n, drop=0.25, device=CPU)
    share = mask.float().mean(1)
    assert torch.all((share - 0.75).abs() < 4 * (0.25 * 0.75 / n) ** 0.5)
    assert torch.equal(mask[1], keep_mask(stream, [8], n, drop=0.25, device=CPU)[0])
    assert np.corrcoef(mask.numpy().astype(float))[0, 1] == pytest.approx(0, abs=4 / n**0.5)
    assert keep_mask(stream, [1], 9, drop=0.0, device=CPU).all()
