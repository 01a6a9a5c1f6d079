"""Interpolation: its ends, its symmetry, its noise, and whose images it takes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ddpm_eval.job import Job
from ddpm_eval.measure.pictures import interpolation
from ddpm_eval.measure.pictures.interpolation import Pair
from ddpm_eval.model import ModelFacts
from ddpm_eval.record.schema1 import Measurement
from ddpm_train import data
from ddpm_train.chain import chain
from ddpm_train.data.images import Stack
from ddpm_train.diffusion import q_sample
from ddpm_train.errors import FixableError
from ddpm_train.noise import Stream, normal
from ddpm_train.samplers import Ancestral
from tests import oracle
from tests.eval import jobs
from tests.eval.interrupted import ask, resumes, same, shared

MIXES = ["linear", "spherical"]


def small(folder: Path, **options: Any) -> Job:
    return ask(jobs.job(folder), **({"pairs": ((3, 8), (5, 1)), "lambdas": (0.3, 0.5)} | options))


def rows(found: Measurement, name: str) -> np.ndarray:
    grid = found.grids[name]
    return grid.images.reshape(-1, grid.columns, *grid.images.shape[1:])


@pytest.mark.parametrize("mix", MIXES)
def test_the_ends_are_the_two_reconstructions(tmp_path: Path, mix: str) -> None:
    job = small(tmp_path, mix=mix)
    found = interpolation.measure(job)
    assert found.settings["lambdas"] == [0, 0.3, 0.5, 1]
    images, denoise = job.images("test"), job.subject.denoise
    for row, (a, b) in zip(rows(found, "path"), job.config.pictures.pairs, strict=True):
        pair = Pair(images.read([a, b]), (str(a), str(b)))
        for end, index, column in ((0, a, 1), (1, b, 4)):
            pixels = images.read([index])
            np.testing.assert_array_equal(row[-end], pixels[0])  # the sources are outside
            x_0 = data.to_model(pixels).double()
            eps = normal(Stream(0, "encode"), [pair.keys[end]], (1, 8, 8)).double()
            x_t = q_sample(denoise.schedule, x_0, torch.tensor([20]), eps).float()
            walk = chain(Ancestral(denoise), x_t, [pair.key], Stream(0, "encode"), start=20)
            np.testing.assert_array_equal(row[column], data.to_uint8([*walk][-1].x_0_hat)[0])


@pytest.mark.parametrize("mix", MIXES)
def test_the_path_from_the_other_end_is_the_same(tmp_path: Path, mix: str) -> None:
    there = interpolation.measure(small(tmp_path / "a", mix=mix, lambdas=(0.1, 0.3)))
    back = interpolation.measure(
        small(tmp_path / "b", mix=mix, lambdas=(0.9, 0.7), pairs=((8, 3), (1, 5)))
    )
    for name in ("path", "coarse to fine"):
        np.testing.assert_array_equal(rows(there, name), rows(back, name)[:, ::-1])
    assert len({picture.tobytes() for picture in rows(there, "path")[0]}) == 6


@pytest.mark.parametrize("mix", MIXES)
def test_the_other_end_is_the_same_to_the_last_bit(tmp_path: Path, mix: str) -> None:
    job = small(tmp_path, mix=mix)
    images, lambdas = job.images("test").read([3, 8]), [0, 0.1, 0.3, 0.7, 0.9, 1]
    one = interpolation.encode(job, Pair(images, ("3", "8")), 17, lambdas)
    back = [0, 0.1, 0.3, 0.7, 0.9, 1]
    two = interpolation.encode(job, Pair(images[::-1], ("8", "3")), 17, back).flip(0)
    assert [torch.equal(a, b) for a, b in zip(one, two, strict=True)] == [True] * 6


def test_at_t_0_pixels_are_mixed(tmp_path: Path) -> None:
    job = small(tmp_path, t=0, mix="spherical")
    found = interpolation.measure(job)
    a, b = job.images("test").read([3, 8]).astype(float)
    for picture, part in zip(rows(found, "path")[0][1:-1], (0, 0.3, 0.5, 1), strict=True):
        mixed = (1 - part) * a + part * b
        assert np.abs(picture - mixed).max() <= 0.5 + 1e-4
    np.testing.assert_array_equal(rows(found, "coarse to fine")[0], rows(found, "path")[0][1:-1])


def test_one_figure_is_a_row_of_the_other(tmp_path: Path) -> None:
    found = interpolation.measure(small(tmp_path, t=15))
    path, coarse = rows(found, "path"), rows(found, "coarse to fine")
    np.testing.assert_array_equal(path[0, 1:-1], coarse[3])
    texts = [label for label in found.grids["coarse to fine"].labels if label]
    assert texts == [f"t={t}" for t in range(0, 41, 5)]


def test_a_mix_keeps_the_variance_or_shrinks_it_as_it_says(tmp_path: Path) -> None:
    """In a world of N(0, I) at t = T: the spherical mix has variance 1, the linear one less."""
    facts = ModelFacts(digest="a", weights="ema")
    made = replace(oracle.subject(oracle.Exact(oracle.process(40))), facts=facts)
    grey = np.full((2, 64, 64, 3), 127, np.uint8)
    grey[1] += 1
    lambdas = (0.0, 0.2, 0.5, 0.7)
    for mix, factor in (("spherical", lambda x: 1.0), ("linear", lambda x: (1 - x) ** 2 + x**2)):
        job = ask(jobs.job(tmp_path, made=made), mix=mix)
        x_t = interpolation.encode(job, Pair(grey, ("a", "b")), 40, lambdas)
        expected = [factor(part) for part in lambdas]
        np.testing.assert_allclose(x_t.var((1, 2, 3)).numpy(), expected, rtol=0.06)


def test_the_linear_mix_is_the_papers(tmp_path: Path) -> None:
    """(1 - l) x_t + l x_t', with the noise held fixed over l."""
    job = small(tmp_path)
    pair = Pair(job.images("test").read([3, 8]), ("3", "8"))
    x_t: Tensor = interpolation.encode(job, pair, 17, [0, 0.25, 1])
    torch.testing.assert_close(x_t[1], 0.75 * x_t[0] + 0.25 * x_t[2], rtol=0, atol=1e-12)
    assert not torch.equal(x_t[0], x_t[2])


def test_files_are_the_images_that_they_hold(tmp_path: Path) -> None:
    """The noise belongs to the pixels, wherever they were read from."""
    job = small(tmp_path / "a", pairs=((3, 8),))
    images, files = job.images("test").read([3, 8]), (tmp_path / "one.png", tmp_path / "two.png")
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[..., 0]).save(file)
    one = interpolation.measure(job)
    two = interpolation.measure(small(tmp_path / "b", files=tuple(map(str, files))))
    np.testing.assert_array_equal(rows(one, "path"), rows(two, "path"))
    assert two.settings["pairs"] == [["one.png", "two.png"]]
    assert str(tmp_path) not in str(two.settings) + two.grids["path"].caption


def test_the_batch_changes_nothing(tmp_path: Path) -> None:
    one = interpolation.measure(small(tmp_path / "a"))
    two = interpolation.measure(small(tmp_path / "b", batch=3))
    for name in ("path", "coarse to fine"):
        assert np.abs(rows(one, name).astype(int) - rows(two, name)).max() <= 1


def test_a_killed_measurement_goes_on_and_processes_share_it(tmp_path: Path) -> None:
    job = small(tmp_path / "a")
    resumes(interpolation.measure, job, stops=[30, 50])
    shared(interpolation.measure, replace(job, work=tmp_path / "b"))
    same(interpolation.measure(job), interpolation.measure(replace(job, work=tmp_path / "c")))


@pytest.mark.parametrize(
    ("asked", "problem", "fix"),
    [
        ({"t": 41}, "--t 41: the model has 40 steps", "0 to 40"),
        ({"pairs": ((0, 30),)}, "--pairs 0,30: pictures test has 30 images", "0 to 29"),
        ({"pairs": ((7, 7),)}, "--pairs 7,7: an image with itself", "two images"),
        ({"lambdas": (0.5, 1.01)}, "--lambdas 1.01", "0.25"),
        ({"lambdas": (float("nan"),)}, "--lambdas nan", "0.25"),
        ({"files": ("BIG", "BIG")}, "big.png: 12x12 pixels; 8x8 expected", "--resize lanczos"),
        ({"files": ("nowhere.png", "BIG")}, "nowhere.png", "PNG, JPEG or WebP"),
        ({"files": ("TEXT", "BIG")}, "a broken picture", "replace it"),
        ({"files": ("FOLDER", "BIG")}, "cannot be read", "check"),
        ({"files": ("BIG", "BIG"), "resize": "box"}, "the same picture", "differ"),
    ],
)
def test_what_cannot_be_mixed_is_refused_with_the_fix(
    tmp_path: Path, asked: dict[str, Any], problem: str, fix: str
) -> None:
    Image.fromarray(np.arange(144, dtype=np.uint8).reshape(12, 12)).save(tmp_path / "big.png")
    (tmp_path / "text.png").write_text("no picture")
    names = {"BIG": tmp_path / "big.png", "TEXT": tmp_path / "text.png", "FOLDER": tmp_path}
    if "files" in asked:
        asked = asked | {"files": tuple(str(names.get(file, file)) for file in asked["files"])}
    with pytest.raises(FixableError) as caught:
        interpolation.measure(small(tmp_path / "work", **asked))
    assert problem in caught.value.problem and fix in caught.value.fix
    assert not (tmp_path / "work").exists()


def test_twins_in_the_data_are_refused(tmp_path: Path) -> None:
    job = small(tmp_path, pairs=((0, 1),))
    twins = Stack("twins", np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(FixableError, match="the same picture"):
        interpolation.measure(replace(job, images=lambda _split: twins))
