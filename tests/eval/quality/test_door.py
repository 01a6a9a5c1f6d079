"""``de.quality``: arrays, folders, files, stores and models alike."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import ddpm_eval as de
from ddpm_eval.model import Model
from ddpm_train.errors import FixableError
from tests.eval import jobs
from tests.eval.pieces import counting
from tests.eval.quality.comparisons import TEST, TRAIN, blurred, compare, images, pictures, value

DIGITS: Any = {"extractor": "digits-cnn"}


def test_arrays_folders_files_and_stores_are_alike(
    features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = blurred(TEST)
    wanted = compare(stack, TRAIN, features, metrics=("FID", "recall")).scores
    (tmp_path / "folder").mkdir()
    for i, image in enumerate(stack.pixels):
        Image.fromarray(image[..., 0]).save(tmp_path / "folder" / f"{i:03d}.png")
    np.savez(tmp_path / "array.npz", images=stack.pixels)
    np.savez(tmp_path / "train.npz", images=TRAIN.pixels)
    options: Any = {**DIGITS, "metrics": ["FID", "recall"], "cache": tmp_path / "cache"}
    for samples, against in (
        (stack.pixels, TRAIN.pixels),
        (str(tmp_path / "folder"), tmp_path / "train.npz"),
        (tmp_path / "array.npz", images(TRAIN, "train")),
    ):
        result = de.quality(samples, against, **options)
        assert [score for score in result.scores if score.metric != "relative_fd"] == [*wanted]


def test_a_model_s_samples_are_drawn_and_compared() -> None:
    model = jobs.subject()
    train, test = pictures("train"), pictures("test")
    result = de.quality(model, train, test, n=24, **DIGITS)
    assert value(result, "fid", whose="samples").n == 24
    assert value(result, "fid", whose="held-out images").n == 24
    protocol = result.protocol
    assert protocol.sampling is not None and protocol.images is None
    assert (protocol.weights, protocol.sampling.T, protocol.sampling.steps) == ("ema", 40, 40)
    assert (protocol.sampling.sampler, protocol.seed) == ("ancestral", 0)
    assert protocol.reference is not None and protocol.reference.dataset == "pictures"
    drawn = de.quality(de.sample(model, 24), train, test, **DIGITS)
    assert drawn.scores == result.scores
    against = de.quality(model, test, n=24, **DIGITS)
    assert against.key != result.key
    assert any("test split" in text for text in against.warnings)
    with pytest.raises(FixableError, match="does not say what it was trained on"):
        de.quality(model, n=24, **DIGITS)


def test_what_does_not_fit_is_refused_before_sampling(tmp_path: Path) -> None:
    calls: list[int] = []
    model = counting(jobs.subject(), calls)
    np.savez(tmp_path / "big.npz", images=np.zeros((20, 16, 16, 1), np.uint8))
    with pytest.raises(FixableError, match="16x16"):
        de.quality(model, tmp_path / "big.npz", n=24, **DIGITS)
    with pytest.raises(FixableError, match="looks at 8x8x1"):
        de.quality(replace(model, shape=(1, 16, 16)), pictures("train"), n=24, **DIGITS)
    with pytest.raises(FixableError, match="not the published"):
        de.quality(model, pictures("train"), n=24, extractor_weights=__file__)
    file = tmp_path / "digits.npz"
    de.quality(TEST.pixels, images(TRAIN, "train"), save=file, **DIGITS)

    def of_model(data: str) -> Model:
        return replace(model, facts=replace(model.facts, file={"data": data}))

    with pytest.raises(FixableError, match="of digits; the model was trained on faces"):
        de.quality(of_model("faces train"), file, n=24, **DIGITS)
    assert not calls
    assert value(de.quality(of_model("digits train"), file, n=24, **DIGITS), "fid").n == 24
    assert calls
