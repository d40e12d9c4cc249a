"""`portfolio secrets`."""

import asyncio
import getpass
import json as json_format
import re
import sys
import time
from enum import StrEnum
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from infra.errors import RemediableError
from infra.postgres.audit import new_entry, record_alone
from infra.postgres.errors import DatabaseError
from infra.secrets import open_vault, rotate_master_key
from infra.settings import Settings, load_settings
from infra.vault import MasterKey, Vault
from portfolio.audit import AuditKind

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


class Action(StrEnum):
    """What to do."""

    SET = "set"
    LIST = "list"
    REMOVE = "remove"
    ROTATE = "rotate"


def secrets(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    name: Annotated[str | None, typer.Argument(help="set, remove: the secret's name.")] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Keep API keys and other secrets encrypted, and refer to them as `secret:NAME` in portfolio.toml.

    `set` asks for the secret without showing it, or reads it from a pipe; it never stands on a command line. Secrets
    are encrypted (AES-256-GCM) under a master key, which PORTFOLIO_MASTER_KEY says where to find; the first `set` makes
    one. `rotate` makes a new master key and encrypts every secret anew.

    Example: portfolio secrets set main.secret_key < key.pem
    """
    settings = load_settings()
    if action is Action.LIST:
        _list(open_vault(settings), as_json=json)
        return
    if action is Action.ROTATE:
        _rotate(settings)
        _tell(settings, "rotated the master key", "")
        return
    chosen = _checked(name)
    if action is Action.SET:
        value = _ask(chosen)
        open_vault(settings, make_key=True).set(chosen, value, time_us=time.time_ns() // 1_000)
        print(f"Kept. Refer to it as secret:{chosen}.")
        _tell(settings, "set a secret", chosen)
    else:
        open_vault(settings).remove(chosen)
        print(f"The secret {chosen} is forgotten.")
        _tell(settings, "removed a secret", chosen)


def _checked(name: str | None) -> str:
    if name is None or not _NAME.fullmatch(name):
        raise RemediableError(
            "a name is missing, or has other characters than letters, digits and ._-",
            "For example: portfolio secrets set main.api_key",
        )
    return name


def _ask(name: str) -> str:
    value = getpass.getpass(f"{name}: ") if sys.stdin.isatty() else sys.stdin.read()
    value = value.rstrip("\r\n")
    if not value:
        raise RemediableError("nothing was given", "Type the secret, or send it through a pipe")
    return value


def _rotate(settings: Settings) -> None:
    master = MasterKey(settings.master_key)
    if not master.is_kept_by_us:
        raise RemediableError(
            "the master key is in the environment, which nobody can change from here",
            "Set PORTFOLIO_MASTER_KEY to file:PATH or keyring, set the secrets anew, and rotate from then on",
        )
    vault = open_vault(settings)
    rotate_master_key(settings, vault)
    print(f"{len(vault.set_times_us())} secrets are under a new master key.")


def _tell(settings: Settings, action: str, name: str) -> None:
    entry = new_entry(AuditKind.CONFIGURATION, action, actor=getpass.getuser(), subject=name)
    try:
        asyncio.run(record_alone(settings.database_dsn, entry))
    except DatabaseError as error:
        typer.echo(f"It does not stand in the audit trail: {error}", err=True)


def _list(vault: Vault, *, as_json: bool) -> None:
    rows = [
        {"name": name, "set": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(set_us / 1_000_000))}
        for name, set_us in vault.set_times_us().items()
    ]
    if as_json:
        print(json_format.dumps(rows, indent=2))
    elif not rows:
        print("There are no secrets. `portfolio secrets set NAME` keeps one.")
    else:
        table = Table("name", "set", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        Console().print(table)
