"""A table is one list of rows; the terminal, Markdown, LaTeX and spreadsheets are made from it."""

import csv as csv_module
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from types import MappingProxyType
from typing import Literal

import rich.table
from rich.text import Text

from ddpm_eval.present import escape


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry: a number with what belongs to it, or nothing.

    ``notes`` are 1-based places in the table's notes. A ``muted`` number may not be compared with
    the others of its column; a ``bold`` one is the best of those that may, or a total.

    >>> print(Cell("3.751", "0.004", n=10_000, at_most=True))
    ≤ 3.751 ± 0.004 (n=10,000)
    """

    number: str = ""
    spread: str = ""
    n: int | None = None
    at_most: bool = False
    notes: tuple[int, ...] = ()
    muted: bool = False
    bold: bool = False

    def __str__(self) -> str:
        bound = "≤ " if self.at_most else ""
        spread = f" ± {self.spread}" if self.spread else ""
        n = "" if self.n is None else f" (n={self.n:,})"
        return f"{bound}{self.number}{spread}{n}"

    @property
    def marks(self) -> str:
        """The numbers of its notes, as in ``1,3``."""
        return ",".join(map(str, self.notes))


@dataclass(frozen=True, slots=True)
class Row:
    """One line; rows of one block stand together. ``ours`` marks what this tool measured."""

    name: str
    cells: tuple[Cell, ...]
    block: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A heading, and which of its numbers are good."""

    name: str
    better: Literal["", "higher", "lower"] = ""

    def __str__(self) -> str:
        return self.name + {"": "", "higher": " ↑", "lower": " ↓"}[self.better]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under columns; ``key`` names its files."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    caption: str = ""

    def blocks(self) -> Iterator[tuple[str, list[Row]]]:
        """The rows block by block, in order."""
        for block, rows in groupby(self.rows, key=lambda row: row.block):
            yield block, list(rows)


def terminal(table: Table) -> rich.table.Table:
    """The table for a terminal; names are text, never markup or control codes.

    >>> from rich.console import Console
    >>> row = Row("[red]mine", (Cell("3.75", notes=(1,)),), ours=True)
    >>> table = Table("t", "Bits", (Column("NLL"),), (row,), ("a small set",))
    >>> Console(width=40, color_system=None).print(terminal(table))
             Bits
    ┏━━━━━━━━━━━┳━━━━━━━━━━┓
    ┃           ┃      NLL ┃
    ┡━━━━━━━━━━━╇━━━━━━━━━━┩
    │ [red]mine │ 3.75 [1] │
    └───────────┴──────────┘
        [1] a small set
    """
    notes = "\n".join(f"[{i}] {escape.clean(note)}" for i, note in enumerate(table.notes, 1))
    out = rich.table.Table(title=Text(escape.clean(table.title)), caption=Text(notes) or None)
    out.add_column("")
    for column in table.columns:
        out.add_column(Text(escape.clean(str(column))), justify="right")
    for block, rows in table.blocks():
        out.add_section()
        if block:
            out.add_row(Text(escape.clean(block), "italic"))
        for row in rows:
            name = Text(escape.clean(row.name), "bold" if row.ours else "")
            out.add_row(name, *map(_terminal_cell, row.cells))
    return out


def _terminal_cell(cell: Cell) -> Text:
    style = "dim" if cell.muted else "bold" if cell.bold else ""
    return Text(f"{cell} [{cell.marks}]" if cell.marks else str(cell), style)


def markdown(table: Table) -> str:
    """The table in Markdown (GitHub's dialect): italics may not be compared."""
    lines = [
        _line(["", *(escape.markdown(str(column)) for column in table.columns)]),
        _line(["---", *("---:" for _ in table.columns)]),
    ]
    for block, rows in table.blocks():
        if block:
            lines.append(_line([f"_{escape.markdown(block)}_", *("" for _ in table.columns)]))
        for row in rows:
            lines.append(_line([_ours(row, escape.markdown), *map(_markdown_cell, row.cells)]))
    lines += ["", escape.markdown(table.caption), ""]
    lines += [f"{i}. {escape.markdown(note)}" for i, note in enumerate(table.notes, 1)]
    return "\n".join(lines).strip() + "\n"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _ours(row: Row, escaped: Callable[[str], str]) -> str:
    """Our rows say so where published ones stand beside them."""
    return escaped(row.name) + (" (this run)" if row.ours and row.block else "")


def _markdown_cell(cell: Cell) -> str:
    text = f"**{cell}**" if cell.bold else f"_{cell}_" if cell.muted else str(cell)
    return f"{text} <sup>{cell.marks}</sup>" if cell.marks else text


def latex(table: Table) -> str:
    r"""The table in LaTeX, to be read with ``\input``; needs booktabs and xcolor."""
    width = len(table.columns) + 1
    lines = [
        r"% needs \usepackage{booktabs} and \usepackage{xcolor}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape.latex(table.title)}. {escape.latex(table.caption)}}}",
        rf"\begin{{tabular}}{{l{'r' * len(table.columns)}}}",
        r"\toprule",
        _latex_line(["", *(escape.latex(str(column)) for column in table.columns)]),
    ]
    for block, rows in table.blocks():
        lines.append(r"\midrule")
        if block:
            lines.append(rf"\multicolumn{{{width}}}{{l}}{{\emph{{{escape.latex(block)}}}}} \\")
        for row in rows:
            lines.append(_latex_line([_ours(row, escape.latex), *map(_latex_cell, row.cells)]))
    lines += [r"\bottomrule", r"\end{tabular}"]
    for i, note in enumerate(table.notes, 1):
        lines.append(rf"\par{{\footnotesize \textsuperscript{{{i}}}{escape.latex(note)}}}")
    return "\n".join([*lines, r"\end{table}", ""])


def _latex_line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"


def _latex_cell(cell: Cell) -> str:
    text = escape.latex(str(cell))
    if cell.bold or cell.muted:
        text = rf"\textbf{{{text}}}" if cell.bold else rf"\textcolor{{gray}}{{{text}}}"
    return rf"{text}\textsuperscript{{{cell.marks}}}" if cell.marks else text


def csv(table: Table) -> str:
    """The table as comma-separated values: bare numbers, their kin in columns of their own."""
    out = io.StringIO()
    writer = csv_module.writer(out, lineterminator="\n")
    parts = [_csv_column(table, place) for place in range(len(table.columns))]
    heads = [head for part in parts for head in part]
    writer.writerow(["block", "name", *map(escape.spreadsheet, heads), "notes"])
    for i, row in enumerate(table.rows):
        marks = sorted({mark for cell in row.cells for mark in cell.notes})
        notes = "; ".join(table.notes[mark - 1] for mark in marks)
        values = [column[i] for part in parts for column in part.values()]
        writer.writerow([*map(escape.spreadsheet, (row.block, row.name)), *values, notes])
    return out.getvalue()


def _csv_column(table: Table, place: int) -> dict[str, list[str]]:
    """One column of the table, taken apart; parts that no cell has are left out."""
    name, cells = table.columns[place].name, [row.cells[place] for row in table.rows]
    parts = {
        f"{name} bound": ["<=" if cell.at_most else "" for cell in cells],
        f"{name} +-": [cell.spread.replace(",", "") for cell in cells],
        f"{name} n": ["" if cell.n is None else str(cell.n) for cell in cells],
        f"{name} comparable": ["no" if cell.muted else "" for cell in cells],
    }
    numbers = {name: [cell.number.replace(",", "") for cell in cells]}
    return numbers | {head: values for head, values in parts.items() if any(values)}


FORMATS: Mapping[str, Callable[[Table], str]] = MappingProxyType(
    {"md": markdown, "csv": csv, "tex": latex}
)
"""What a table is written as, by the suffix of the file."""
