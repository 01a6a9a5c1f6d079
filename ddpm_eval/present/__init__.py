"""Turn records into tables, figures and a page; needs no model and no torch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ddpm_eval.present import page, tables
from ddpm_eval.present.document import compose
from ddpm_eval.record import lowering as results
from ddpm_eval.record.schema1 import Report
from ddpm_train.files import write_atomically


def render(reports: Sequence[Report], folder: Path, *, compare: bool = False) -> list[Path]:
    """Write report.html, report.md, tables and figures of one or several records.

    The same records give the same bytes.

    Args:
        reports: What was measured; several runs stand side by side.
        folder: Where the files go; figures go to ``folder/figures``.
        compare: Say what differs between the two runs, and whether chance explains it.

    Returns:
        The files, the page first.

    Raises:
        FixableError: The folder cannot be written.
    """
    document = compose(reports, compare=compare)
    texts = {
        f"{table.key}.{suffix}": write(table)
        for table in document.tables()
        for suffix, write in tables.FORMATS.items()
    }
    inside = {name: text for name, text in texts.items() if not name.endswith(".md")}
    for i, report in enumerate(reports, 1):
        number = f"-{i}" if len(reports) > 1 else ""
        inside[f"results{number}.json"] = results.to_json(report)
    files = {name: text.encode("utf-8", "replace") for name, text in texts.items()}
    files["report.md"] = page.markdown(document, sorted(texts)).encode("utf-8", "replace")
    files |= {
        f"figures/{picture.key}.{suffix}": content
        for picture in document.pictures()
        for suffix, content in picture.files.items()
    }
    files["report.html"] = page.html(document, inside).encode("utf-8", "replace")
    for name, content in files.items():
        write_atomically(folder / name, partial(_put, content))
    return [folder / name for name in sorted(files, key="report.html".__ne__)]


def _put(content: bytes, file: BinaryIO) -> None:
    file.write(content)
