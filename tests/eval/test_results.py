"""The record survives the disk exactly, and nothing that is not a record passes for one."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ddpm_eval.record import disk, layout
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.protocol import EstimatorFacts, ImagesFacts, Protocol
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Curve, Error, Grid, Qualifiers, Score, number_texts
from ddpm_train.errors import FixableError

SUBJECTS = {"a": {"step": 10, "weights": "ema"}}


def bound(*, n: int = 9, model: str = "a", total: float = 2.4134, seed: int = 0) -> Measurement:
    t = np.arange(5)
    return Measurement(
        measure="bound",
        protocol=Protocol(
            version=1,
            model=model,
            images=ImagesFacts(digest="d", n=n, dataset="digits", split="test"),
            seed=seed,
        ),
        scores=(
            Score(metric="bits_per_dim", value=total, n=n, error=Error(size=0.0121)),
            Score(metric="bits_per_dim", value=1.25, n=n, of=Qualifiers(part="decoder")),
            Score(metric="rmse", value=2.5, n=n, of=Qualifiers(at=("reverse_steps", 3))),
        ),
        curves=(Curve(metric="bound_term", over="t", x=t, y=0.5 + t, n=n, error=t / 10, log="y"),),
        arrays={"terms": np.ones((3, 5), np.float32)},
        warnings=("one seed",),
        provenance={"command": "ddpm-eval nll"},
    )


def samples(n: int = 6, seed: int = 0) -> Measurement:
    images = np.random.default_rng(0).integers(0, 256, (n, 8, 8, 1), np.uint8)
    return Measurement(
        measure="samples",
        protocol=Protocol(version=1, model="a", seed=seed),
        grids={"samples": Grid(images, 3, (), "Not chosen.")},
        facts={"indices": [0, n]},
    )


def record(*measurements: Measurement) -> Record:
    return Record(name="r", subjects=SUBJECTS, measurements=measurements or (bound(), samples()))


TINY = record(
    Measurement(measure="m", protocol=Protocol(version=1), arrays={"x": np.arange(4)}),
)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_a_curve_of_one_image_has_no_error() -> None:
    x = np.arange(3.0)
    one, two = (Curve(metric="rate", over="t", x=x, y=x, n=n, error=0 * x) for n in (1, 2))
    assert one.error is None and two.error is not None
    covariates = Curve(metric="rate", over="t", x=x, y=x, n=1, error=x)
    assert covariates.error is not None and covariates.error[2] == 2


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    saved = record()
    disk.save(tmp_path, saved)
    loaded = disk.load(tmp_path)
    assert disk.to_json(loaded) == disk.to_json(saved)
    assert loaded.subjects == saved.subjects
    for old in saved.measurements:
        new = loaded.find(old.measure, old.protocol)
        assert new is not None
        assert (new.protocol, new.scores, new.warnings) == (old.protocol, old.scores, old.warnings)
        assert (new.facts, new.provenance) == (old.facts, old.provenance)
        for key, array in old.arrays.items():
            assert new.arrays[key].dtype == array.dtype
            np.testing.assert_array_equal(new.arrays[key], array)
        for one, other in zip(new.curves, old.curves, strict=True):
            assert (one.metric, one.over, one.log, one.of) == ("bound_term", "t", "y", other.of)
            np.testing.assert_array_equal(
                [one.x, one.y, one.error], [other.x, other.y, other.error]
            )
        for key, grid in old.grids.items():
            np.testing.assert_array_equal(new.grids[key].images, grid.images)


def test_equal_records_are_equal_bytes_however_they_came_about(tmp_path: Path) -> None:
    saved = record()
    whole, parts, detour = (tmp_path / name / "r" for name in ("whole", "parts", "detour"))
    disk.save(whole, saved)
    for measurement in reversed(saved.measurements):
        disk.add(parts, measurement, SUBJECTS)
    disk.save(detour, record(samples(9)))
    disk.save(detour, saved)
    assert files(whole) == files(parts) == files(detour)


def test_a_quick_look_leaves_a_long_measurement_alone(tmp_path: Path) -> None:
    whole, few = bound(n=297), bound(n=50, total=2.6)
    guessed = replace(
        whole, protocol=replace(whole.protocol, estimator=EstimatorFacts(budget=500)), scores=()
    )
    for measurement in (whole, few, guessed):
        assert disk.add(tmp_path, measurement, SUBJECTS) == ()
    loaded = disk.load(tmp_path)
    assert len(loaded.measurements) == 3
    assert [item.protocol.key for item in loaded.of("bound")] == [
        item.protocol.key for item in (whole, few, guessed)
    ]


def test_the_same_protocol_again_replaces_itself_alone(tmp_path: Path) -> None:
    disk.save(tmp_path, record(bound(), bound(n=5), samples()))
    disk.add(tmp_path, bound(total=2.5), SUBJECTS)
    loaded = disk.load(tmp_path)
    values = [item.scores[0].value for item in loaded.of("bound")]
    assert (values, len(loaded.of("samples"))) == ([2.5, 2.4134], 1)


def test_replace_lets_go_of_other_answers_to_the_same_question_and_says_so(tmp_path: Path) -> None:
    train = bound(n=7)
    images = ImagesFacts(digest="e", n=7, split="train")
    train = replace(train, protocol=replace(train.protocol, images=images))
    disk.save(tmp_path, record(bound(), bound(seed=3), train, samples()))
    (warning,) = disk.add(tmp_path, bound(n=50), SUBJECTS, replace=True)
    loaded = disk.load(tmp_path)
    assert "replaced 2" in warning
    assert [item.scores[0].n for item in loaded.of("bound")] == [50, 7]
    assert loaded.of("samples")


RUN = {
    **{"preset": "digits", "seed": 0, "data": {"source": "digits"}, "schedule": {"T": 9}},
    **{"unet": {}, "objective": {}},
}


def test_checkpoints_of_one_run_share_a_record_and_nothing_leaves_it(tmp_path: Path) -> None:
    first = {"a": {"step": 10, "weights": "ema", "run": RUN}}
    later = {"b": {"step": 20, "weights": "ema", "run": RUN}}
    disk.add(tmp_path, bound(), first)
    disk.add(tmp_path, bound(model="b"), later)
    loaded = disk.load(tmp_path)
    assert loaded.subjects == first | later
    assert [item.protocol.model for item in loaded.of("bound")] == ["b", "a"]


def test_a_newer_checkpoint_is_stronger_than_an_older_one_that_is_measured_later() -> None:
    early, late = (
        replace(bound(model=model), provenance={"finished": finished})
        for model, finished in (("old", "2026-02-02"), ("new", "2026-01-01"))
    )
    subjects = {"old": {"step": 10}, "new": {"step": 20}}
    ranked = Record(name="r", subjects=subjects, measurements=(early, late)).of("bound")
    assert [item.protocol.model for item in ranked] == ["new", "old"]


def test_a_run_that_is_trained_again_is_another_run(tmp_path: Path) -> None:
    first, later, again = ({"step": step, "run": RUN} for step in (10, 20, 20))
    disk.add(tmp_path / "r", bound(), {"a": first})
    disk.add(tmp_path / "r", bound(model="b"), {"b": later})
    assert disk.place(tmp_path, "r", {"c" * 9: again}) == "r-cccccccc"


@pytest.mark.parametrize(
    "other",
    [
        {"step": 20, "run": {**RUN, "seed": 1}},
        {"step": 10, "run": RUN},  # the same step, other weights: trained anew
        {"step": 20, "run": RUN, "facts": {"data_digest": "other images"}},
        {"images": 40, "file": "r"},
    ],
)
def test_another_model_of_the_same_name_gets_a_record_of_its_own(
    other: dict[str, object], tmp_path: Path
) -> None:
    first = {"a": {"step": 10, "run": RUN, "facts": {"data_digest": "images"}}}
    disk.add(tmp_path / "r", bound(), first)
    before = files(tmp_path / "r")
    second = {"0123456789": other}
    with pytest.raises(FixableError, match="another name than r"):
        disk.add(tmp_path / "r", bound(model="0123456789"), second)  # type: ignore[arg-type]
    assert files(tmp_path / "r") == before
    assert disk.place(tmp_path, "r", first) == "r"
    assert disk.place(tmp_path, "r", second) == "r-01234567"  # type: ignore[arg-type]
    assert disk.place(tmp_path, "new", second) == "new"  # type: ignore[arg-type]


def test_commands_that_add_at_once_all_get_in(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from ddpm_eval.record.disk import add\n"
        "from ddpm_eval.record.record import *\n"
        "m = Measurement(measure=sys.argv[2], protocol=Protocol(version=1))\n"
        "for _ in range(10): add(Path(sys.argv[1]), m, {'a': {}})"
    )
    names = {"a", "b", "c", "d"}
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path), n]) for n in names]
    assert [process.wait(60) for process in running] == [0] * len(names)
    assert {item.measure for item in disk.load(tmp_path).measurements} == names


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


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (("bits_per_dim", 3.7512, 10_000, 0.0041), "3.751 ± 0.004 bits/dim (n=10,000)"),
        (("bits_per_dim", 3.75, 96, 0.056), "3.750 ± 0.056 bits/dim (n=96)"),
        (("bits_per_dim", 3.7512349, 7, 0.00013), "3.75123 ± 0.00013 bits/dim (n=7)"),
        (("inception_score", 9.4612, 50_000, 0.112), "9.46 ± 0.11 (n=50,000)"),  # as in the paper
        (("fid", 13.5112, 50_000, None), "13.51 (n=50,000)"),
        (("kid", 0.0004123, 5, None), "0.000412 (n=5)"),
        (("copies", 0, 1, None), "0 samples (n=1)"),
        (("bits_per_dim", -1e-6, 3, 0.02), "0.000 ± 0.020 bits/dim (n=3)"),
        (("kid", 0.0, 3, 0.0), "0.00 ± 0.00 (n=3)"),
        (("bits_per_dim", 1e-5, 9, None), "1.00e-05 bits/dim (n=9)"),
    ],
)
def test_numbers_are_printed_to_the_digit_that_is_known(
    score: tuple[str, float, int, float | None], text: str
) -> None:
    metric, value, n, size = score
    error = None if size is None else Error(size=size)
    assert str(Score(metric=metric, value=value, n=n, error=error)) == text


def test_printing_loses_less_than_the_error() -> None:
    draws = np.random.default_rng(0)
    for value, error in zip(
        draws.normal(0, 100, 500), 10 ** draws.uniform(-7, 2, 500), strict=True
    ):
        number, spread = number_texts(float(value), float(error))
        assert abs(float(number.replace(",", "")) - value) <= error / 1.9
        assert abs(float(spread.replace(",", "")) - error) <= error / 3.8  # 1.95 is said as 2
        assert len(number.partition(".")[2]) == len(spread.partition(".")[2])


def curve(x: Array, y: Array, error: Array | None = None) -> Curve:
    return Curve(metric="rate", over="t", x=x, y=y, n=1, error=error)


@pytest.mark.parametrize(
    "broken",
    [
        lambda: curve(np.ones(3), np.ones(2)),
        lambda: curve(np.ones(3), np.ones(3), np.ones(2)),
        lambda: curve(np.ones((3, 1)), np.ones((3, 1))),
        lambda: curve(np.ones(0), np.ones(0)),
        lambda: Grid(np.ones((2, 4, 4, 3)), 2),
        lambda: Grid(np.ones((2, 3, 4, 4), np.uint8), 2),
        lambda: Grid(np.ones((2, 4, 4, 3), np.uint8), 2, ("one",)),
        lambda: Grid(np.ones((0, 4, 4, 3), np.uint8), 2),
    ],
)
def test_shapes_that_cannot_be_drawn_are_refused(broken: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"grid|curve|errors|labels"):
        broken()
