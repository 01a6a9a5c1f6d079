"""What a checkpoint is, without measuring it on images."""

from collections.abc import Iterator

import torch

from ddpm_train import checkpoint, settings
from ddpm_train.checkpoint import Checkpoint
from ddpm_train.config import ModelConfig
from ddpm_train.formats.foreign import KINDS, sentences
from ddpm_train.noise import Stream, normal
from ddpm_train.presets import PRESETS
from ddpm_train.settings import to_dict
from ddpm_train.weights import weights_digest

PAPER = ("cifar10", "celebahq256", "lsun-bedroom-large")
"""The presets whose networks and reverse processes are the paper's three."""

LARGEST = 64  # pixels across the fixed input; larger ones tell no more and take a minute
_LARGE, _SMALL = 300_000_000, 32  # parameters from which on the input has so many pixels across


def describe(loaded: Checkpoint) -> Iterator[tuple[str, str]]:
    """Say what a checkpoint is: name and value of each fact, warnings last."""
    model, net = loaded.model, loaded.model.net
    main = loaded.ema or loaded.weights
    yield "format", str(loaded.facts.get("format", checkpoint.FORMAT))
    yield "parameters", f"{sum(value.numel() for value in main.values()):,}"
    yield "step", f"{loaded.step:,}" if loaded.step else "not stated"
    yield "weights", held(loaded)
    yield "images", f"{net.image_size}x{net.image_size}x{net.channels}"
    schedule = model.schedule
    ends = {
        "jsd": "",
        "cosine": "",
        "log_snr": f" {schedule.snr_start:g} .. {schedule.snr_end:g}",
    }.get(schedule.kind, f" {schedule.beta_start:g} .. {schedule.beta_end:g}")
    yield "schedule", f"{schedule.kind}{ends}, T = {schedule.T:,}"
    yield "prediction", model.objective.prediction
    yield "variance", model.objective.variance
    yield "network", ", ".join(architecture(model))
    yield "paper", comparable(model)
    if loaded.facts.get("checksum") == "none":
        yield "checksum", "none in this format: damage on its way would not be noticed"
    for kind in KINDS[:-1]:  # what is assumed is a warning
        for text in sentences(loaded.facts.get("origins", []), kind):
            yield kind, text
    for warning in loaded.facts.get("warnings", []):
        yield "warning", warning
    raw, ema = loaded.weights, loaded.ema
    if raw and ema and all(torch.equal(value, raw[name]) for name, value in ema.items()):
        yield "warning", "the averaged (EMA) weights equal the raw ones"


def measure(loaded: Checkpoint) -> Iterator[tuple[str, str]]:
    """What takes a moment: the digest of the weights and the fingerprint of the function."""
    errors = loaded.tables.get("errors")
    yield "digest", weights_digest(loaded.ema or loaded.weights, loaded.model, errors)
    values = (f"{rms:.9f} at t = {t}" for t, rms in fingerprint(loaded).items())
    yield "fingerprint", ", ".join(values)


def held(loaded: Checkpoint) -> str:
    """Which weights a checkpoint holds."""
    if loaded.facts.get("weights") == "as given":
        return "one set, not said whether averaged"
    sets = {"averaged (EMA)": loaded.ema, "raw": loaded.weights, "optimizer": loaded.optimizer}
    return ", ".join(name for name, tensors in sets.items() if tensors)


def architecture(model: ModelConfig) -> list[str]:
    """The settings of the network that are not the paper's for CIFAR-10, or its kind's own."""
    net = model.net
    paper = to_dict(type(net)())
    if "dropout" in paper:
        paper["dropout"] = net.dropout  # no part in evaluation
    changes = settings.differences(paper, to_dict(net))
    texts = [change.replace(" -> ", " becomes ") for change in changes]
    if model.network != "unet":
        return [model.network, *texts]
    return texts or ["the paper's for CIFAR-10"]


def comparable(model: ModelConfig) -> str:
    """Whether numbers on this model can stand beside the paper's, and if not, why."""
    if model.network != "unet":
        return f"not comparable: {model.network} is another network than the paper's"
    best: list[str] = []
    for name in PAPER:
        preset = to_dict(PRESETS[name]().model)
        preset["unet"]["dropout"] = model.net.dropout  # no part in evaluation
        preset["objective"]["loss"] = model.objective.loss
        other = settings.differences(preset, to_dict(model))
        if not other:
            return f"network, schedule and variance of {name}: comparable on the same data"
        if not best or len(other) < len(best):
            best = other
    return f"not comparable: {'; '.join(best)}"


@torch.inference_mode()
def fingerprint(loaded: Checkpoint) -> dict[int, float]:
    """The root mean square of the output for fixed noise at t = 1, T/2 and T, given class 0 if any.

    In float64, so that two readings of one network agree to all nine digits that are shown, on
    any machine, and a wrong padding, sine table or epsilon does not.
    """
    net = checkpoint.network(loaded, ema=bool(loaded.ema)).double()
    shown, T = loaded.model.net, loaded.model.schedule.T
    parameters = sum(parameter.numel() for parameter in net.parameters())
    size = min(shown.image_size, LARGEST if parameters < _LARGE else _SMALL)
    shape = shown.channels, size, size
    x = normal(Stream(0, "init"), [0], shape, steps=0).double()
    times = sorted({1, T // 2, T})
    x = x.expand(len(times), -1, -1, -1)  # one evaluation reads the weights once
    classes = torch.zeros(len(times), dtype=torch.long) if net.classes else None
    outputs = net(x, torch.tensor(times), classes)
    values = outputs.square().flatten(1).mean(1).sqrt().tolist()
    return dict(zip(times, values, strict=True))
