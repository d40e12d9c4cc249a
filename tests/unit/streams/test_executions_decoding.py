"""What bots announce, read as executions: exact numbers, attribution, and reasons for what cannot be read."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from infra.redis.events import ChannelMessage, StreamEntry
from portfolio.events import Side
from streams.executions.decoding import UnreadableExecution, decode_execution, raw_value
from streams.executions.records import ExecutionRecord, execution_records

TIME_US = 1_700_000_000_000_000
NATIVE: dict[str, Any] = {
    "account": "bot", "symbol": "BTCUSDT", "side": "BUY", "price": "60000.10", "quantity": "0.5",
    "event_time_us": TIME_US,
}  # fmt: skip
ORDER: dict[str, Any] = {
    "status": "FILLED", "symbol": "BTCUSDC", "side": "SELL", "price": "61000", "quantity": "0.25",
    "fee": "0.01", "fee_asset": "BNB", "trade_id": 7, "order_id": 8, "client_order_id": "c-1",
    "strategy": "aggregated", "cycle_id": "cycle-9", "timestamp": 1_700_000_000_000,
}  # fmt: skip


def entry(value: bytes, stream: str = "portfolio:executions") -> StreamEntry:
    return StreamEntry(stream, "1-0", {b"data": value})


def message(channel: str, **fields: object) -> ChannelMessage:
    return ChannelMessage(channel, msgspec.json.encode(fields))


def test_a_record_is_read_whole_and_says_where_it_came_from() -> None:
    full = NATIVE | {"fee": "0.1", "fee_asset": "USDT", "trade_id": 1, "order_id": 2, "client_order_id": "x"}
    full |= {"strategy": "s", "cycle_id": "c", "source": "a lie", "something": "new"}
    found = decode_execution(entry(msgspec.json.encode(full)), "main")
    assert found == ExecutionRecord(
        account="bot", symbol="BTCUSDT", side=Side.BUY, price=Decimal("60000.10"), quantity=Decimal("0.5"),
        fee=Decimal("0.1"), fee_asset="USDT", trade_id=1, order_id=2, client_order_id="x", strategy="s", cycle_id="c",
        event_time_us=TIME_US, source="redis:portfolio:executions",
    )  # fmt: skip
    assert execution_records.decode(execution_records.encode(found)) == found


def test_a_json_number_keeps_every_digit() -> None:
    written = msgspec.json.encode(NATIVE).replace(b'"0.5"', b"0.123456789012345678901")
    found = decode_execution(entry(written), "main")
    assert found is not None
    assert found.quantity == Decimal("0.123456789012345678901")


def test_fields_of_an_entry_can_be_the_record() -> None:
    fields = {name.encode(): str(value).encode() for name, value in NATIVE.items() if name != "account"}
    found = decode_execution(StreamEntry("s", "1-0", fields | {b"trade_id": b"12"}), "main")
    assert found is not None
    assert (found.account, found.trade_id, found.price) == ("main", 12, Decimal("60000.10"))


@pytest.mark.parametrize("status", ["FILLED", "PARTIALLY_FILLED"])
def test_an_order_of_root_trading_that_executed_is_an_execution(status: str) -> None:
    found = decode_execution(message("roottrading:order:filled", **ORDER | {"status": status}), "main")
    assert found == ExecutionRecord(
        account="main", symbol="BTCUSDC", side=Side.SELL, price=Decimal(61000), quantity=Decimal("0.25"),
        fee=Decimal("0.01"), fee_asset="BNB", trade_id=7, order_id=8, client_order_id="c-1", strategy="aggregated",
        cycle_id="cycle-9", event_time_us=TIME_US, source="redis:roottrading:order:filled",
    )  # fmt: skip


def test_a_cycle_of_root_trading_attributes_its_order() -> None:
    order = {name: value for name, value in ORDER.items() if name not in {"symbol", "strategy", "cycle_id"}}
    cycle = {"cycle_id": "cycle-10", "strategy": "arbitrage", "symbol": "ETHUSDC", "account": "bot"}
    found = decode_execution(message("roottrading:cycle:completed", **cycle, order=order), "main")
    assert found is not None
    assert (found.account, found.symbol, found.strategy, found.cycle_id) == ("bot", "ETHUSDC", "arbitrage", "cycle-10")


@pytest.mark.parametrize(
    "announced",
    [
        message("roottrading:order:placed", status="NEW", symbol="BTCUSDC"),
        message("roottrading:order:canceled", **ORDER | {"status": "CANCELED"}),
        message("roottrading:cycle:created", cycle_id="cycle-1", strategy="aggregated"),
    ],
)
def test_what_is_no_execution_is_passed_over(announced: ChannelMessage) -> None:
    assert decode_execution(announced, "main") is None


@pytest.mark.parametrize(
    ("announced", "reason"),
    [
        (entry(b"\xff not json"), "JSON"),
        (entry(b"[1]"), "object"),
        (entry(msgspec.json.encode(NATIVE | {"price": "NaN"})), "NaN"),
        (entry(msgspec.json.encode(NATIVE | {"price": "-1"})), "positive"),
        (entry(msgspec.json.encode(NATIVE | {"quantity": "0"})), "positive"),
        (entry(msgspec.json.encode(NATIVE | {"quantity": "1e30"})), "digits"),
        (entry(msgspec.json.encode(NATIVE | {"fee": "1"})), "fee_asset"),
        (entry(msgspec.json.encode(NATIVE | {"account": "not an account"})), "account"),
        (entry(msgspec.json.encode(NATIVE | {"strategy": "x" * 201})), "strategy"),
        (entry(msgspec.json.encode(NATIVE | {"side": "HOLD"})), "side"),
        (entry(msgspec.json.encode(NATIVE | {"schema": "marks"})), "schema"),
        (entry(msgspec.json.encode(NATIVE | {"trade_id": 2**63})), "trade_id"),
        (entry(b'{"x":' + b"[" * 100_000), "recursion"),
        (StreamEntry("s", "1-0", {b"symbol": b"\xff"}), "utf-8"),
        (StreamEntry("s", "1-0", {}), "trimmed"),
        (message("roottrading:order:filled", **ORDER | {"symbol": ""}), "symbol"),
        (message("roottrading:order:filled", **ORDER | {"price": None}), "price"),
        (message("roottrading:order:filled", **ORDER | {"timestamp": 0}), "event_time_us"),
        (message("roottrading:cycle:completed", order=ORDER), "cycle_id"),
    ],
)
def test_what_cannot_be_read_says_why(announced: StreamEntry | ChannelMessage, reason: str) -> None:
    with pytest.raises(UnreadableExecution, match=reason):
        decode_execution(announced, "main")


def test_the_bytes_that_are_kept_are_those_that_came() -> None:
    assert raw_value(entry(b"\xff")) == b"\xff"
    assert raw_value(ChannelMessage("c", b"\x00")) == b"\x00"
    assert raw_value(StreamEntry("s", "1-0", {b"a": b"1"})) == b'{"a":"1"}'


@pytest.mark.parametrize("said", [{"strategy": "a\x00b"}, {"event_time_us": 1}, {"event_time_us": 1_700_000_000_000}])
def test_what_a_reader_of_the_topic_would_refuse_is_refused(said: dict[str, object]) -> None:
    with pytest.raises(UnreadableExecution):
        decode_execution(entry(msgspec.json.encode(NATIVE | said)), "main")
