"""What the commands that append an event by hand share: the account before and after, the question, the log."""

import getpass
import json as json_format
import logging
import sys
import time
import uuid
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from infra.errors import RemediableError
from infra.settings import Settings
from portfolio import Book, Fill, PortfolioError, exact_arithmetic, plain, reconcile, value_book
from streams.correcting import Account, ByHand, append, is_booked, looking_at

By = Annotated[str | None, typer.Option(help="Who; default: the user of this machine.")]
Id = Annotated[
    str | None, typer.Option("--id", help="Name it, so that a repetition is known as one. Default: a new one.")
]
Order = Annotated[int | None, typer.Option(help="trade: its order, where two fills share the trade id.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON; needs --yes.")]

Make = Callable[[Account, str], ByHand]
"""Makes the event, from the account as it is and the author."""

_PROGRESS_EVENTS = 10_000


def now_us() -> int:
    """This moment, epoch microseconds."""
    return time.time_ns() // 1_000


def new_id() -> str:
    """An id that nothing else has."""
    return f"by-hand:{uuid.uuid4().hex}"


async def carry_out(
    settings: Settings,
    account: str,
    make: Make,
    *,
    by: str | None,
    yes: bool,
    json: bool,
    wanted: Callable[[Fill], bool] = lambda _fill: False,
    hints: Callable[[Account], list[str]] = lambda _account: [],
) -> None:
    """Show what an event would make of an account, ask, and append it to the log.

    Args:
        settings: How to reach the brokers.
        account: The account.
        make: Makes the event.
        by: Who; None: the user of this machine.
        yes: Do not ask.
        json: Print JSON.
        wanted: Which fills `make` has to see.
        hints: What else the person should know.

    Raises:
        RemediableError: It cannot be booked, or Kafka does not answer.
    """
    if json and not yes:
        raise RemediableError("--json cannot ask", "Add --yes")
    # Each failed attempt to connect would be a line of its own, beside ours.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    author = by or getpass.getuser()
    progress = _Progress(account)
    async with looking_at(settings, account, progress.note) as looking:
        before = await looking.now(wanted)
        try:
            event = make(before, author)
        except PortfolioError as error:
            raise RemediableError(str(error), "Correct it and try again") from error
        known = is_booked(event, before.book)
        after = before.book if known else await looking.after(event, before)
        progress.done()
    for hint in hints(before):
        print(f"note: {hint}", file=sys.stderr)
    if not json:
        _show(before.book, after)
    if known:
        _finish(event, before.book, after, None, json=json)
        return
    if not yes:
        typer.confirm(f"Append this {type(event).__struct_config__.tag} to the log?", abort=True, err=True)
    place = await append(settings, before.book, event)
    _finish(event, before.book, after, f"{place.partition}:{place.offset}", json=json)


def _finish(event: ByHand, before: Book, after: Book, place: str | None, *, json: bool) -> None:
    if json:
        told = {
            "event": msgspec.to_builtins(event),
            "appended_at": place,
            "before": _figures(before),
            "after": _figures(after),
        }
        print(json_format.dumps(told, indent=2, default=str))
    elif place is None:
        print(f"{event.id} was booked before: nothing to do")
    else:
        print(f"{event.id} is in the log at {place}; the ledger books it from there")


class _Progress:
    """A line on a terminal while a long log is read."""

    def __init__(self, account: str) -> None:
        self._account = account
        self._shown = False

    def note(self, events: int) -> None:
        if events % _PROGRESS_EVENTS == 0 and sys.stderr.isatty():
            self._shown = True
            print(f"\rreading the log of {self._account}: {events:,} events ", end="", file=sys.stderr, flush=True)

    def done(self) -> None:
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _figures(book: Book) -> dict[str, Any]:
    value = value_book(book)
    figures = {
        "equity": value.equity,
        "net_flows": book.net_flows,
        "realized": book.realized,
        "unrealized": value.unrealized,
        "fees": book.fees,
    }
    for line in value.holdings:
        figures |= {f"{line.asset} quantity": line.quantity, f"{line.asset} cost": line.cost}
        if line.average_cost is not None and line.asset != book.reporting:
            figures[f"{line.asset} average cost"] = line.average_cost
    with exact_arithmetic():
        figures |= {f"{one.asset} at the exchange less here": one.difference for one in reconcile(book)}
    return {name: plain(number) for name, number in figures.items()}


def _show(before: Book, after: Book) -> None:
    """What changes; what does not is left out."""
    old, new = _figures(before), _figures(after)
    table = Table(box=None, header_style="bold", title=f"account {before.account}, in {before.reporting}")
    table.add_column("")
    table.add_column("now", justify="right")
    table.add_column("then", justify="right")
    for name in dict.fromkeys((*old, *new)):
        if old.get(name) != new.get(name):
            table.add_row(name, old.get(name, "0"), new.get(name, "0"))
    Console(markup=False).print(table if table.row_count else "no figure changes")
