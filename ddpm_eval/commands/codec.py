"""Commands that write and read files: ``calibrate``, ``compress``, ``decompress``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ddpm_eval.codec import packaged
from ddpm_eval.codec.settings import CalibrationSettings, CompressionSettings
from ddpm_eval.commands.checks import check_checkpoint, check_images
from ddpm_eval.commands.options import Changes, Checkpoint, Data, Dataset, Seed, common
from ddpm_eval.commands.profiles import (
    Of,
    ProfileFile,
    learn,
    opened_codec,
    opened_model,
    profile_place,
)
from ddpm_eval.settings import EvalSettings, changed
from ddpm_train.errors import FixableError
from ddpm_train.reading import existing, read_bytes
from ddpm_train.terminal import escape, output, say

if TYPE_CHECKING:
    from ddpm_eval.codec.jobs import Compression, Decompression
    from ddpm_eval.codec.profile import Profile

_LISTED = 20  # files that are named one by one

Out = Annotated[
    Path | None, typer.Option("--out", help="The folder to write; beside each file if left out.")
]


def calibrate(
    checkpoint: Checkpoint = None,
    n: Annotated[int, typer.Option("-n", "--n", min=0, help="Training images; 0: all.")] = 256,
    profile: ProfileFile = None,
    seed: Seed = 0,
    dataset: Dataset = None,
    data: Data = None,
    changes: Changes = None,
) -> None:
    """Learn from training images how files are written with a model: its profile.

    That is the error of x_0_hat at each time, the strides with the fewest bits, the time where
    files go over to the exact pixels, and how these are coded.
    """
    tree = EvalSettings(calibration=CalibrationSettings(n=n, seed=seed))
    settings, of_model = changed(tree, changes or [], uses=("calibration", "compute.batch"))
    check_images(dataset, data)
    with opened_model(checkpoint, settings, of_model) as (model, runtime):
        place = profile_place(profile, checkpoint)
        fitted = learn(model, place, settings, runtime, dataset=dataset, data=data)
        if not common().quiet and not runtime.world.rank:
            _describe(fitted, place)


def compress(
    images: Annotated[
        list[Path], typer.Argument(help="PNG, WebP, TIFF, BMP, JPEG; folders; .npz of levels.")
    ],
    out: Out = None,
    model: Of = None,
    profile: ProfileFile = None,
    bits: Annotated[
        float, typer.Option("--bits", min=0, help="End before so many bits/dim: --bits 0.5.")
    ] = 0.0,
    rmse: Annotated[
        float, typer.Option("--rmse", min=0, help="End at this error in levels: --rmse 4.")
    ] = 0.0,
    lossless: Annotated[
        bool, typer.Option("--lossless", help="With the exact pixels, as it is by default.")
    ] = False,
    effort: Annotated[
        int, typer.Option("--effort", min=10, max=16, help="How long codewords are looked for.")
    ] = 13,
    plain: Annotated[
        bool, typer.Option("--plain", help="Exact on this kind of machine only; 0.3% smaller.")
    ] = False,
    show: Annotated[
        bool, typer.Option("--show", help="Say what is in .ddpm files, instead.")
    ] = False,
    changes: Changes = None,
) -> None:
    """Compress pictures: one .ddpm file for each, which decodes from any prefix of its bytes."""
    if lossless and (bits or rmse):
        raise FixableError("--lossless beside --bits or --rmse", "give one of them")
    if show:
        _show(images, profile_place(profile, model or packaged.NETWORK))
        return
    for path in images:
        existing(str(path), "a picture, a folder of pictures or an .npz of levels")
    ours = CompressionSettings(bits=bits, rmse=rmse, effort=effort, portable=not plain)
    check_checkpoint(model or packaged.NETWORK)
    uses = ("compression", "calibration", "compute.batch")
    settings, of_model = changed(EvalSettings(compression=ours), changes or [], uses)
    from ddpm_eval.codec import pictures
    from ddpm_eval.codec.jobs import Compression, require_free
    from ddpm_eval.record.fill import finish

    sources = pictures.find(images)
    require_free(sources, out)
    with opened_codec(model, profile, settings, of_model) as (codec, runtime):
        mine = runtime.world.share(sources)
        job = Compression(codec, settings.compression, out)
        total = len(mine) * codec.evaluations
        finish(job.run(mine), runtime.track, f"compress {len(mine):,} pictures", total)
        if not common().quiet:
            _tell_written(job)


def decompress(
    files: Annotated[
        list[Path],
        typer.Argument(help="Files of ddpm-eval compress, archives of ddpm-eval archive."),
    ],
    out: Out = None,
    model: Of = None,
    profile: ProfileFile = None,
    first: Annotated[
        int | None, typer.Option("--first", min=0, help="Read only so many bytes of each.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=0, help="Take only so many layers of each.")
    ] = None,
    changes: Changes = None,
) -> None:
    """Read pictures back: exactly where a file holds everything, else as well as it is known.

    Says of each which it is: verified by the checksum, or from how many layers. The exit status is
    1 if a file that should hold the exact pixels does not.
    """
    check_checkpoint(model or packaged.NETWORK)
    uses = ("calibration", "compute.batch")
    settings, of_model = changed(EvalSettings(), changes or [], uses)
    contents = [(path, read_bytes(path)[:first]) for path in files]
    with opened_codec(model, profile, settings, of_model) as (codec, runtime):
        from ddpm_eval.codec.jobs import Decompression
        from ddpm_eval.record.fill import finish

        mine = runtime.world.share(contents)
        job = Decompression(codec, out, layers)
        job.check(contents, replace=common().replace)
        total = job.evaluations(mine)
        finish(job.run(mine), runtime.track, f"decompress {len(mine):,} files", total)
        if not common().quiet:
            _tell_read(job)
        damaged = any(picture.problem for _, picture in job.pictures) or job.lost
    if damaged and first is None:
        raise typer.Exit(1)


# ------------------------------------------------------------------------------- what is said


def _describe(profile: "Profile", place: Path) -> None:
    """Say what a profile expects of files."""
    expected, rows = profile.facts["expected"], profile.rows
    say(f"{len(rows) - 1} strides from t = {rows[0]:,} to t = {rows[-1]:,}; as a rule", to=output)
    for layers in sorted({*range(4, len(rows) - 1, 4), len(rows) - 1}):
        rate, error = expected[layers]["bits_per_dim"], expected[layers]["rmse"]
        say(f"{layers:4} layers     {rate:6.3f} bits/dim, RMSE {error:.2f}", to=output)
    say(f"     exact pixels {expected[-1]['bits_per_dim']:.3f} bits/dim", to=output)
    own = profile.facts.get("pixel_errors")
    if own is not None:
        used = "used" if profile.pixel_errors else "too little, not used"
        say(f"a variance for every pixel saves {own['saved']:.1%}: {used}", to=output)
    say(f"wrote {escape(str(place))}", to=output)


def _tell_written(job: "Compression") -> None:
    for file in job.written if len(job.written) <= _LISTED else []:
        say(escape(str(file)), to=output)
    if job.before:
        say(f"{job.before:,} files were there already", to=output)
    if len(job.written) > 1:
        size, levels = sum(file.size for file in job.written), sum(f.levels for f in job.written)
        rate = 8 * size / levels
        say(f"{len(job.written):,} files: {size:,} bytes, {rate:.3f} bits/dim", to=output)


def _tell_read(job: "Decompression") -> None:
    for place, text in job.archives:
        say(f"{escape(str(place))}: {escape(text)}", to=output)
    for place, picture in job.pictures:
        say(f"{escape(str(place))}: {escape(str(picture))}", to=output)


def _show(files: list[Path], place: Path) -> None:
    from ddpm_eval.codec import contents
    from ddpm_eval.codec import profile as profiles

    profile = profiles.load(place)
    for path in files:
        for line in contents.describe(profile, read_bytes(path), str(path)):
            say(escape(line), to=output)
