"""Bits/dim of other systems with our runs beside them: by which route, from how many steps."""

from collections.abc import Iterator, Sequence

from ddpm_eval.present import comparable, references
from ddpm_eval.present.comparable import Standing
from ddpm_eval.present.published import published_cell
from ddpm_eval.present.runs import Run
from ddpm_eval.present.tables import Cell, Column, Row, Table
from ddpm_eval.record.protocol import Json
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Score

WORDS = {"route": "Route", "levels": "To 256 levels", "steps": "T", "draws": "K"}
_COLUMNS = (Column("Bits/dim", "lower"), *(Column(title) for title in WORDS.values()))
_BEST = ("optimal", "calibrated")
_LEVELS = {"decoder": "discrete decoder", "uniform": "uniform dequantisation"}


def table(runs: Sequence[Run]) -> Table | None:
    """Published bits/dim and ours; None where no run has an ODE or was measured on CIFAR-10."""
    if not any(run.of("ode") or _on_cifar(run) for run in runs):
        return None
    notes: list[str] = []
    ours = [row for run in runs for row in _ours(run, notes)]
    if not ours:
        return None
    published = references.tables()["likelihood"]
    rows = [
        Row(
            row.name,
            (published_cell(row.numbers["bits"]), *(Cell(row.columns[name]) for name in WORDS)),
            row.block,
        )
        for row in published.rows
    ]
    caption = (
        "A bound is on the code length, an ODE's number the density of another model of the same "
        "network: mind the route, how levels are reached, and K, the importance samples of an "
        "image. ≤ marks a bound; ± is a standard error over images. Numbers of ours that may not "
        "be compared are set apart, each with its reason. Sources stand with each row in the data "
        f"that this program ships; most are {published.rows[2].source}."
    )
    return Table("likelihood", published.title, _COLUMNS, (*rows, *ours), tuple(notes), caption)


def _on_cifar(run: Run) -> bool:
    images = [bound.protocol.images for bound in run.of("bound")]
    return any(facts is not None and facts.dataset == comparable.DATASET for facts in images)


def _ours(run: Run, notes: list[str]) -> Iterator[Row]:
    """The bound of a run under its own and the best variance, and its ODE."""
    for bound in run.of("bound"):
        own = bound.protocol.variance
        for variance in dict.fromkeys(("", *(name for name in _BEST if name != own))):
            total = bound.score("bits_per_dim", whose="model", part="total", variance=variance)
            if total is not None:
                route = f"bound, {variance or own} σ²"
                yield _row(run, bound, total, (route, "decoder", 1), notes)
    for flow in run.of("ode"):
        density = flow.score("ode_bits_per_dim")
        settings = flow.protocol.settings.get("ode")
        if density is not None and isinstance(settings, dict):
            path = ("ODE", str(settings["levels"]), settings["draws"])
            yield _row(run, flow, density, path, notes)


def _row(
    run: Run,
    measurement: Measurement,
    score: Score,
    path: tuple[str, str, object],
    notes: list[str],
) -> Row:
    route, levels, draws = path
    standing = comparable.of_bound(run, measurement, score)
    T = _steps(run, measurement.protocol.model)
    texts = (route, _LEVELS[levels], "" if T is None else str(T), str(draws))
    cells = (_number(standing, notes), *(Cell(text) for text in texts))
    return Row(f"{run.name} ({route})", cells, "Ours", ours=True)


def _number(standing: Standing, notes: list[str]) -> Cell:
    reasons = standing.obstacles
    notes += [reason for reason in reasons if reason not in notes]
    return Cell(
        *standing.score.texts,
        standing.score.n,
        at_most=standing.score.metric == "bits_per_dim",
        notes=tuple(sorted(notes.index(reason) + 1 for reason in reasons)),
        muted=bool(reasons),
    )


def _steps(run: Run, digest: str) -> Json:
    """T of a model, where its settings are known."""
    settings = run.record.subjects.get(digest, {}).get("model")
    schedule = settings.get("schedule") if isinstance(settings, dict) else None
    return schedule.get("T") if isinstance(schedule, dict) else None
