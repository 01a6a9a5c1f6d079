"""Guided samples: what guides them is in the label, the store and the protocol; what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from typer.testing import CliRunner

import ddpm_eval as de
from ddpm_eval.cli import app as evaluate
from ddpm_eval.record.store import open_store
from ddpm_train import checkpoint, data
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.classifier_run import digits_classifier
from ddpm_train.classifying import Training, accuracy, untrained
from ddpm_train.cli import app as train
from ddpm_train.config import DataConfig, ModelConfig
from ddpm_train.errors import FixableError
from ddpm_train.formats import classifiers
from ddpm_train.settings import from_dict, override
from ddpm_train.weights import build_network
from tests.train import openai_files
from tests.train.golden import filled
from tests.train.openai_files import Flags
from tests.train.test_loop import WORLD

CLASSIFIER = untrained()
BETAS = [0.05, 0.3, 0.9]


class Nothing(nn.Module):
    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        return torch.zeros_like(x)


def model(**settings: Any) -> Any:
    return de.wrap(Nothing(), schedule=BETAS, **{"image_shape": (1, 8, 8), **settings})


def test_a_scale_of_nothing_draws_the_model_s_own_samples() -> None:
    plain = de.sample(model(), 4)
    assert np.array_equal(de.sample(de.guide(model(), CLASSIFIER, scale=0), 4), plain)
    strong = de.sample(de.guide(model(), CLASSIFIER, scale=3000), 4)
    assert not np.array_equal(strong, plain)
    assert not np.array_equal(
        de.sample(de.guide(model(), CLASSIFIER, scale=3000), 4, classes=[1]), strong
    )


def test_the_classifier_and_the_scale_are_known_by_their_content(tmp_path: Path) -> None:
    classifiers.save(tmp_path / "c.pt", CLASSIFIER)
    guided = de.guide(model(), tmp_path / "c.pt", scale=2.5)
    de.sample(guided, 4, classes=[3], cache=tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "store").iterdir()
    store = open_store(folder)
    assert store.facts["classifier"] == CLASSIFIER.digest and store.facts["scale"] == 2.5
    assert f"guided by classifier {CLASSIFIER.digest[:8]}, scale 2.5" in store.name
    assert store.sampling.guidance and "guided2.5-" in folder.name
    de.sample(model(), 4, cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "store").iterdir())) == 2
    last = de.progressive(guided, 4, classes=[3], rows=4).grids["progressive"].images
    assert np.array_equal(last.reshape(4, 3, 8, 8, 1)[:, -1], store.read(range(4)))


@pytest.mark.parametrize(
    ("changes", "scale", "message"),
    [
        ({"image_shape": (1, 16, 16)}, 1, "takes images of 8x8x1, the model draws 16x16x1"),
        ({"image_shape": (3, 8, 8)}, 1, "takes images of 8x8x1, the model draws 8x8x3"),
        ({"classes": 3}, 1, "it has 10 classes, the model 3"),
        ({}, -0.5, "scale=-0.5: out of range"),
        ({}, float("nan"), "scale=nan"),
    ],
)
def test_a_classifier_of_something_else_is_refused(
    changes: dict[str, Any], scale: float, message: str
) -> None:
    with pytest.raises(FixableError, match=message):
        de.guide(model(**changes), CLASSIFIER, scale=scale)


def test_what_guidance_does_not_change_is_refused() -> None:
    guided = de.guide(model(), CLASSIFIER)
    with pytest.raises(FixableError, match="guidance steers samples"):
        de.bits_per_dim(guided, de.images("digits"), n=2)
    with pytest.raises(FixableError, match="classes=10: the model has 10 classes"):
        de.sample(guided, 4, classes=[10])


def test_a_damaged_classifier_is_refused(tmp_path: Path) -> None:
    other = replace(CLASSIFIER, weights={k: v + 1 for k, v in CLASSIFIER.weights.items()})
    classifiers.save(tmp_path / "c.pt", CLASSIFIER)
    content = torch.load(tmp_path / "c.pt", weights_only=True)
    torch.save({**content, "tensors": dict(other.weights)}, tmp_path / "d.pt")
    assert classifiers.load(tmp_path / "c.pt").digest == CLASSIFIER.digest
    with pytest.raises(FixableError, match="do not match their digest"):
        classifiers.load(tmp_path / "d.pt")
    torch.save({"a": torch.zeros(1)}, tmp_path / "e.pt")
    with pytest.raises(FixableError, match="not a classifier of noisy images"):
        classifiers.load(tmp_path / "e.pt")


def test_settings_of_a_classifier_are_applied_or_refused(tmp_path: Path) -> None:
    """On the command line too: those that guided-diffusion's files do not store."""
    flags = Flags(mult=(1, 2), attention=(2,), resample="block", inputs=1, classes=10)
    torch.save(filled(openai_files.classifier(flags, "adaptive", pixels=4)), tmp_path / "c.pt")
    classifiers.save(tmp_path / "ours.pt", CLASSIFIER)
    small = {"image_size": 8, "channels": 1, "base_channels": 32, "channel_mult": [1]}
    config = from_dict(ModelConfig, {"unet": {**small, "attn_resolutions": []},
                                     "schedule": {"T": 4, "beta_end": 0.9}})  # fmt: skip
    ema = build_network(config).state_dict()
    checkpoint.save(tmp_path / "m.pt", Checkpoint(model=config, step=1, ema=ema))

    def drawn(*words: str) -> str:
        places = [str(tmp_path / "m.pt"), "--out", str(tmp_path / "s"), "-n", "2"]
        named = [str(tmp_path / word) if word.endswith(".pt") else word for word in words]
        options = ["--reports", str(tmp_path / "reports"), *named]
        return " ".join(CliRunner().invoke(evaluate, ["sample", *places, *options]).output.split())

    assert "--set encoder.head_channels=64" in drawn("--classifier", "c.pt")
    heads, size = ("--set", "encoder.head_channels=32"), ("--set", "encoder.image_size=8")
    assert "32x32x1" in (text := drawn("--classifier", "c.pt", *heads))
    assert "encoder.image_size=32, as the widths suggest" in text
    assert "recorded in" in drawn("--classifier", "c.pt", *heads, *size)
    other = ("--set", "encoder.base_channels=64")
    assert "do not fit the network" in drawn("--classifier", "ours.pt", *other)
    assert "there is no classifier" in drawn(*heads)


def test_a_classifier_learns() -> None:
    run = override(digits_classifier(), ["optim.ema_decay=0", "schedule.beta_end=0.01"])
    images = data.load(run.data, image_size=8, channels=1)
    training = Training(run, images, WORLD)
    losses = steps(training, 25)
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    shares = accuracy(training.file(), images, seed=0)
    assert shares[20] > 0.25 and set(shares) == {20, 50, 100}
    plain = data.load(DataConfig(source="digits"), image_size=8, channels=1)
    with pytest.raises(FixableError, match=r"classifier\.classes=10: the images have 0 classes"):
        Training(run, plain, WORLD)


def steps(training: Training, count: int) -> list[float]:
    results = (training.advance(stopping=lambda: False, measure_loss=True) for _ in range(count))
    return [result.loss for result in results if result is not None]


def test_a_classifier_goes_on_from_a_checkpoint_to_the_last_bit(tmp_path: Path) -> None:
    changes = ["optim.ema_decay=0.8", "optim.warmup_steps=3", "optim.grad_clip=0.5"]
    run = override(digits_classifier(), changes)
    images = data.load(run.data, image_size=8, channels=1)
    whole, first = Training(run, images, WORLD), Training(run, images, WORLD)
    losses, shadow = steps(whole, 2), dict(whole.average.shadow)
    name = next(iter(shadow))
    before = shadow[name].clone()
    losses += steps(whole, 1)
    wanted = 0.8 * before + 0.2 * whole.parameters[name].detach()
    torch.testing.assert_close(whole.average.shadow[name], wanted)
    losses += steps(whole, 2)
    begun = steps(first, 3)
    checkpoint.save(tmp_path / "step.pt", first.checkpoint())
    rest = Training(run, images, WORLD, resume=checkpoint.load(tmp_path / "step.pt"))
    assert begun + steps(rest, 2) == losses and rest.step == 5
    assert rest.file().digest == whole.file().digest
    with pytest.raises(FixableError, match="a classifier of noisy images, which is no diffusion"):
        de.load(tmp_path / "step.pt")


def test_the_run_of_a_classifier_has_the_files_of_every_run_and_goes_on(tmp_path: Path) -> None:
    words = ["classifier", "--out", str(tmp_path / "c.pt"), "--set", "log.every=1", "--set"]
    assert CliRunner().invoke(train, [*words, "optim.steps=3"]).exit_code == 0
    (tmp_path / "c.pt").unlink()
    outcome = CliRunner().invoke(train, [*words, "optim.steps=5"])
    assert outcome.exit_code == 0 and "resuming from step 3" in outcome.output
    log = (tmp_path / "c" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in log] == [1, 2, 3, 4, 5]
    names = {path.name for path in (tmp_path / "c").iterdir()}
    assert names == {"checkpoints", "config.json", "log.jsonl", "lock"}
    (tmp_path / "c.pt").unlink()
    refused = CliRunner().invoke(train, [*words, "optim.lr=0.1"])
    assert refused.exit_code == 2 and "the run was begun otherwise" in refused.output


def test_the_command_writes_a_classifier_and_overwrites_none(tmp_path: Path) -> None:
    words = ["classifier", "--out", str(tmp_path / "new" / "c.pt"), "--set", "optim.steps=2"]
    outcome = CliRunner().invoke(train, words)
    assert outcome.exit_code == 0 and "names " in outcome.output
    file = classifiers.load(tmp_path / "new" / "c.pt")
    assert file.schedule is not None and file.schedule.T == 200
    assert CliRunner().invoke(train, words).exit_code != 0


def test_a_classifier_that_cannot_be_written_is_refused_before_it_is_trained(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    for words, message in (
        (["--out", tmp_path / "file" / "c.pt"], "file: a file, where a folder is meant"),
        (["--out", tmp_path / "c.pt", "--set", "compute.precision=bf16"], "of no effect on a"),
    ):
        result = CliRunner().invoke(train, ["classifier", *map(str, words)])
        assert result.exit_code == 2 and message in " ".join(result.output.split())
    for scales in ([-1, 0], [0, float("nan")]):
        with pytest.raises(FixableError, match="scales="):
            de.guidance(model(), CLASSIFIER, de.images("digits"), scales=scales)


def test_quality_over_the_scale_is_that_of_each_scale() -> None:
    real, looks = de.images("digits", split="train"), {"n": 24, "extractor": "digits-cnn"}
    result = de.guidance(model(), CLASSIFIER, real, scales=[40, 0], **looks)
    curves = {(curve.metric, curve.over): curve for curve in result.curves}
    for place, scale in enumerate((0, 40)):
        alone = de.quality(de.guide(model(), CLASSIFIER, scale=scale), real, **looks)
        for key in ("fid", "precision", "recognised_share"):
            score = alone.score(key)
            assert score is not None
            assert curves[key, "guidance_scale"].y[place] == pytest.approx(score.value)
    assert ("precision", "recall") in curves
    with pytest.raises(FixableError, match=r"scales=\[1\]: out of range"):
        de.guidance(model(), CLASSIFIER, real, scales=[1, 1], **looks)
