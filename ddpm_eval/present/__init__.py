"""Turn records into tables, figures and a page; needs no model and no torch."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ddpm_eval.present import page, tables
from ddpm_eval.present.document import compose
from ddpm_eval.record import disk
from ddpm_eval.record.record import Record
from ddpm_train.files import write_atomically


def render(records: Sequence[Record], folder: Path, *, compare: bool = False) -> list[Path]:
    """Write report.html, report.md, tables and figures of one or several records.

    The same records give the same bytes.

    Args:
        records: What was measured; several runs stand side by side.
        folder: Where the files go; figures go to ``folder/figures``.
        compare: Say what differs between the two runs, and whether chance explains it.

    Returns:
        The files, the page first.

    Raises:
        FixableError: The folder cannot be written.
    """
    document = compose(records, compare=compare)
    texts = {
        f"{table.key}.{suffix}": write(table)
        for table in document.tables()
        for suffix, write in tables.FORMATS.items()
    }
    inside = {name: text for name, text in texts.items() if not name.endswith(".md")}
    for i, record in enumerate(records, 1):
        number = f"-{i}" if len(records) > 1 else ""
        inside[f"results{number}.json"] = disk.to_json(record)
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
