"""``settings``: every setting of an evaluation, by its dotted name."""

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from ddpm_eval.settings import EvalSettings
from ddpm_train.errors import FixableError
from ddpm_train.settings import flatten, to_dict
from ddpm_train.terminal import output


def settings(
    group: Annotated[
        str | None, typer.Argument(help="One group: bound, samples, compute, ...; or all.")
    ] = None,
) -> None:
    """List the settings that --set changes, with their values if they are left alone."""
    tree = to_dict(EvalSettings())
    if group is not None and group not in tree:
        raise FixableError(f"{group}: no group of settings", f"choose from {', '.join(tree)}")
    table = Table("setting", "value", box=None, header_style="bold")
    for name, value in flatten(tree if group is None else {group: tree[group]}).items():
        table.add_row(name, Text(str(value)))
    output.print(table)
