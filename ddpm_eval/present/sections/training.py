"""How the model came about: its loss, and its quality while it was trained."""

from collections.abc import Iterator

from ddpm_eval.present import figures
from ddpm_eval.present.figures import Picture
from ddpm_eval.present.parts import Section
from ddpm_eval.present.sections.shared import (
    Place,
    curve_caption,
    panels_caption,
    quantities,
    seeded,
)
from ddpm_eval.record.schema1 import Measurement


def training(found: Measurement, place: Place) -> Iterator[Section]:
    """The loss, as logged."""
    pictures = []
    for name, curve in sorted(found.curves.items()):
        draw = figures.loss if name == "loss" else figures.curve
        text = (
            "The loss over training, as logged, and its running average."
            if name == "loss"
            else f"{curve.y_name} over {curve.x_name}."
        )
        pictures.append(draw(place.key(found.name, name), curve, curve_caption(text, curve)))
    yield Section("Training", tables=quantities(found, place), pictures=tuple(pictures))


def watch(found: Measurement, place: Place) -> Iterator[Section]:
    """Quality over training; the paper reports the checkpoint of the lowest FID: it is marked."""
    best = found.settings.get("best")
    step = best.get("step") if isinstance(best, dict) else best
    by = f" by {best['by']}" if isinstance(best, dict) and "by" in best else ""
    texts = () if best is None else (f"The best checkpoint{by} is that of step {_count(step)}.",)
    pictures: tuple[Picture, ...] = ()
    if found.curves:
        ordered = dict(sorted(found.curves.items()))
        steps = found.settings.get("steps")
        few = f", samples drawn in {steps:,} steps" if isinstance(steps, int) else ""
        text = f"Quality over training{few}; the line marks the best checkpoint."
        mark = float(step) if isinstance(step, int | float) else None
        key = place.key(found.name, "curves")
        pictures = (
            figures.panels(key, ordered, seeded(panels_caption(text, ordered), found), mark=mark),
        )
    yield Section(
        "Checkpoints over training", texts, tables=quantities(found, place), pictures=pictures
    )


def _count(step: object) -> str:
    return f"{step:,}" if isinstance(step, int) else str(step)
