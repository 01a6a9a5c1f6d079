"""``archive``: many pictures in one file, for the bits of the bound alone."""

from collections.abc import Sequence
from pathlib import Path

from ddpm_eval.codec.archive import Archive
from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.settings import ArchiveSettings
from ddpm_eval.door.files import Pictures, codec_of, pictures_of
from ddpm_eval.door.working import runtime_of, typed
from ddpm_eval.model import Model
from ddpm_eval.record.fill import finish
from ddpm_eval.runtime import Runtime
from ddpm_train.errors import FixableError


def archive(
    model: Model | None,
    images: Pictures,
    *,
    names: Sequence[str] = (),
    profile: Profile | str | Path | None = None,
    stride: float = 0.5,
    portable: bool = True,
    check: bool = True,
    batch: int = 64,
    runtime: Runtime | None = None,
) -> bytes:
    """Put pictures into one archive, which ``decompress`` reads.

    One picture borrows bits from the next (bits back), so that nothing but the bound is paid. All
    of an archive is needed to read it: where it is cut off, the pictures before that are read.

    Args:
        model: From ``load`` or ``wrap``; None: the packaged network of 32x32 tiles.
        images: What ``images`` gives or takes, or a list of pictures of any size, uint8
            [H, W, 3] or [H, W, 1].
        names: What they are called, without suffixes; none: nothing.
        profile: From ``calibrate``, or its file; None: the one beside the checkpoint.
        stride: Bits that one more stride has to save; smaller is slower.
        portable: Evaluate the network in float64, so that other machines read the archive.
        check: Read the archive before it is given, which takes as long again.
        batch: Tiles in one evaluation of the network, of the pictures that are plain files.
        runtime: How the work is carried out, in place of ``batch``.

    Raises:
        FixableError: A setting or a picture does not fit, there is no profile, or the machine does
            not read what it wrote.

    >>> import ddpm_eval as de, numpy as np
    >>> from ddpm_eval.toy import gaussian_model
    >>> model = gaussian_model(T=50)
    >>> greys = np.arange(0, 252, 4, np.uint8).repeat(64).reshape(63, 8, 8, 1)  # 63 even pictures
    >>> profile = de.calibrate(model, greys, n=0, rows=12)
    >>> file = de.archive(model, greys[:20], profile=profile)
    >>> pictures = de.decompress(model, file, profile=profile)
    >>> len(pictures), str(pictures[7])
    (20, 'lossless, verified')
    """
    settings = typed(ArchiveSettings, stride=stride, portable=portable, check=check)
    codec = codec_of(model, profile, batch, runtime)
    pictures = pictures_of(images)
    if not pictures:
        raise FixableError("images: none", "name at least one picture")
    if names and len(names) != len(pictures):
        raise FixableError(
            f"names: {len(names):,} for {len(pictures):,} pictures", "give one each, or none"
        )
    archives = Archive(codec)
    work = archives.write(pictures, list(names) or [""] * len(pictures), settings)
    total = archives.plan(pictures, settings)
    return finish(work, runtime_of(codec.model, runtime).track, f"archive {len(pictures):,}", total)
