"""Files of a model's codec, and the pictures that their real prefixes decode to."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from ddpm_eval.choice import ImageSet
from ddpm_eval.codec.codec import Codec
from ddpm_eval.codec.reading import Decoded, Reader
from ddpm_eval.codec.settings import CompressionSettings
from ddpm_eval.measure.files.settings import FileSettings
from ddpm_eval.record.arrays import Array
from ddpm_eval.record.fill import Work, fill
from ddpm_eval.record.shards import Arrays
from ddpm_eval.runtime import Runtime
from ddpm_train.data.images import Pixels
from ddpm_train.settings import to_dict


@dataclass(frozen=True, slots=True, eq=False)
class Prefixes:
    """n files and S prefixes of each.

    Attributes:
        layers: How many layers each prefix holds, [S].
        sizes: Bytes of whole files, [n].
        heads: Bytes of their heads, [n].
        is_exact: Whether a whole file decodes to the pixels that it was written from, [n].
        is_stored: Whether a file holds raw pixels in place of layers, [n].
        ends: Bytes of the prefixes, [n, S]; of a stored file, all of its bytes.
        mse: The mean squared error of the pictures, in grey levels, [n, S]; of a stored file, 0.
        pictures: What the prefixes of the first files decode to, uint8 [m, S, H, W, C].
    """

    layers: Array
    sizes: Array
    heads: Array
    is_exact: Array
    is_stored: Array
    ends: Array
    mse: Array
    pictures: Array


def layers_of(total: int, wanted: int) -> list[int]:
    """List the layers after which prefixes end: all, or so many, spread evenly up to the last.

    >>> layers_of(4, 0), layers_of(50, 5)
    ([1, 2, 3, 4], [10, 20, 30, 40, 50])
    """
    count = min(wanted or total, total)
    return [total * i // count for i in range(1, count + 1)]


def decode_prefixes(
    codec: Codec, images: ImageSet, settings: FileSettings, runtime: Runtime
) -> Prefixes:
    """Write a file of every image, and decode its prefixes and the whole of it.

    Each prefix is cut out of the file and decoded from its head on, as a receiver would.
    """
    layers = layers_of(len(codec.profile.strides), settings.prefixes)
    shown = min(settings.shown, len(images))

    def make(part: range) -> Generator[None, None, Arrays]:
        pictures = list(images.read(part))
        compression = CompressionSettings(effort=settings.effort, portable=settings.portable)
        files = yield from codec.compress(pictures, compression)
        first = max(0, min(len(part), shown - part.start))
        return (yield from _decode(codec, pictures, files, layers, first))

    work = Work(
        name="files",
        facts={
            "model": codec.model.facts.digest,
            "profile": codec.profile.digest,
            "images": to_dict(images.facts),
            "settings": to_dict(settings),
            "batch": runtime.batch,
        },
        n=len(images),
        size=runtime.batch,
        make=make,
        ticks=lambda part: len(part) * codec.evaluations * (len(layers) + 2),
        label=f"files of {len(images):,} images, {len(layers)} prefixes of each",
    )
    return Prefixes(layers=np.array(layers), **fill(work, runtime).read())


def _decode(
    codec: Codec,
    pictures: Sequence[Pixels],
    files: Sequence[bytes],
    layers: Sequence[int],
    shown: int,
) -> Generator[None, None, Arrays]:
    """Decode every prefix of every file, then the whole files; keep the pictures of the first."""
    profile = codec.profile
    readers = [Reader(profile, data) for data in files]
    stored = np.array([reader.head.stored for reader in readers])
    places = np.flatnonzero(~stored).tolist()
    sizes = np.array([len(data) for data in files])
    ends = np.repeat(sizes[:, None], len(layers), 1)
    mse = np.zeros(ends.shape)
    parts = np.zeros((shown, len(layers), *pictures[0].shape), np.uint8)
    for i in range(shown):
        parts[i] = pictures[i]
    for s, count in enumerate(layers):
        ends[places, s] = [readers[i].start + -(-readers[i].ends[count - 1] // 8) for i in places]
        cut = [Reader(profile, files[i][: ends[i, s]], most=count) for i in places]
        decoded = yield from codec.decompress(cut)
        for i, result in zip(places, decoded, strict=True):
            mse[i, s] = np.square(result.picture.astype(np.float64) - pictures[i]).mean()
            if i < shown:
                parts[i, s] = result.picture
    whole = yield from codec.decompress(readers)
    return {
        "sizes": sizes,
        "heads": np.array([reader.start for reader in readers]),
        "is_exact": np.array([_same(*pair) for pair in zip(whole, pictures, strict=True)]),
        "is_stored": stored,
        "ends": ends,
        "mse": mse,
        "pictures": parts,
    }


def _same(decoded: Decoded, picture: Pixels) -> bool:
    return decoded.lossless and bool((decoded.picture == picture).all())
