"""The report as one self-contained HTML page, and as Markdown."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from importlib import resources

import matplotlib as mpl
import PIL
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from markupsafe import escape as html_escape
from PIL import features

from ddpm_eval.present import escape, tables
from ddpm_eval.present.canvas import BLUE, FAINT, GREEN, INK, ORANGE, Picture
from ddpm_eval.present.parts import Document, Facts, Section
from ddpm_eval.present.tables import Table

_DARK = {INK: "#e4e4e4", FAINT: "#3a3d42", BLUE: "#56b4e9", ORANGE: "#f0905a", GREEN: "#2cc79a"}
_TYPES = {"csv": "text/csv", "tex": "application/x-tex", "json": "application/json"}

ZLIB = features.version("zlib")
GENERATOR = f"matplotlib {mpl.__version__}, Pillow {PIL.__version__}, zlib {ZLIB}"
"""What draws and packs figures: with other versions they look the same, in other bytes."""


def html(document: Document, inside: Mapping[str, str]) -> str:
    """The whole page: it asks for nothing from elsewhere and works without JavaScript.

    Args:
        document: What it says.
        inside: Files to carry along for download, text by name.
    """
    script = resources.files("ddpm_eval.present").joinpath("templates/page.js").read_text("utf-8")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            document=document,
            downloads={name: _file(name, text) for name, text in inside.items()},
            generator=GENERATOR,
            script=Markup(script),
            script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def fragment(sections: Sequence[Section], warnings: Sequence[str]) -> str:
    """Sections as a part of another page: a notebook's."""
    template = _environment().get_template("measurement.html.j2")
    return template.render(sections=sections, warnings=warnings)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("ddpm_eval.present"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["column_of"] = _columns
    environment.filters |= {
        "decimals": _decimals,
        "png": partial(_data, "image/png"),
        "source": _source,
        "subscript": _subscript,
    }
    return environment


def _file(name: str, text: str) -> str:
    kind = _TYPES[name.rpartition(".")[2]]
    return _data(f"{kind};charset=utf-8", text.encode("utf-8", "replace"))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _source(picture: Picture) -> str:
    """A picture as an address: pixels as PNG, curves as SVG that follows the page into the dark."""
    if picture.images:
        return _data("image/png", picture.files["png"])
    rules = "".join(
        f'[style*="{part}: {light}"]{{{part}:{dark}!important}}'
        for light, dark in _DARK.items()
        for part in ("stroke", "fill")
    )
    clear = '[style*="fill: #ffffff"]{fill:none!important}'
    style = f"<style>{clear}@media(prefers-color-scheme:dark){{{rules}}}</style>"
    svg = picture.files["svg"].decode().replace("<defs>", f"{style}<defs>", 1)
    return _data("image/svg+xml", svg.encode())


def _subscript(name: str) -> Markup:
    """Set the loss of a published row as the paper does."""
    return Markup(re.sub(r"L_(\w+)", r"L<sub>\1</sub>", str(html_escape(name))))


def _columns(table: Table) -> list[dict[str, int]]:
    """How wide the parts of each column's numbers are, so that they align at the point."""
    return [
        {
            "decimals": max(_decimals(cell.number) for cell in cells),
            "spread": max(len(cell.spread.partition("e")[0]) for cell in cells),
            "marks": max(len(cell.marks) for cell in cells),
        }
        for cells in zip(*(row.cells for row in table.rows), strict=True)
    ]


def _decimals(number: str) -> int:
    """The width behind the digits before the point; an exponent stands out on its own."""
    return 0 if "e" in number else len(number) - len(number.partition(".")[0])


# ------------------------------------------------------------------------------------ Markdown


def markdown(document: Document, beside: Sequence[str]) -> str:
    """The report in Markdown; its figures, and the files named in ``beside``, lie beside it."""
    lines = [f"# {escape.markdown(document.title)}", "", escape.markdown(document.about), ""]
    for verdict in document.verdicts:
        lines += [f"**{escape.markdown(verdict)}**", ""]
    for section in document.sections:
        lines += [f"## {escape.markdown(section.title)}", "", *_markdown_section(section)]
    links = ", ".join(f"[{name}]({name})" for name in beside)
    lines += ["## Files", "", f"{links}; figures/ has each figure as PNG, SVG and PDF.", ""]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _markdown_section(section: Section) -> Iterator[str]:
    for text in section.texts:
        yield from (escape.markdown(text), "")
    for frames in section.frames:
        yield from (f"In report.html: {escape.markdown(frames.caption)}", "")
    for table in section.tables:
        yield from (f"**{escape.markdown(table.title)}**", "", tables.markdown(table), "")
    for picture in section.pictures:
        yield f"![{escape.markdown(picture.alt)}](figures/{picture.key}.png)"
        yield from ("", escape.markdown(picture.caption), "")
    for title, group in section.facts:
        yield from (f"**{escape.markdown(title)}**", "", *_markdown_facts(group), "")
    for i, text in enumerate(section.numbered, 1):
        yield f"{i}. {escape.markdown(text)}"
    yield ""


def _markdown_facts(group: Facts) -> Iterator[str]:
    yield from ("| | |", "| --- | --- |")
    for key, value in group:
        yield f"| {escape.markdown(key)} | {escape.markdown(value)} |"
