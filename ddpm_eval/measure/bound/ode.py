"""Bits/dim by the probability-flow ODE, beside the bound of the same images (flow, levels)."""

from collections.abc import Generator, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ddpm_eval.choice import ImageSet
from ddpm_eval.measure.bound import levels, likelihood
from ddpm_eval.measure.bound.facts import mean_bits, protocol_of, scored, stderr_of
from ddpm_eval.measure.bound.flow import Flow, Solver, log_density
from ddpm_eval.measure.bound.levels import Start, Weights
from ddpm_eval.measure.bound.settings import BoundSettings, OdeSettings
from ddpm_eval.measure.bound.strides import StrideCosts
from ddpm_eval.measure.bound.sweep import Array
from ddpm_eval.measure.conditions import classes_of_images
from ddpm_eval.model import Model
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.record import Measurement
from ddpm_eval.record.scores import Curve, Score
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train import data
from ddpm_train.settings import to_dict

MEASURE = "ode"
TOGETHER = 4  # images whose steps the solver chooses together; part of what a result depends on


def measure(
    model: Model, images: ImageSet, bound: BoundSettings, settings: OdeSettings, runtime: Runtime
) -> Measurement:
    """Measure bits/dim by the ODE, and the bound of the same images beside it.

    Both begin with the same noise of x_1 and end in the same decoder, so their difference is what
    the Gaussian steps and Jensen's inequality cost.

    Args:
        model: The model.
        images: The images to choose from.
        bound: Which are scored, the noise, and whether x_0_hat is clipped in the decoder.
        settings: How the ODE is solved.
        runtime: How the work is carried out.

    Raises:
        FixableError: The schedule has no signal at T, or the solver did not reach it.
    """
    chosen = likelihood.choose_images(images, bound)
    protocol = protocol_of(model, chosen, bound)
    protocol = replace(protocol, settings={**protocol.settings, "ode": to_dict(settings)})
    finished = runtime.recorded(MEASURE, protocol)
    if finished is not None:
        return finished
    solution = solve(model, chosen, bound, settings, runtime)
    weights = Weights(solution["weights"], int(np.prod(model.shape)))
    bits = weights.bits()
    scores = [
        scored("ode_bits_per_dim", float(bits.mean()), len(bits), float(stderr_of(bits))),
        *_errors(weights, bits, solution),
    ]
    if settings.paired:
        scores += _gaps(model, chosen, bound, runtime, weights.bits(1))
    evaluations = solution["evaluations"].mean() * (1 + settings.probes)
    scores.append(Score(metric="evaluations", value=float(evaluations), n=len(bits)))
    return Measurement(
        measure=MEASURE,
        protocol=protocol,
        scores=tuple(scores),
        curves=_trend(weights),
        arrays={"weights": weights.values},
        facts={
            "time": "t is interpolated linearly in the logarithm of the signal-to-noise ratio",
            "levels": settings.levels,
            "evaluations of the right side": float(solution["evaluations"].mean()),
        },
        warnings=_warnings(settings, weights),
    )


def solve(
    model: Model, images: ImageSet, bound: BoundSettings, settings: OdeSettings, runtime: Runtime
) -> Arrays:
    """Solve the ODE for every image and draw, in shards.

    Returns:
        ``weights`` [n, K, R] in nats; ``change`` [n] in nats, under half the tolerance (NaN where
        it was not tried); ``evaluations`` [n, K] of the right side.
    """
    flow = Flow(model)
    _ = flow.line  # a schedule without one is refused before anything is evaluated

    def make(part: range) -> Generator[None, None, Arrays]:
        rows: list[Arrays] = []
        for start in range(part.start, part.stop, TOGETHER):
            places = range(start, min(part.stop, start + TOGETHER))
            entered = replace(flow, labels=classes_of_images(model, images, places))
            rows.append((yield from _some(entered, images, places, bound, settings)))
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    tree: dict[str, Any] = to_dict(settings)
    work = Work(
        name="ode",
        facts={
            "model": model.facts.digest,
            "precision": model.precision,
            "images": images.digest,
            "indices": images.indices.tolist(),
            "seed": bound.seed,
            "clip": bound.clip,
            "settings": {name: value for name, value in tree.items() if name != "paired"},
        },
        n=len(images),
        size=TOGETHER,
        make=make,
        ticks=lambda part: settings.draws + (part.start < settings.checked),
        label=f"ODE, {len(images):,} images",
    )
    return fill(work, runtime).read()


def _some(
    flow: Flow, images: ImageSet, places: range, bound: BoundSettings, settings: OdeSettings
) -> Generator[None, None, Arrays]:
    """Solve a few images together; yields after each solution."""
    x_0 = data.to_model(images.read(places)).double().to(flow.model.device)
    solver = Solver(tolerance=settings.tolerance, method=settings.method, most=settings.most)
    weights, evaluations, change = [], [], np.full(len(places), np.nan)
    for draw in range(settings.draws):
        names = [int(images.indices[place]) for place in places]
        shape = tuple(x_0.shape[1:])
        start = _start(flow, x_0, names, draw, bound, settings)
        signs = [levels.probes(bound.seed, i, draw, (settings.probes, *shape)) for i in names]
        probes = torch.stack(signs, 1).to(x_0)
        solution = log_density(flow, start.x_1, probes, solver=solver)
        weights.append((solution.log_density + start.rest).T)
        evaluations.append(np.full(len(places), solution.evaluations))
        yield
        if draw == 0 and places.start < settings.checked:
            finer = replace(solver, tolerance=solver.tolerance / 2)
            again = log_density(flow, start.x_1, probes, solver=finer)
            change = (again.log_density - solution.log_density).mean(0)
            yield
    return {
        "weights": np.stack(weights, 1),
        "evaluations": np.stack(evaluations, 1),
        "change": change,
    }


def _start(
    flow: Flow,
    x_0: torch.Tensor,
    names: list[int],
    draw: int,
    bound: BoundSettings,
    settings: OdeSettings,
) -> Start:
    shape = tuple(x_0.shape[1:])
    noise = levels.noise if settings.levels == "decoder" else levels.uniform_noise
    drawn = torch.stack([noise(bound.seed, i, draw, shape) for i in names]).to(x_0)
    if settings.levels == "decoder":
        return levels.with_decoder(flow.model, x_0, drawn, clip=bound.clip, labels=flow.labels)
    return levels.with_uniform_noise(flow.model, x_0, drawn)


def _errors(weights: Weights, bits: Array, solution: Mapping[str, Array]) -> Iterator[Score]:
    """The parts of the error: images, draws, probes, and the solver's own."""
    for name, size in weights.errors().items():
        if name != "total":
            yield scored("ode_error", size, len(bits), None, whose=f"from the {name}")
    change = solution["change"][np.isfinite(solution["change"])]
    if len(change):
        per_dim = -change / (weights.dimensions * np.log(2))
        yield scored("ode_change", float(per_dim.mean()), len(change), float(stderr_of(per_dim)))


def _gaps(
    model: Model, images: ImageSet, bound: BoundSettings, runtime: Runtime, bits: Array
) -> Iterator[Score]:
    """The bound of the same images and what it costs more, under its own and the best variance."""
    terms, _ = likelihood.obtain_terms(model, images, bound, runtime)
    costs = StrideCosts.of(model.denoise.schedule, terms.error.astype(np.float64))
    best = terms.prior() + terms.decoder() + costs.walk(range(1, costs.T + 1))
    for total, variance in ((terms.total(), ""), (best, "best for these images")):
        yield mean_bits(total, variance=variance)
        gap = total - bits
        error = float(stderr_of(gap))
        yield scored("ode_gap", float(gap.mean()), len(gap), error, variance=variance)


def _trend(weights: Weights) -> tuple[Curve, ...]:
    """Bits/dim over the number of draws, K = 1, 2, 5, 10, ... up to all."""
    draws = weights.values.shape[1]
    if draws == 1:
        return ()
    counts = [k for k in (1, 2, 5, 10, 20, 50, 100) if k < draws] + [draws]
    bits = np.stack([weights.bits(k) for k in counts], 1)
    return (
        Curve(
            metric="ode_bits_per_dim",
            over="draws",
            x=np.array(counts),
            y=bits.mean(0),
            n=len(bits),
            error=stderr_of(bits) if len(bits) > 1 else None,
        ),
    )


def _warnings(settings: OdeSettings, weights: Weights) -> tuple[str, ...]:
    """Say what the probes do to a mean inside a logarithm."""
    if settings.draws == 1 or settings.probes == 1:
        return ()
    spread = weights.values.var(2, ddof=1).mean() / settings.probes
    low = spread / 2 / (weights.dimensions * np.log(2))
    text = (
        f"the noise of {settings.probes} probes enters the {settings.draws} weights of each image: "
        f"at most {low:.4f} bits/dim of what draws gain is that noise; more ode.probes lower it"
    )
    return (text,)
