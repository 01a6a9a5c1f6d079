"""Class labels in the network: a row of a table that is added to the time embedding."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from ddpm_train import data, networks
from ddpm_train.architectures import UNetConfig
from ddpm_train.config import DataConfig, ModelConfig, RunConfig
from ddpm_train.data import arrays
from ddpm_train.data.images import Form
from ddpm_train.errors import FixableError
from ddpm_train.fast import capability
from ddpm_train.fast.plain import Plain
from ddpm_train.fast.prepare import prepare
from ddpm_train.loop import Trainer
from ddpm_train.networks.unet import UNet
from ddpm_train.settings import override
from ddpm_train.weights import build_network
from tests.train.test_loop import WORLD, advance
from tests.train.test_unet import TINY, inputs, lively, relative

CLASSES = replace(TINY, classes=3)
LABELS = torch.tensor([2, 0])
DIGITS = arrays.digits("train", Form(8, 1))


@torch.no_grad()
def answer(net: UNet, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
    output: Tensor = net.eval()(x, t, labels)
    return output


@pytest.mark.parametrize("modulation", ["shift", "scale_shift"])
def test_a_label_moves_the_time_embedding(modulation: str) -> None:
    """As an unconditional network whose last time layer has the label's row in its bias."""
    config = replace(CLASSES, time_modulation=modulation)
    net = lively(config, dtype=torch.float64)
    x, t = inputs(TINY, 2)
    x = x.double()
    together = answer(net, x, t, LABELS)
    for i, label in enumerate(LABELS):
        plain = lively(replace(config, classes=0), dtype=torch.float64)
        state = {name: value for name, value in net.state_dict().items() if name != "labels.weight"}
        state["time_dense_1.bias"] = state["time_dense_1.bias"] + net.labels.weight[label]
        plain.load_state_dict(state)
        alone = answer(plain, x[i : i + 1], t[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-9, atol=1e-9)
    assert relative(answer(net, x, t, 2 - LABELS), together) > 1e-3


def test_labels_leave_the_other_initial_weights_as_they_are() -> None:
    plain, net = (UNet(config, out_channels=2, seed=4) for config in (TINY, CLASSES))
    state = net.state_dict()
    assert state.keys() - plain.state_dict().keys() == {"labels.weight"}
    assert all(torch.equal(state[name], value) for name, value in plain.state_dict().items())
    assert state["labels.weight"].std().item() == pytest.approx(1, rel=0.2)


def test_prepared_networks_take_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(capability, "multiplies_bf16", lambda: True)
    x, _ = inputs(TINY, 4)
    t, labels = torch.tensor([1, 999, 5, 300]), torch.tensor([0, 1, 2, 0])
    truth = answer(lively(CLASSES, dtype=torch.float64), x.double(), t, labels)
    on_cpu = prepare(lively(CLASSES), 1000)
    plain = Plain(lively(CLASSES), torch.float32, compiled=False)
    assert relative(on_cpu(x, t, labels), truth) < 5e-6
    assert relative(on_cpu(x, t.double(), labels), truth) < 5e-6
    assert relative(plain(x, t, labels), truth) < 5e-6
    mixed = prepare(lively(CLASSES), 1000, precision="bf16")(x, t, labels)
    errors = [relative(a, b) for a, b in zip(mixed, truth, strict=True)]
    assert max(errors[0], errors[2]) < 5e-6 and max(errors) < 0.03


@pytest.mark.parametrize(
    ("classes", "labels", "message"),
    [
        (0, LABELS, "this network has no classes"),
        (3, None, "label from 0 to 2"),
        (3, LABELS + 1, "labels 1..3 for 3 classes"),
        (3, LABELS - 1, "labels -1..1 for 3 classes"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    classes: int, labels: Tensor | None, message: str
) -> None:
    net = lively(replace(TINY, classes=classes))
    x, t = inputs(TINY, 2)
    for evaluate in (net, prepare(net, 1000)):
        with pytest.raises(FixableError, match=message):
            evaluate(x, t, labels)


def test_a_run_without_labels_does_not_train_a_network_with_classes(tiny: RunConfig) -> None:
    images = data.load(DataConfig(source="digits"), image_size=8, channels=1)
    config = replace(tiny, unet=replace(tiny.unet, classes=3))
    with pytest.raises(FixableError, match=r"unet\.classes=3: the images have no labels"):
        Trainer(config, images, WORLD)


@pytest.mark.parametrize("classes", [0, 3, 11])
def test_a_network_has_the_classes_of_its_images(tiny: RunConfig, classes: int) -> None:
    config = replace(tiny, unet=replace(tiny.unet, classes=classes))
    with pytest.raises(FixableError, match=rf"classes={classes}: the images have 10 classes"):
        Trainer(config, DIGITS, WORLD)


def conditional(tiny: RunConfig, images: data.Images) -> Trainer:
    changes = ["unet.classes=10", "compute.precision=float64", "optim.warmup_steps=0"]
    return Trainer(override(tiny, changes), images, WORLD)


def test_a_step_moves_the_rows_of_the_classes_that_it_saw(tiny: RunConfig) -> None:
    trainer = conditional(tiny, DIGITS)
    before = trainer.parameters["labels.weight"].detach().clone()
    advance(trainer)
    trainer.close()
    moved = (trainer.parameters["labels.weight"] != before).any(1)
    seen = {int(DIGITS.labels[trainer.batches.image_at(i)]) for i in range(6)}
    assert set(moved.nonzero().flatten().tolist()) == seen


def test_numbers_of_classes_are_names(tiny: RunConfig) -> None:
    """Other numbers for the classes, and the rows in that order: the same run."""
    order = torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    renamed = data.Labelled(DIGITS.images, order.numpy()[DIGITS.labels], DIGITS.classes)
    one, other = conditional(tiny, DIGITS), conditional(tiny, renamed)
    with torch.no_grad():
        other.parameters["labels.weight"][order] = one.parameters["labels.weight"].clone()
    for _ in range(4):
        losses = [advance(trainer).loss for trainer in (one, other)]
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    for trainer in (one, other):
        trainer.close()
    rows = [trainer.parameters["labels.weight"].detach() for trainer in (one, other)]
    torch.testing.assert_close(rows[1][order], rows[0], rtol=1e-9, atol=1e-12)


def test_networks_are_built_by_their_settings() -> None:
    model = ModelConfig(unet=UNetConfig(image_size=8, base_channels=32, attn_resolutions=()))
    net = build_network(model)
    assert type(net) is networks.NETWORKS["unet"].build
