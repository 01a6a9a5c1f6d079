"""How the model came about: its loss, and its quality while it was trained."""

from collections.abc import Iterator

from ddpm_eval.present import figures
from ddpm_eval.present.canvas import Picture
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections.shared import (
    curve_caption,
    curve_text,
    panels_caption,
    scores,
    seeded,
)
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Qualifiers


def training(measurement: Measurement, run: Run) -> Iterator[Section]:
    """The loss, as logged."""
    pictures = []
    for curve in measurement.curves:
        is_loss = curve.metric == "loss"
        text = "The loss over training, as logged, and its running average."
        caption = curve_caption(text if is_loss else curve_text(curve), curve)
        draw = figures.loss if is_loss else figures.curve
        pictures.append(draw(run.key(measurement, curve.metric), curve, caption))
    yield Section("Training", tables=scores(measurement, run), pictures=tuple(pictures))


def watch(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Quality over training; the paper reports the checkpoint of the lowest FID: it is marked."""
    best = next((score for score in measurement.scores if score.of.at is not None), None)
    step = None if best is None or best.of.at is None else best.of.at[1]
    texts: tuple[str, ...] = ()
    if best is not None:
        of = Qualifiers(whose=best.of.whose, extractor=best.of.extractor)
        texts = (f"The best checkpoint by {of.label(best.metric)} is that of step {step:,}.",)
    sampling = measurement.protocol.sampling
    few = "" if sampling is None else f", samples drawn in {sampling.steps:,} steps"
    text = f"Quality over training{few}; the line marks the best checkpoint."
    caption = seeded(panels_caption(text, measurement.curves), measurement)
    pictures: tuple[Picture, ...] = ()
    if measurement.curves:
        key = run.key(measurement, "curves")
        pictures = (figures.panels(key, measurement.curves, caption, mark=step),)
    yield Section(
        "Checkpoints over training", texts, tables=scores(measurement, run), pictures=pictures
    )
