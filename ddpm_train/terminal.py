"""What both command lines share: one console, one place for errors and signals."""

import contextlib
import io
import itertools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from ddpm_train.errors import FixableError, printable, sentence
from ddpm_train.reading import expanded, is_out_of_memory, unreadable

# Before torch is imported: threads that wait by spinning made a step 20 times slower on two cores
# that had other work, threads that sleep half as fast at most.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


console = Console(stderr=True, highlight=False, emoji=False)
output = Console(highlight=False, soft_wrap=True, emoji=False)


def is_first_process() -> bool:
    """Whether this process is the one that talks (torchrun numbers them)."""
    return os.environ.get("RANK", "0") == "0"


class Group(TyperGroup):
    """A command group whose own options may stand anywhere, and whose errors are two lines.

    A FixableError ends the program with status 2.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the command line, the options of the group first, ``~`` as the home folder."""
        return super().parse_args(ctx, self.in_order([_at_home(word) for word in args]))

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **more: Any) -> Any:
        """Read the group's own options; what is wrong with them is one error with a fix."""
        with _explained(lambda: info_name or ""):
            return super().make_context(info_name, args, *rest, **more)

    def in_order(self, args: Sequence[str]) -> list[str]:
        """Move the group's own options before the command, unless the command has such a one."""
        takes_value = _options(self)
        own = _options(self._command(args, takes_value))
        first: list[str] = []
        rest: list[str] = []
        words = iter(args)
        for word in words:
            name, equals, _ = word.partition("=")
            if word == "--":
                rest += [word, *words]
            elif name in takes_value and name not in own:
                first.append(word)
                first += itertools.islice(words, int(takes_value[name] and not equals))
            else:
                rest.append(word)
        return first + rest

    def _command(self, args: Sequence[str], takes_value: Mapping[str, bool]) -> Any:
        """The command that is meant: the first word that is no option and no option's value."""
        words, command = iter(args), None
        for word in words:
            if takes_value.get(word):
                next(words, None)
            elif not word.startswith("-"):
                command = getattr(command or self, "commands", {}).get(word)
                if not hasattr(command, "commands"):
                    return command
        return None

    def explain(self, error: FixableError) -> tuple[str, str]:
        """Say what is wrong and the fix, in the words of the command line."""
        return error.problem, error.fix

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            with _explained(lambda: f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()):
                return super().invoke(ctx)
        except BrokenPipeError:
            sys.stdout = None  # the reader has left; do not complain about it at exit
            raise typer.Exit(141) from None
        except (FixableError, OSError, MemoryError, RuntimeError) as error:
            fixable = _fixable(error)
            if ctx.params.get("debug") or fixable is None:
                raise
            raise _refusal(*self.explain(fixable)) from error


_UsageError: Any = typer.BadParameter.__mro__[1]  # whichever library typer takes it from


@contextlib.contextmanager
def _explained(program: Callable[[], str]) -> Iterator[None]:
    """Say what is wrong with a command line as every other error is said.

    ``program`` names the command where the error itself does not.
    """
    try:
        yield
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            raise
        command = error.ctx.command_path if error.ctx else program()
        raise _refusal(error.format_message(), f"see {command} --help") from error


def _refusal(problem: str, fix: str) -> typer.Exit:
    """Say what is wrong and the fix; what ends the program with status 2."""
    say(f"[red]error:[/] {escape(problem)}\n  [green]fix:[/] {escape(fix)}")
    return typer.Exit(2)


def _fixable(error: Exception) -> FixableError | None:
    """What a user is told of an exception; None if it is for programmers.

    >>> print(_fixable(PermissionError(13, "Permission denied", "runs/a.pt")))
    runs/a.pt: cannot be read (Permission denied)
      fix: check that it is there and allowed
    """
    if isinstance(error, FixableError):
        return error
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is not None:
            return unreadable(os.fsdecode(error.filename), error)
        return FixableError(
            f"the system says: {error.strerror or sentence(error)}",
            "check the disk; with --debug it shows where this comes from",
        )
    if is_out_of_memory(error):
        return FixableError(
            f"there is not enough memory ({sentence(error)})",
            "compute fewer images at once: --set compute.batch=8, compute.microbatch=8 in training",
        )
    return None


def _at_home(word: str) -> str:
    """Put the home folder in place of ``~`` at the beginning of a path, also in ``--option=~/x``.

    Shells do the first and not the second, and a folder named ~ is meant by nobody.

    >>> _at_home("--set=optim.lr=1"), _at_home("a~b"), _at_home("./~")
    ('--set=optim.lr=1', 'a~b', './~')
    """
    name, path = word.split("=", 1) if word.startswith("--") and "=" in word else ("", word)
    if not path.startswith("~"):
        return word
    return f"{name}={expanded(path)}" if name else str(expanded(path))


def _options(command: Any) -> dict[str, bool]:
    """The options of a command, and whether each takes a value."""
    return {
        name: not param.is_flag
        for param in getattr(command, "params", ())
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    }


def forgive_encodings() -> None:
    """Print a ``?`` for each sign that the terminal's encoding lacks, in help texts too."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def escape(text: str) -> str:
    r"""Make a stranger's text harmless inside the markup that ``say`` prints.

    Rich's own escape is not exact: it doubles or drops backslashes before brackets and at the end.
    """
    return "".join(_STAND_INS.get(sign, sign) for sign in printable(text))


_STAND_INS = {"[": "\U000f0000", "\\": "\U000f0001"}  # private: printable() lets none through


def say(text: str, *, to: Console = console) -> None:
    r"""Print markup; what would steer the terminal, or its encoding lacks, is escaped.

    >>> say(f"[bold]{escape('[red] a:x: b')}[/] is a name", to=output)
    [red] a:x: b is a name
    """
    encoding = to.encoding
    pieces = re.split(f"([{''.join(_STAND_INS.values())}])", text)
    pieces[::2] = [
        printable(piece).encode(encoding, "backslashreplace").decode(encoding)
        for piece in pieces[::2]
    ]
    shown = Text.from_markup("".join(pieces), emoji=False)
    for sign, stand_in in _STAND_INS.items():
        shown.plain = shown.plain.replace(stand_in, sign)
    to.print(shown, soft_wrap=True)


class Stop:
    """A flag that SIGTERM, SIGINT and SIGUSR1 set; long work looks at it between steps.

    A second ^C aborts at once, which loses no verified file.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @contextlib.contextmanager
    def listening(self) -> Iterator["Stop"]:
        """Catch the signals inside the block."""
        names = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
        old = {name: signal.signal(name, self._set) for name in names}
        try:
            yield self
        finally:
            for name, handler in old.items():
                signal.signal(name, handler)

    @property
    def status(self) -> int:
        """The exit status by convention: 128 plus the signal's number, 0 without one."""
        return 0 if self.signal is None else 128 + self.signal

    def _set(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number
