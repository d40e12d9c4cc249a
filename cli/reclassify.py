"""`portfolio reclassify`."""

import asyncio
from typing import Annotated

import typer

from cli.by_hand import By, Id, Json, Yes, carry_out, new_id, now_us
from infra.errors import RemediableError
from infra.settings import load_settings
from portfolio import Book, FlowKind, Reclassification, plain
from streams.correcting import Account

_SHOWN = 5


def reclassify(
    flow: Annotated[str, typer.Argument(help="The flow's id, as /portfolio/flows shows it.")],
    *,
    kind: Annotated[FlowKind, typer.Option(help="What it was.")],
    why: Annotated[str, typer.Option(help="Why; kept with it for ever.")],
    by: By = None,
    account: Annotated[str | None, typer.Option(help="The account; default PORTFOLIO_ACCOUNT.")] = None,
    name_id: Id = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Name the kind of a flow that the exchange gave no reason for: an event is appended to the log, with who and why.

    Rewards, airdrops and rebates are earned, all other kinds are paid in or out. The account is shown before and after,
    and you are asked. The same --id again changes nothing.

    Example: portfolio reclassify difference:1767225600000000:after:BNB --kind airdrop --why "HODLer airdrop"
    """
    event_id = name_id or new_id()

    def make(found: Account, author: str) -> Reclassification:
        known = found.book.flows.get(flow)
        if known is None:
            raise RemediableError(f"no flow {flow!r} was booked", _known(found.book))
        if known.kind is kind and event_id not in found.book.adjustments:
            raise RemediableError(f"flow {flow} is a {kind} already", "There is nothing to do")
        return Reclassification(id=event_id, flow_id=flow, kind=kind, author=author, reason=why, time_us=now_us())

    settings = load_settings()
    asyncio.run(carry_out(settings, account or settings.account, make, by=by, yes=yes, json=json))


def _known(book: Book) -> str:
    unclassified = [
        f"{flow_id} ({plain(flow.quantity)} {flow.asset})"
        for flow_id, flow in book.flows.items()
        if flow.kind is FlowKind.UNCLASSIFIED
    ]
    return "Unclassified are: " + (", ".join(unclassified[-_SHOWN:]) or "none")
