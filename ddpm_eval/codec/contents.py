"""What is in a file, without a network: its head, its layers, its bytes."""

from collections.abc import Iterator

from ddpm_eval.codec.profile import Profile
from ddpm_eval.codec.reading import Reader


def describe(profile: Profile, data: bytes, label: str) -> Iterator[str]:
    """Describe a file, line by line.

    Raises:
        FixableError: It is none, damaged in its head or of another profile.
    """
    reader = Reader(profile, data, label=label)
    head, (height, width) = reader.head, reader.size
    levels = height * width * reader.channels
    kind = "stored" if head.stored else "lossless" if head.checksum else "lossy"
    exact = f", checksum {head.checksum.hex()}" if head.checksum else ""
    machines = "any machine" if head.portable else "machines that compute exactly alike"
    yield (
        f"{label}: {len(data):,} bytes, {8 * len(data) / levels:.3f} bits/dim, {width}x{height}, "
        f"{'gray' if reader.channels == 1 else 'colours'}"
    )
    yield f"  {kind}{exact}, profile {head.profile.hex()}, for {machines}"
    if profile.pixel_errors is not None:
        yield "  version 2: a variance for every pixel, from what the network learned"
    yield f"  head {reader.start} bytes"
    expected = profile.facts.get("expected", [])
    for k, end in enumerate(reader.ends, 1):
        size = reader.start + -(-end // 8)
        usual = f", RMSE {expected[k]['rmse']:.2f} as a rule" if k < len(expected) - 1 else ""
        yield (
            f"  layer {k:2} (t = {profile.rows[k]:4}) to byte {size:6,}, "
            f"{8 * size / levels:.3f} bits/dim{usual}"
        )
    rest = len(reader.body) - (-(-reader.ends[-1] // 8) if reader.ends else 0)
    if head.checksum:
        yield f"  {'pixels' if head.stored else 'final stage'} {rest:,} bytes"
