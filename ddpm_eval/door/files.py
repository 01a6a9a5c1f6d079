"""``calibrate``, ``compress`` and ``decompress``: pictures to files of a few bytes, and back."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ddpm_eval.codec import calibrate as calibration
from ddpm_eval.codec import packaged
from ddpm_eval.codec.archive import Archive
from ddpm_eval.codec.codec import Codec, find_profile
from ddpm_eval.codec.index import is_archive, parse
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import CalibrationSettings, CompressionSettings
from ddpm_eval.door.images import AnyImages
from ddpm_eval.door.images import images as open_images
from ddpm_eval.door.working import images_of, model_of, runtime_of, typed
from ddpm_eval.loading import load
from ddpm_eval.model import Model, require_bound
from ddpm_eval.paths import expanded
from ddpm_eval.record.fill import finish
from ddpm_eval.runtime import Runtime
from ddpm_train.data.images import Pixels
from ddpm_train.errors import FixableError
from ddpm_train.world import require_float64

Pictures: TypeAlias = AnyImages | Sequence[NDArray[np.uint8]]
"""What ``compress`` takes: images of one size, or a list of pictures of any size."""


def calibrate(
    model: Model,
    images: AnyImages | None = None,
    *,
    n: int = 256,
    rows: int = 48,
    noise: float = 16.0,
    tolerance: float = 2e-4,
    seed: int = 0,
    batch: int = 64,
    cache: str | Path | None = None,
    runtime: Runtime | None = None,
) -> Profile:
    """Learn from training images how files are written with a model: its profile.

    Args:
        model: From ``load`` or ``wrap``.
        images: What ``images`` gives or takes; None: the training images of the model's run.
        n: How many of them, drawn by the seed; 0: all.
        rows: Times at which the error of x_0_hat is measured.
        noise: The most noise, in levels, at the time where files go over to exact pixels; 1 makes
            lossy files finer.
        tolerance: How many levels two machines may differ by in the last x_0_hat, at least.
        seed: Of the images drawn and of the noise.
        batch: Images in one evaluation of the network.
        cache: A folder where unfinished work survives.
        runtime: How the work is carried out, in place of ``batch`` and ``cache``.

    Raises:
        FixableError: A setting does not fit, or the network learned nothing of the images.

    >>> import ddpm_eval as de, numpy as np
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model(T=50)
    >>> greys = np.arange(0, 252, 4, np.uint8).repeat(64).reshape(63, 8, 8, 1)  # 63 even pictures
    >>> profile = de.calibrate(model, greys, n=0, rows=12)
    >>> profile.rows[0], profile.shape
    (50, (1, 8, 8))
    """
    settings = typed(
        CalibrationSettings, n=n, rows=rows, noise=noise, tolerance=tolerance, seed=seed
    )
    model = _checked(model)
    taken = images_of(model, images, split="train")
    work = runtime_of(model, runtime, batch=batch, cache=cache)
    return calibration.calibrate(model, taken, settings, work)


def compress(
    model: Model | None,
    images: Pictures,
    *,
    profile: Profile | str | Path | None = None,
    bits: float = 0.0,
    rmse: float = 0.0,
    effort: int = 13,
    portable: bool = True,
    batch: int = 64,
    runtime: Runtime | None = None,
) -> list[bytes]:
    """Compress pictures, each to the bytes of one file; any prefix of it is a picture too.

    Args:
        model: From ``load`` or ``wrap``; None: the packaged network of 32x32 tiles.
        images: What ``images`` gives or takes, or a list of pictures of any size, uint8
            [H, W, 3] or [H, W, 1].
        profile: From ``calibrate``, or its file; None: the one beside the checkpoint.
        bits: End before so many bits/dim; 0: with the exact pixels.
        rmse: End where the error is so small, in levels; 0: with the exact pixels.
        effort: 10 to 16: how long short codewords are looked for.
        portable: Exact on machines that round otherwise, too; costs some 0.3%.
        batch: Tiles in one evaluation of the network.
        runtime: How the work is carried out, in place of ``batch``.

    Raises:
        FixableError: A setting or a picture does not fit, or there is no profile.

    >>> import ddpm_eval as de, numpy as np
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model(T=50)
    >>> greys = np.arange(0, 252, 4, np.uint8).repeat(64).reshape(63, 8, 8, 1)  # 63 even pictures
    >>> profile = de.calibrate(model, greys, n=0, rows=12)
    >>> files = de.compress(model, greys[:2], profile=profile)
    >>> [str(picture) for picture in de.decompress(model, files, profile=profile)]
    ['lossless, verified', 'lossless, verified']
    """
    settings = typed(CompressionSettings, bits=bits, rmse=rmse, effort=effort, portable=portable)
    codec = codec_of(model, profile, batch, runtime)
    taken = pictures_of(images)

    def files() -> Generator[None, None, list[bytes]]:
        coded: list[bytes] = []
        for group in codec.groups(taken, lambda picture: picture.shape[:2]):
            coded += yield from codec.compress(group, settings)
        return coded

    track, total = runtime_of(codec.model, runtime).track, codec.evaluations * len(taken)
    return finish(files(), track, f"compress {len(taken):,} pictures", total)


def decompress(
    model: Model | None,
    files: bytes | Sequence[bytes],
    *,
    profile: Profile | str | Path | None = None,
    layers: int | None = None,
    batch: int = 64,
    runtime: Runtime | None = None,
) -> list[Decoded]:
    """Read pictures from files, or from their first bytes; each says what is known of it.

    Args:
        model: That they were compressed with; None: the packaged network.
        files: Of ``compress``, or prefixes of them; archives of ``archive``, each of which gives
            all of its pictures. Bytes are one file.
        profile: That they were compressed with; None: the one beside the checkpoint.
        layers: Take so many of the layers of files; None: everything.
        batch: Tiles in one evaluation of the network.
        runtime: How the work is carried out, in place of ``batch``.

    Raises:
        FixableError: A file has a damaged head, is of another profile or version, or is too long.

    >>> import ddpm_eval as de, numpy as np
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model(T=50)
    >>> greys = np.arange(0, 252, 4, np.uint8).repeat(64).reshape(63, 8, 8, 1)  # 63 even pictures
    >>> profile = de.calibrate(model, greys, n=0, rows=12)
    >>> (file,) = de.compress(model, greys[:1], profile=profile)
    >>> whole, part = de.decompress(model, [file, file[:9]], profile=profile)
    >>> print(whole, "|", part.picture.shape, part.lossless)
    lossless, verified | (8, 8, 1) False
    """
    codec = codec_of(model, profile, batch, runtime)
    if layers is not None and layers < 0:
        raise FixableError(f"layers={layers}: below 0", "choose 0 or more")
    contents = [files] if isinstance(files, bytes) else [bytes(data) for data in files]
    total = sum(_evaluations(codec, data, f"file {i}") for i, data in enumerate(contents))
    work = _decompressed(codec, contents, layers)
    track = runtime_of(codec.model, runtime).track
    return finish(work, track, f"decompress {len(contents):,} files", total)


def _evaluations(codec: Codec, data: bytes, label: str) -> int:
    if not is_archive(data):
        return codec.evaluations
    return Archive(codec).evaluations(parse(data, label)[0])


def _decompressed(
    codec: Codec, contents: Sequence[bytes], layers: int | None
) -> Generator[None, None, list[Decoded]]:
    """The pictures of files in groups, and those of archives where these stand."""
    readers = {
        i: Reader(codec.profile, data, label=f"file {i}", most=layers)
        for i, data in enumerate(contents)
        if not is_archive(data)
    }
    pictures: dict[int, list[Decoded]] = {}
    for group in codec.groups(readers.items(), lambda pair: pair[1].size):
        decoded = yield from codec.decompress([reader for _, reader in group])
        pictures |= {i: [picture] for (i, _), picture in zip(group, decoded, strict=True)}
    for i, data in enumerate(contents):
        if is_archive(data):
            archived = yield from Archive(codec).read(data, f"file {i}")
            pictures[i] = [picture.decoded for picture in archived]
    return [picture for i in range(len(contents)) for picture in pictures[i]]


def _checked(model: Any) -> Model:
    loaded = model_of(model)
    require_float64(loaded.device, "files", fix="use device=cpu")
    require_bound(loaded, "files")
    if loaded.classes:
        raise FixableError(
            f"model: it takes {loaded.classes:,} classes; a compressed picture has none",
            "use a model without classes",
        )
    return loaded


def codec_of(
    model: Any, profile: Profile | str | Path | None, batch: int, runtime: Runtime | None
) -> Codec:
    """A model (None: the packaged one) and its profile, named or beside the checkpoint."""
    loaded = _checked(load(packaged.NETWORK) if model is None else model)
    named = expanded(profile, "profile") if isinstance(profile, str | Path) else profile
    return Codec(
        loaded, find_profile(loaded, named), runtime_of(loaded, runtime, batch=batch).batch
    )


def pictures_of(images: Any) -> list[Pixels]:
    """Take images of one size, or a list of pictures.

    Raises:
        FixableError: A picture is of another type or shape.
    """
    if not isinstance(images, list | tuple):
        opened = open_images(images)
        return list(opened.read(range(len(opened))))
    for i, picture in enumerate(images):
        fits = isinstance(picture, np.ndarray) and picture.dtype == np.uint8
        if not fits or picture.ndim != 3 or not picture.size:
            raise FixableError(
                f"images: picture {i} is no array uint8 [H, W, C]", "give levels 0..255"
            )
    return [np.ascontiguousarray(picture) for picture in images]
