"""The formats that a replay reads: JSON lines, Binance's `myTrades` array, and its trade-history CSV export."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from portfolio.errors import PortfolioError
from portfolio.events import Event, Fill, Flow, FlowKind, Marks, Side
from portfolio.money import ZERO, amount
from portfolio.symbols import split_symbol

# A time of 1e14 is the year 5138 in milliseconds and 1973 in microseconds: Binance writes both.
_FIRST_MICROSECONDS = 100_000_000_000_000

_AMOUNT_WITH_ASSET = re.compile(r"^([0-9][0-9,]*\.?[0-9]*|\.[0-9]+)\s*([A-Z0-9]+)$")


class InvalidLine(PortfolioError, ValueError):
    """A line that cannot be read or booked.

    Attributes:
        number: The line, counted from 1; for a JSON array, the element.
    """

    def __init__(self, number: int, what: str) -> None:
        super().__init__(f"line {number}: {what}")
        self.number = number


class Line(NamedTuple):
    """One event of a file. `account` is None for marks that hold for every account."""

    number: int
    account: str | None
    event: Event


def read_lines(text: Iterable[str], *, account: str = "main") -> Iterator[Line]:
    """Read a file in whichever of the formats it is in.

    Args:
        text: The lines of the file.
        account: The account for formats and lines that name none.

    Raises:
        InvalidLine: A line is malformed; says which and why.
    """
    lines = iter(text)
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
        yield from _read_trade_history("".join(rest), account, blank)


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
    with _line(number):
        event = build(fields)
    return Line(number, named or (None if isinstance(event, Marks) else default_account), event)


def _read_my_trades(text: str, account: str) -> Iterator[Line]:
    try:
        rows = _json_rows.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidLine(1, f"not a JSON array of trades: {error}") from error
    fills = []
    for number, row in enumerate(rows, start=1):
        with _line(number):
            fills.append(Line(number, account, _fill_of_my_trade(row)))
    yield from sorted(fills, key=lambda line: line.event.time_us)


def _read_trade_history(text: str, account: str, blank: int) -> Iterator[Line]:
    reader = csv.DictReader(io.StringIO(text))
    header = {name.strip() for name in reader.fieldnames or ()}
    if not header >= {"Price", "Fee"} or not header & {"Pair", "Market"}:
        raise InvalidLine(
            blank + 1,
            "neither JSON nor a trade-history export: expected JSON lines, a myTrades array, or a CSV with the columns "
            "Date(UTC), Pair, Side, Price, Executed, Amount, Fee",
        )
    fills = []
    for row in reader:
        number = reader.line_num + blank
        with _line(number):
            fills.append((number, _fields_of_export(row)))
    # The export is newest first and has no trade ids: they are given in order of time.
    fills.sort(key=lambda fill: fill[1]["time_us"])
    for identifier, (number, fields) in enumerate(fills, start=1):
        with _line(number):
            yield Line(number, account, Fill(trade_id=identifier, order_id=identifier, **fields))


class _line:  # noqa: N801  a context manager, read as a word
    """Name the line in whatever goes wrong with it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, KeyError):
            raise InvalidLine(self._number, f"{error} is missing") from error
        if isinstance(error, PortfolioError | ValueError | TypeError | OverflowError) and not isinstance(
            error, InvalidLine
        ):
            raise InvalidLine(self._number, str(error)) from error


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
        side=_side(fields["side"]),
        price=amount(fields["price"]),
        quantity=amount(fields["quantity"]),
        quote_quantity=None if quote_quantity is None else amount(quote_quantity),
        fee=amount(fields.get("fee") or ZERO),
        fee_asset=fields.get("fee_asset") or "",
        trade_id=_integer(fields, "trade_id"),
        order_id=_integer(fields, "order_id"),
        rates=_rates(fields.get("rates")),
        dust_limit=amount(fields.get("dust_limit") or ZERO),
    )


def _flow(fields: Mapping[str, Any]) -> Flow:
    kind = fields["kind"]
    if kind not in set(FlowKind):
        raise ValueError(f'"kind" must be one of {", ".join(FlowKind)}, not {kind!r}')
    return Flow(
        time_us=_time_us(fields["time"]),
        id=str(fields["id"]),
        asset=_text(fields, "asset"),
        quantity=amount(fields["quantity"]),
        kind=FlowKind(kind),
        rates=_rates(fields.get("rates")),
    )


def _marks(fields: Mapping[str, Any]) -> Marks:
    return Marks(time_us=_time_us(fields["time"]), rates=_rates(fields["prices"]))


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


def _fields_of_export(row: Mapping[str, str | None]) -> dict[str, Any]:
    cells = {name.strip(): (value or "").strip() for name, value in row.items() if name}
    if "Executed" in cells:
        quantity, base = _with_asset(cells, "Executed")
        quote_quantity, quote = _with_asset(cells, "Amount")
        fee, fee_asset = _with_asset(cells, "Fee")
    else:
        base, quote = split_symbol(cells["Market"])
        quantity, quote_quantity = _number(cells["Amount"]), _number(cells["Total"])
        fee, fee_asset = _number(cells["Fee"]), cells["Fee Coin"]
    return {
        "time_us": _time_of_export(cells.get("Date(UTC)") or cells.get("Time") or cells["Date"]),
        "symbol": (cells.get("Pair") or cells["Market"]).replace("/", ""),
        "base": base,
        "quote": quote,
        "side": _side(cells.get("Side") or cells.get("Type")),
        "price": amount(_number(cells["Price"])),
        "quantity": amount(quantity),
        "quote_quantity": amount(quote_quantity),
        "fee": amount(fee),
        "fee_asset": fee_asset,
    }


def _with_asset(cells: Mapping[str, str], column: str) -> tuple[str, str]:
    match = _AMOUNT_WITH_ASSET.match(cells[column])
    if match is None:
        raise ValueError(f"{column} {cells[column]!r} is not an amount with its asset, such as 0.5BTC")
    return _number(match[1]), match[2]


def _number(text: str) -> str:
    return text.replace(",", "")


def _time_of_export(text: str) -> int:
    for pattern in ("%Y-%m-%d %H:%M:%S", "%y-%m-%d %H:%M:%S"):
        try:
            moment = datetime.strptime(text, pattern).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(moment.timestamp()) * 1_000_000
    raise ValueError(f"{text!r} is not a date and time such as 2025-01-31 23:59:59")


def _time_us(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f'"time" must be epoch milliseconds, not {value!r}')
    return value if abs(value) >= _FIRST_MICROSECONDS else value * 1_000


def _side(value: object) -> Side:
    if value not in set(Side):
        raise ValueError(f'"side" must be BUY or SELL, not {value!r}')
    return Side(str(value))


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


def _rates(value: object) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("rates and prices must be an object: asset to price")
    return {str(asset): amount(rate) for asset, rate in value.items()}
