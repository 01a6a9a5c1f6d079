"""The published numbers, against a second transcription of them and against each other."""

import re
from decimal import Decimal

import pytest

from ddpm_eval.present import references
from ddpm_eval.present.references import ReferenceTable, Row

TABLE_1 = """
Conditional: EBM 8.30, 37.9; JEM 8.76, 38.4; BigGAN 9.22, 14.73; StyleGAN2 + ADA (v1) 10.06, 2.67.
Unconditional: Diffusion (original) NLL <= 5.40; Gated PixelCNN 4.60, 65.93, 3.03 (2.90);
Sparse Transformer NLL 2.80; PixelIQN 5.29, 49.46; EBM 6.78, 38.2; NCSNv2 FID 31.75;
NCSN 8.87+-0.12, 25.32; SNGAN 8.22+-0.05, 21.7; SNGAN-DDLS 9.09+-0.10, 15.42;
StyleGAN2 + ADA (v1) 9.74+-0.05, 3.26;
DDPM (L, fixed isotropic Σ) 7.67+-0.13, 13.51, <= 3.70 (3.69);
DDPM (L_simple) 9.46+-0.11, 3.17, <= 3.75 (3.72)
"""
ADM = """
LSUN bedrooms 256x256. DCTransformer 6.40 6.66 .44 .56; DDPM 4.89 9.07 .60 .45;
IDDPM 4.24 8.21 .62 .46; StyleGAN 2.35 6.62 .59 .48; ADM (dropout) 1.90 5.59 .66 .51.
LSUN horses 256x256. StyleGAN2 3.84 6.46 .63 .48; ADM 2.95 5.94 .69 .55;
ADM (dropout) 2.57 6.81 .71 .55.
LSUN cats 256x256. DDPM 17.1 12.4 .53 .48; StyleGAN2 7.25 6.33 .58 .43;
ADM (dropout) 5.57 6.69 .63 .52.
ImageNet 64x64. BigGAN-deep 4.06 3.96 .79 .48; IDDPM 2.92 3.79 .74 .62; ADM 2.61 3.77 .73 .63;
ADM (dropout) 2.07 4.29 .74 .63.
ImageNet 128x128. BigGAN-deep 6.02 7.18 .86 .35; LOGAN 3.36; ADM 5.91 5.09 .70 .65;
ADM-G (25 steps) 5.98 7.04 .78 .51; ADM-G 2.97 5.09 .78 .59.
ImageNet 256x256. DCTransformer 36.51 8.24 .36 .67; VQ-VAE-2 31.11 17.38 .36 .57;
IDDPM 12.26 5.42 .70 .62; SR3 11.30; BigGAN-deep 6.95 7.36 .87 .28; ADM 10.94 6.02 .69 .63;
ADM-G (25 steps) 5.44 5.32 .81 .49; ADM-G 4.59 5.25 .82 .52.
ImageNet 512x512. BigGAN-deep 8.43 8.13 .88 .29; ADM 23.24 10.19 .73 .60;
ADM-G (25 steps) 8.41 9.67 .83 .47; ADM-G 7.72 6.57 .87 .42.
"""


def test_table_1_is_the_papers() -> None:
    wanted = []
    for block, text in re.findall(r"(\w+): ([^:]*?)(?=\.?\nUncond|\n$)", TABLE_1):
        for row in re.split(r";\s+", text):
            head = re.match(r"(.*?) (?=\d+\.\d|NLL|FID)", row)
            assert head is not None
            rest, numbers = row[head.end() :], {}
            if "NLL" not in rest and "FID" not in rest:
                numbers["is"], rest = re.split(", ", rest, maxsplit=1)
            if "NLL" not in rest:
                numbers["fid"], _, rest = rest.removeprefix("FID ").partition(", ")
            train = re.search(r" \((.*)\)", rest)
            rest = re.sub(r" \(.*\)", "", rest).removeprefix("NLL ")
            if rest:
                numbers["nll_test"] = rest
            if train:  # a bound like the number before it
                numbers["nll_train"] = ("<= " if "<=" in rest else "") + train[1]
            wanted.append((block, head[1], numbers))
    result = [
        (
            r.block,
            r.name,
            {k: str(v).replace("≤", "<=").replace(" ± ", "+-") for k, v in r.numbers.items()},
        )
        for r in references.tables()["cifar10"].rows
    ]
    assert len(wanted) == 16
    assert result == wanted


def test_the_adm_table_is_the_papers() -> None:
    wanted = []
    for part in re.split(r"\.\n(?=LSUN|ImageNet)", ADM.strip(". \n")):
        block, _, text = part.partition(". ")
        for row in re.split(r";\s+", text):
            head = re.match(r"(.*?)((?: \d*\.\d+)+)$", row)
            assert head is not None
            wanted.append((block, head[1], [Decimal(number) for number in head[2].split()]))
    result = [
        (row.block, row.name, [number.value for number in row.numbers.values()])
        for row in references.tables()["adm"].rows
    ]
    assert len(wanted) == 32
    assert result == wanted
    order = ["fid", "sfid", "precision", "recall"]
    assert all(
        list(row.numbers) == order[: len(row.numbers)] for row in references.tables()["adm"].rows
    )


def test_the_tables_agree_with_each_other() -> None:
    tables = references.tables()
    table_1 = {row.name: row for row in tables["cifar10"].rows}
    eps = {row.name: row for row in tables["ablation"].rows if row.block == "ε prediction"}
    for a, b in (
        ("DDPM (L_simple)", "L_simple"),
        ("DDPM (L, fixed isotropic Σ)", "L, fixed isotropic Σ"),
    ):
        assert [table_1[a].numbers[k] for k in ("is", "fid")] == list(eps[b].numbers.values())
    curve = tables["rate_distortion"].rows
    closing = curve[0].numbers["rate"].value + Decimal("1.97")  # L_0, section 4.3 of the paper
    assert round(closing, 2) == table_1["DDPM (L_simple)"].numbers["nll_test"].value


def test_the_published_curve_falls_and_rises() -> None:
    rows = references.tables()["rate_distortion"].rows
    assert [int(row.name) for row in rows] == list(range(1000, 0, -100))
    rates = [row.numbers["rate"].value for row in rows]
    assert rates == sorted(rates, reverse=True)
    errors = [row.numbers["rmse"].value for row in rows]
    assert errors == sorted(errors)
    assert sum(errors) == Decimal("353.61621")  # checksums, from the page
    assert sum(rates) == Decimal("2.00455")


def test_likelihoods_say_by_which_route() -> None:
    rows = references.tables()["likelihood"].rows
    assert all(list(row.columns) == ["route", "levels", "steps", "draws"] for row in rows)
    for row in rows:
        assert row.numbers["bits"].at_most == (row.columns["route"] == "bound")
    table_1 = {row.name: row for row in references.tables()["cifar10"].rows}
    assert table_1["DDPM (L_simple)"].numbers["nll_test"] == rows[0].numbers["bits"]
    few = references.tables()["strides"].rows
    bits = [row.numbers["bits"].value for row in few]
    assert bits == sorted(bits, reverse=True) and sum(bits) == Decimal("18.025")
    longest = {row.name: row.numbers["bits"].value for row in rows}["L_vlb, cosine"]
    assert abs(bits[-1] - longest) < Decimal("0.006")


def test_table_3() -> None:
    rows = {row.name: row.numbers for row in references.tables()["lsun"].rows}
    result = {
        name: [str(numbers[k]) if k in numbers else "-" for k in ("bedroom", "church", "cat")]
        for name, numbers in rows.items()
    }
    assert result == {
        "ProgressiveGAN": ["8.34", "6.42", "37.52"],
        "StyleGAN": ["2.65", "4.21", "8.53"],
        "StyleGAN2": ["-", "3.86", "6.93"],
        "DDPM": ["6.36", "7.89", "19.75"],
        "DDPM, large": ["4.90", "-", "-"],
    }


@pytest.mark.parametrize("table", references.tables().values(), ids=references.tables().keys())
def test_every_number_has_a_protocol_and_a_source(table: ReferenceTable) -> None:
    def whole(row: Row) -> bool:
        return bool(row.name and row.protocol and row.source and (row.numbers or row.note))

    assert table.rows
    assert all(map(whole, table.rows))
    names = [(row.block, row.name) for row in table.rows]
    assert len(set(names)) == len(names)


def test_unstable_rows_have_no_numbers() -> None:
    rows = references.tables()["ablation"].rows
    assert [(row.block, row.name) for row in rows if row.note == "unstable"] == [
        ("μ̃ prediction", "MSE on μ̃"),
        ("ε prediction", "L, learned diagonal Σ"),
    ]
    assert all(bool(row.numbers) != bool(row.note) for row in rows)
