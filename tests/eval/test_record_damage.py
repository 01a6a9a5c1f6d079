"""Nothing that is not a whole record passes for one, and a kill leaves the one before."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.record import disk, layout
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Error, Score
from ddpm_train.errors import FixableError
from tests.eval.made_records import SUBJECTS, TINY, files, record, samples

NAN = float("nan")


def measured(**parts: object) -> Measurement:
    return Measurement(measure="m", protocol=Protocol(version=1), **parts)  # type: ignore[arg-type]


def broken_curve(y: Array) -> Curve:
    return Curve(metric="rate", over="t", x=np.ones(2), y=y, n=1)


NOT_FINITE = {
    "m.scores.rate.value": measured(scores=(Score(metric="rate", value=NAN, n=1),)),
    "m.scores.rate.error.size": measured(
        scores=(Score(metric="rate", value=1.0, n=1, error=Error(size=NAN)),)
    ),
    "m.curves.rate.y": measured(curves=(broken_curve(np.array([1, np.inf])),)),
    "m.arrays.a": measured(arrays={"a": np.array([1, NAN], np.float32)}),
    "m.protocol.settings.lr": replace(
        measured(), protocol=Protocol(version=1, settings={"lr": float("-inf")})
    ),
    "m.provenance.times.1": measured(provenance={"times": [1.0, NAN]}),
}


@pytest.mark.parametrize("place", NOT_FINITE)
def test_what_is_not_finite_is_named_and_nothing_is_written(place: str, tmp_path: Path) -> None:
    disk.save(tmp_path, TINY)
    before = files(tmp_path)
    with pytest.raises(FixableError) as caught:
        disk.add(tmp_path, NOT_FINITE[place], SUBJECTS)
    assert caught.value.problem.startswith(place)
    assert files(tmp_path) == before


def refused(folder: Path) -> str:
    with pytest.raises(FixableError) as caught:
        disk.load(folder)
    return str(caught.value)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    disk.save(tmp_path, TINY)
    path = tmp_path / "results.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"schema": layout.SCHEMA + 1, "news": []}))
    assert "newer" in refused(tmp_path)
    assert "update ddpm-eval" in refused(tmp_path)


def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    disk.save(tmp_path, record())
    path = tmp_path / "results.json"
    text = path.read_text()
    assert text.count("2.4134") == 1
    for edited in (text.replace("2.4134", "2.3134"), text.replace("2.4134", "NaN")):
        path.write_text(edited)
        assert "edited or damaged" in refused(tmp_path)
        assert str(path) in refused(tmp_path)
    path.write_text(json.dumps(json.loads(text)))  # other spaces, the same content
    assert disk.to_json(disk.load(tmp_path)) == text


def test_a_truncated_record_is_refused(tmp_path: Path) -> None:
    disk.save(tmp_path, TINY)
    path = tmp_path / "results.json"
    whole = path.read_bytes()
    for content in (b"", whole[:-3], whole[: len(whole) // 2], b"[]", b"\xff\x00" * 9, b"[" * 9999):
        path.write_bytes(content)
        assert str(path) in refused(tmp_path)


def test_no_record_says_how_to_make_one(tmp_path: Path) -> None:
    assert "ddpm-eval nll" in refused(tmp_path / "absent")


def test_any_flipped_bit_of_the_arrays_is_noticed_or_harmless(tmp_path: Path) -> None:
    disk.save(tmp_path, TINY)
    path = tmp_path / "arrays.npz"
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            result = disk.load(tmp_path).measurements[0].arrays["x"]
            np.testing.assert_array_equal(result, np.arange(4))
        except FixableError as error:
            assert "arrays.npz" in error.problem
            noticed += 1
    assert noticed > len(whole) // 2  # content, headers and directory; dates and the like are not
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(tmp_path)
    path.unlink()
    assert "arrays.npz" in refused(tmp_path)


def test_arrays_are_swapped_for_others_in_vain(tmp_path: Path) -> None:
    disk.save(tmp_path, TINY)
    key = np.load(tmp_path / "arrays.npz").files[0]
    np.savez(tmp_path / "arrays.npz", **{key: np.arange(4) + 1})
    assert "digest" in refused(tmp_path)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    disk.save(tmp_path, TINY)
    key = np.load(tmp_path / "arrays.npz").files[0]
    bomb = np.array([Bomb(tmp_path / "boom")], object)
    np.savez(tmp_path / "arrays.npz", **{key: bomb})
    refused(tmp_path)
    assert not (tmp_path / "boom").exists()


class Killed(BaseException):
    pass


def test_a_kill_at_any_replacement_leaves_a_whole_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = record(samples(3))
    new = replace(samples(4), warnings=("new",))
    texts = {disk.to_json(old), disk.to_json(record(new))}
    replace_file = Path.replace
    seen = []
    for last in range(1, 9):
        folder = tmp_path / str(last) / "r"
        disk.save(folder, old)
        calls = 0

        def die(self: Path, target: Path, last: int = last) -> Path:
            nonlocal calls
            calls += 1
            if calls == last:
                raise Killed
            return replace_file(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", die)
            patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # nobody tidies up
            try:
                disk.add(folder, new, SUBJECTS)
            except Killed:
                seen.append(disk.to_json(disk.load(folder)))
            else:
                break
        disk.add(folder, new, SUBJECTS)
        clean = tmp_path / f"clean{last}" / "r"
        disk.save(clean, record(new))
        assert files(folder) == files(clean)
    assert len(seen) == 3  # arrays of both, the record, arrays of the new one
    assert set(seen) == texts


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FixableError, match="file"):
        disk.save(tmp_path / "file" / "report", TINY)
