"""Real files: a slider through their bytes, their curve, other codecs, each file over its bound."""

from collections.abc import Iterator, Mapping

from ddpm_eval.present import frames, real_files
from ddpm_eval.present.frames import Frames
from ddpm_eval.present.parts import Section
from ddpm_eval.present.runs import Run
from ddpm_eval.present.sections.shared import grid, seeded, sized
from ddpm_eval.present.sections.slider import numbers, rows_of
from ddpm_eval.present.wording import axis
from ddpm_eval.record.record import Measurement

_CURVES = (
    "Error over the bits/dim of files, all bytes counted. Left: what real prefixes of our files "
    "decode to, the bound of the same images, and the paper's Table 4, of CIFAR-10. Middle: other "
    "codecs on the same images, each over its settings. Right: published curves of CIFAR-10; those "
    "of VDM are sums of KL terms and those of UQDM estimates, not files."
)
_SCATTER = "The bits/dim of each image's file over the bound of that image alone."


def files(measurement: Measurement, run: Run) -> Iterator[Section]:
    """Real files: what they need, and what their first bytes decode to."""
    key = run.key(measurement)
    pictures = [grid(measurement, name, run) for name in sorted(measurement.grids)]
    pictures.append(real_files.figure(f"{key}-curves", measurement, _CURVES))
    if measurement.grids:
        pictures.append(real_files.scatter(f"{key}-scatter", measurement, _SCATTER))
    lossy = real_files.lossy_table(f"{key}-lossy", measurement)
    yield Section(
        "Real files",
        tuple(_sentences(measurement)),
        frames=tuple(_slider(measurement, run)),
        tables=(real_files.table(f"{key}-codecs", measurement), *([lossy] if lossy else [])),
        pictures=tuple(pictures),
    )


def _sentences(measurement: Measurement) -> Iterator[str]:
    """Say how large files are beside the bound and JPEG XL's, and whether they decoded exactly."""
    own = measurement.score(real_files.RATE, whose=real_files.OURS)
    size = measurement.score("size_ratio", whose=real_files.OURS)
    over, exact = measurement.score("file_over_bound"), measurement.score("exact_files")
    evaluations = measurement.score("evaluations")
    if own is None or over is None or exact is None or evaluations is None:
        return
    head = float(str(measurement.facts["head"]))
    heads = own.value * head / float(measurement.arrays["bytes"].mean())
    beside = "" if size is None else f", {size.value:.3f} times JPEG XL's bytes"
    yield (
        f"Lossless files need {' ± '.join(filter(None, own.texts))} bits/dim with all of their "
        f"bytes: {over.value:.3f} times the bound of the same images under the "
        f"{measurement.facts['variance']} variance{beside}. The head of a file, {head:.0f} bytes, "
        f"is {heads:.3f} bits/dim of it. {exact.value:,} of {exact.n:,} decoded to their exact "
        f"pixels. {evaluations.value:,} evaluations of the network each way."
    )


def _slider(measurement: Measurement, run: Run) -> Iterator[Frames]:
    stops = measurement.facts.get("frames")
    if not isinstance(stops, Mapping):
        return
    (*sizes, size_of_whole), rates, errors = (
        numbers(stops[name]) for name in ("bytes", "rate", "rmse")
    )
    strips, fit, side = rows_of(measurement, run, stops)
    names = [
        f"{size:,.0f} bytes a picture, {rate:.3g} bits/dim, RMSE {error:.3g}"
        for size, rate, error in zip(sizes, rates, errors, strict=True)
    ]
    whole = f"whole files, {size_of_whole:,.0f} bytes a picture: the originals"
    columns = int(str(stops["columns"]))
    few = "" if fit == columns else f" Here {fit} of {columns}."
    caption = (
        f"{fit} images decoded from the first bytes of their real files. Drag the slider or press "
        "the arrow keys; the space bar flickers between them and the originals."
        f"{few}{sized(side)} Numbers are means over these {columns} images, the curve over all."
    )
    curve = real_files.curves_of(measurement, "rmse")[real_files.OURS]
    places = list(zip(rates, errors, strict=True))
    names_of_axes = f"{axis('rate')}|{axis('rmse')}"
    yield Frames(
        title="Pictures from the first bytes of a file",
        names=(*names, whole),
        files=tuple(content for content, _ in strips),
        shape=strips[0][1],
        width=frames.shown_width(strips[0][1][0]),
        caption=seeded(caption, measurement),
        label="Bytes read",
        last="originals",
        track=frames.track(curve.x.tolist(), curve.y.tolist(), places, names_of_axes),
    )
