"""Where diffusers puts the parts of a checkpoint: which folder, which weights, which scheduler.

A pipeline has ``model_index.json``, ``unet/`` and ``scheduler/``; a training script leaves
``checkpoint-N/unet`` and ``checkpoint-N/unet_ema`` and, when it ends, the scheduler above them.
What belongs to something else is not read.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from ddpm_train.errors import FixableError
from ddpm_train.formats.containers import INDEX
from ddpm_train.reading import list_folder, read_json, reading

WEIGHTS = "diffusion_pytorch_model"
SUFFIXES = (".safetensors", f".safetensors{INDEX}", ".bin", f".bin{INDEX}")
PIPELINES = ("DDPMPipeline", "DDIMPipeline", "PNDMPipeline")
_AVERAGE = "unet_ema"
_PLAIN = "fp16"  # a variant that changes the storage alone


@dataclass(frozen=True)
class Source:
    """The files of one checkpoint.

    Attributes:
        folder: Where config.json and the weights lie.
        weights: The file of weights that was named; None: what lies in the folder.
        average: The folder of the averaged weights beside those as trained.
        process: The scheduler's file.
        label: ``ema`` or ``raw`` where the place says so.
    """

    folder: Path
    weights: Path | None = None
    average: Path | None = None
    process: Path | None = None
    label: str = ""


def find(path: Path) -> Source | None:
    """Look up the parts of a checkpoint of diffusers; None if this is none.

    Raises:
        FixableError: It is a pipeline of another kind.
    """
    with reading(path):
        is_folder, is_file = path.is_dir(), path.is_file()
    if is_file:
        if not path.name.startswith(WEIGHTS) or not _is_network(path.parent):
            return None
        source = _source(path.parent, path)
    elif is_folder:
        folders = (path / "unet", path, path / _AVERAGE)
        folder = next((place for place in folders if _is_network(place)), None)
        if folder is None:
            return None
        source = _source(folder, None)
    else:
        return None
    _require_pixel_pipeline(source.folder)
    return source


def weights_in(folder: Path, named: Path | None) -> Path:
    """The file of weights, or of their index, in a folder.

    Raises:
        FixableError: There is none, or it is not clear which.
    """
    if named is not None:
        return named
    names = {file.name for file in list_folder(folder)}
    for middle in ("", f".{_PLAIN}"):
        for suffix in SUFFIXES:
            name = _named(suffix, middle)
            if name in names:
                return folder / name
    variants = sorted(name for name in names if _variant(name))
    if len(variants) == 1:
        return folder / variants[0]
    if variants:
        raise FixableError(
            f"{folder}: holds {', '.join(variants[:4])}, and it is not clear which is meant",
            "name the file",
        )
    raise FixableError(
        f"{folder}: config.json is there but no weights",
        f"download {WEIGHTS}.safetensors or {WEIGHTS}.bin beside it, or the shards and their index",
    )


def _named(suffix: str, middle: str) -> str:
    """A file's name; an index has the variant before its own ending."""
    return f"{WEIGHTS}{middle}{suffix}" if INDEX not in suffix else (
        f"{WEIGHTS}{suffix.removesuffix('.json')}{middle}.json")  # fmt: skip


def _variant(name: str) -> str:
    """The variant of a file of weights; empty if it is none.

    >>> _variant("diffusion_pytorch_model.non_ema.safetensors"), _variant("optimizer.bin")
    ('non_ema', '')
    """
    match = re.fullmatch(WEIGHTS + r"\.([\w-]+)\.(safetensors|bin)", name)
    return match[1] if match else ""


def _source(folder: Path, named: Path | None) -> Source:
    above = folder.parent
    part = folder.name in ("unet", _AVERAGE)  # of a pipeline, or of a training script's output
    average = above / _AVERAGE if folder.name == "unet" and named is None else None
    places = [folder, folder / "scheduler"]
    if part:
        places += [above / "scheduler"]
        if re.fullmatch(r"checkpoint-\d+", above.name):
            places += [above.parent / "scheduler"]
    label = "ema" if folder.name == _AVERAGE else ""
    variant = _variant(weights_in(folder, named).name) if named or _has_weights(folder) else ""
    if re.fullmatch(r"non[-_]ema", variant):
        label = "raw"
    with reading(folder):
        files = [place / "scheduler_config.json" for place in places]
        process = next((file for file in files if file.is_file()), None)
        has_average = average is not None and _is_network(average)
    return Source(folder, named, average if has_average else None, process, label)


def _has_weights(folder: Path) -> bool:
    return any(file.name.startswith(WEIGHTS) for file in list_folder(folder))


def _is_network(folder: Path) -> bool:
    file = folder / "config.json"
    with reading(file):
        return file.is_file() and "_class_name" in read_json(file)


def _require_pixel_pipeline(folder: Path) -> None:
    """Refuse networks that are part of a pipeline that does more than this one network.

    Raises:
        FixableError: It works on latents, or is of an unknown kind.
    """
    root = folder.parent if folder.name == "unet" else folder
    file = root / "model_index.json"
    with reading(file):
        latents = [name for name in ("vae", "vqvae") if (root / name).is_dir()]
        name = read_json(file).get("_class_name") if file.is_file() else PIPELINES[0]
    if latents or name not in PIPELINES:
        kind = f"a {name}" if name not in PIPELINES else "its network"
        on = f", which works on the latents of {latents[0]}/" if latents else ""
        raise FixableError(
            f"{root}: {kind}{on}", f"only {', '.join(PIPELINES)} of pixels can be imported"
        )
