"""Profiles: whole or refused, and for these weights alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import ddpm_eval as de
from ddpm_eval.choice import ImageSet, choose
from ddpm_eval.codec import profile as profiles
from ddpm_eval.codec.calibrate import calibrate
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import CalibrationSettings
from ddpm_eval.runtime import Runtime
from ddpm_train.data.images import Stack
from ddpm_train.errors import FixableError
from tests.codec import fields


def test_a_profile_comes_back_as_it_was(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "p.json")
    result = profiles.load(tmp_path / "p.json")
    assert result == profile and result.id == profile.id and len(result.id) == 3


def test_the_digest_covers_every_number(profile: Profile) -> None:
    bits = ((*profile.bits[0][:-1], 0), *profile.bits[1:])
    for other in (
        replace(profile, tolerance=2 * profile.tolerance),
        replace(profile, bits=bits),
        replace(profile, weights="others"),
    ):
        assert other.digest != profile.digest
    assert replace(profile, facts={}).digest == profile.digest  # what is only said


def test_numbers_that_no_file_can_be_read_by_are_refused(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    first, bars = profile.bits[0], profile.alphas_bar
    for other in (
        replace(profile, rows=(*profile.rows[:-1], 0)),
        replace(profile, alphas_bar=(bars[1], bars[0], *bars[2:])),
        replace(profile, errors=((-1.0,) * len(profile.errors[0]), *profile.errors[1:])),
        replace(profile, bits=((3, *first[1:]), *profile.bits[1:])),
        replace(profile, bits=((1 << 20, *first[1:]), *profile.bits[1:])),
    ):
        other.save(path)
        with pytest.raises(FixableError, match="its numbers are none of a chain"):
            profiles.load(path)


def test_damaged_and_newer_profiles_are_refused(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    profile.save(path)
    plain = json.loads(path.read_text())
    for change, words in (
        ({"tile_scale": 3}, "its digest does not fit"),
        ({"version": 3}, "version 3 is newer"),
        ({"version": 2}, "damaged"),
        ({"format": "other"}, "it is no profile"),
        ({"rows": [3, 2]}, "differ in length"),
        ({"shape": None}, "damaged"),
        ({"sets": [[{}]]}, "damaged"),
    ):
        path.write_text(json.dumps(plain | change))
        with pytest.raises(FixableError, match=words):
            profiles.load(path)
    for text in ("", "[]", "{", "null"):
        path.write_text(text)
        with pytest.raises(FixableError, match="damaged"):
            profiles.load(path)
    with pytest.raises(FixableError, match="no such profile"):
        profiles.load(tmp_path / "other.json")


def test_a_network_that_learned_nothing_is_refused() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 16, 16, 3)).astype(np.uint8)
    images = ImageSet.of(Stack("noise", noise))
    with pytest.raises(FixableError, match=r"raw pixels have 8: the network learned nothing"):
        calibrate(fields.model(), images, CalibrationSettings(n=0, rows=12), Runtime())


def test_calibration_is_the_same_in_shards_and_in_memory(tmp_path: Path) -> None:
    images = ImageSet.of(Stack("fields", fields.pictures(16, seed=7)))
    settings = CalibrationSettings(n=0, rows=12)
    one = calibrate(fields.model(), images, settings, Runtime())
    two = calibrate(fields.model(), images, settings, Runtime(cache=tmp_path))
    assert one == two and any(tmp_path.iterdir())


def test_a_profile_belongs_to_its_weights(profile: Profile) -> None:
    model, picture = fields.model(), fields.pictures(1)
    other = replace(model, facts=replace(model.facts, digest="others"))
    with pytest.raises(FixableError, match="made for other weights"):
        de.compress(other, picture, profile=profile)
    with pytest.raises(FixableError, match="the pixels of files would not be exact"):
        de.compress(replace(model, precision="bf16"), picture, profile=profile)
    with pytest.raises(FixableError, match="the model was read from no file"):
        de.compress(model, picture)


def test_pictures_from_python(profile: Profile) -> None:
    model = fields.model()
    pictures = [fields.pictures(1, seed=9)[0], fields.pictures(1, side=20, seed=9)[0]]
    files = de.compress(model, pictures, profile=profile, effort=10)
    result = de.decompress(model, files, profile=profile)
    assert all((a.picture == b).all() for a, b in zip(result, pictures, strict=True))
    with pytest.raises(FixableError, match="picture 0 is no array uint8"):
        de.compress(model, [np.zeros((4, 4))], profile=profile)  # type: ignore[list-item]
    with pytest.raises(FixableError, match="a picture of 2 channels"):
        de.compress(model, [np.zeros((4, 4, 2), np.uint8)], profile=profile)
    with pytest.raises(FixableError, match="effort=9"):
        de.compress(model, pictures, profile=profile, effort=9)
    with pytest.raises(FixableError, match=r"file 1: not a \.ddpm file"):
        de.decompress(model, [files[0], b"x"], profile=profile)


def test_the_images_to_learn_from_are_drawn_by_the_seed() -> None:
    images = ImageSet.of(Stack("fields", fields.pictures(24, seed=3)))
    settings = CalibrationSettings(n=8, rows=12)
    one = calibrate(fields.model(), images, settings, Runtime())
    chosen = choose(images, 8, seed=0)
    assert one.facts["images"]["choice"] == "drawn" and one.facts["images"]["n"] == 8
    two = calibrate(fields.model(), chosen, replace(settings, n=0), Runtime())
    last = calibrate(fields.model(), images[16:], replace(settings, n=0), Runtime())
    assert two.errors == one.errors != last.errors
