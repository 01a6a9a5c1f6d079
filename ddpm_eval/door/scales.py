"""``guidance``: the quality of guided samples over the scale of the classifier's gradient."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from ddpm_eval.door.guidance import guide
from ddpm_eval.door.images import AnyImages
from ddpm_eval.door.quality import measure_all
from ddpm_eval.door.working import Provenance, model_of, runtime_of, typed
from ddpm_eval.measure.pictures.settings import SamplingSettings, Scales
from ddpm_eval.measure.quality.settings import QualitySettings
from ddpm_eval.model import Model
from ddpm_eval.record.protocol import Protocol
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Score
from ddpm_eval.runtime import Runtime
from ddpm_train import leaves
from ddpm_train.errors import FixableError
from ddpm_train.formats.classifiers import ClassifierFile

MEASURE, VERSION = "guidance", 1
METRICS = ("fid", "inception_score", "precision", "recall", "recognised_share")
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)


def guidance(
    model: Model,
    classifier: str | Path | ClassifierFile,
    reference: AnyImages | None = None,
    *,
    scales: Sequence[float] = SCALES,
    n: int = 1000,
    extractor: str = "inception-v3",
    sampling: SamplingSettings | None = None,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Measurement:
    """Measure FID, IS, precision, recall and the recognised share over the guidance scale.

    Args:
        model: From ``load`` or ``wrap``.
        classifier: What ``guide`` takes.
        reference: What samples are compared with; None: the training images of the model's run.
        scales: Of the gradient, two at least.
        n: How many samples at each.
        extractor: As for ``quality``.
        sampling: How samples are drawn, beside their number.
        batch: Samples in one evaluation of the network.
        cache: A folder where features and samples stay.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: As ``guide`` and ``quality``, or there are fewer than two scales.

    >>> import ddpm_eval as de
    >>> from ddpm_train.classifying import untrained
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model()
    >>> train = de.images("digits", split="train")
    >>> curves = de.guidance(
    ...     model, untrained(), train, scales=[0, 2], n=12, extractor="digits-cnn"
    ... ).curves
    >>> curves[0].metric, curves[0].over, len(curves[0].y)
    ('fid', 'guidance_scale', 2)
    """
    wanted = leaves.read(Scales, sorted(set(scales)), "scales")
    settings = typed(QualitySettings, n=n, extractors=(extractor,))
    work = runtime_of(model_of(model), runtime, batch=batch, cache=cache)
    provenance = Provenance([model], work)
    results: list[Measurement] = []
    for scale in wanted:
        guided = guide(model, classifier, scale=scale)
        results += measure_all(guided, reference, None, settings, work, sampling=sampling)
    return provenance.sign(_joined(results, wanted))


def _joined(results: Sequence[Measurement], scales: Sequence[float]) -> Measurement:
    """Draw the scores of all scales as curves, and precision over recall."""
    curves = tuple(_curves(results, scales))
    first = results[0].protocol
    sampling = first.sampling and replace(first.sampling, guidance="")
    best = min(range(len(scales)), key=lambda i: _score(results[i], "fid").value)
    score = _score(results[best], "fid")
    at = "guidance_scale", scales[best]
    return Measurement(
        measure=MEASURE,
        protocol=Protocol(
            version=VERSION,
            model=first.model,
            weights=first.weights,
            sampling=sampling,
            reference=first.reference,
            extractor=first.extractor,
            clip=first.clip,
            precision=first.precision,
            seed=first.seed,
            settings={"scales": [*scales], "qualities": [item.protocol.key for item in results]},
        ),
        scores=(replace(score, of=replace(score.of, at=at)),),
        curves=curves,
        warnings=results[best].warnings,
    )


def _curves(results: Sequence[Measurement], scales: Sequence[float]) -> Iterator[Curve]:
    for key in METRICS:
        if results[0].score(key) is None:
            continue
        scores = [_score(item, key) for item in results]
        errors = [score.error.size for score in scores if score.error is not None]
        yield Curve(
            metric=key,
            over="guidance_scale",
            x=scales,  # type: ignore[arg-type]
            y=[score.value for score in scores],  # type: ignore[arg-type]
            n=scores[0].n,
            error=errors if len(errors) == len(scores) else None,  # type: ignore[arg-type]
            of=scores[0].of,
        )
    if results[0].score("recall") is not None:
        recall, precision = (
            [_score(item, key) for item in results] for key in ("recall", "precision")
        )
        yield Curve(
            metric="precision",
            over="recall",
            x=[score.value for score in recall],  # type: ignore[arg-type]
            y=[score.value for score in precision],  # type: ignore[arg-type]
            n=recall[0].n,
            of=recall[0].of,
        )


def _score(measurement: Measurement, key: str) -> Score:
    score = measurement.score(key)
    if score is None:
        raise FixableError(f"{key}: not measured", "take more samples")
    return score
