"""``ddpm-eval nll`` and its neighbours: what they offer, refuse, record and show again."""

import shutil
import subprocess
import sys
from contextvars import copy_context
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from ddpm_eval.cli import app
from ddpm_eval.commands.options import OPTIONS, Common, in_options, set_common
from ddpm_eval.record import disk
from tests.eval.command_lines import record, run

ROOT = Path(__file__).parents[2]


def commands() -> dict[str, Any]:
    """Every command by its name, those of groups too."""
    group: Any = get_command(app)
    return {
        f"{name} {inner}".strip(): command
        for name, outer in group.commands.items()
        for inner, command in getattr(outer, "commands", {"": outer}).items()
    }


# --------------------------------------------------------------------------------- what is offered


def test_no_command_has_more_than_twelve_options() -> None:
    for name, command in commands().items():
        options = [param for param in command.params if param.param_type_name == "option"]
        assert len(options) <= 12, (name, [param.name for param in options])
        assert not any(param.hidden for param in options)


def test_shared_options_stand_once() -> None:
    """No command has an option of its own that every command has."""
    shared = {name for param in get_command(app).params for name in param.opts}
    for name, command in commands().items():
        own = {option for param in command.params for option in param.opts}
        assert not own & shared - {"--help"}, name


def test_every_command_names_the_options_of_every_command() -> None:
    group: Any = get_command(app)
    shared = [name for param in group.params for name in param.opts if "completion" not in name]
    for name, command in commands().items():
        for option in shared:
            assert "store" in name or option in command.epilog or option == "--help"


def test_every_setting_is_listed() -> None:
    text = run("settings")
    for line in ("bound.n ", "samples.eta ", "compute.precision ", "strides.counts    "):
        assert f" {line}" in text
    assert "[]" in text
    assert "samples" not in run("settings", "bound")
    assert "choose from bound" in run("settings", "bonds", code=2)


def test_every_option_that_an_error_names_exists() -> None:
    group: Any = get_command(app)
    names = {
        name
        for command in (group, *commands().values())
        for param in command.params
        for name in param.opts
    }
    for option in OPTIONS.values():
        assert option.split()[0] in names, option


def test_the_options_of_every_command_may_stand_anywhere(tiny: Path, tmp_path: Path) -> None:
    place = ["--reports", tmp_path / "r", "--quiet"]
    for name, words in {
        "a": [*place, "nll", tiny, "-n", 2],
        "b": ["nll", *place, tiny, "-n", 2],
        "c": ["nll", tiny, "-n", 2, "--quiet", f"--reports={tmp_path / 'r'}"],
    }.items():
        assert run(*words, "--name", name) == ""
        assert disk.exists(tmp_path / "r" / name)


# --------------------------------------------------------------------------------- what is refused


def test_a_fix_is_an_option_of_the_command() -> None:
    """``fid`` has no --sampler: there it is a setting of samples."""
    for own, words in (({"--sampler"}, "--sampler ddim"), ({"-n"}, "--set samples.sampler=ddim")):
        context = copy_context()
        context.run(set_common, Common(own=frozenset(own)))
        assert context.run(in_options, "set sampler=ddim") == f"set {words}"


def test_negative_amounts_are_refused() -> None:
    for option in ("--target-stderr", "--budget", "--calibrate", "-n"):
        assert option in run("nll", "x.pt", option, "-1", code=2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nll", "nowhere.pt"], "nowhere.pt: no such checkpoint"),
        (["nll", "HERE", "--target-stderr", "0.1", "--budget", "300"], "--budget 300: two goals"),
        (["rate-distortion", "HERE", "--target-stderr", "1", "--budget", "3"], "two goals"),
        (["nll", "HERE", "--split", "val"], "--split val: not a split"),
        (["nll", "HERE", "--data", "nowhere"], "nowhere: no such file"),
        (["nll", "HERE", "--dataset", "mnist"], "--dataset mnist"),
        (["nll", "HERE", "--set", "bound.sed=1"], "there is no setting bound.sed"),
        (["nll", "HERE", "--set", "compute.precision=fp8"], "compute.precision=fp8: not a choice"),
        (["nll", "HERE", "--name", "a/b"], "--name a/b: not a plain name"),
        (["nll", "HERE", "--weights", "best"], "--weights best: not a choice"),
        (["nll", "HERE", "--against", "nowhere.pt"], "nowhere.pt: no such checkpoint"),
        (["report", "--replace"], "--replace: of no effect on report"),
        (["inspect", "HERE", "--name", "a"], "--name: of no effect on inspect"),
        (["sample", "HERE", "--classifier", "c.pt"], "c.pt: there is no such file"),
        (["fid", "HERE", "--extractor", "vgg"], "--extractor vgg: not an extractor"),
        (["guidance", "HERE", "--classifier", "HERE", "--extractor", "v"], "--extractor v: not an"),
        (["fetch", "none"], "none: not an extractor"),
    ],
)
def test_paths_and_options_are_checked_before_torch_is_imported(
    tmp_path: Path, words: list[str], message: str
) -> None:
    (tmp_path / "x.pt").write_bytes(b"")
    code = (
        "import sys\nfrom ddpm_eval.cli import main\nsys.argv = ['ddpm-eval', *sys.argv[1:]]\n"
        "try: main()\nfinally: print('torch' in sys.modules)"
    )
    words = [str(tmp_path / "x.pt") if word == "HERE" else word for word in words]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stdout.strip() == "False"


def test_what_only_the_model_knows_is_refused_in_options_words(tiny: Path, tmp_path: Path) -> None:
    place = ["--reports", tmp_path]
    for words, message in (
        (["-n", "100000"], "-n 100,000: digits test has 297 images"),
        (["--budget", "5"], "--budget 5: cannot be estimated"),
        (["--strides", "1"], "--strides 1: a walk from T to 1"),
        (["--ode", "--budget", "500"], "two measures at once"),
        (["--set", "bound.drop_remainder=1000"], "--set bound.drop_remainder=1,000: 297 images"),
        (["--device", "cuda:9"], "--device cuda:9"),
        (["--set", "compute.precision=tf32"], "--set compute.precision=tf32: not on cpu"),
    ):
        text = run("nll", tiny, *words, *place, code=2)
        assert message in text
        assert len(text.strip().splitlines()) == 2
    assert not list(tmp_path.iterdir())


# --------------------------------------------------------------------------------- what is recorded


def test_three_questions_leave_three_results(tiny: Path, tmp_path: Path) -> None:
    for words in ([], ["-n", "50"], ["--budget", "500"]):
        run("nll", tiny, *words, "--reports", tmp_path)
    bounds = record(tmp_path).of("bound")
    whole, some, estimate = (bound.protocol for bound in bounds)
    assert whole.images is not None and some.images is not None
    assert (whole.images.n, whole.estimator) == (297, None)
    assert (some.images.n, some.images.choice, some.images.seed) == (50, "drawn", 0)
    assert estimate.estimator is not None and estimate.estimator.budget == 500
    assert whole.settings["bound"] == {**some.settings["bound"], "n": 0}  # type: ignore[dict-item]
    assert not (tmp_path / "tiny" / "unfinished").exists()


def test_fewer_steps_and_the_ode_stand_beside_the_bound(tiny: Path, tmp_path: Path) -> None:
    text = run("nll", tiny, "-n", "3", "--strides", "3,8", "--reports", tmp_path)
    assert "best steps, at 3 steps" in text and "even steps, at 8 steps" in text
    text = run("nll", tiny, "-n", "3", "--ode", "--reports", tmp_path)
    assert "probability-flow ODE" in text and "Bound minus ODE" in text and "probes" in text
    text = run("nll", tiny, "-n", "3", "--ode", "--set", "ode.most=5", code=2)
    assert "took more than 5 evaluations, so there is no number" in text
    contents = record(tmp_path)
    assert [len(contents.of(name)) for name in ("strides", "ode")] == [1, 1]
    spacings = contents.of("strides")[0].facts["spacings"]
    assert isinstance(spacings, dict) and spacings["3"].startswith("at 1,")


def test_what_is_finished_is_shown_and_not_computed_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["nll", tiny, "-n", "4", "--reports", tmp_path]
    first = run(*words)
    before = (tmp_path / "tiny" / "results.json").read_bytes()
    evaluated: list[int] = []

    def score(self: Any, x_0: Any, rows: Any, eps: Any) -> Any:
        evaluated.append(len(rows))
        raise AssertionError("the network was asked")

    with monkeypatch.context() as patch:
        patch.setattr("ddpm_eval.measure.bound.sweep.Sweep.score", score)
        again = run(*words)
    assert not evaluated
    numbers = [line for line in first.splitlines() if "bits/dim" in line]
    assert [line for line in again.splitlines() if "bits/dim" in line] == numbers
    assert "not measured again (--replace does)" in again
    assert (tmp_path / "tiny" / "results.json").read_bytes() == before
    assert "not measured again" not in run(*words, "--replace")
    assert len(record(tmp_path).measurements) == 1


def test_a_bound_serves_the_curves(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [tiny, "-n", "4", "--reports", tmp_path, "--quiet"]
    run("nll", *words)
    monkeypatch.setattr("ddpm_eval.measure.bound.sweep.Sweep.score", None)
    run("rate-distortion", *words)
    run("rate-distortion", *words, "--replace")
    bound, curves = (record(tmp_path).of(name)[0] for name in ("bound", "rate_distortion"))
    rate, left = curves.score("rate", variance=""), curves.score("bits_per_dim", variance="")
    assert rate is not None and left is not None
    assert rate.value + left.value == pytest.approx(bound.scores[0].value, rel=1e-6)


def test_the_seed_and_the_weights_are_part_of_the_result(tiny: Path, tmp_path: Path) -> None:
    place = ["-n", "4", "--reports", tmp_path, "--quiet"]
    run("nll", tiny, *place)
    run("nll", tiny, *place, "--set", "bound.seed=1")
    run("nll", tiny, *place, "--set", "bound.clip=false")
    assert len(record(tmp_path).measurements) == 3
    text = run("nll", tiny, *place, "--weights", "raw", code=2)
    assert "only averaged (EMA) weights" in text


def test_settings_of_the_model_can_be_given(tiny: Path, tmp_path: Path) -> None:
    """Applied, or refused: never ignored."""
    place = ["-n", "4", "--reports", tmp_path, "--quiet"]
    run("nll", tiny, *place)
    run("nll", tiny, *place, "--set", "objective.variance=fixedsmall", "--name", "small")
    large, small = record(tmp_path), disk.load(tmp_path / "small")
    assert small.measurements[0].protocol.variance == "fixedsmall"
    assert small.measurements[0].scores[0].value != large.measurements[0].scores[0].value
    text = run("nll", tiny, *place, "--set", "unet.base_channels=64", code=2)
    assert "do not fit the network" in text


def test_compiling_on_a_processor_says_that_it_is_slower(tiny: Path, tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no compiler")
    runner_words = ["nll", tiny, "-n", "2", "--reports", tmp_path]
    run(*runner_words)
    text = run(*runner_words, "--set", "compute.compile=true")  # the record has it: no compiling
    assert "--set compute.compile=true: on CPUs" in text
