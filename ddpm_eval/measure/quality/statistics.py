"""Reference statistics in files: ours, and those of TTUR, EDM and ADM. Pickles are never read.

Ours are an .npz whose keys end in digests (``ddpm_eval.record.arrays``): ``about``, a JSON text
that says whose features they are, and mean and covariance of each kind of feature.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.features import Extractor
from ddpm_eval.metrics.frechet import Gaussian
from ddpm_eval.record import arrays
from ddpm_eval.record.arrays import Array
from ddpm_train.archives import members_of, read_arrays
from ddpm_train.errors import FixableError
from ddpm_train.files import require_replaceable
from ddpm_train.reading import reading

FORMAT, VERSION = "ddpm-eval statistics", 2
CHANNELS_LAST = 2  # the version since which spatial features are in ADM's order
_ROUNDING = 1e-5  # of the trace: what float32 files of singular covariances have below zero
_AGAIN = "name a statistics .npz with mu and sigma, or the images themselves"


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Mean and covariance of features, and what is known of where they come from.

    Attributes:
        pool: Of the features that FID is taken in.
        spatial: Of those that sFID is taken in, where the file has them.
        about: Settings of the extraction; empty in other systems' files.
        pixels: A 64-bit digest of each image, in our own files.
    """

    pool: Gaussian
    spatial: Gaussian | None
    about: dict[str, Any]
    pixels: Array | None = None


def write(path: Path, content: Statistics) -> None:
    """Write our own format, atomically."""
    about = {"format": FORMAT, "version": VERSION, "n": content.pool.n, **content.about}
    text = json.dumps(about, sort_keys=True).encode()
    plain: dict[str, Array] = {"about": np.frombuffer(text, np.uint8)}
    for name, kind in (("pool", content.pool), ("spatial", content.spatial)):
        if kind is not None:
            plain |= {f"{name} mean": kind.mean, f"{name} covariance": kind.covariance}
    if content.pixels is not None:
        plain["pixels"] = content.pixels
    arrays.write(path, {arrays.key(name, array): array for name, array in plain.items()})


def require_writable(path: Path) -> None:
    """Refuse to write statistics over what is none of ours.

    Raises:
        FixableError: A folder, a device or another file has the name.
    """
    require_replaceable(path)
    if not path.exists():
        return
    try:
        ours = any(name.startswith("about@") for name in _names(path))
    except FixableError:
        ours = False
    if not ours:
        raise FixableError(f"{path}: exists, and holds no statistics of ours", "name a new file")


def read(path: Path, extractor: Extractor) -> Statistics:
    """Read statistics of any known format and check that they fit the extractor.

    Raises:
        FixableError: The file is missing, damaged or a pickle, or its statistics were made with
            another extractor, other weights, another resizing or another number of features.
    """
    if path.suffix in (".pkl", ".pickle", ".pt", ".pth"):
        raise FixableError(
            f"{path}: statistics in a pickle, which could run anything, are never read",
            "use the .npz that EDM, ADM and TTUR publish, or name the reference images themselves",
        )
    names = _names(path)
    is_ours = any(name.startswith("about@") for name in names)
    content = _ours(path, names) if is_ours else _theirs(path, names)
    _fits(path, content, extractor)
    return content


def holds_statistics(path: Path) -> bool:
    """Whether a file holds statistics, rather than images."""
    return path.suffix != ".npz" or any(
        name.startswith("about@") or name == "mu" for name in _names(path)
    )


def _names(path: Path) -> list[str]:
    members = members_of(path, fix=_AGAIN, what="not a whole .npz")
    return [member.filename.removesuffix(".npy") for member in members]


def _ours(path: Path, names: list[str]) -> Statistics:
    with reading(path, fix="delete it; it is made again from the images"):
        plain = {name.rpartition("@")[0]: arrays.read(path, name) for name in names}
        about = json.loads(plain.pop("about").tobytes())
        _check_version(path, about["version"], spatial="spatial mean" in plain)
        n = about["n"]
        pool = Gaussian(plain["pool mean"], plain["pool covariance"], n)
        spatial = None
        if "spatial mean" in plain:
            spatial = Gaussian(plain["spatial mean"], plain["spatial covariance"], n)
    return Statistics(pool, spatial, about, plain.get("pixels"))


def _check_version(path: Path, version: int, *, spatial: bool) -> None:
    if version > VERSION:
        raise FixableError(
            f"{path}: version {version}, newer than this program's {VERSION}",
            "pip install --upgrade ddpm-eval",
        )
    if spatial and version < CHANNELS_LAST:
        raise FixableError(
            f"{path}: statistics of version {version}, whose spatial features lie channel by "
            "channel; sFID takes them pixel by pixel, as ADM does",
            "make them again: name the images as the reference, and save= a new file",
        )


def _theirs(path: Path, names: list[str]) -> Statistics:
    """TTUR and EDM: mu, sigma. ADM: mu, sigma, mu_s, sigma_s."""
    if not {"mu", "sigma"} <= set(names):
        raise FixableError(
            f"{path}: holds {', '.join(names[:6]) or 'nothing'}; not mu and sigma", _AGAIN
        )
    has_spatial = {"mu_s", "sigma_s"} <= set(names)
    wanted = ["mu", "sigma", *(["mu_s", "sigma_s"] if has_spatial else [])]
    content = read_arrays(path, wanted)
    pool = _gaussian(content["mu"], content["sigma"], path)
    spatial = _gaussian(content["mu_s"], content["sigma_s"], path) if has_spatial else None
    return Statistics(pool, spatial, {})


def _gaussian(mean: Array, covariance: Array, path: Path) -> Gaussian:
    dim = mean.size
    plain = mean.dtype.kind == covariance.dtype.kind == "f"
    if not plain or mean.ndim != 1 or covariance.shape != (dim, dim):
        raise FixableError(
            f"{path}: mu {list(mean.shape)} and sigma {list(covariance.shape)} are not a mean [d] "
            "and a covariance [d, d]",
            _AGAIN,
        )
    if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
        raise FixableError(f"{path}: holds NaN or infinity", _AGAIN)
    if not np.allclose(covariance, covariance.T, rtol=1e-5, atol=1e-8 * np.trace(covariance)):
        raise FixableError(f"{path}: sigma is not symmetric", _AGAIN)
    least = float(np.linalg.eigvalsh(covariance)[0])
    if least < -_ROUNDING * np.trace(covariance):
        raise FixableError(
            f"{path}: sigma is no covariance: its least eigenvalue is {least:.3g}", _AGAIN
        )
    return Gaussian(mean.astype(np.float64), covariance.astype(np.float64))


def _fits(path: Path, content: Statistics, extractor: Extractor) -> None:
    dim, about = len(content.pool.mean), content.about
    same = about.get("weights", extractor.digest) == extractor.digest
    if dim != extractor.sizes[0] or not same:
        network = f"{about['extractor']} " if "extractor" in about else ""
        digest = f" of weights {about['weights'][:8]}" if "weights" in about else ""
        raise FixableError(
            f"{path}: statistics of {dim} {network}features{digest}; {extractor.name} of weights "
            f"{extractor.digest[:8]} has {extractor.sizes[0]}",
            "choose the extractor that they were made with, or name the reference images",
        )
    if about.get("preprocessing", extractor.preprocessing) != extractor.preprocessing:
        raise FixableError(
            f"{path}: statistics of images that were prepared otherwise ({about['preprocessing']})",
            "choose the protocols that they were made with, or name the reference images",
        )
