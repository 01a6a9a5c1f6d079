"""Algorithm 1: the same weights however the work is cut, watched or interrupted."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ddpm_train import checkpoint, data
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import DataConfig, RunConfig
from ddpm_train.denoiser import Denoiser
from ddpm_train.ema import WeightAverage
from ddpm_train.errors import FixableError
from ddpm_train.loop import StepResult, Trainer
from ddpm_train.noise import Stream, keep_mask
from ddpm_train.objective import Objective
from ddpm_train.settings import override, to_dict
from ddpm_train.weights import build_network
from ddpm_train.world import World

WORLD = World(torch.device("cpu"))
CONDITIONAL = ["data.labels=true", "unet.classes=10"]
LIKELIHOOD = ["objective.loss=L", "objective.variance=optimal", "objective.times=importance"]
KINDS: list[list[str]] = [[], LIKELIHOOD, CONDITIONAL]


@pytest.fixture(scope="module")
def images() -> data.Images:
    return data.load(DataConfig(source="digits"), image_size=8, channels=1)


def shown(config: RunConfig, images: data.Images) -> data.Images:
    """The images, with their classes where the settings want them."""
    if not config.data.labels:
        return images
    return data.load(config.data, image_size=8, channels=1)


def train(config: RunConfig, images: data.Images, steps: int = 6) -> Checkpoint:
    trainer = Trainer(config, shown(config, images), WORLD)
    for _ in range(steps):
        advance(trainer)
    trainer.close()
    return trainer.checkpoint()


def advance(trainer: Trainer) -> StepResult:
    result = trainer.advance(stopping=lambda: False, measure_loss=True)
    assert result is not None
    return result


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert a.step == b.step
    for group in checkpoint.GROUPS:
        one, two = getattr(a, group), getattr(b, group)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[name], two[name]) for name in one), group


def distance(a: Checkpoint, b: Checkpoint) -> float:
    """The relative difference of all weights as one vector.

    (Not tensor by tensor: a bias in front of a norm of its own has no gradient but rounding.)
    """
    one, two = (torch.cat([x.weights[n].flatten() for n in sorted(a.weights)]) for x in (a, b))
    return ((one - two).norm() / two.norm()).item()


def test_a_step_is_adam_on_the_mean_loss(tiny: RunConfig, images: data.Images) -> None:
    """Three steps against the algorithm written out with torch's own parts."""
    config = override(tiny, ["compute.precision=float64", "optim.ema_decay=0.9"])
    trainer = Trainer(config, images, WORLD)
    net = build_network(config.model, seed=config.seed).double()
    optimizer = torch.optim.Adam(net.parameters())
    average = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    average.module.load_state_dict(net.state_dict())
    average.n_averaged += 1
    objective = Objective(
        config.objective, Denoiser(net, trainer.denoise.schedule, config.objective)
    )
    order = Stream(0, "order").generator(0).permutation(len(images))
    for step in range(3):
        positions = range(6 * step, 6 * step + 6)
        pixels, times, eps = images.read(order[positions]), [], []
        for row, position in enumerate(positions):
            draw = Stream(0, "train").generator(position)
            if draw.random() < 0.5:
                pixels[row] = np.flip(pixels[row], axis=1)
            times.append(int(draw.integers(1, 21)))
            eps.append(torch.from_numpy(draw.standard_normal((1, 8, 8), np.float32)))
        x_0, t, noise = (
            data.to_model(pixels).double(),
            torch.tensor(times),
            torch.stack(eps).double(),
        )
        keep = keep_mask(
            Stream(0, "dropout"), positions, net.dropout_elements, drop=0.2, device=WORLD.device
        )
        x_t = objective.noisy(x_0, t, noise)
        loss = objective.loss(net(x_t, t, keep=keep), x_0, x_t, t, noise).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        lr = config.optim.lr * step / 3
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
        average.update_parameters(net)
        result = advance(trainer)
        assert (result.step, result.lr) == (step + 1, lr)
        assert result.loss == pytest.approx(loss.item(), rel=1e-12)
        assert result.grad_norm == pytest.approx(norm.item(), rel=1e-12)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(trainer.parameters[name].data, value, rtol=1e-10, atol=1e-12)
    for name, value in average.module.state_dict().items():
        torch.testing.assert_close(trainer.average.shadow[name], value, rtol=1e-10, atol=1e-12)
    trainer.close()


def test_every_epoch_shows_every_image_once(tiny: RunConfig, images: data.Images) -> None:
    trainer = Trainer(tiny, images, WORLD)
    n = len(images)
    first = [trainer.batches.image_at(position) for position in range(n)]
    second = [trainer.batches.image_at(position) for position in range(n, 2 * n)]
    trainer.close()
    assert sorted(first) == sorted(second) == list(range(n)) and first != second


@pytest.mark.parametrize("settings", KINDS, ids=["simple", "likelihood", "conditional"])
@pytest.mark.parametrize("microbatch", [1, 4])
def test_microbatches_change_nothing(
    tiny: RunConfig, images: data.Images, microbatch: int, settings: list[str]
) -> None:
    double = override(tiny, ["compute.precision=float64", *settings])
    whole = train(double, images)
    parts = train(override(double, [f"compute.microbatch={microbatch}"]), images)
    assert distance(parts, whole) < 1e-9


@pytest.mark.parametrize("settings", KINDS, ids=["simple", "likelihood", "conditional"])
def test_a_resumed_run_is_the_same_run(
    tiny: RunConfig, images: data.Images, tmp_path: Path, settings: list[str]
) -> None:
    tiny = override(tiny, settings)
    whole = train(tiny, images)
    for cut in (0, 1, 4):
        checkpoint.save(tmp_path / "cut.pt", train(tiny, images, steps=cut))
        old = checkpoint.load(tmp_path / "cut.pt")
        trainer = Trainer(tiny, shown(tiny, images), WORLD, resume=old)
        while trainer.step < 6:
            advance(trainer)
        trainer.close()
        assert_same(trainer.checkpoint(), whole)


def test_looking_changes_nothing(tiny: RunConfig, images: data.Images) -> None:
    trainer = Trainer(tiny, images, WORLD)
    for step in range(6):
        trainer.advance(stopping=lambda: False, measure_loss=step % 2 == 0)
        first = trainer.samples(2, stopping=lambda: False)
    second = trainer.samples(3, stopping=lambda: False)
    trainer.close()
    assert first is not None and second is not None
    assert np.abs(first.astype(int) - second[:2]).max() <= 1  # other batch, same images
    assert_same(trainer.checkpoint(), train(tiny, images))


@pytest.mark.parametrize("settings", [[], LIKELIHOOD], ids=["simple", "likelihood"])
def test_a_stop_inside_a_step_moves_nothing(
    tiny: RunConfig, images: data.Images, settings: list[str]
) -> None:
    tiny = override(tiny, settings)
    trainer = Trainer(override(tiny, ["compute.microbatch=1"]), images, WORLD)
    before = {name: value.clone() for name, value in trainer.parameters.items()}
    answers = iter([False, False, True])
    assert trainer.advance(stopping=lambda: next(answers), measure_loss=True) is None
    assert trainer.step == 0
    assert all(torch.equal(before[name], value) for name, value in trainer.parameters.items())
    advance(trainer)
    advance(trainer)
    trainer.close()
    again = train(override(tiny, ["compute.microbatch=1"]), images, steps=2)
    assert_same(trainer.checkpoint(), again)


def test_nan_stops_before_the_weights_move(tiny: RunConfig, images: data.Images) -> None:
    trainer = Trainer(tiny, images, WORLD)
    advance(trainer)
    before = trainer.checkpoint()
    before = replace(before, weights={n: v.clone() for n, v in before.weights.items()})
    trainer.network.register_forward_hook(lambda net, args, out: out * float("nan"))
    with pytest.raises(FixableError, match="gradient of step 2 is nan"):
        advance(trainer)
    trainer.close()
    assert_same(trainer.checkpoint(), before)


@pytest.mark.parametrize(
    "objective",
    ["eps L_simple fixedsmall", "eps L fixedlarge", "eps L learned", "mu_tilde mse fixedlarge",
     "mu_tilde L fixedsmall", "mu_tilde L learned", "eps hybrid learned_range",
     "eps L optimal", "mu_tilde L optimal"],
)  # fmt: skip
def test_every_row_of_table_2_learns(tiny: RunConfig, images: data.Images, objective: str) -> None:
    prediction, loss, variance = objective.split()
    config = override(
        tiny,
        [
            f"objective.prediction={prediction}",
            f"objective.loss={loss}",
            f"objective.variance={variance}",
            "optim.batch_size=32",
            "unet.dropout=0",
        ],
    )
    trainer = Trainer(config, images, WORLD)
    losses = [advance(trainer).loss for _ in range(40)]
    trainer.close()
    assert np.mean(losses[-8:]) < 0.75 * np.mean(losses[:8])


def test_bf16_is_float32_to_three_digits(tiny: RunConfig, images: data.Images) -> None:
    def loss(precision: str) -> float:
        trainer = Trainer(override(tiny, [f"compute.precision={precision}"]), images, WORLD)
        result = [advance(trainer).loss for _ in range(3)]
        trainer.close()
        assert all(value.dtype == torch.float32 for value in trainer.parameters.values())
        return result[-1]

    exact, short = loss("float32"), loss("bf16")
    assert short == pytest.approx(exact, rel=2e-2) and short != exact


def test_the_average_follows_its_definition() -> None:
    weight = torch.tensor([1.0])
    average = WeightAverage({"w": weight}, decay=0.75)
    for value in (2.0, 3.0):
        average.update([torch.tensor([value])])
    assert average.shadow["w"].item() == 0.75 * (0.75 * 1 + 0.25 * 2) + 0.25 * 3


SPREAD = """
import json, sys, torch
from pathlib import Path
from ddpm_train import checkpoint, data, world
from ddpm_train.config import RunConfig
from ddpm_train.loop import Trainer
from ddpm_train.settings import from_dict

config = from_dict(RunConfig, json.loads(Path(sys.argv[1]).read_text()))
here = world.join("cpu", threads=1)
images = data.load(config.data, image_size=8, channels=1)
trainer = Trainer(config, images, here)
lines = []
for _ in range(20):
    result = trainer.advance(stopping=lambda: False, measure_loss=True)
    lines.append([result.loss, result.grad_norm])
trainer.close()
if here.rank == 0:
    checkpoint.save(Path(sys.argv[2]), trainer.checkpoint())
    Path(sys.argv[2] + ".json").write_text(json.dumps(lines))
world.leave()
"""


@pytest.mark.parametrize("settings", KINDS, ids=["simple", "likelihood", "conditional"])
def test_the_number_of_processes_changes_nothing(
    tiny: RunConfig, tmp_path: Path, images: data.Images, settings: list[str]
) -> None:
    """World sizes 1, 2 and 3 at a global batch of 7, with dropout: 1e-9 after 20 steps."""
    config = override(tiny, ["compute.precision=float64", "optim.batch_size=7", *settings])
    (tmp_path / "config.json").write_text(json.dumps(to_dict(config)))
    (tmp_path / "spread.py").write_text(SPREAD)
    result: dict[int, Checkpoint] = {}
    losses: dict[int, list[list[float]]] = {}
    for size in (1, 2, 3):
        out = tmp_path / f"{size}.pt"
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        files = [tmp_path / "spread.py", tmp_path / "config.json", out]
        subprocess.run(
            [*launch, "--nproc-per-node", str(size), *map(str, files)],
            check=True,
            capture_output=True,
            timeout=180,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        result[size] = checkpoint.load(out)
        losses[size] = json.loads(Path(f"{out}.json").read_text())
    for size in (2, 3):
        assert distance(result[size], result[1]) < 1e-9
        np.testing.assert_allclose(losses[size], losses[1], rtol=1e-9)
    assert distance(train(config, images, steps=20), result[1]) < 1e-9


def test_more_processes_than_images_are_refused(tiny: RunConfig, images: data.Images) -> None:
    world = World(torch.device("cpu"), rank=0, size=7)
    with pytest.raises(FixableError, match="6 images for 7 processes"):
        Trainer(tiny, images, world)
