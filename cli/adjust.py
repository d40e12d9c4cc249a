"""`portfolio adjust`."""

import asyncio
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Never

import typer
from msgspec.structs import replace

from cli.by_hand import By, Id, Json, Order, Yes, carry_out, new_id, now_us
from infra.errors import RemediableError
from infra.settings import load_settings
from portfolio import (
    Book,
    CostAdjustment,
    CostTarget,
    ExecutionKind,
    Fill,
    Flow,
    FlowKind,
    PortfolioError,
    TradeCorrection,
    amount,
    exact_arithmetic,
    plain,
)
from streams.correcting import Account


class Subject(StrEnum):
    """What to adjust."""

    COST = "cost"
    FLOW = "flow"
    TRADE = "trade"


def adjust(
    subject: Annotated[Subject, typer.Argument(help="What to adjust.")],
    name: Annotated[str, typer.Argument(help="The asset; for a trade, its symbol.")],
    trade_id: Annotated[int | None, typer.Argument(help="The trade's id.")] = None,
    *,
    why: Annotated[str, typer.Option(help="Why; kept with it for ever.")],
    by: By = None,
    account: Annotated[str | None, typer.Option(help="The account; default PORTFOLIO_ACCOUNT.")] = None,
    by_amount: Annotated[
        str | None, typer.Option("--amount", help="cost: true cost less booked cost, in the reporting currency.")
    ] = None,
    target: Annotated[
        CostTarget | None, typer.Option(help="cost: of what is still held, or of what was sold (realized).")
    ] = None,
    quantity: Annotated[
        str | None, typer.Option(help="flow: what came in (or, negative, went out). trade: the true quantity.")
    ] = None,
    rate: Annotated[
        list[str] | None, typer.Option(help="ASSET=PRICE in the reporting currency, where the log has none.")
    ] = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="trade: it was cancelled, there was none.")] = False,
    restore: Annotated[bool, typer.Option("--restore", help="trade: it was as it first came.")] = False,
    price: Annotated[str | None, typer.Option(help="trade: the true price.")] = None,
    fee: Annotated[str | None, typer.Option(help="trade: the true fee.")] = None,
    fee_asset: Annotated[str | None, typer.Option(help="trade: the asset that the true fee was paid in.")] = None,
    order: Order = None,
    execution: Annotated[ExecutionKind, typer.Option(help="trade: its kind of execution.")] = ExecutionKind.TRADE,
    flow: Annotated[
        list[str] | None, typer.Option(help="trade: id of a flow that was booked for the same; taken as nothing.")
    ] = None,
    name_id: Id = None,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Adjust a cost, book a flow by hand, or correct a trade: an event is appended to the log, with who and why.

    Nothing is edited. The account is shown before and after, and you are asked. The same --id again changes nothing.

    `cost` gives what was acquired unseen its true cost. `flow` books what came in or went out unseen; the exchange's
    balances are no reason to, the gateway books those. `trade` says what a fill really was: the books are then made
    anew as if it had come so, and what was told of the past since is restated and marked.

    Example: portfolio adjust trade BTCUSDT 28457 --cancel --why "bust, notice 2026-114"

    portfolio adjust cost BTC --amount -40000 --target realized --why "bought for 20000 elsewhere, invoice 17"
    """
    event_id = name_id or new_id()
    rates = _rates(rate or [])

    def wanted(fill: Fill) -> bool:
        is_one = subject is Subject.TRADE and (fill.symbol, fill.execution) == (name.upper(), execution)
        return is_one and fill.trade_id == trade_id and order in {None, fill.order_id}

    def make(found: Account, author: str) -> CostAdjustment | Flow | TradeCorrection:
        match subject:
            case Subject.COST:
                return CostAdjustment(
                    id=event_id,
                    asset=name.upper(),
                    amount=_required(by_amount, "--amount"),
                    target=target or _missing("--target"),
                    author=author,
                    reason=why,
                    time_us=now_us(),
                )
            case Subject.FLOW:
                return Flow(
                    id=event_id,
                    asset=name.upper(),
                    quantity=_required(quantity, "--quantity"),
                    kind=FlowKind.ADJUSTMENT,
                    rates=rates,
                    author=author,
                    reason=why,
                    time_us=now_us(),
                )
            case Subject.TRADE:
                fill = _the_fill(found, name, trade_id)
                changes = {"price": price, "quantity": quantity, "fee": fee, "fee_asset": fee_asset}
                becomes = _becomes(fill, changes, rates, cancel=cancel, restore=restore)
                return TradeCorrection(
                    id=event_id,
                    symbol=fill.symbol,
                    execution=fill.execution,
                    trade_id=fill.trade_id,
                    order_id=fill.order_id,
                    replacement=becomes,
                    flows=_known_flows(flow or [], found.book),
                    author=author,
                    reason=why,
                    time_us=now_us(),
                )

    def hints(found: Account) -> list[str]:
        return _hints(found, flow or []) if subject is Subject.TRADE else []

    settings = load_settings()
    asyncio.run(
        carry_out(settings, account or settings.account, make, by=by, wanted=wanted, hints=hints, yes=yes, json=json)
    )


def _required(text: str | None, option: str) -> Decimal:
    return _number(_missing(option) if text is None else text, option)


def _number(text: str, option: str) -> Decimal:
    try:
        return amount(text)
    except PortfolioError as error:
        raise RemediableError(f"{option}: {error}", "Give a decimal number") from error


def _missing(option: str) -> Never:
    raise RemediableError(f"{option} is missing", "`portfolio adjust --help` says what each adjustment needs")


def _rates(pairs: list[str]) -> dict[str, Decimal]:
    rates = {}
    for pair in pairs:
        asset, equals, number = pair.partition("=")
        if not asset or not equals:
            raise RemediableError(f"--rate {pair!r} is not ASSET=PRICE", "Write it as --rate BNB=612.5")
        rates[asset.upper()] = _number(number, "--rate")
    return rates


def _the_fill(found: Account, symbol: str, trade_id: int | None) -> Fill:
    if trade_id is None:
        raise RemediableError("which trade?", "Give its id after the symbol; `portfolio adjust --help` has an example")
    match found.fills:
        case [fill]:
            return fill
        case []:
            raise RemediableError(
                f"account {found.book.account} has no trade {trade_id} of {symbol.upper()}",
                "Look it up in /portfolio/trade-history; --order and --execution must be those of the trade",
            )
        case several:
            orders = ", ".join(str(fill.order_id) for fill in several)
            raise RemediableError(f"a trade with oneself has two fills, of orders {orders}", "Give one with --order")


def _becomes(
    fill: Fill, changes: dict[str, str | None], rates: dict[str, Decimal], *, cancel: bool, restore: bool
) -> Fill | None:
    given = {name: text for name, text in changes.items() if text is not None}
    if [cancel, restore, bool(given)].count(True) != 1:
        raise RemediableError(
            "say what the trade was", "Give --cancel, or --restore, or some of --price, --quantity, --fee, --fee-asset"
        )
    if cancel:
        return None
    numbers = {name: _number(text, f"--{name}") for name, text in given.items() if name != "fee_asset"}
    asset = given.get("fee_asset", fill.fee_asset).upper()
    moved = None if {"price", "quantity"} & numbers.keys() else fill.quote_quantity
    try:
        return replace(fill, **numbers, fee_asset=asset, quote_quantity=moved, rates={**fill.rates, **rates})
    except PortfolioError as error:
        raise RemediableError(str(error), "Correct the trade's figures") from error


def _known_flows(flows: list[str], book: Book) -> tuple[str, ...]:
    for flow_id in flows:
        if flow_id not in book.flows:
            raise RemediableError(f"no flow {flow_id!r} was booked", "/portfolio/flows has the ids")
    return tuple(flows)


def _hints(found: Account, given: list[str]) -> list[str]:
    """Flows that look like what the exchange gave back or took when it cancelled the trade."""
    if len(found.fills) != 1:
        return []
    fill = found.fills[0]
    moved = _moved(fill)
    alike = [
        flow_id
        for flow_id, flow in found.book.flows.items()
        if flow.kind is FlowKind.UNCLASSIFIED
        and flow.time_us >= fill.time_us
        and moved.get(flow.asset) == -flow.quantity
        and flow.value
        and flow_id not in given
    ]
    return [
        f"flow {flow_id}: {plain(found.book.flows[flow_id].quantity)} {found.book.flows[flow_id].asset} looks like the "
        f"balance that this trade gave back; if it is, add --flow '{flow_id}', or it counts beside the correction"
        for flow_id in alike
    ]


def _moved(fill: Fill) -> dict[str, Decimal]:
    with exact_arithmetic():
        quote = fill.price * fill.quantity if fill.quote_quantity is None else fill.quote_quantity
        sign = 1 if fill.side == "BUY" else -1
        moved = {fill.base: sign * fill.quantity, fill.quote: -sign * quote}
        if fill.fee:
            moved[fill.fee_asset] = moved.get(fill.fee_asset, Decimal(0)) - fill.fee
    return moved
