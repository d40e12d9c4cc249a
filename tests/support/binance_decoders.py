"""Every decoder of what Binance sends, fed with the same bytes: only the documented errors may leave one."""

import json
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from infra.binance import history_rows
from infra.binance.account_rows import (
    PreventedOrder,
    decode_account,
    decode_allocation,
    decode_prevented_match,
    decode_trade,
)
from infra.binance.catalogue import Catalogue, Instrument, decode_exchange_info
from infra.binance.decoder import ReportedBalances, ReportedFill, ReportedFlow, decode_user_event
from infra.binance.errors import MalformedEvent, UnknownSymbol
from infra.binance.histories import MISREAD
from portfolio.events import Side

SAMPLES_PATH = Path(__file__).parents[1] / "fixtures" / "binance" / "user_data_stream.json"
CATALOGUE = Catalogue(
    {
        "ETHBTC": Instrument(symbol="ETHBTC", base="ETH", quote="BTC"),
        "BTCUSDT": Instrument(symbol="BTCUSDT", base="BTC", quote="USDT"),
    }
)
_ORDER = PreventedOrder(symbol="BTCUSDT", order_id=12, side=Side.BUY)
_HISTORIES = tuple(getattr(history_rows, name) for name in sorted(dir(history_rows)) if name.startswith("decode_"))


def documented() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The events of Binance's documentation, and the fields that an `executionReport` has under conditions."""
    samples = json.loads(SAMPLES_PATH.read_text())
    return samples["events"], samples["conditional_fields_of_execution_report"]


def decode_everywhere(data: bytes) -> None:
    """Give the bytes to each decoder; another error than the documented ones leaves this function."""
    with suppress(MalformedEvent, UnknownSymbol):
        _check(decode_user_event(data, CATALOGUE))
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        return
    for decode in (
        decode_account,
        decode_exchange_info,
        lambda row: decode_trade(row, CATALOGUE),
        lambda row: decode_allocation(row, CATALOGUE),
        lambda row: decode_prevented_match(row, _ORDER, CATALOGUE),
    ):
        with suppress(MalformedEvent, UnknownSymbol):
            decode(answer)
    for decode_rows in _HISTORIES:
        with suppress(*MISREAD):
            for movement in decode_rows([answer], 0):
                assert movement.quantity.is_finite()


def _check(event: object) -> None:
    """What was accepted can be booked: its amounts are numbers."""
    match event:
        case ReportedFill():
            amounts = [event.fill.price, event.fill.quantity, event.fill.fee]
        case ReportedFlow():
            amounts = [event.flow.quantity]
        case ReportedBalances():
            amounts = [balance.total for balance in event.report.balances.values()]
        case _:
            amounts = [Decimal(0)]
    assert all(amount.is_finite() for amount in amounts)
