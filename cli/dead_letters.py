"""`portfolio dead-letters`."""

import asyncio
import json as json_format
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from infra.errors import RemediableError
from infra.settings import load_settings
from streams.dead_letter_box import (
    Heading,
    KeptLetter,
    LetterId,
    OnProgress,
    Retry,
    Wanted,
    count_letters,
    find_letter,
    heading_of,
    newest_letters,
    publish_again,
    why_not_retried,
)
from streams.records import DeadLetter

_KINDS_SHOWN = 30
_KEY_SHOWN_MAX = 120
_NUMBER = re.compile(r"\d+")


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
    account: Annotated[str | None, typer.Option(help="Only those of this account (their key).")] = None,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Only those kept after this one.")] = None,
    before: Annotated[str | None, typer.Option(metavar="ID", help="Only those kept before this one.")] = None,
    limit: Annotated[int, typer.Option(help="List at most so many.", min=1, max=10_000)] = 50,
    summary: Annotated[bool, typer.Option("--summary", help="List how many there are of each kind instead.")] = False,
    every: Annotated[bool, typer.Option("--all", help="Retry all that the other options leave.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before publishing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List, show or retry records that could not be read or booked.

    `retry` publishes the record as it came to the topic it came from; the dead letter itself stays. What was booked
    meanwhile is not booked twice. Frames that the gateway kept (binance:user-data) have no topic to go back to.

    Example: portfolio dead-letters list --summary; portfolio dead-letters retry --all --account main --reason "no JSON"
    """
    # Each failed attempt to connect would be a line of its own, beside ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    wanted = Wanted(reason, topic, account, _id_or_none(after), _id_or_none(before))
    match action:
        case Action.LIST if summary:
            _summarize(wanted, as_json=json)
        case Action.LIST:
            _list(asyncio.run(newest_letters(load_settings(), wanted, limit)), limit, as_json=json)
        case Action.SHOW:
            _show(_find(letter), as_json=json)
        case Action.RETRY if every and letter is None:
            _retry_all(wanted, asks=not yes)
        case Action.RETRY:
            if every:
                raise RemediableError("an id and --all exclude each other", "Give one of them")
            _retry_one(_find(letter), asks=not yes)


def _id_or_none(text: str | None) -> LetterId | None:
    return None if text is None else LetterId.parse(text)


def _find(text: str | None) -> KeptLetter:
    if text is None:
        raise RemediableError("which dead letter?", "Give its id; `portfolio dead-letters list` shows them")
    return asyncio.run(find_letter(load_settings(), LetterId.parse(text)))


def _retry_one(kept: KeptLetter, *, asks: bool) -> None:
    if (why_not := why_not_retried(kept.letter)) is not None:
        raise RemediableError(f"{kept.id} cannot be published again: {why_not}", "`show` has what was kept")
    if asks:
        typer.confirm(f"Publish 1 record again to {kept.letter.topic}?", abort=True, err=True)
    asyncio.run(publish_again(load_settings(), kept.letter))
    print(f"1 published again to {kept.letter.topic}")


def _retry_all(wanted: Wanted, *, asks: bool) -> None:
    """Oldest first, as the records once came."""
    if asks:
        with _progress("looking") as on_progress:
            counts = asyncio.run(count_letters(load_settings(), wanted, _target, on_progress))
        to_publish = {target: count for target, count in counts.items() if target}
        if not to_publish:
            print("0 published again" + _left_out(counts[""]))
            return
        targets = ", ".join(f"{count} record(s) to {target}" for target, count in sorted(to_publish.items()))
        typer.confirm(f"Publish again: {targets}?", abort=True, err=True)
    retry = Retry()
    try:
        with _progress("publishing") as on_progress:
            asyncio.run(retry.run(load_settings(), wanted, on_progress))
    except (RemediableError, KeyboardInterrupt) as error:
        cause = error.message if isinstance(error, RemediableError) else "Ctrl-C"
        where = "" if retry.reached is None else f"; add --after {retry.reached} to go on from there"
        raise RemediableError(f"interrupted ({cause})", f"{retry.published} published again{where}") from error
    print(f"{retry.published} published again" + _left_out(retry.left_out))


def _target(letter: DeadLetter) -> str:
    """Where a record goes; empty where it cannot."""
    return letter.topic if why_not_retried(letter) is None else ""


def _left_out(count: int) -> str:
    return f"; {count} left out, which cannot be: `show` one to see why" if count else ""


@contextmanager
def _progress(what: str) -> Iterator[OnProgress]:
    """A bar on a terminal; nothing elsewhere."""
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summarize(wanted: Wanted, *, as_json: bool) -> None:
    """Numbers in a reason, such as the place of an error, make no kind of their own."""
    with _progress("looking") as on_progress:
        counts = asyncio.run(
            count_letters(
                load_settings(), wanted, lambda one: f"{one.topic}\t{_NUMBER.sub('#', one.reason)}", on_progress
            )
        )
    rows = [(count, *kind.partition("\t")[::2]) for kind, count in counts.most_common(_KINDS_SHOWN)]
    if as_json:
        print(
            json_format.dumps([{"count": n, "topic": topic, "reason": reason} for n, topic, reason in rows], indent=2)
        )
        return
    table = Table(box=None, header_style="bold")
    for heading in ("letters", "came from", "reason, with # for numbers"):
        table.add_column(heading, overflow="fold")
    for count, topic, reason in rows:
        table.add_row(f"{count:,}", topic, reason)
    Console(markup=False).print(table if rows else "no dead letters")
    print(f"{counts.total():,} in all" + (f", of {len(counts):,} kinds" if len(counts) > _KINDS_SHOWN else ""))


def _list(found: list[Heading], limit: int, *, as_json: bool) -> None:
    if as_json:
        print(json_format.dumps([_row(heading) for heading in found], indent=2))
        return
    table = Table(box=None, header_style="bold")
    table.add_column("id", no_wrap=True)  # whole, to be copied
    for heading in ("time", "came from", "key", "reason"):
        table.add_column(heading, overflow="fold")
    for one in found:
        row = _row(one)
        table.add_row(row["id"], row["time"], row["origin"], row["key"] or "", row["reason"])
    Console(markup=False).print(table if found else "no dead letters")
    if len(found) == limit:
        print(f"older ones: --before {found[-1].id}", file=sys.stderr)


def _show(kept: KeptLetter, *, as_json: bool) -> None:
    raw = {"key": _raw(kept.letter.key), "value": _raw(kept.letter.value)}
    shown: dict[str, Any] = {**_row(heading_of(kept)), **raw}
    if as_json:
        print(json_format.dumps(shown, indent=2))
        return
    for name in ("id", "time", "origin", "reason"):
        print(f"{name:7} {shown[name]}")
    for name in ("key", "value"):
        data = raw[name]
        print(f"{name:7} " + ("(none)" if data is None else f"({data['as']}) {data['content']}"))


def _row(heading: Heading) -> dict[str, str | None]:
    key = _raw(heading.key)
    return {
        "id": str(heading.id),
        "time": datetime.fromtimestamp(heading.time_us // 1_000_000, UTC).isoformat(),
        "origin": heading.origin,
        "key": None if key is None else key["content"][:_KEY_SHOWN_MAX],
        "reason": heading.reason,
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
