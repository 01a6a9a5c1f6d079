"""``load``: a model from a checkpoint of ours, of a run, or of another system."""

from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ddpm_eval.model import Model, ModelFacts
from ddpm_eval.paths import expanded
from ddpm_train import checkpoint, formats, runs, schedule, world
from ddpm_train.denoiser import Denoiser, Network
from ddpm_train.errors import FixableError
from ddpm_train.fast import prepare
from ddpm_train.settings import to_dict
from ddpm_train.weights import weights_digest

Weights = Literal["ema", "raw"]


class _Prepared:
    """A network that is prepared when it is first evaluated: naming a model takes none of it."""

    def __init__(self, build: Callable[[], Network]) -> None:
        self._build = build

    @cached_property
    def network(self) -> Network:
        """The prepared network."""
        network = self._build()
        del self._build  # and the weights that it holds
        return network

    def __call__(self, x: Tensor, t: Tensor, condition: Tensor | None = None) -> Tensor:
        """Evaluate."""
        return self.network(x, t, condition)


def locate(path: str | Path | None) -> Path:
    """Find the checkpoint that is meant: ours, another system's, or a run's newest.

    Args:
        path: A file, a run's folder, or what another system wrote; None: the newest run in runs/.

    Raises:
        FixableError: There is none.
    """
    where = None if path is None else expanded(path)
    if where is not None and not runs.checkpoints(where) and formats.lies_in_folder(where):
        return where
    return runs.find(where)


def load(
    path: str | Path | None,
    *,
    weights: Weights | None = None,
    settings: Iterable[str] = (),
    device: str = "auto",
    precision: str = "float32",
    compile: bool = False,
) -> Model:
    """Load a model from a checkpoint: a run's folder, ours, or any foreign format.

    Args:
        path: A ``.pt`` file, a run's folder, or a file or folder of another system; None takes the
            newest run in ``runs/``.
        weights: ``ema``, the averaged ones, which are the default, or ``raw``, as trained. A file
            that holds one set and does not say which needs it to be said.
        settings: Settings of the model that the file does not store, or others than it stores:
            ``["unet.heads=4"]``.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps``.
        precision: ``float32``, ``tf32`` on GPUs, ``bf16`` or ``float64``.
        compile: Let inductor write the kernels; on CPUs the prepared network is faster.

    Raises:
        FixableError: The file is missing, damaged or unknown, or holds no such weights, or the
            device cannot compute as asked.
    """
    if weights not in ("ema", "raw", None):
        raise FixableError(f"weights={weights}: not a choice", "choose ema or raw")
    place = world.choose_device(device)
    prepare.check(place, precision, compiled=compile)
    where = locate(path)
    changes = [settings] if isinstance(settings, str) else list(settings)
    content = formats.load_any(where, changes=changes)
    content = formats.label(content, weights or "", where)
    weights = weights or "ema"
    process = schedule.build(content.model.schedule)
    tensors = checkpoint.weights_of(content, ema=weights == "ema")
    alone = [checkpoint.Checkpoint(model=content.model, step=content.step, ema=tensors)]

    def build() -> Network:
        network = checkpoint.network(alone.pop()).to(place)  # which frees the tensors of the file
        return prepare.prepare(
            network, process.T, precision=precision, compiled=compile, use_up=True
        )

    errors = content.tables.get("errors")
    net, folder = content.model.net, where.parent
    log = folder.parent / "log.jsonl" if folder.name == "checkpoints" else None
    return Model(
        denoise=Denoiser(_Prepared(build), process, content.model.objective, errors),
        shape=(net.channels, net.image_size, net.image_size),
        facts=ModelFacts(
            digest=weights_digest(tensors, content.model, errors),
            weights=_kind(content.facts, weights),
            name=where.name,
            step=content.step or None,  # few foreign files say it
            parameters=sum(value.numel() for value in tensors.values()),
            settings=to_dict(content.model),
            run=content.run,
            file=_facts(content),
            log=log,
            path=where,
        ),
        device=place,
        dtype=torch.float64 if precision == "float64" else torch.float32,
        precision=precision,
        config=content.model,
        classes=net.classes,
        double=lambda: load(
            where, weights=weights, settings=changes, device=str(place), precision="float64"
        ),
    )


def _kind(file: Mapping[str, Any], weights: Weights) -> str:
    """Which weights these are: ``unknown`` where the file holds one set and does not say."""
    stored = str(file.get("weights", "ema")) if weights == "ema" else "raw"
    return "unknown" if stored == "as given" else stored


def _facts(content: checkpoint.Checkpoint) -> dict[str, Any]:
    """What the reader of the file says, and whether averaging changed nothing."""
    file = dict(content.facts)
    raw, ema = content.weights, content.ema
    if raw and ema and all(torch.equal(raw[name], ema[name]) for name in ema):
        same = "the averaged (EMA) weights equal the raw ones"
        file["warnings"] = [*file.get("warnings", []), same]
    return file
