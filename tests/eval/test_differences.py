"""Two runs: like with like, paired errors where they hold, every differing setting named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from ddpm_eval.cli import app
from ddpm_eval.present import alike, differences, document, wording
from ddpm_eval.present.differences import Difference
from ddpm_eval.record import disk
from ddpm_eval.record.protocol import EstimatorFacts, ImagesFacts, Protocol
from ddpm_eval.record.record import Measurement, Record
from ddpm_eval.record.scores import Error, Qualifiers, Score
from tests.eval import records

N, STEPS = 400, 20
IMAGES = ImagesFacts(digest="d", n=N, dataset="digits", split="test")


def mean(values: np.ndarray, **of: Any) -> Score:
    error = Error(size=float(values.std(ddof=1) / len(values) ** 0.5))
    value = float(values.mean())
    of = Qualifiers(**of)
    return Score(metric="bits_per_dim", value=value, n=len(values), error=error, of=of)


def run(name: str, shift: float, scatter: float = 0.01, **protocol: Any) -> Record:
    """A run whose images are hard or easy together with those of any other run."""
    rng, own = np.random.default_rng(1), np.random.default_rng(abs(hash(shift)) % 1000)
    terms = np.zeros((N, STEPS + 1))
    terms[:, 0] = 2 + rng.normal(0, 1, N)
    terms[:, 3] = 1 + shift + scatter * own.normal(size=N)
    mse = (np.abs(rng.normal(1, 0.3, (N, STEPS + 1))) / 127.5**2) * (1 + shift)
    root = 127.5 * mse[:, 1].mean() ** 0.5
    error = mse[:, 1].std(ddof=1) / N**0.5 / (2 * mse[:, 1].mean() ** 0.5) * 127.5
    fields: dict[str, Any] = {"model": name, "images": IMAGES, "seed": 0, **protocol}
    settings = Protocol(version=1, **fields)
    bound = Measurement(
        measure="bound",
        protocol=settings,
        scores=(
            mean(terms.sum(1)),
            mean(terms[:, 0], part="decoder"),
            mean(terms[:, 3], part="steps"),
        ),
        arrays={"terms": terms.astype(np.float32), "mse": mse.astype(np.float32)},
    )
    rmse = Score(metric="rmse", value=float(root), n=N, error=Error(size=float(error)))
    curve = Measurement(measure="rate_distortion", protocol=settings, scores=(rmse,))
    return Record(name=name, subjects={name: {}}, measurements=(bound, curve))


def of(one: Record, other: Record) -> dict[str, Difference]:
    return {item.name: item for item in differences.between(one, other)}


def size(difference: Difference) -> float | None:
    return None if difference.gap.error is None else difference.gap.error.size


def test_the_paired_error_is_that_of_the_differences_of_images() -> None:
    a, b = run("a", 0.0), run("b", 0.02)
    gap = of(a, b)["The bound"]
    terms = [item.measurements[0].arrays["terms"].sum(1, dtype=float) for item in (a, b)]
    change = terms[1] - terms[0]
    assert gap.gap.value == pytest.approx(change.mean(), abs=1e-6)
    assert size(gap) == pytest.approx(change.std(ddof=1) / N**0.5, rel=1e-4)
    assert gap.basis == f"paired over {N} images"
    assert gap.errors is not None
    assert gap.errors > 10  # though each run is known to 0.05 only
    sentence = gap.sentence("a", "b")
    assert sentence.startswith("The bound: b is 0.0")
    assert "higher than a" in sentence
    assert "chance" not in sentence and "settings" not in sentence


def test_the_decoder_that_is_the_same_is_equal_and_the_parts_add_up() -> None:
    gaps = of(run("a", 0.0), run("b", 0.02))
    decoder = gaps["The bound's decoder"]
    assert decoder.sentence("a", "b") == "The bound's decoder: b and a are equal."
    parts = gaps["The bound's steps"].gap.value + decoder.gap.value
    assert parts == pytest.approx(gaps["The bound"].gap.value)


def test_the_paired_error_of_the_rmse_is_what_resampling_finds() -> None:
    a, b = run("a", 0.0), run("b", 0.1)
    gap = of(a, b)["RMSE of the last x̂₀"]
    one, other = (r.measurements[0].arrays["mse"][:, 1].astype(float) for r in (a, b))
    rng = np.random.default_rng(0)
    drawn = [
        127.5 * (other[i].mean() ** 0.5 - one[i].mean() ** 0.5)
        for i in rng.integers(0, N, (2000, N))
    ]
    assert gap.basis.startswith("paired")
    assert size(gap) == pytest.approx(np.std(drawn), rel=0.1)
    assert gap.one.error is not None
    assert (size(gap) or 1) < 0.2 * gap.one.error.size


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed 0 and 1"),
        ({"images": replace(IMAGES, choice="drawn", seed=3)}, "choice all and drawn"),
    ],
)
def test_other_noise_is_not_paired(change: dict[str, Any], named: str) -> None:
    gap = of(run("a", 0.0), run("b", 0.02, **change))["The bound"]
    assert gap.basis == "independent errors"
    errors = [item.error.size for item in (gap.one, gap.other) if item.error is not None]
    assert size(gap) == pytest.approx(np.hypot(*errors))
    assert "that may be chance" in gap.sentence("a", "b")
    assert named in gap.sentence("a", "b")


@pytest.mark.parametrize(
    "change",
    [{"digest": "e"}, {"digest": "e", "dataset": "x"}],
)
def test_other_images_are_not_compared(change: dict[str, Any]) -> None:
    gap = of(run("a", 0.0), run("b", 0.02, images=replace(IMAGES, **change)))["The bound"]
    assert "not compared" in gap.sentence("a", "b")
    assert "lower" not in gap.sentence("a", "b")


def test_images_of_one_digest_are_compared_whatever_they_are_called() -> None:
    """A copy of a file, or the same file in another folder, holds the same images."""
    images = replace(IMAGES, dataset="copy")
    reference = ImagesFacts(digest="r", n=N, dataset="here")
    one = run("a", 0.0, reference=reference)
    other = run("b", 0.1, images=images, reference=replace(reference, dataset="there"))
    assert not any(item.obstacle for item in differences.between(one, other))
    assert "reference" not in str(alike.facts(one, other))
    unknown = run("c", 0.1, images=replace(images, digest=""))
    assert any(item.obstacle for item in differences.between(replace_digest(one), unknown))


def replace_digest(record: Record) -> Record:
    """The record of a time when images were known by their names."""
    items = [
        replace(
            item, protocol=replace(item.protocol, images=replace(IMAGES, digest=""), reference=None)
        )
        for item in record.measurements
    ]
    return replace(record, measurements=tuple(items))


def test_a_split_is_compared_with_the_same_split_alone() -> None:
    train = replace(IMAGES, split="train", digest="t")
    assert of(run("a", 0.0), run("b", 0.02, images=train)) == {}
    assert "The bound, training images" in of(
        run("a", 0, images=train), run("b", 0.1, images=train)
    )


def test_terms_that_are_not_the_scores_are_not_used() -> None:
    a, b = run("a", 0.0), run("b", 0.02)
    bound, curve = b.measurements
    moved = replace(bound, arrays={**bound.arrays, "terms": bound.arrays["terms"] + 0.1})
    b = replace(b, measurements=(moved, curve))
    assert of(a, b)["The bound"].basis == "independent errors"


# -------------------------------------------------------------------------------- like with like


@pytest.mark.parametrize(
    ("change", "name", "values"),
    [
        ({"clip": False}, "clipping of x̂₀", ("yes", "no")),
        ({"variance": "fixedsmall"}, "variance", ("optimal", "fixedsmall")),
        ({"precision": "bf16"}, "precision", ("float32", "bf16")),
        ({"weights": "raw"}, "weights", ("ema", "raw")),
        ({"estimator": EstimatorFacts(budget=500)}, "budget", ("none", "500")),
    ],
)
def test_one_model_by_two_protocols_is_not_called_two_models(
    change: dict[str, Any], name: str, values: tuple[str, str]
) -> None:
    one = records.measured("bound")
    other = records.valued(records.changed(one, **change), bits_per_dim=6.5)
    pair = records.only("a", one), records.only("b", other)
    text = f"{name} {values[0]} and {values[1]}"
    sentence = of(*pair)["The bound"].sentence("a", "b")
    assert sentence.endswith(f"The settings differ too: {text}.")
    section = document.compose(pair, compare=True).sections[0]
    assert section.facts == (("bound (test), a / b", ((name, " / ".join(values)),)),)
    assert any(text in note for note in section.tables[0].notes)


def test_samples_of_other_numbers_of_steps_are_compared_and_it_is_said() -> None:
    one = records.measured("quality")
    other = records.changed(one, sampling={"steps": 20})
    gap = of(records.only("a", one), records.only("b", other))["FD(digits-cnn)"]
    assert gap.sentence("a", "b").endswith("The settings differ too: steps 200 and 20.")


def test_what_the_protocol_names_is_not_named_again_from_the_settings() -> None:
    one = records.changed(records.measured("quality"), settings={"quality": {"n": 0, "k": 3}})
    tree = {"quality": {"n": 512, "k": 5}}
    other = records.changed(one, sampling={"steps": 20, "digest": "other"}, settings=tree)
    changes = wording.differing(one.protocol, other.protocol)
    assert set(changes) == {"sampling.steps", "settings.quality.n", "settings.quality.k"}
    fewer = records.changed(other, sampling={"n": 9}, settings={"quality": {"n": 9, "k": 5}})
    changes = wording.differing(one.protocol, fewer.protocol)
    assert "settings.quality.n" not in changes and "sampling.n" in changes
    calibrated = records.changed(fewer, settings={"calibration": {"n": 32}})
    assert "settings.calibration.n" in wording.differing(one.protocol, calibrated.protocol)


def test_of_several_measurements_those_that_agree_most_are_compared() -> None:
    whole = records.measured("bound")
    few = records.valued(
        records.counted(records.changed(whole, images={"n": 50}), 50), bits_per_dim=6.3
    )
    raw = records.valued(records.changed(few, weights="raw"), bits_per_dim=7.0)
    a, b = records.only("a", whole, few), records.only("b", raw, few)
    (pair,) = alike.pairs(a, b, "bound")
    assert [item.protocol.key for item in pair] == [few.protocol.key] * 2
    gap = of(a, b)["The bound"]
    assert (gap.one.n, gap.other.n, gap.settings) == (50, 50, ())


def test_a_number_without_an_error_says_so() -> None:
    plain = tuple(replace(x, error=None) for x in records.quality().scores if x.metric == "fid")
    a = replace(records.quality(), scores=plain)
    b = records.valued(a, fid=3.0512)
    gaps = of(records.only("a", a), records.only("b", b))
    assert gaps["FID"].sentence("a", "b") == (
        "FID: b is 0.120 lower than a; no error is known, so its significance cannot be told."
    )
    assert of(records.only("a", a), records.only("b", a))["FID"].gap.value == 0


def test_a_spread_that_is_no_standard_error_is_not_taken_for_one() -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(9.4, 0.3, (4000, 10))  # IS of ten parts, measured 4,000 times
    spread = Error(size=float(parts.std(1).mean()), kind="spread", over="10 parts", parts=10)
    one = records.quality()
    errors = {"inception_score": spread, "kid": replace(spread, over="100 subsets", parts=0)}
    scores = (replace(score, error=errors.get(score.metric, score.error)) for score in one.scores)
    one = replace(one, scores=tuple(scores))
    kid = one.score("kid")
    assert kid is not None and kid.error is not None
    other = records.valued(one, inception_score=10.0, kid=1.1 * kid.value)
    gaps = of(records.only("a", one), records.only("b", other))
    true = np.diff(parts.mean(1).reshape(2, -1), axis=0).std()
    assert size(gaps["IS"]) == pytest.approx(true, rel=0.1)
    assert gaps["IS"].basis == "independent errors, from the spread over 10 parts"
    assert size(gaps["KID"]) is None
    assert "its significance cannot be told" in gaps["KID"].sentence("a", "b")


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (records.quality(10_000), "50,000 and 10,000 samples"),
        (records.quality(reference="other train"), "the reference differs"),
        (
            records.changed(records.quality(), extractor={"digest": "ee"}),
            "the weights of the feature network differ",
        ),
    ],
)
def test_metrics_on_other_terms_are_not_compared(other: Measurement, reason: str) -> None:
    gaps = of(records.only("a", records.quality()), records.only("b", other))
    for name in ("FID", "Recall"):
        assert reason in gaps[name].sentence("a", "b")


def test_the_yardstick_is_no_metric_of_a_run() -> None:
    record = records.only("a", "quality")
    assert not any("held-out" in name for name in of(record, record))
    assert "FD(digits-cnn)" in of(record, record)


def test_the_page_begins_with_what_differs() -> None:
    page = document.compose([run("a", 0.0), run("b", 0.02)], compare=True)
    assert page.title == "a against b"
    assert page.verdicts[0].startswith("The bound: b is")
    assert page.sections[0].title == "What differs"
    (table,) = page.sections[0].tables
    row = table.rows[0]
    assert row.cells[2].number.startswith("+0.0")
    assert row.cells[2].bold
    assert table.notes[row.cells[2].notes[0] - 1].startswith("paired over")
    nothing = document.compose([Record(name="a"), Record(name="b")], compare=True)
    assert "no number in common" in nothing.sections[0].texts[0]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    for name, shift in (("A", 0.0), ("B", 0.02)):
        record = run(name, shift)
        drawn = records.changed(records.measured("samples"), model=name)
        disk.save(tmp_path / name, replace(record, measurements=(*record.measurements, drawn)))
    return tmp_path


def invoke(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["report", *arguments])
    return done.exit_code, " ".join(done.output.split())


def test_the_command_writes_beside_the_records(saved: Path) -> None:
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    code, output = invoke("--compare", "A", "B", "--reports", str(saved))
    assert code == 0
    assert "A-vs-B/report.html" in output.replace(" ", "")
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
    code, text = invoke(f"{names}/C", "--reports", names)
    assert (code, f"{names}/C: there is no record" in text) == (2, True)


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
    code, text = invoke(*arguments, "--reports", str(saved))
    assert code == 2
    assert fix in text
    assert sorted(path.name for path in saved.iterdir() if path.is_dir()) == ["A", "B"]


def test_a_record_is_never_written_over(saved: Path) -> None:
    disk.save(saved / "A-vs-B", run("A-vs-B", 0.0))
    code, text = invoke("--compare", "A", "B", "--reports", str(saved))
    assert code == 2
    assert "a record lies there" in text


def test_sentences_name_runs_as_they_are() -> None:
    pair = [run(name, 0.0) for name in (records.HOSTILE, records.LATEX_SPECIALS)]
    page = document.compose(pair, compare=True)
    assert records.HOSTILE in page.verdicts[0]
