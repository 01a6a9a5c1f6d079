"""Reference statistics in files: ours, and those of TTUR, EDM and ADM. Pickles are never read.

Ours are an .npz whose keys end in digests (``ddpm_eval.record.arrays``): ``about``, a JSON text
that says whose features they are, and mean and covariance of each kind of feature.
"""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ddpm_eval.features import Extractor
from ddpm_eval.metrics.frechet import Gaussian
from ddpm_eval.record import arrays
from ddpm_eval.record.arrays import Array
from ddpm_train.errors import FixableError

FORMAT, VERSION = "ddpm-eval statistics", 1
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


def write(path: Path, found: Statistics) -> None:
    """Write our own format, atomically."""
    about = {"format": FORMAT, "version": VERSION, "n": found.pool.n, **found.about}
    text = json.dumps(about, sort_keys=True).encode()
    plain: dict[str, Array] = {"about": np.frombuffer(text, np.uint8)}
    for name, each in (("pool", found.pool), ("spatial", found.spatial)):
        if each is not None:
            plain |= {f"{name} mean": each.mean, f"{name} covariance": each.covariance}
    if found.pixels is not None:
        plain["pixels"] = found.pixels
    arrays.write(path, {arrays.key(name, array): array for name, array in plain.items()})


def read(path: Path, extractor: Extractor) -> Statistics:
    """Read statistics of any known format and check that they fit the extractor.

    Raises:
        FixableError: The file is missing, damaged or a pickle, or its statistics were made with
            another extractor, other weights or another number of features.
    """
    if path.suffix in (".pkl", ".pickle", ".pt", ".pth"):
        raise FixableError(
            f"{path}: statistics in a pickle, which could run anything, are never read",
            "use the .npz that EDM, ADM and TTUR publish, or name the reference images themselves",
        )
    names = _names(path)
    found = _ours(path, names) if any(name.startswith("about@") for name in names) else None
    found = found or _theirs(path, names)
    _fits(path, found, extractor)
    return found


def holds_statistics(path: Path) -> bool:
    """Whether a file holds statistics, rather than images."""
    return path.suffix != ".npz" or any(
        name.startswith("about@") or name == "mu" for name in _names(path)
    )


def _names(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist()]
    except FileNotFoundError:
        raise FixableError(f"{path}: no such file", _AGAIN) from None
    except (OSError, zipfile.BadZipFile) as error:
        raise FixableError(f"{path}: not a whole .npz ({error})", _AGAIN) from error


def _ours(path: Path, names: list[str]) -> Statistics:
    try:
        plain = {name.rpartition("@")[0]: arrays.read(path, name) for name in names}
        about = json.loads(plain.pop("about").tobytes())
        if about["version"] > VERSION:
            raise FixableError(
                f"{path}: version {about['version']}, newer than this program's {VERSION}",
                "pip install --upgrade ddpm-eval",
            )
        n = about["n"]
        pool = Gaussian(plain["pool mean"], plain["pool covariance"], n)
        spatial = (
            Gaussian(plain["spatial mean"], plain["spatial covariance"], n)
            if "spatial mean" in plain
            else None
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FixableError(
            f"{path}: damaged ({error})", "delete it; it is made again from the images"
        ) from error
    return Statistics(pool, spatial, about, plain.get("pixels"))


def _theirs(path: Path, names: list[str]) -> Statistics:
    """TTUR and EDM: mu, sigma. ADM: mu, sigma, mu_s, sigma_s."""
    if not {"mu", "sigma"} <= set(names):
        raise FixableError(
            f"{path}: holds {', '.join(names[:6]) or 'nothing'}; not mu and sigma", _AGAIN
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            pool = _gaussian(file["mu"], file["sigma"], path)
            both = {"mu_s", "sigma_s"} <= set(names)
            spatial = _gaussian(file["mu_s"], file["sigma_s"], path) if both else None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise FixableError(f"{path}: not plain whole arrays ({error})", _AGAIN) from error
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
    return Gaussian(mean.astype(np.float64), covariance.astype(np.float64))


def _fits(path: Path, found: Statistics, extractor: Extractor) -> None:
    dim = len(found.pool.mean)
    same = found.about.get("weights", extractor.digest) == extractor.digest
    if dim != extractor.sizes[0] or not same:
        made = f"{found.about['extractor']} " if "extractor" in found.about else ""
        digest = f" of weights {found.about['weights'][:8]}" if "weights" in found.about else ""
        raise FixableError(
            f"{path}: statistics of {dim} {made}features{digest}; {extractor.name} of weights "
            f"{extractor.digest[:8]} has {extractor.sizes[0]}",
            "choose the --extractor that they were made with, or name the reference images",
        )
