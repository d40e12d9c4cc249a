"""What a bot wrote to Redis, read as an execution.

Two forms are understood: `ExecutionRecord` itself, and what is assumed of RootTrading's bots, as an example of how a
bot's own form is mapped. `docs/executions.md` describes both.
"""

from decimal import Decimal
from typing import Any, Final

import msgspec

from infra.redis.events import ChannelMessage, StreamEntry
from portfolio.errors import PortfolioError
from streams.executions.records import ExecutionRecord, execution_records

ROOT_TRADING: Final = "roottrading:"
_DATA: Final = b"data"
_EXECUTED: Final = frozenset({"FILLED", "PARTIALLY_FILLED"})
_json = msgspec.json.Decoder(dict[str, msgspec.Raw])


class UnreadableExecution(ValueError):
    """What was announced is no execution that can be read; the message says why."""


class RootTradingOrder(msgspec.Struct, frozen=True):
    """An order as RootTrading's bots are assumed to announce it; a cycle holds one as `order`.

    `timestamp` is in epoch milliseconds.
    """

    status: str
    account: str = ""
    symbol: str = ""
    side: str = ""
    price: Decimal | None = None
    quantity: Decimal | None = None
    timestamp: int = 0
    fee: Decimal | None = None
    fee_asset: str = ""
    trade_id: int | None = None
    order_id: int | None = None
    client_order_id: str = ""
    strategy: str = ""
    cycle_id: str = ""


class RootTradingCycle(msgspec.Struct, frozen=True):
    """A cycle as RootTrading's bots are assumed to announce it; with the order that moved it on, or without."""

    cycle_id: str
    account: str = ""
    symbol: str = ""
    strategy: str = ""
    order: RootTradingOrder | None = None


def raw_value(announced: StreamEntry | ChannelMessage) -> bytes:
    """The bytes as they came: the message, the field `data`, or all fields as a JSON object."""
    if isinstance(announced, ChannelMessage):
        return announced.data
    if _DATA in announced.fields:
        return announced.fields[_DATA]
    return msgspec.json.encode(
        {name.decode(errors="replace"): value.decode(errors="replace") for name, value in announced.fields.items()}
    )


def place_of(announced: StreamEntry | ChannelMessage) -> str:
    """`redis:` and the name of the stream or channel."""
    name = announced.channel if isinstance(announced, ChannelMessage) else announced.stream
    return f"redis:{name}"


def decode_execution(announced: StreamEntry | ChannelMessage, account: str) -> ExecutionRecord | None:
    """Read what was announced; None when it is well-formed but no execution (an order that was placed, say).

    Args:
        announced: An entry of a stream or a message of a channel.
        account: The account of what names none.

    Raises:
        UnreadableExecution: It cannot be read.
    """
    if isinstance(announced, StreamEntry) and not announced.fields:
        raise UnreadableExecution("the entry was trimmed from the stream before it was read")
    place = place_of(announced)
    name = place.removeprefix("redis:")
    try:
        if name.startswith(f"{ROOT_TRADING}cycle:"):
            cycle = msgspec.json.decode(raw_value(announced), type=RootTradingCycle)
            execution = _from_cycle(cycle, account, place)
        elif name.startswith(f"{ROOT_TRADING}order:"):
            order = msgspec.json.decode(raw_value(announced), type=RootTradingOrder)
            execution = _from_order(order, account, place)
        else:
            execution = _from_record(announced, account, place)
        # As whoever reads the topic will: what they would refuse is refused here.
        return None if execution is None else execution_records.decode(execution_records.encode(execution))
    except (msgspec.MsgspecError, PortfolioError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableExecution(str(error)) from error


def _from_record(announced: StreamEntry | ChannelMessage, account: str, place: str) -> ExecutionRecord:
    if isinstance(announced, ChannelMessage) or _DATA in announced.fields:
        # Raw keeps each value as it is written: a price that is a JSON number becomes a Decimal without being a float.
        written = {"account": msgspec.Raw(msgspec.json.encode(account))} | _json.decode(raw_value(announced))
        written["source"] = msgspec.Raw(msgspec.json.encode(place))
        return msgspec.json.decode(msgspec.json.encode(written), type=ExecutionRecord)
    fields: dict[str, Any] = {name.decode(): value.decode() for name, value in announced.fields.items()}
    return msgspec.convert({"account": account} | fields | {"source": place}, ExecutionRecord, strict=False)


def _from_cycle(cycle: RootTradingCycle, account: str, place: str) -> ExecutionRecord | None:
    if cycle.order is None:
        return None
    order = msgspec.structs.replace(
        cycle.order,
        cycle_id=cycle.order.cycle_id or cycle.cycle_id,
        account=cycle.order.account or cycle.account,
        symbol=cycle.order.symbol or cycle.symbol,
        strategy=cycle.order.strategy or cycle.strategy,
    )
    return _from_order(order, account, place)


def _from_order(order: RootTradingOrder, account: str, place: str) -> ExecutionRecord | None:
    if order.status not in _EXECUTED:
        return None
    fields = {
        name: value for name, value in msgspec.structs.asdict(order).items() if name not in {"status", "timestamp"}
    }
    fields |= {
        "account": order.account or account,
        "event_time_us": order.timestamp * 1_000,
        "source": place,
    }
    return msgspec.convert(fields, ExecutionRecord)
