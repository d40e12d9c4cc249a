"""Events that contradict themselves are refused where they are made."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from portfolio import (
    Balance,
    CostAdjustment,
    CostTarget,
    Event,
    Fill,
    Flow,
    FlowKind,
    InvalidAmount,
    InvalidEvent,
    Marks,
    PortfolioError,
    Reclassification,
    Side,
    ValuationPoint,
)
from tests.support.ledger import START_US


def a_fill(**changes: Any) -> Fill:
    fields: dict[str, Any] = {
        "symbol": "BTCUSDT",
        "base": "BTC",
        "quote": "USDT",
        "side": Side.BUY,
        "price": Decimal(50000),
        "quantity": Decimal(1),
        "trade_id": 1,
        "order_id": 1,
        "time_us": START_US,
    }
    return Fill(**(fields | changes))


def a_flow(**changes: Any) -> Flow:
    fields: dict[str, Any] = {
        "id": "w1",
        "asset": "BTC",
        "quantity": Decimal(1),
        "kind": FlowKind.DEPOSIT,
        "time_us": START_US,
    }
    return Flow(**(fields | changes))


def an_adjustment(**changes: Any) -> CostAdjustment:
    fields: dict[str, Any] = {
        "id": "a1",
        "asset": "BTC",
        "amount": Decimal(1),
        "target": CostTarget.HOLDING,
        "author": "auditor",
        "reason": "invoice",
        "time_us": START_US,
    }
    return CostAdjustment(**(fields | changes))


@pytest.mark.parametrize(
    ("build", "changes"),
    [
        (a_fill, {"price": Decimal(0)}),
        (a_fill, {"price": Decimal(-1)}),
        (a_fill, {"price": Decimal("NaN")}),
        (a_fill, {"price": Decimal("1E+24")}),
        (a_fill, {"price": Decimal("1E-25")}),
        (a_fill, {"price": 50000.0}),
        (a_fill, {"price": "50000"}),
        (a_fill, {"quantity": Decimal(0)}),
        (a_fill, {"quantity": Decimal(-1)}),
        (a_fill, {"quantity": Decimal("Infinity")}),
        (a_fill, {"fee": Decimal(-1), "fee_asset": "BNB"}),
        (a_fill, {"fee": Decimal(1)}),
        (a_fill, {"quote_quantity": Decimal(-1)}),
        (a_fill, {"dust_limit": Decimal(-1)}),
        (a_fill, {"rates": {"BNB": Decimal(-1)}}),
        (a_fill, {"rates": {"BNB": Decimal("sNaN")}}),
        (a_fill, {"symbol": ""}),
        (a_fill, {"base": "USDT"}),
        (a_fill, {"time_us": -1}),
        (a_fill, {"time_us": START_US * 1_000}),
        (a_fill, {"trade_id": 2**63}),
        (a_fill, {"order_id": -(2**63) - 1}),
        (a_flow, {"quantity": Decimal(0)}),
        (a_flow, {"id": ""}),
        (a_flow, {"asset": ""}),
        (a_flow, {"dust_limit": Decimal(-1)}),
        (a_flow, {"rates": {"BTC": Decimal(-1)}}),
        (an_adjustment, {"amount": Decimal(0)}),
        (an_adjustment, {"author": ""}),
        (an_adjustment, {"reason": ""}),
    ],
)
def test_a_malformed_event_is_refused(build: Callable[..., Event], changes: dict[str, Any]) -> None:
    build()
    with pytest.raises((InvalidEvent, InvalidAmount)):
        build(**changes)


def test_the_others_are_checked_too() -> None:
    for build in (
        lambda: Marks(rates={"BTC": Decimal(-1)}, time_us=START_US),
        lambda: ValuationPoint(rates={"BTC": Decimal("1E-25")}, time_us=START_US),
        lambda: Reclassification(id="r", flow_id="", kind=FlowKind.REWARD, author="a", time_us=START_US),
        lambda: Balance(Decimal(-1)),
    ):
        with pytest.raises(PortfolioError):
            build()


@pytest.mark.parametrize("changes", [{"price": "0"}, {"price": "1e999999999"}, {"price": "x"}, {"time_us": -1}])
def test_the_wire_cannot_carry_one(changes: dict[str, Any]) -> None:
    """Decoding runs the same checks, so a record with such an event is malformed as a whole."""
    wire = msgspec.json.decode(msgspec.json.encode(a_fill())) | changes
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(msgspec.json.encode(wire), type=Fill)


@pytest.mark.parametrize("event", [a_fill(), a_flow(), an_adjustment(), Marks(rates={}, time_us=0)])
def test_events_survive_the_wire(event: Event) -> None:
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Event) == event
