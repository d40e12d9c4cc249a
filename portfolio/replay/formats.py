"""The formats that a replay reads: JSON lines, Binance's `myTrades` array, and its trade-history CSV export."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec

from portfolio.events import Event, Fill, Flow, FlowKind, Marks, Side
from portfolio.money import ZERO, amount
from portfolio.replay.exports import read_trade_history
from portfolio.replay.lines import InvalidLine, Line, numbered, side_of
from portfolio.symbols import split_symbol

# A time of 1e14 is the year 5138 in milliseconds and 1973 in microseconds: Binance writes both.
_FIRST_MICROSECONDS = 100_000_000_000_000


def read_lines(text: Iterable[str], *, account: str = "main") -> Iterator[Line]:
    """Read a file in whichever of the formats it is in.

    Args:
        text: The lines of the file; bytes that are not UTF-8 decoded with `surrogateescape`.
        account: The account for formats and lines that name none.

    Raises:
        InvalidLine: A line is malformed; says which and why.
    """
    lines = _text_only(text)
    skipped: list[str] = []
    for line in lines:
        if line.strip():
            break
        skipped.append(line)
    else:
        return
    blank = len(skipped)
    first = line.lstrip("\ufeff").lstrip()
    rest = _chain(line, lines)
    if first.startswith("["):
        yield from _read_my_trades("".join(rest), account)
    elif first.startswith("{"):
        yield from _read_json_lines(rest, account, blank)
    else:
        yield from read_trade_history("".join(rest), account=account, blank=blank)


def _text_only(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, start=1):
        if not line.isascii():
            try:
                line.encode()
            except UnicodeEncodeError as error:
                raise InvalidLine(number, "not UTF-8 text; decompress or convert the file first") from error
        yield line


def _chain(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first.lstrip("\ufeff")
    yield from rest


def _read_json_lines(lines: Iterable[str], account: str, blank: int) -> Iterator[Line]:
    for number, line in enumerate(lines, start=blank + 1):
        if line.strip():
            yield _json_line(number, line, account)


def _json_line(number: int, line: str, default_account: str) -> Line:
    try:
        fields = _json_object.decode(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidLine(number, f"not a JSON object: {error}") from error
    kind = fields.get("type")
    build = _BUILDERS.get(kind) if isinstance(kind, str) else None
    if build is None:
        raise InvalidLine(number, f'"type" must be one of {", ".join(_BUILDERS)}, not {kind!r}')
    named = fields.get("account")
    if named is not None and (not isinstance(named, str) or not named):
        raise InvalidLine(number, '"account" must be a name')
    with numbered(number):
        event = build(fields)
    return Line(number, named or (None if isinstance(event, Marks) else default_account), event)


def _read_my_trades(text: str, account: str) -> Iterator[Line]:
    try:
        rows = _json_rows.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidLine(1, f"not a JSON array of trades: {error}") from error
    fills = []
    for number, row in enumerate(rows, start=1):
        with numbered(number):
            fill = _fill_of_my_trade(row)
        fills.append((fill.time_us, fill.trade_id, number, fill))
    fills.sort(key=lambda fill: fill[:2])
    yield from (Line(number, account, fill) for _, _, number, fill in fills)


def _fill(fields: Mapping[str, Any]) -> Fill:
    symbol = _text(fields, "symbol").upper()
    base, quote = fields.get("base"), fields.get("quote")
    if base is None or quote is None:
        base, quote = split_symbol(symbol)
    quote_quantity = fields.get("quote_quantity")
    return Fill(
        time_us=_time_us(fields["time"]),
        symbol=symbol,
        base=_text({"base": base}, "base"),
        quote=_text({"quote": quote}, "quote"),
        side=side_of(fields["side"]),
        price=amount(fields["price"]),
        quantity=amount(fields["quantity"]),
        quote_quantity=None if quote_quantity is None else amount(quote_quantity),
        fee=_optional_amount(fields, "fee"),
        fee_asset="" if fields.get("fee_asset") in (None, "") else _text(fields, "fee_asset"),
        trade_id=_integer(fields, "trade_id"),
        order_id=_integer(fields, "order_id"),
        rates=_rates(fields, "rates"),
        dust_limit=_optional_amount(fields, "dust_limit"),
    )


def _flow(fields: Mapping[str, Any]) -> Flow:
    kind = fields["kind"]
    if kind not in tuple(FlowKind):
        raise ValueError(f'"kind" must be one of {", ".join(FlowKind)}, not {kind!r}')
    return Flow(
        time_us=_time_us(fields["time"]),
        id=_identifier(fields),
        asset=_text(fields, "asset"),
        quantity=amount(fields["quantity"]),
        kind=FlowKind(kind),
        rates=_rates(fields, "rates"),
    )


def _marks(fields: Mapping[str, Any]) -> Marks:
    return Marks(time_us=_time_us(fields["time"]), rates=_rates(fields, "prices", is_required=True))


_BUILDERS: dict[str, Callable[[Mapping[str, Any]], Event]] = {"fill": _fill, "flow": _flow, "marks": _marks}

# Numbers are kept as written (`raw`): a JSON number such as 0.1 is exact as a decimal and is not as a float.
_json_object = msgspec.json.Decoder(dict[str, Any], float_hook=amount)
_json_rows = msgspec.json.Decoder(list[dict[str, Any]], float_hook=amount)


def _fill_of_my_trade(row: Mapping[str, Any]) -> Fill:
    symbol = _text(row, "symbol")
    base, quote = split_symbol(symbol)
    buyer = row["isBuyer"]
    if not isinstance(buyer, bool):
        raise ValueError('"isBuyer" must be true or false')
    return Fill(
        time_us=_time_us(row["time"]),
        symbol=symbol,
        base=base,
        quote=quote,
        side=Side.BUY if buyer else Side.SELL,
        price=amount(row["price"]),
        quantity=amount(row["qty"]),
        quote_quantity=amount(row["quoteQty"]) if "quoteQty" in row else None,
        fee=amount(row["commission"]),
        fee_asset=_text(row, "commissionAsset"),
        trade_id=_integer(row, "id"),
        order_id=_integer(row, "orderId"),
        maker=bool(row.get("isMaker")),
    )


def _time_us(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f'"time" must be epoch milliseconds, not {value!r}')
    return value if abs(value) >= _FIRST_MICROSECONDS else value * 1_000


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f'"{name}" must be a name, not {value!r}')
    return value


def _integer(fields: Mapping[str, Any], name: str) -> int:
    value = fields[name]
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f'"{name}" must be an integer, not {value!r}')
    return value


def _identifier(fields: Mapping[str, Any]) -> str:
    value = fields["id"]
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise ValueError(f'"id" must be a string or an integer, not {value!r}')
    return str(value)


def _optional_amount(fields: Mapping[str, Any], name: str) -> Decimal:
    value = fields.get(name)
    return ZERO if value is None else amount(value)


def _rates(fields: Mapping[str, Any], name: str, *, is_required: bool = False) -> dict[str, Decimal]:
    value = fields[name] if is_required else ({} if fields.get(name) is None else fields[name])
    if not isinstance(value, dict):
        raise ValueError(f'"{name}" must be an object: asset to price')
    return {str(asset): amount(rate) for asset, rate in value.items()}
