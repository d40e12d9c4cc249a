"""`portfolio dead-letters`."""

import asyncio
import json as json_format
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from infra.errors import RemediableError
from infra.settings import load_settings
from streams.dead_letter_box import (
    KeptLetter,
    LetterId,
    find_letter,
    newest_letters,
    publish_again,
    why_not_retried,
)
from streams.records import DeadLetter


class Action(StrEnum):
    """What to do."""

    LIST = "list"
    SHOW = "show"
    RETRY = "retry"


def dead_letters(
    action: Annotated[Action, typer.Argument(help="What to do.")],
    letter: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="topic:partition:offset of a dead letter, as `list` shows it.")
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="Only those whose reason contains this.")] = "",
    topic: Annotated[str | None, typer.Option(help="Only those that came from this topic.")] = None,
    limit: Annotated[int, typer.Option(help="List at most so many.", min=1)] = 50,
    every: Annotated[bool, typer.Option("--all", help="Retry all that --reason and --topic leave.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before publishing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, show or retry records that could not be read or booked.

    `retry` publishes the record as it came to the topic it came from; the dead letter itself stays. What was booked
    meanwhile is not booked twice. Frames that the gateway kept (binance:user-data) have no topic to go back to.

    Example: portfolio dead-letters list --reason "no JSON"; portfolio dead-letters retry portfolio.dead-letters:0:17
    """
    # Each failed attempt to connect would be a line of its own, beside ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

    def matches(kept: DeadLetter) -> bool:
        return reason in kept.reason and topic in {None, kept.topic}

    match action:
        case Action.LIST:
            found = asyncio.run(newest_letters(load_settings(), matches, limit))
            _list(found, as_json=json)
        case Action.SHOW:
            _show(_find(letter), as_json=json)
        case Action.RETRY if every and letter is None:
            _retry(list(reversed(asyncio.run(newest_letters(load_settings(), matches, None)))), asks=not yes)
        case Action.RETRY:
            if every:
                raise RemediableError("an id and --all exclude each other", "Give one of them")
            kept = _find(letter)
            if (why_not := why_not_retried(kept.letter)) is not None:
                raise RemediableError(f"{kept.id} cannot be published again: {why_not}", "`show` has what was kept")
            _retry([kept], asks=not yes)


def _find(text: str | None) -> KeptLetter:
    if text is None:
        raise RemediableError("which dead letter?", "Give its id; `portfolio dead-letters list` shows them")
    return asyncio.run(find_letter(load_settings(), LetterId.parse(text)))


def _retry(found: list[KeptLetter], *, asks: bool) -> None:
    """Oldest first, as the records once came."""
    refused = {kept.id: why_not for kept in found if (why_not := why_not_retried(kept.letter)) is not None}
    for where, why_not in refused.items():
        print(f"{where} is left out: {why_not}", file=sys.stderr)
    chosen = [kept for kept in found if kept.id not in refused]
    targets = ", ".join(sorted({kept.letter.topic for kept in chosen}))
    if chosen and asks:
        typer.confirm(f"Publish {len(chosen)} record(s) again to {targets}?", abort=True, err=True)
    if chosen:
        asyncio.run(publish_again(load_settings(), [kept.letter for kept in chosen]))
    print(f"{len(chosen)} published again" + (f" to {targets}" if chosen else ""))


def _list(found: list[KeptLetter], *, as_json: bool) -> None:
    if as_json:
        print(json_format.dumps([_summary(kept) for kept in found], indent=2))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("id", no_wrap=True)  # whole, to be copied
    for heading in ("time", "came from", "reason"):
        table.add_column(heading, overflow="fold")
    for kept in found:
        summary = _summary(kept)
        table.add_row(summary["id"], summary["time"], summary["origin"], summary["reason"])
    Console(markup=False).print(table if found else "no dead letters")


def _show(kept: KeptLetter, *, as_json: bool) -> None:
    shown = _summary(kept) | {"key": _raw(kept.letter.key), "value": _raw(kept.letter.value)}
    if as_json:
        print(json_format.dumps(shown, indent=2))
        return
    for name in ("id", "time", "origin", "reason"):
        print(f"{name:7} {shown[name]}")
    for name in ("key", "value"):
        raw = shown[name]
        print(f"{name:7} " + ("(none)" if raw is None else f"({raw['as']}) {raw['content']}"))


def _summary(kept: KeptLetter) -> dict[str, Any]:
    letter = kept.letter
    return {
        "id": str(kept.id),
        "time": datetime.fromtimestamp(letter.time_us // 1_000_000, UTC).isoformat(),
        "origin": f"{letter.topic}:{letter.partition}:{letter.offset}",
        "reason": letter.reason,
    }


def _raw(data: bytes | None) -> dict[str, str] | None:
    """Text where all of it can be shown as text, else hex: a terminal must not act on what somebody sent."""
    if data is None:
        return None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"as": "hex", "content": data.hex()}
    is_plain = all(character.isprintable() or character in "\n\t" for character in text)
    return {"as": "text", "content": text} if is_plain else {"as": "hex", "content": data.hex()}
