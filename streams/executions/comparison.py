"""An execution that a bot announced beside the fills that the exchange told of. Pure."""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from infra.postgres.executions import Announced, BookedFill
from portfolio.money import ZERO, exact_arithmetic, plain


class Verdict(StrEnum):
    """What came of comparing an execution."""

    MATCHED = "matched"
    DIFFERENT = "different"
    MISSING = "missing-fill"


class Comparison(NamedTuple):
    """An execution beside fills.

    Attributes:
        verdict: What came of it.
        fills: The fills that are the execution's, whether or not they agree in everything.
        detail: Where they differ, or what is missing; empty when all agrees.
    """

    verdict: Verdict
    fills: Sequence[BookedFill]
    detail: str = ""


def compare(execution: Announced, fills: Sequence[BookedFill], *, is_booked: bool = False) -> Comparison:
    """Compare an execution with the fills of its trade or, where the bot does not know the trade, of its order.

    Args:
        execution: What the bot announced.
        fills: The fills of the trade or order, as far as they are in the books.
        is_booked: The account's fills are made of its executions, so that the offset is the trade id.
    """
    names_trade = is_booked or execution.trade_id is not None
    if names_trade and not is_booked and execution.order_id is not None:
        fills = [fill for fill in fills if fill.order_id == execution.order_id]
    if not fills:
        return Comparison(Verdict.MISSING, (), _missing(execution))
    if names_trade:
        return _judged(execution, fills[:1], _differences(execution, fills[0]))
    for fill in fills:
        if not _differences(execution, fill):
            return Comparison(Verdict.MATCHED, [fill])
    return _judged(execution, fills, _differences_of_order(execution, fills))


def _judged(execution: Announced, fills: Sequence[BookedFill], differences: list[str]) -> Comparison:
    if not differences:
        return Comparison(Verdict.MATCHED, fills)
    return Comparison(Verdict.DIFFERENT, fills, f"{execution.symbol}: {', '.join(differences)}")


def _differences(execution: Announced, fill: BookedFill) -> list[str]:
    differences = [] if execution.side == fill.side else [f"{execution.side} was announced, it was a {fill.side}"]
    for name, announced, booked in (
        ("price", execution.price, fill.price),
        ("quantity", execution.quantity, fill.quantity),
    ):
        if announced != booked:
            differences.append(f"{name} {plain(announced)} was announced, the exchange has {plain(booked)}")
    return differences


def _differences_of_order(execution: Announced, fills: Sequence[BookedFill]) -> list[str]:
    """An order as a whole: its quantity is the sum, and its price an average, which a bot may have rounded."""
    with exact_arithmetic():
        quantity = sum((fill.quantity for fill in fills), ZERO)
    lowest, highest = min(fill.price for fill in fills), max(fill.price for fill in fills)
    differences = [] if execution.side == fills[0].side else [f"{execution.side} was announced, not {fills[0].side}"]
    if execution.quantity != quantity:
        differences.append(f"quantity {plain(execution.quantity)} was announced, the order has {plain(quantity)}")
    if not lowest <= execution.price <= highest:
        differences.append(f"price {plain(execution.price)} is not within {plain(lowest)} to {plain(highest)}")
    return differences


def _missing(execution: Announced) -> str:
    if execution.trade_id is not None:
        named = f"trade {execution.trade_id}"
    elif execution.order_id is not None:
        named = f"order {execution.order_id}"
    elif execution.client_order_id:
        named = f"order {execution.client_order_id!r}"
    else:
        return f"{execution.symbol}: the bot names neither trade nor order, so it cannot be compared"
    return f"{execution.symbol}: the exchange has no {named}"
