"""The one error that a user is meant to read, and how a stranger's text is shown."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of characters that steer a terminal, turn the writing round or have no shape."""
LONGEST = 1000  # characters of a problem, which may hold a stranger's text


class FixableError(Exception):
    """What is wrong, and the one change that puts it right.

    The command lines catch it in one place, print both parts and exit with status 2.

    >>> raise FixableError("t=0 is clean data", "sample t from 1..T")
    Traceback (most recent call last):
    ddpm_train.errors.FixableError: t=0 is clean data
      fix: sample t from 1..T
    """

    def __init__(self, problem: str, fix: str) -> None:
        problem, fix = shortened(printable(problem)), printable(fix)
        super().__init__(f"{problem}\n  fix: {fix}")
        self.problem, self.fix = problem, fix

    def __reduce__(self) -> tuple[type["FixableError"], tuple[str, str]]:
        """Survive the trip between processes."""
        return FixableError, (self.problem, self.fix)


def printable(text: str) -> str:
    r"""Escape what would steer a terminal, as Python does; line breaks stay.

    >>> print(printable("\x1b[2J.pt"), printable("\u202egnp.exe"), printable("na\u00efve.pt"))
    \x1b[2J.pt \u202egnp.exe naïve.pt
    """
    return "".join(
        ascii(sign)[1:-1] if sign != "\n" and unicodedata.category(sign) in _HIDDEN else sign
        for sign in text
    )


def shortened(text: str, limit: int = LONGEST) -> str:
    """Leave the middle of a long text out.

    >>> shortened("0123456789" * 3, 17)
    '0123456...3456789'
    """
    half = (limit - len("...")) // 2
    return text if len(text) <= limit else f"{text[:half]}...{text[-half:]}"


def sentence(error: BaseException, *, limit: int = 160) -> str:
    r"""Say in one printable line what an exception of another library says.

    >>> sentence(ValueError("bad header\nat byte 7")), sentence(EOFError())
    ('bad header', 'EOFError')
    """
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    line = printable(line.strip())
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
