"""Two runs: paired errors where they hold, independent ones elsewhere, and plain words."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.present import differences, document
from ddpm_eval.present.differences import Difference
from ddpm_eval.record import disk
from ddpm_eval.record.conversion import convert
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.schema1 import Measurement, Quantity, Report
from tests.eval import records

N, STEPS = 400, 20
SETTINGS: dict[str, Json] = {
    **{"dataset": "digits", "split": "test", "data_digest": "d", "seed": 0, "T": STEPS},
}


def mean(values: np.ndarray, unit: str = "bits/dim") -> Quantity:
    error = float(values.std(ddof=1) / len(values) ** 0.5)
    return Quantity(float(values.mean()), unit, len(values), error)


def run(name: str, shift: float, scatter: float = 0.01, **settings: Json) -> Report:
    """A run whose images are hard or easy together with those of any other run."""
    rng, own = np.random.default_rng(1), np.random.default_rng(abs(hash(shift)) % 1000)
    terms = np.zeros((N, STEPS + 1))
    terms[:, 0] = 2 + rng.normal(0, 1, N)
    terms[:, 3] = 1 + shift + scatter * own.normal(size=N)
    mse = (np.abs(rng.normal(1, 0.3, (N, STEPS + 1))) / 127.5**2) * (1 + shift)
    root = 127.5 * mse[:, 1].mean() ** 0.5
    error = mse[:, 1].std(ddof=1) / N**0.5 / (2 * mse[:, 1].mean() ** 0.5) * 127.5
    bound = Measurement(
        "nll",
        {"total": mean(terms.sum(1)), "decoder": mean(terms[:, 0]), "kl": mean(terms[:, 3])},
        arrays={"terms": terms.astype(np.float32), "mse": mse.astype(np.float32)},
        settings={**SETTINGS, **settings},
    )
    curve = Measurement(
        "rate_distortion",
        {"RMSE": Quantity(float(root), "grey levels", N, float(error))},
        settings={**SETTINGS, **settings},
    )
    return Report(name, {}, {"nll": bound, "rate_distortion": curve})


def of(one: Report, other: Report) -> dict[str, Difference]:
    return {found.name: found for found in differences.between(one, other)}


def test_the_paired_error_is_that_of_the_differences_of_images() -> None:
    a, b = run("a", 0.0), run("b", 0.02)
    found = of(a, b)["The bound"]
    terms = [each.measurements["nll"].arrays["terms"].sum(1, dtype=float) for each in (a, b)]
    each = terms[1] - terms[0]
    assert found.gap.value == pytest.approx(each.mean(), abs=1e-6)
    assert found.gap.stderr == pytest.approx(each.std(ddof=1) / N**0.5, rel=1e-4)
    assert found.how == f"paired over {N} images"
    assert found.errors is not None
    assert found.errors > 10  # though each run is known to 0.05 only
    sentence = found.sentence("a", "b")
    assert sentence.startswith("The bound: b is 0.0")
    assert "higher than a" in sentence
    assert "chance" not in sentence


def test_the_decoder_that_is_the_same_is_equal_and_the_parts_add_up() -> None:
    found = of(run("a", 0.0), run("b", 0.02))
    assert (
        found["The bound's decoder"].sentence("a", "b") == "The bound's decoder: b and a are equal."
    )
    parts = found["The bound's steps"].gap.value + found["The bound's decoder"].gap.value
    assert parts == pytest.approx(found["The bound"].gap.value)


def test_the_paired_error_of_the_rmse_is_what_resampling_finds() -> None:
    a, b = run("a", 0.0), run("b", 0.1)
    found = of(a, b)["RMSE of the last x̂₀"]
    one, other = (r.measurements["nll"].arrays["mse"][:, 1].astype(float) for r in (a, b))
    rng = np.random.default_rng(0)
    drawn = [
        127.5 * (other[i].mean() ** 0.5 - one[i].mean() ** 0.5)
        for i in rng.integers(0, N, (2000, N))
    ]
    assert found.how.startswith("paired")
    assert found.gap.stderr == pytest.approx(np.std(drawn), rel=0.1)
    assert found.gap.stderr is not None
    assert found.gap.stderr < 0.2 * (found.one.stderr or 0)


@pytest.mark.parametrize("changed", [{"seed": 1}, {"T": 21}])
def test_other_noise_is_not_paired(changed: dict[str, Json]) -> None:
    found = of(run("a", 0.0), run("b", 0.02, **changed))["The bound"]
    assert found.how == "independent errors"
    assert found.gap.stderr == pytest.approx(np.hypot(found.one.stderr, found.other.stderr))
    assert "that may be chance" in found.sentence("a", "b")


@pytest.mark.parametrize("changed", [{"data_digest": "e"}, {"dataset": "x"}, {"split": "train"}])
def test_other_images_are_not_compared(changed: dict[str, Json]) -> None:
    found = of(run("a", 0.0), run("b", 0.02, **changed))["The bound"]
    assert "not compared" in found.sentence("a", "b")
    assert "lower" not in found.sentence("a", "b")


def test_terms_that_are_not_the_quantitys_are_not_used() -> None:
    a, b = run("a", 0.0), run("b", 0.02)
    bound = b.measurements["nll"]
    moved = replace(bound, arrays={**bound.arrays, "terms": bound.arrays["terms"] + 0.1})
    b = replace(b, measurements={**b.measurements, "nll": moved})
    assert of(a, b)["The bound"].how == "independent errors"


def test_a_number_without_an_error_says_so() -> None:
    a = Report("a", {}, {"quality": records.quality()})
    better = dict(records.quality().quantities) | {"FID": Quantity(3.05, "", 50_000)}
    b = Report("b", {}, {"quality": replace(records.quality(), quantities=better)})
    assert of(a, b)["FID"].sentence("a", "b") == (
        "FID: b is 0.120 lower than a; no error is known, so its significance cannot be told."
    )
    assert of(a, b)["IS"].sentence("a", "b") == "IS: b and a are equal."


def test_a_spread_that_is_no_standard_error_is_not_taken_for_one() -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(9.4, 0.3, (4000, 10))  # IS of ten parts, measured 4,000 times
    is_of = {
        "IS": Quantity(9.4, "", 50_000, float(parts.std(1).mean())),
        "KID": records.quality().quantities["KID"],
    }
    moved = {name: replace(each, value=each.value * 1.1) for name, each in is_of.items()}
    pair = [
        Report(name, {}, {"quality": replace(records.quality(), quantities=quantities)})
        for name, quantities in (("a", is_of), ("b", moved))
    ]
    found = of(*pair)
    true = np.diff(parts.mean(1).reshape(2, -1), axis=0).std()
    assert found["IS"].gap.stderr == pytest.approx(true, rel=0.1)
    assert found["IS"].how == "independent errors, from the spread over 10 parts"
    assert found["KID"].gap.stderr is None
    assert "its significance cannot be told" in found["KID"].sentence("a", "b")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (records.quality(n=10_000), "50,000 and 10,000 samples"),
        (records.quality(reference="CIFAR-10 test"), "the reference differs"),
        (records.quality(extractor_digest="ee"), "the weights of the feature network differ"),
    ],
)
def test_metrics_on_other_terms_are_not_compared(other: Measurement, reason: str) -> None:
    found = of(Report("a", {}, {"quality": records.quality()}), Report("b", {}, {"quality": other}))
    for name in ("FID", "recall"):
        assert reason in found[name].sentence("a", "b")


def test_the_yardstick_is_no_metric_of_a_run() -> None:
    report = Report("a", {}, {"quality": records.digits_quality()})
    assert not any("held-out" in name for name in of(report, report))
    assert "FD(digits-cnn)" in of(report, report)


def test_the_page_begins_with_what_differs() -> None:
    found = document.compose([run("a", 0.0), run("b", 0.02)], compare=True)
    assert found.title == "a against b"
    assert found.verdicts[0].startswith("The bound: b is")
    assert found.sections[0].title == "What differs"
    (table,) = found.sections[0].tables
    row = table.rows[0]
    assert row.cells[2].number.startswith("+0.0")
    assert row.cells[2].bold
    assert table.notes[row.cells[2].notes[0] - 1].startswith("paired over")
    nothing = document.compose([Report("a", {}), Report("b", {})], compare=True)
    assert "no number in common" in nothing.sections[0].texts[0]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    for name, shift in (("A", 0.0), ("B", 0.02)):
        made = run(name, shift)
        samples = replace(records.samples(), settings={"seed": 0})
        whole = replace(made, measurements={**made.measurements, "samples": samples})
        disk.save(tmp_path / name, convert(whole))
    return tmp_path


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *arguments])
    return done.exit_code, " ".join(done.output.split())


def test_the_command_writes_beside_the_records(saved: Path) -> None:
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    code, said = invoke("--compare", "A", "B", "--reports", str(saved))
    assert code == 0
    assert "A-vs-B/report.html" in said.replace(" ", "")
    text = (saved / "A-vs-B" / "report.html").read_text("utf-8")
    assert "Samples, run against run" in text
    assert "B is 0.0" in text
    assert (saved / "A-vs-B" / "differences.csv").is_file()
    assert invoke("--together", "--reports", str(saved))[0] == 0
    assert "What differs" not in (saved / "A-and-B" / "report.html").read_text("utf-8")
    assert all(path.read_bytes() == content for path, content in before.items())
    assert invoke("--reports", str(saved))[0] == 0  # the pages of several are no records
    assert (saved / "B" / "report.html").is_file()


def test_records_are_found_by_the_paths_of_their_folders(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    names = saved.name
    assert invoke(f"{names}/A")[0] == 0
    assert invoke(f"{names}/B/", "--reports", names)[0] == 0
    assert (saved / "A" / "report.html").is_file() and (saved / "B" / "report.html").is_file()
    assert invoke("--compare", f"{names}/A", "B", "--reports", names)[0] == 0
    assert (saved / "A-vs-B" / "report.html").is_file()
    code, said = invoke(f"{names}/C", "--reports", names)
    assert (code, f"{names}/C: there is no record" in said) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (("--compare", "A"), "name two"),
        (("--compare", "A", "B", "A"), "name two"),
        (("--compare", "A", "A"), "different names"),
        (("--together", "A"), "different names"),
        (("--compare", "A", "C"), "there is no record"),
        (("--compare", "--together", "A", "B"), "give one of them"),
    ],
)
def test_what_cannot_be_compared_is_named_and_nothing_written(
    saved: Path, arguments: tuple[str, ...], fix: str
) -> None:
    code, said = invoke(*arguments, "--reports", str(saved))
    assert code == 2
    assert fix in said
    assert sorted(path.name for path in saved.iterdir() if path.is_dir()) == ["A", "B"]


def test_a_record_is_never_written_over(saved: Path) -> None:
    disk.save(saved / "A-vs-B", convert(run("A-vs-B", 0.0)))
    code, said = invoke("--compare", "A", "B", "--reports", str(saved))
    assert code == 2
    assert "a record lies there" in said


def test_sentences_name_runs_as_they_are() -> None:
    pair = [run(name, 0.0) for name in (records.HOSTILE, records.LATEX_SPECIALS)]
    found = document.compose(pair, compare=True)
    assert records.HOSTILE in found.verdicts[0]
