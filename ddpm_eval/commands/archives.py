"""The command ``archive``: many pictures in one file."""

from pathlib import Path
from typing import Annotated

import typer

from ddpm_eval.codec import packaged
from ddpm_eval.codec.settings import ArchiveSettings
from ddpm_eval.commands.checks import check_checkpoint
from ddpm_eval.commands.options import Changes, common
from ddpm_eval.commands.profiles import Of, ProfileFile, opened_codec
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train.errors import FixableError
from ddpm_train.files import require_folder, require_replaceable, write_atomically
from ddpm_train.terminal import escape, output, say


def archive(
    images: Annotated[
        list[Path], typer.Argument(help="PNG, WebP, TIFF, BMP, JPEG; folders; .npz of levels.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The archive to write.")],
    model: Of = None,
    profile: ProfileFile = None,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="In float32: faster, exact on this kind of machine only."),
    ] = False,
    changes: Changes = None,
) -> None:
    """Put many pictures into one file, smaller than one file each; all of it is needed to read it.

    ddpm-eval decompress reads it. The pictures come back exactly, as PNG files of the same names.
    """
    ours = ArchiveSettings(portable=not plain)
    check_checkpoint(model or packaged.NETWORK)
    uses = ("archive", "calibration", "compute.batch")
    settings, of_model = changed(EvalSettings(archive=ours), changes or [], uses)
    if out.exists() and not common().replace:
        raise FixableError(f"{out}: is there already", "choose another name, or add --replace")
    require_replaceable(out)
    require_folder(out.parent)
    from ddpm_eval.codec import pictures
    from ddpm_eval.codec.archive import Archive
    from ddpm_eval.record.fill import finish

    sources = pictures.find(images)
    levels = [source.read() for source in sources]
    with opened_codec(model, profile, settings, of_model) as (codec, runtime):
        if runtime.world.rank:
            return
        archive = Archive(codec)
        work = archive.write(levels, [source.name for source in sources], settings.archive)
        total = archive.plan(levels, settings.archive)
        data = finish(work, runtime.track, f"archive {len(levels):,} pictures", total)
        write_atomically(out, lambda file: file.write(data))
    if not common().quiet:
        rate = 8 * len(data) / sum(picture.size for picture in levels)
        text = f"{out}: {len(levels):,} pictures, {len(data):,} bytes, {rate:.3f} bits/dim"
        say(escape(text), to=output)
