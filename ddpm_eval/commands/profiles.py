"""What commands about files begin with: a model, and its profile, made where there is none."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddpm_eval.codec import packaged
from ddpm_eval.commands.checks import check_checkpoint
from ddpm_eval.commands.options import common
from ddpm_eval.commands.recording import note
from ddpm_eval.settings import EvalSettings, values
from ddpm_train.errors import FixableError
from ddpm_train.meter import tracker

if TYPE_CHECKING:
    from ddpm_eval.codec.codec import Codec
    from ddpm_eval.codec.profile import Profile
    from ddpm_eval.model import Model
    from ddpm_eval.runtime import Runtime

Of = Annotated[
    Path | None,
    typer.Option(
        "--model", help="A checkpoint or a run's folder; the packaged network if left out."
    ),
]
ProfileFile = Annotated[
    Path | None,
    typer.Option(
        "--profile", help="The model's profile; the file beside the checkpoint if left out."
    ),
]


@contextlib.contextmanager
def opened_model(
    checkpoint: Path | None, settings: EvalSettings, of_model: list[str]
) -> Iterator[tuple["Model", "Runtime"]]:
    """Join the other processes and load a model."""
    check_checkpoint(checkpoint)
    from ddpm_eval.loading import load
    from ddpm_eval.runtime import Runtime
    from ddpm_train import world

    options = common()
    joined = world.join(options.device, threads=options.threads)
    weights: Any = options.weights or None
    model = load(checkpoint, weights=weights, settings=of_model, device=options.device)
    for warning in model.facts.file.get("warnings", []):
        note(warning)
    track = tracker(quiet=options.quiet)
    yield model, Runtime(world=joined, batch=settings.compute.batch, track=track, notify=note)
    world.leave()


@contextlib.contextmanager
def opened_codec(
    checkpoint: Path | None, profile: Path | None, settings: EvalSettings, of_model: list[str]
) -> Iterator[tuple["Codec", "Runtime"]]:
    """Load a model, the packaged one if none is named, and its profile, made if there is none."""
    checkpoint = packaged.NETWORK if checkpoint is None else checkpoint
    with opened_model(checkpoint, settings, of_model) as (model, runtime):
        from ddpm_eval.codec.codec import Codec

        place = profile_place(profile, checkpoint)
        fitted = profile_of(model, place, settings, runtime, named=profile)
        yield Codec(model, fitted, runtime.batch), runtime


def profile_of(
    model: "Model",
    place: Path,
    settings: EvalSettings,
    runtime: "Runtime",
    *,
    named: Path | None = None,
) -> "Profile":
    """Read a model's profile, which is made if there is none and the user named none.

    Raises:
        FixableError: It is missing, damaged or of another kind.
    """
    from ddpm_eval.codec import profile as profiles

    if named is None and not place.exists() and model.facts.run is not None:
        note(f"no profile lies beside the checkpoint; {place} is made first")
        return learn(model, place, settings, runtime, at_need=True)
    return profiles.load(place)


def profile_place(profile: Path | None, checkpoint: Path | None) -> Path:
    """Where a profile lies: where it is named, or beside the checkpoint."""
    if profile is not None:
        return profile
    check_checkpoint(checkpoint)
    from ddpm_eval.codec import profile as profiles
    from ddpm_eval.loading import locate

    return profiles.beside(locate(checkpoint))


def learn(
    model: "Model",
    place: Path,
    settings: EvalSettings,
    runtime: "Runtime",
    *,
    dataset: str | None = None,
    data: Path | None = None,
    at_need: bool = False,
) -> "Profile":
    """Make a profile and write it; what is unfinished lies beside it until then.

    Of several processes that make the same, one works and the others wait; ``at_need`` they take
    what it made.
    """
    from ddpm_eval.codec import profile as profiles
    from ddpm_eval.door.files import calibrate
    from ddpm_eval.door.images import images
    from ddpm_eval.record.fill import clear, owned

    profiles.require_writable(place)
    if dataset is None and model.facts.run is None:
        raise FixableError(
            "the checkpoint does not say what it was trained on",
            "name the images: --dataset cifar10, or --dataset npz --data FILE",
        )
    cache = place.with_name(f"{place.name}.unfinished")
    training = images(dataset or model, split="train", path=data, like=model)
    work = replace(runtime, cache=cache)
    with owned(cache, runtime):
        if at_need and place.exists():
            fitted = profiles.load(place)
        else:
            fitted = calibrate(model, training, **values(settings.calibration), runtime=work)
            runtime.world.once(lambda: fitted.save(place))
    runtime.world.once(lambda: clear(cache))
    return fitted
