"""ADM's own files: our numbers of its samples are those that its evaluator prints.

    DDPM_ADM=FOLDER pytest -m slow tests/eval/test_adm_oracle.py

FOLDER holds reference batches (VIRTUAL_*.npz) and batches of 50,000 samples under the names that
openai/guided-diffusion gives them. Inception's published weights lie where they usually do. The
features stay in ``$DDPM_CACHE``; on a CPU each pair takes hours. ADM's evaluator is TensorFlow's;
a torch port of it, whose network is ours, comes closer.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

import ddpm_eval as de
from ddpm_eval.features import inception
from ddpm_train.errors import FixableError

FOLDER = os.environ.get("DDPM_ADM", "")
METRICS = ("inception_score", "fid", "sfid", "precision", "recall")
BETWEEN_PORTS = (0.4, 0.02, 0.02, 0.003, 0.004)
"""What another port of the network, and other parts of the samples for IS, may change."""


@dataclass(frozen=True)
class Oracle:
    """A pair of files, and what the evaluator and its torch port print of them."""

    reference: str
    samples: str
    printed: tuple[float, ...]
    port: tuple[float, ...]


ORACLES = [
    Oracle(
        "VIRTUAL_imagenet256_labeled.npz",
        "admnet_guided_upsampled_imagenet256.npz",
        (215.84, 3.9426, 6.1404, 0.8265, 0.5309),
        (215.98, 3.9410, 6.1405, 0.82548, 0.5285),
    ),
    Oracle(
        "VIRTUAL_imagenet128_labeled.npz",
        "admnet_guided_imagenet128.npz",
        (141.48, 2.9733, 5.0946, 0.78138, 0.5929),
        (141.48, 2.9733, 5.0935, 0.78042, 0.5906),
    ),
]


def path(name: str) -> Path:
    """A file of ADM's; the test is skipped where it is not there."""
    if not FOLDER:
        pytest.skip("needs ADM's files: DDPM_ADM=folder with VIRTUAL_*.npz and sample batches")
    file = Path(FOLDER) / name
    if not file.exists():
        pytest.skip(f"{file} is not there")
    return file


@pytest.mark.slow
@pytest.mark.parametrize("oracle", ORACLES, ids=lambda oracle: oracle.samples)
def test_adm_s_samples_have_the_numbers_that_its_evaluator_prints(oracle: Oracle) -> None:
    reference, samples = path(oracle.reference), path(oracle.samples)
    try:
        inception.WEIGHTS.verified(None, "")
    except FixableError as error:
        pytest.skip(f"needs Inception's published weights: {error.problem}")
    result = de.quality(
        samples, reference, protocol="tf1", metrics=METRICS, cache=os.environ.get("DDPM_CACHE")
    )
    for metric, printed, port, within in zip(
        METRICS, oracle.printed, oracle.port, BETWEEN_PORTS, strict=True
    ):
        score = result.score(metric, whose="samples")
        assert score is not None, metric
        assert score.value == pytest.approx(printed, abs=within), metric
        assert score.value == pytest.approx(port, abs=within), metric
        assert score.of.extractor == ""
