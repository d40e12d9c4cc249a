"""`portfolio keys`."""

import asyncio
import getpass
import json as json_format
import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from infra.access_keys import SCOPES, AccessKey, Scope
from infra.errors import RemediableError
from infra.postgres.access_keys import KeyStore
from infra.postgres.errors import DatabaseError
from infra.redis.access import last_uses
from infra.settings import Settings, load_settings
from portfolio.alerts.durations import duration_us
from portfolio.errors import InvalidRule


class Action(StrEnum):
    """What to do."""

    CREATE = "create"
    LIST = "list"
    REVOKE = "revoke"
    ROTATE = "rotate"


def keys(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    name: Annotated[str | None, typer.Argument(help="create: a name for it; revoke, rotate: the key's id.")] = None,
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"create: what it allows, {' or '.join(SCOPES)}; may be repeated.")
    ] = None,
    account: Annotated[
        list[str] | None, typer.Option(help="create: an account that it may see; may be repeated. Default: all.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="create: ends after this time: 12h, 30d.")] = None,
    grace: Annotated[str, typer.Option(help="rotate: how long the old key is still good.")] = "24h",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make, list, end and replace the keys to the API.

    A key is printed once, when it is made, and stored as an Argon2id hash. Send it as `Authorization: Bearer KEY`. The
    API asks for one wherever it listens on more than this machine.

    Example: portfolio keys create dashboard --scope portfolio:read --account main --expires 90d
    """
    settings = load_settings()
    store = KeyStore(settings.database_dsn, actor=getpass.getuser())
    try:
        if action is Action.LIST:
            _list(asyncio.run(store.all()), asyncio.run(last_uses(settings.redis_dsn)), as_json=json)
        elif action is Action.CREATE:
            token = store.create(
                _require(name, "a name"),
                scopes=_scopes(scope),
                accounts=account or None,
                expires_time_us=None if expires is None else _from_now_us(expires),
            )
            _show(asyncio.run(token).text, settings, as_json=json)
        elif action is Action.ROTATE:
            token = store.rotate(_require(name, "the key's id"), grace_us=_length_us(grace))
            _show(asyncio.run(token).text, settings, as_json=json)
        else:
            key = asyncio.run(store.revoke(_require(name, "the key's id")))
            print(f"The key {key.id} ({key.name}) is revoked. An API that runs refuses it within ten seconds.")
    except DatabaseError as error:
        raise RemediableError(str(error), "`portfolio doctor` says what is missing") from error


def _require(name: str | None, what: str) -> str:
    if not name:
        raise RemediableError(f"{what} is missing", "`portfolio keys --help` has an example")
    return name


def _scopes(given: Sequence[str] | None) -> list[Scope]:
    chosen: list[Scope] = [known for known in SCOPES if known in (given or ["portfolio:read"])]
    if unknown := sorted(set(given or ()).difference(SCOPES)):
        raise RemediableError(f"there is no scope {unknown[0]!r}", f"Choose among {', '.join(SCOPES)}")
    return chosen


def _length_us(span: str) -> int:
    try:
        return duration_us(span)
    except InvalidRule as error:
        raise RemediableError(str(error), "Write a number and s, m, h or d, such as 90d") from error


def _from_now_us(span: str) -> int:
    return time.time_ns() // 1_000 + _length_us(span)


def _show(text: str, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print(json_format.dumps({"key": text}))
        return
    print(text)
    typer.echo("It is shown this once. Keep it where secrets are kept.", err=True)
    typer.echo(
        f'Try it: curl -H "Authorization: Bearer $KEY" http://127.0.0.1:{settings.port}/portfolio/overview', err=True
    )


def _list(found: Sequence[AccessKey], used: dict[str, int], *, as_json: bool) -> None:
    now_us = time.time_ns() // 1_000
    rows = [
        {
            "id": key.id,
            "name": key.name,
            "scopes": " ".join(sorted(key.scopes)),
            "accounts": "all" if key.accounts is None else " ".join(sorted(key.accounts)),
            "created": _moment(key.created_time_us),
            "expires": _moment(key.expires_time_us),
            "last_use": _moment(used.get(key.id)),
            "state": key.refusal(now_us) or "good",
        }
        for key in found
    ]
    if as_json:
        print(json_format.dumps(rows, indent=2))
        return
    if not rows:
        print("There are no keys. `portfolio keys create NAME` makes one.")
        return
    table = Table(box=None, pad_edge=False)
    for name in rows[0]:
        # Who is to revoke a key needs the whole of its id.
        table.add_column(name.replace("_", " "), no_wrap=name == "id", min_width=12 if name == "id" else None)
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)


def _moment(time_us: int | None) -> str:
    return "" if time_us is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(time_us / 1_000_000))
