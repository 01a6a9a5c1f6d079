"""All that samples depend on, before any is drawn: the identity of their store, and its name."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import ddpm_train
from ddpm_eval.measure.pictures.protocols import classes_of
from ddpm_eval.measure.pictures.settings import SamplingSettings
from ddpm_eval.model import Model
from ddpm_eval.record import store
from ddpm_eval.record.conditions import DRAWN
from ddpm_eval.record.protocol import SamplingFacts
from ddpm_eval.runtime import Runtime
from ddpm_train import samplers
from ddpm_train.settings import to_dict


def sampling_of(model: Model, settings: SamplingSettings, runtime: Runtime) -> SamplingFacts:
    """How the samples of a model are drawn, before any is."""
    return store.sampling_facts(facts_of(model, settings, runtime), settings.n)


def facts_of(model: Model, settings: SamplingSettings, runtime: Runtime) -> dict[str, Any]:
    """All that the samples depend on, as plain JSON: the identity of their store."""
    channels, *size = model.shape
    T, is_ddim = model.denoise.schedule.T, settings.sampler == "ddim"
    facts: dict[str, Any] = {
        "checkpoint": model.facts.digest,
        "weights": model.facts.weights,
        "seed": settings.seed,
        "sampler": settings.sampler,
        "steps": len(samplers.times_of(model.denoise.schedule, settings)),
        "eta": settings.eta if is_ddim else None,
        "T": T,
        "clip": settings.clip,
        "precision": model.precision,
        "shape": [*size, channels],
        "batch": runtime.batch,
        "program": ddpm_train.__version__,
    }
    plain = SamplingSettings()
    for name in ("spacing", "convention"):  # stores of older versions have the plain ones
        if getattr(settings, name) != getattr(plain, name):
            facts[name] = getattr(settings, name)
    if settings.sampler == "langevin":
        denoised = ", denoised" if settings.final_denoising else ""
        step = f" of {settings.step_lr:g}" if settings.step_lr else ""
        facts["langevin"] = f"{settings.level_steps} steps{step}{denoised}"
    if settings.sampler == "heun":
        facts["heun"] = _heun(settings)
    facts |= classes_of(model, settings)
    facts |= {} if model.guide is None else model.guide.facts
    exact: dict[str, Any] = json.loads(json.dumps(facts))
    return exact


def _heun(settings: SamplingSettings) -> str:
    """Say how the levels of Heun's method lie, and what raises them."""
    if not settings.churn:
        return f"rho {settings.rho:g}"
    ends = f"{settings.churn_from:g} to {settings.churn_to:g}"
    return f"rho {settings.rho:g}, churn {settings.churn:g} of {settings.churn_noise:g} in {ends}"


def folder_name(facts: Mapping[str, Any]) -> str:
    """Give samples a short folder name that differs where they do.

    >>> folder_name({"checkpoint": "0123456789ab", "weights": "ema", "seed": 3, "sampler": "ddim",
    ...     "steps": 50, "eta": 0.5, "clip": True, "precision": "float32", "batch": 64})
    '01234567-ema-seed3-ddim50-eta0.5-batch64'
    """
    parts = [
        facts["checkpoint"][:8],
        facts["weights"],
        f"seed{facts['seed']}",
        f"{facts['sampler']}{facts['steps']}",
        *(_short(facts.get(name, "")) for name in ("spacing", "convention", "langevin", "heun")),
        "" if facts["eta"] is None else f"eta{facts['eta']}",
        _short(_classes(facts)),
        f"guided{facts['scale']:g}-{facts['classifier'][:8]}" if "classifier" in facts else "",
        "" if facts["clip"] else "unclipped",
        "" if facts["precision"] == "float32" else facts["precision"],
        f"batch{facts['batch']}",
    ]
    return "-".join(part for part in parts if part).replace(" ", "_")


def _classes(facts: Mapping[str, Any]) -> str:
    """The classes that were chosen: ``class0,3,7``."""
    labels = facts.get("labels", DRAWN)
    return "" if labels == DRAWN else f"class{','.join(map(str, labels))}"


def _short(text: str) -> str:
    """A list of times as a digest; other texts as they are."""
    return text if len(text) < 16 else hashlib.sha256(text.encode()).hexdigest()[:8]


def about(model: Model) -> dict[str, Any]:
    """What a store says of its model: its name, and the images that it was trained on."""
    run, file = model.facts.run, model.facts.file
    about: dict[str, Any] = {"name": model.facts.name} if model.facts.name else {}
    if run is not None:
        about["data"] = to_dict(run.data)
    return about | {name: file[name] for name in ("data_digest", "classes") if name in file}
