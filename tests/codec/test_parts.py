"""The parts of the codec, each against its law."""

import hashlib

import numpy as np
import pytest
from scipy.special import ndtr

from ddpm_eval.codec import agreement, codebook, levels, search, strides, words
from ddpm_eval.codec.bands import Bands
from ddpm_eval.codec.bits import BitReader, BitWriter, OutOfBits
from ddpm_eval.codec.contexts import logarithm
from ddpm_eval.codec.curve import Curve, Measuring, rows_to_measure
from ddpm_eval.codec.range_coder import RangeDecoder, RangeEncoder
from ddpm_eval.codec.words import Array
from tests.codec import fields


def digest(values: Array) -> str:
    return hashlib.sha256(np.ascontiguousarray(values, "<i8").tobytes()).hexdigest()[:16]


def test_integer_tables_are_the_same_on_every_machine() -> None:
    assert digest(words.numbers(words.START, 0, 4096)) == "580fd8f5f1dda841"
    assert digest(codebook.codebook()) == "3bfa163a1dd09900"
    assert digest(levels.distribution()) == "94f73a698b64c930"
    assert digest(levels._slopes()) == "69cee316e3194348"
    assert digest(logarithm(np.arange(1 << 17))) == "fd5c3a122a95b0e5"


def test_integer_tables_are_not_near_where_rounding_changes() -> None:
    places = np.arange(-512, 513) / 64
    for table in (ndtr(places) * 2.0**30, np.exp2(26 - np.arange(levels.SCALES) / 12)):
        part = table - np.floor(table)
        assert np.abs(part[(part > 0)] - 0.5).min() > 1e-6


def test_numbers_are_nearly_normal() -> None:
    x = words.normals(words.START, 5, 200_000).astype(float)
    assert x.mean() == pytest.approx(0, abs=0.01)
    assert x.std() == pytest.approx(1, abs=0.01)
    assert (x**4).mean() == pytest.approx(2.85, abs=0.05)


# --------------------------------------------------------------------------------- range coder


def sent(symbols: Array, mean: Array, scale: Array) -> bytes:
    start, end = levels.below(symbols, mean, scale), levels.below(symbols + 1, mean, scale)
    encoder = RangeEncoder()
    encoder.encode(start.tolist(), (end - start).tolist())
    return encoder.finish()


def received(data: bytes, mean: Array, scale: Array) -> list[int]:
    decoder, out = RangeDecoder(data), []
    for i in range(len(mean)):
        edges = levels.below(np.arange(257), mean[i], scale[i])
        place = int(np.searchsorted(edges, decoder.target(), side="right")) - 1
        decoder.take(int(edges[place]), int(edges[place + 1] - edges[place]))
        out.append(place)
    return out


@pytest.mark.parametrize("seed", range(12))
def test_the_range_coder_gives_any_levels_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(0, 300))
    mean, scale = rng.integers(0, 4081, n), rng.integers(0, levels.SCALES, n)
    likely = np.rint(mean / 16 + levels.deviation(scale) * rng.standard_normal(n))
    symbols = np.clip(likely, 0, 255).astype(int) if seed % 3 else rng.integers(0, 256, n)
    assert received(sent(symbols, mean, scale), mean, scale) == symbols.tolist()


def test_the_range_coder_is_within_a_byte_of_the_ideal() -> None:
    rng = np.random.default_rng(0)
    mean, scale = rng.integers(300, 3800, 3072), np.full(3072, 40)
    symbols = np.rint(mean / 16 + levels.deviation(scale) * rng.standard_normal(3072)).astype(int)
    sizes = levels.below(symbols + 1, mean, scale) - levels.below(symbols, mean, scale)
    ideal = (24 - np.log2(sizes)).sum()
    assert ideal - 8 < 8 * len(sent(symbols, mean, scale)) < ideal + 9


def test_a_carry_runs_through_bytes_that_have_left() -> None:
    encoder = RangeEncoder()
    top = 1 << 24
    encoder.encode([top - 1] * 3, [1] * 3)  # 0xffff...
    encoder.encode([top - 1, top - 1, top // 2], [1, 1, top // 2])
    data, decoder = encoder.finish(), None
    decoder = RangeDecoder(data)
    for start, size in [(top - 1, 1)] * 5 + [(top // 2, top // 2)]:
        assert start <= decoder.target() < start + size
        decoder.take(start, size)


@pytest.mark.parametrize("scale", [0, 20, 40, 80, 143])
@pytest.mark.parametrize("mean", [0, 7, 2000, 4080])
def test_levels_have_the_mass_of_their_bins(mean: int, scale: int) -> None:
    edges = levels.below(np.arange(257), np.int64(mean), np.int64(scale))
    sizes = np.diff(edges)
    assert edges[0] == 0 and edges[-1] == 1 << 24 and sizes.min() >= 1
    s = levels.deviation(np.array(scale))
    bins = (np.arange(257) - 0.5 - mean / 16) / s
    bins[[0, -1]] = -np.inf, np.inf  # open at both ends
    assert np.abs(sizes / 2**24 - np.diff(ndtr(bins))).max() < 3e-5


# ------------------------------------------------------------------------------------- codebook


def overhead(bits: int, survivors: int, n: int = 3072, repeats: int = 6) -> float:
    """The bits of the code over those that its points are worth, less one."""
    rng, share = np.random.default_rng(1), 1 - 2 ** (-1.9 * bits / n)
    worth = []
    for k in range(repeats):
        m = rng.standard_normal(n).astype(np.float32)
        m *= np.sqrt(share * n) / np.linalg.norm(m)
        excess = np.full(n, share / (1 - share), np.float32)
        nibbles = search.encode(m, excess, bits, k, survivors=survivors)
        z = codebook.decode(nibbles, n, k)
        left = m - (z @ m) / (z @ z) * z
        worth.append(-0.5 * n * np.log2(np.square(left).mean() / share))
    return bits / float(np.mean(worth)) - 1


@pytest.mark.parametrize(
    ("bits", "survivors", "most"), [(80, 1024, 0.13), (300, 1024, 0.085), (1024, 1024, 0.075)]
)
def test_points_are_worth_nearly_their_bits(bits: int, survivors: int, most: float) -> None:
    assert 0.02 < overhead(bits, survivors) < most


def test_a_longer_search_finds_better_points() -> None:
    assert overhead(304, 4096) < overhead(304, 64) - 0.02


@pytest.mark.parametrize("bits", [0, 4, 8, 12, 36, 64, 100])
@pytest.mark.parametrize("n", [25, 100, 700])
def test_nibbles_name_points_of_any_length(bits: int, n: int) -> None:
    rng = np.random.default_rng(bits)
    m = rng.standard_normal(n).astype(np.float32)
    nibbles = search.encode(m, np.ones(n, np.float32), bits, 3, survivors=64)
    assert len(nibbles) == bits // 4 and nibbles.dtype == np.uint8
    point = codebook.decode(nibbles, n, 3)
    assert point.shape == (n,) and np.isfinite(point).all()
    assert (codebook.decode(nibbles, n, 4) != point).any()


@pytest.mark.parametrize("bits", [40, 100])
def test_further_points_are_nearly_as_good_and_begin_otherwise(bits: int) -> None:
    rng, n = np.random.default_rng(bits), 700
    m, excess = rng.standard_normal(n).astype(np.float32), np.full(n, 0.1, np.float32)
    points = search.choices(m, excess, bits, 3, survivors=256, count=4)
    assert points.shape == (4, bits // 4)
    assert (points[0] == search.encode(m, excess, bits, 3, survivors=256)).all()
    scores = [
        float((1.1 * z * m - 0.05 * z**2).sum()) for z in (codebook.decode(p, n, 3) for p in points)
    ]
    assert scores == sorted(scores, reverse=True) and scores[3] > 0.7 * scores[0] > 0
    assert len({tuple(p[: (len(p) + 1) // 2]) for p in points}) == 4


def test_sections_cover_everything_once() -> None:
    for n, bits in ((3072, 40), (3072, 3072), (64, 8), (7, 4)):
        bounds = codebook.sections(n, bits)
        assert bounds[0] == 0 and bounds[-1] == n and (np.diff(bounds) >= 0).all()
        assert len(bounds) == bits // 4 + 1


# ---------------------------------------------------------------------------------------- bands


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 28, 28), (1, 5, 7), (2, 16, 8)])
def test_bands_are_an_orthonormal_transform(shape: tuple[int, int, int]) -> None:
    bands, rng = Bands(shape), np.random.default_rng(0)
    x = rng.standard_normal((3, *shape))
    y = bands.transform(x)
    assert np.abs(bands.invert(y) - x).max() < 1e-12
    assert np.square(y).sum() == pytest.approx(np.square(x).sum())
    assert bands.sizes.sum() == bands.n and len(bands.sizes) == bands.count


def test_a_constant_is_one_band_and_grey_has_no_colours() -> None:
    bands = Bands((3, 16, 16))
    squares = np.bincount(bands.of, np.square(bands.transform(np.ones((1, 3, 16, 16))))[0])
    assert squares[0] == pytest.approx(squares.sum())
    grey = np.repeat(np.random.default_rng(0).standard_normal((1, 1, 16, 16)), 3, 1)
    squares = np.bincount(bands.of, np.square(bands.transform(grey))[0])
    assert squares[:15].sum() == pytest.approx(squares.sum())


@pytest.mark.parametrize("tiles", [1, 2, 16])
def test_any_run_of_the_order_holds_every_band_in_proportion(tiles: int) -> None:
    bands = Bands((3, 32, 32))
    order = bands.order(tiles)
    assert sorted(order.tolist()) == list(range(tiles * bands.n))
    of = np.tile(bands.of, tiles)[order]
    for start in range(0, len(order) - 400, 397):
        part = np.bincount(of[start : start + 400], minlength=bands.count)
        assert np.abs(part - 400 * bands.sizes / bands.n).max() <= 3


# ------------------------------------------------------------------------------------- strides


def test_a_stride_is_the_composition_of_its_steps() -> None:
    bars = fields.SCHEDULE.alphas_bar.tolist()
    for t, s in ((50, 44), (1000, 671), (3, 1)):
        of_x_t, of_x_0, variance = 1.0, 0.0, 0.0
        for u in range(t, s, -1):
            step = strides.coefficients(bars[u], bars[u - 1])
            of_x_t, of_x_0 = of_x_t * step.of_x_t, of_x_0 * step.of_x_t + step.of_x_0
            variance = variance * step.of_x_t**2 + step.variance
        whole = strides.coefficients(bars[t], bars[s])
        assert whole == pytest.approx((of_x_t, of_x_0, variance), rel=1e-9)


def world() -> tuple[Curve, Array, Bands]:
    rows = np.array(rows_to_measure(1000, 40))
    bands = Bands((3, 16, 16))
    errors = np.array([[fields.missed(row)] * bands.count for row in rows])
    return Curve(rows, errors), fields.SCHEDULE.alphas_bar.numpy(), bands


def test_layers_have_what_their_code_needs_and_short_ones_less() -> None:
    D, n = np.linspace(0.5, 300, 600), 3072
    bits, code = strides.layer_bits(D, n), strides.code_bits(D)
    short = strides.SHORT * n >= D
    assert (bits >= D).all() and (np.diff(bits) > 0).all()
    assert (bits[short] <= code[short]).all() and (bits[~short] == code[~short]).all()
    assert (bits[D < 10] < D[D < 10] + 0.1).all()


def test_chosen_strides_cost_less_than_even_or_geometric_ones() -> None:
    curve, bars, bands = world()
    path, total = strides.choose(curve, bars, bands, {3: 1000.0})

    def cost(rows: Array) -> float:
        gains, errors = np.diff(strides.snr(bars)[rows]), curve.at(rows[:-1])
        bits = strides.code_bits(strides.cost(bands, gains, errors)) + strides.SIDE + strides._MORE
        return float(bits.sum()) + 1000

    assert cost(np.array(path)) == pytest.approx(total)
    assert path[0] == 1000 and path[-1] == 3 and (np.diff(path) < 0).all()
    for rows in (np.linspace(1000, 3, len(path)), np.geomspace(1000, 3, len(path))):
        assert total < cost(np.unique(rows.round().astype(int))[::-1])


def test_strides_are_shorter_where_few_dimensions_need_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Codewords do not carry 3 bits/dim of one band: strides ask less, or pay for it."""
    curve, bars, bands = world()
    low = np.arange(bands.count) % (2 * bands.block - 1) < 3  # 72 of 768 coefficients
    strong = Curve(curve.rows, curve.errors * np.where(low, 10, 0.1))

    def most() -> float:
        path, _ = strides.choose(strong, bars, bands, {3: 1000.0})
        gains, errors = np.diff(strides.snr(bars)[path]), strong.at(np.array(path[:-1]))
        return float((0.5 * np.log2(1 + gains[:, None] * errors).max(1)).mean())

    paid = most()
    monkeypatch.setattr(strides, "_MOST_OF_BAND", np.inf)
    assert paid < most() - 0.2


def test_the_end_of_the_chain_is_chosen_too() -> None:
    curve, bars, bands = world()
    ends = {1: 2000.0, 3: 2600.0, 9: 3300.0}
    totals = {row: strides.choose(curve, bars, bands, {row: ends[row]})[1] for row in ends}
    path, total = strides.choose(curve, bars, bands, ends)
    assert total == pytest.approx(min(totals.values()))
    assert path[-1] == min(totals, key=lambda row: totals[row])


def test_the_error_curve_is_that_of_the_best_denoiser() -> None:
    pixels = fields.pictures(64, seed=2)
    bars = fields.SCHEDULE.alphas_bar.numpy()
    measuring = Measuring(fields.estimate(), bars, pixels, seed=0, batch=32)
    result = fields.finish(measuring.measure([5, 100, 600], means=True))
    bands = Bands((3, 16, 16))
    for row, errors in zip((5, 100, 600), result["errors"], strict=True):
        assert errors @ bands.sizes / bands.n == pytest.approx(fields.missed(row), rel=0.06)
    assert result["mu"].shape == (3, 64, 3, 16, 16)


# ------------------------------------------------------------------------------------ agreement


@pytest.mark.parametrize("tolerance", [1e-4, 1e-2])
def test_means_agree_within_the_tolerance(tolerance: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours = rng.uniform(-1, 1, (1, 3, 16, 16))
        ours.flat[:40] = np.round(ours.flat[:40] * 2040) / 2040  # near where rounding changes
        bits = BitWriter()
        mu = agreement.write(bits, [agreement.means(ours, tolerance)])[0]
        assert np.abs(mu / 8 - (ours + 1) * 127.5).max() < 0.13
        theirs = ours + rng.uniform(-0.99, 0.99, ours.shape) * tolerance / 127.5
        assert (agreement.read(BitReader(bits.bytes()), [agreement.means(theirs)])[0] == mu).all()


def test_means_that_differ_more_are_not_the_same() -> None:
    ours = np.random.default_rng(0).uniform(-1, 1, (1, 3, 32, 32))
    bits = BitWriter()
    mu = agreement.write(bits, [agreement.means(ours, 1e-4)])[0]
    assert (
        agreement.read(BitReader(bits.bytes()), [agreement.means(ours + 0.05 / 127.5)])[0] != mu
    ).any()


def test_colours_that_have_moved_are_moved_back() -> None:
    """A machine that differs by some tolerances, nearly alike in each colour, reads the same."""
    rng, tolerance, wrong = np.random.default_rng(0), 2e-4, {"as it is": 0, "moved": 0}
    for _ in range(40):
        ours = rng.uniform(-1, 1, (2, 3, 32, 32))
        moved = rng.normal(0, 0.8, (2, 1, 1, 1)) + rng.normal(0, 0.3, (2, 3, 1, 1))
        theirs = ours + tolerance / 127.5 * (moved + rng.normal(0, 0.2, ours.shape))
        bits = BitWriter()
        mu = agreement.write(bits, [agreement.means(ours, tolerance)])[0]
        for name, stated in (("as it is", 0.0), ("moved", tolerance)):
            means = agreement.means(theirs, stated)
            read = agreement.read(BitReader(bits.bytes()), [means])[0]
            wrong[name] += int((read != mu).any((1, 2, 3)).sum())
    assert wrong["as it is"] > 10
    assert wrong["moved"] < wrong["as it is"] / 8


def test_reading_beyond_the_end_is_said() -> None:
    reader = BitReader(b"\x01")
    reader.number(8)
    for read in (reader.unary, reader.signed, lambda: reader.number(1), lambda: reader.nibbles(1)):
        with pytest.raises(OutOfBits):
            read()
    with pytest.raises(OutOfBits):
        BitReader(bytes(100)).unary()
