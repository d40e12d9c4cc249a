"""`portfolio config`."""

import json as json_format
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.settings import load_settings
from infra.settings_table import setting_rows, settings_markdown


def config(
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, one object for each setting.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the README's table: no values, only defaults.")
    ] = False,
) -> None:
    """Show every setting: its value, default, environment variable and meaning. Secrets are masked.

    A setting is an environment variable, or a line in the file .env of the current directory.

    Example: PORTFOLIO_PORT=9000 portfolio config
    """
    if markdown:
        print(settings_markdown(), end="")
        return
    rows = setting_rows(load_settings())
    if json:
        keys = ("variable", "value", "default", "meaning")
        print(json_format.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=2))
        return
    table = Table("variable", "value", "default", "meaning", box=None, pad_edge=False)
    for row in rows:
        style = "" if row.value == row.default else "bold"
        table.add_row(row.variable, row.value, row.default, row.meaning, style=style)
    Console().print(table)
