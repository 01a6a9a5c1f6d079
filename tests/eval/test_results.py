"""The record survives the disk exactly, and nothing that is not a record passes for one."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.record import record as results
from ddpm_eval.record.record import Curve, Grid, Measurement, Quantity, Report
from ddpm_train.errors import FixableError
from tests.eval import records

TINY = Report("tiny", {"checkpoint": "a"}, {"m": Measurement("m", arrays={"x": np.arange(4)})})


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = records.report()
    results.save(tmp_path, saved)
    loaded = results.load(tmp_path)
    assert results.to_json(loaded) == results.to_json(saved)
    for name, measurement in saved.measurements.items():
        found = loaded.measurements[name]
        assert found.quantities == measurement.quantities
        for key, array in measurement.arrays.items():
            assert found.arrays[key].dtype == array.dtype
            np.testing.assert_array_equal(found.arrays[key], array)
        for key, curve in measurement.curves.items():
            np.testing.assert_array_equal(found.curves[key].y, curve.y)
        for key, grid in measurement.grids.items():
            np.testing.assert_array_equal(found.grids[key].images, grid.images)
    assert loaded.measurements["nll"].warnings == ("one seed",)
    assert loaded.measurements["nll"].curves["terms"].log == "y"
    assert loaded.subject == saved.subject


def test_equal_records_are_equal_bytes_however_they_came_about(tmp_path: Path) -> None:
    saved = records.report()
    whole, parts, detour = tmp_path / "whole", tmp_path / "parts", tmp_path / "detour"
    results.save(whole, saved)
    for measurement in reversed(saved.measurements.values()):
        results.add(parts, saved.name, saved.subject, measurement)
    results.save(detour, records.report("other", records.samples(9), checkpoint="b"))
    results.save(detour, saved)
    assert files(whole) == files(parts) == files(detour)


def test_adding_replaces_the_same_measurement_and_keeps_the_others(tmp_path: Path) -> None:
    saved = records.report()
    results.save(tmp_path, saved)
    again = records.nll(total=2.5)
    assert results.add(tmp_path, saved.name, saved.subject, again) == ()
    found = results.load(tmp_path).measurements
    assert found.keys() == saved.measurements.keys()
    assert found["nll"].quantities["total"].value == 2.5


def test_measurements_of_another_checkpoint_leave_and_it_is_said(tmp_path: Path) -> None:
    results.save(tmp_path, records.report())
    said = results.add(tmp_path, "digits", {"checkpoint": "b2"}, records.samples())
    assert list(results.load(tmp_path).measurements) == ["samples"]
    assert len(said) == 1
    assert all(name in said[0] for name in ("baselines", "nll", "training"))


def test_commands_that_add_at_once_all_get_in(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ddpm_eval.record.record import *\n"
        "m = Measurement(sys.argv[2], {'v': Quantity(1.5, '', n=1)})\n"
        "for _ in range(10): add(Path(sys.argv[1]), 'r', {'checkpoint': 'a'}, m)"
    )
    names = {"a", "b", "c", "d"}
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), n]) for n in names]
    assert [process.wait(60) for process in running] == [0] * len(names)
    assert results.load(tmp_path).measurements.keys() == names


NAN = float("nan")
NOT_FINITE = {
    "m.quantities.total.value": Measurement("m", {"total": Quantity(NAN, "", 1)}),
    "m.quantities.total.stderr": Measurement("m", {"total": Quantity(1.0, "", 1, NAN)}),
    "m.curves.c.y": Measurement("m", curves={"c": Curve(np.ones(2), [1, np.inf], "", "", 1)}),
    "m.arrays.a": Measurement("m", arrays={"a": np.array([1, NAN], np.float32)}),
    "m.settings.lr": Measurement("m", settings={"lr": float("-inf")}),
    "m.provenance.times.1": Measurement("m", provenance={"times": [1.0, NAN]}),
}


@pytest.mark.parametrize("where", NOT_FINITE)
def test_what_is_not_finite_is_named_and_nothing_is_written(where: str, tmp_path: Path) -> None:
    results.save(tmp_path, TINY)
    before = files(tmp_path)
    with pytest.raises(FixableError) as caught:
        results.add(tmp_path, "tiny", TINY.subject, NOT_FINITE[where])
    assert caught.value.problem.startswith(where)
    assert files(tmp_path) == before


def refused(folder: Path) -> str:
    with pytest.raises(FixableError) as caught:
        results.load(folder)
    return str(caught.value)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    results.save(tmp_path, TINY)
    path = tmp_path / "results.json"
    plain = json.loads(path.read_text())
    path.write_text(json.dumps(plain | {"schema": results.SCHEMA + 1, "news": []}))
    assert "newer" in refused(tmp_path)
    assert "update ddpm-eval" in refused(tmp_path)


def test_an_edited_record_is_refused(tmp_path: Path) -> None:
    results.save(tmp_path, records.report())
    path = tmp_path / "results.json"
    text = path.read_text()
    assert text.count("2.4134") == 1
    for edited in (text.replace("2.4134", "2.3134"), text.replace("2.4134", "NaN")):
        path.write_text(edited)
        assert "edited or damaged" in refused(tmp_path)
        assert str(path) in refused(tmp_path)
    path.write_text(json.dumps(json.loads(text)))  # other spaces, the same content
    assert results.to_json(results.load(tmp_path)) == text


def test_a_truncated_record_is_refused(tmp_path: Path) -> None:
    results.save(tmp_path, TINY)
    path = tmp_path / "results.json"
    whole = path.read_bytes()
    for content in (b"", whole[:-3], whole[: len(whole) // 2], b"[]", b"\xff\x00" * 9, b"[" * 9999):
        path.write_bytes(content)
        assert str(path) in refused(tmp_path)


def test_no_record_says_how_to_make_one(tmp_path: Path) -> None:
    assert "ddpm-eval nll" in refused(tmp_path / "absent")


def test_any_flipped_bit_of_the_arrays_is_noticed_or_harmless(tmp_path: Path) -> None:
    results.save(tmp_path, TINY)
    path = tmp_path / "arrays.npz"
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = results.load(tmp_path).measurements["m"].arrays["x"]
            np.testing.assert_array_equal(found, np.arange(4))
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
    results.save(tmp_path, TINY)
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
    results.save(tmp_path, TINY)
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
    old = records.report("r", records.samples(3))
    new = replace(records.samples(4), warnings=("new",))
    texts = {results.to_json(old), results.to_json(replace(old, measurements={"samples": new}))}
    replace_file = Path.replace
    seen = []
    for last in range(1, 9):
        folder = tmp_path / str(last)
        results.save(folder, old)
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
                results.add(folder, "r", old.subject, new)
            except Killed:
                seen.append(results.to_json(results.load(folder)))
            else:
                break
        results.add(folder, "r", old.subject, new)
        clean = tmp_path / f"clean{last}"
        results.save(clean, replace(old, measurements={"samples": new}))
        assert files(folder) == files(clean)
    assert len(seen) == 3  # arrays of both, the record, arrays of the new one
    assert set(seen) == texts


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(FixableError, match="file"):
        results.save(tmp_path / "file" / "report", TINY)


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Quantity(3.7512, "bits/dim", 10_000, 0.0041), "3.751 ± 0.004 bits/dim (n=10,000)"),
        (Quantity(3.75, "bits/dim", 96, 0.056), "3.750 ± 0.056 bits/dim (n=96)"),
        (Quantity(3.7512349, "bits/dim", 7, 0.00013), "3.75123 ± 0.00013 bits/dim (n=7)"),
        (Quantity(9.4612, "", 50_000, 0.112), "9.46 ± 0.11 (n=50,000)"),  # as the paper prints it
        (Quantity(13.5112, "", 50_000), "13.51 (n=50,000)"),
        (Quantity(0.0004123, "", 5), "0.000412 (n=5)"),
        (Quantity(0, "images", 1), "0 images (n=1)"),
        (Quantity(-1e-6, "bits/dim", 3, 0.02), "-0.000 ± 0.020 bits/dim (n=3)"),
        (Quantity(0.0, "", 3, 0.0), "0.00 ± 0.00 (n=3)"),
        (Quantity(1e-5, "bits/dim", 9), "1.00e-05 bits/dim (n=9)"),
    ],
)
def test_numbers_are_printed_to_the_digit_that_is_known(quantity: Quantity, text: str) -> None:
    assert str(quantity) == text


def test_printing_loses_less_than_the_error() -> None:
    draws = np.random.default_rng(0)
    for value, error in zip(
        draws.normal(0, 100, 500), 10 ** draws.uniform(-7, 2, 500), strict=True
    ):
        number, spread = Quantity(float(value), "", 9, float(error)).texts
        assert abs(float(number.replace(",", "")) - value) <= error / 1.9
        assert abs(float(spread.replace(",", "")) - error) <= error / 3.8  # 1.95 is said as 2
        assert len(number.partition(".")[2]) == len(spread.partition(".")[2])


@pytest.mark.parametrize(
    "broken",
    [
        lambda: Curve(np.ones(3), np.ones(2), "x", "y", 1),
        lambda: Curve(np.ones(3), np.ones(3), "x", "y", 1, stderr=np.ones(2)),
        lambda: Curve(np.ones((3, 1)), np.ones((3, 1)), "x", "y", 1),
        lambda: Curve(np.ones(0), np.ones(0), "x", "y", 1),
        lambda: Grid(np.ones((2, 4, 4, 3)), 2),
        lambda: Grid(np.ones((2, 3, 4, 4), np.uint8), 2),
        lambda: Grid(np.ones((2, 4, 4, 3), np.uint8), 2, ("one",)),
        lambda: Grid(np.ones((0, 4, 4, 3), np.uint8), 2),
    ],
)
def test_shapes_that_cannot_be_drawn_are_refused(broken: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"grid|curve|errors|labels"):
        broken()
