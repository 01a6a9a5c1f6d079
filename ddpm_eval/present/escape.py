"""Text from users, made harmless: a run may be called anything."""

import re
import unicodedata

_MARKDOWN = re.compile(r"([\\`*_{}\[\]#|~$!])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"\ensuremath{\pm}",
    "≤": r"\ensuremath{\leq}",
    "×": r"\ensuremath{\times}",
    "−": r"\ensuremath{-}",
    "–": "--",
    "…": r"\ldots{}",
    "↑": r"\ensuremath{\uparrow}",
    "↓": r"\ensuremath{\downarrow}",
    "→": r"\ensuremath{\rightarrow}",
    "≥": r"\ensuremath{\geq}",
    "·": r"\ensuremath{\cdot}",
    "²": r"\ensuremath{^2}",
    "α": r"\ensuremath{\alpha}",
    "β": r"\ensuremath{\beta}",
    "ε": r"\ensuremath{\epsilon}",
    "λ": r"\ensuremath{\lambda}",
    "μ": r"\ensuremath{\mu}",
    "σ": r"\ensuremath{\sigma}",
    "Σ": r"\ensuremath{\Sigma}",
    "₀": r"\ensuremath{_0}",
    "₁": r"\ensuremath{_1}",
}
_ACCENTS = {  # a combining mark and the command that sets it
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0327": "c",
}


def clean(text: str) -> str:
    r"""One printable line: control characters, line ends and lone surrogates become spaces.

    >>> clean("two\nlines \x1b[31mred\udc80")
    'two lines [31mred'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def markdown(text: str) -> str:
    r"""Text that Markdown shows as it is, also inside a table.

    >>> print(markdown("<b>a|b_c</b>"))
    &lt;b&gt;a\|b\_c&lt;/b&gt;
    """
    text = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def latex(text: str) -> str:
    r"""Text that LaTeX sets as it is, in ASCII; what it has no letter for is named by its number.

    >>> print(latex("50% of a_b ± é, 中"))
    50\% of a\_b \ensuremath{\pm} \'{e}, [U+4E2D]
    """
    out: list[str] = []
    for c in unicodedata.normalize("NFD", clean(text)):
        if c in _ACCENTS and out:
            out[-1] = _accented(out[-1], _ACCENTS[c])
        elif c in _LATEX or c.isascii():
            out.append(_LATEX.get(c, c))
        else:
            out.append(f"[U+{ord(c):04X}]")
    return "".join(out)


def _accented(base: str, command: str) -> str:
    if base.startswith(r"\ensuremath{"):  # x-hat and mu-tilde are mathematics
        return rf"\ensuremath{{\{'tilde' if command == '~' else 'hat'} {base[12:]}"
    return rf"\{command}{{{base}}}"


def spreadsheet(text: str) -> str:
    """Text that a spreadsheet does not take for a formula.

    >>> spreadsheet("=1+1")
    "'=1+1"
    """
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
