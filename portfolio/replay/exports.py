"""Binance's trade-history export: CSV, newest first, whole seconds, no trade ids, amounts with their asset.

Two generations of it are about: `Date(UTC),Pair,Side,Price,Executed,Amount,Fee`, and before it
`Date(UTC),Market,Type,Price,Amount,Total,Fee,Fee Coin`.
"""

import csv
import io
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from portfolio.events import Fill
from portfolio.money import amount
from portfolio.replay.lines import InvalidLine, Line, numbered, side_of
from portfolio.symbols import split_symbol

_AMOUNT_WITH_ASSET = re.compile(r"^([0-9][0-9,]*\.?[0-9]*|\.[0-9]+)\s*(\w+)$")


def read_trade_history(text: str, *, account: str, blank: int) -> Iterator[Line]:
    """Read an export.

    Args:
        text: The export, from its header.
        account: The account that it is of.
        blank: How many blank lines of the file came before it.

    Yields:
        The fills, in order of time; the trade ids are their places in that order.

    Raises:
        InvalidLine: It is no such export, or a row is malformed.
    """
    rows = csv.DictReader(io.StringIO(text))
    try:
        header = {name.strip() for name in rows.fieldnames or ()}
    except csv.Error:
        header = set()
    if not header >= {"Price", "Fee"} or not header & {"Pair", "Market"}:
        raise InvalidLine(
            blank + 1,
            "neither JSON nor a trade-history export: expected JSON lines, a myTrades array, or a CSV with the columns "
            "Date(UTC), Pair, Side, Price, Executed, Amount, Fee",
        )
    fills = list(_numbered_fields(rows, blank))
    if fills and fills[0][1]["time_us"] >= fills[-1][1]["time_us"]:
        # Newest first, unless somebody turned it round; so is what shares a second.
        fills.reverse()
    fills.sort(key=lambda fill: fill[1]["time_us"])
    for identifier, (number, fields) in enumerate(fills, start=1):
        with numbered(number):
            fill = Fill(trade_id=identifier, order_id=identifier, **fields)
        yield Line(number, account, fill)


def _numbered_fields(rows: "csv.DictReader[str]", blank: int) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        for row in rows:
            number = rows.line_num + blank
            with numbered(number):
                fields = _fields(row)
            yield number, fields
    except csv.Error as error:
        raise InvalidLine(rows.line_num + blank, f"not CSV: {error}") from error


def _fields(row: Mapping[str, str | None]) -> dict[str, Any]:
    cells = {name.strip(): (value or "").strip() for name, value in row.items() if name}
    symbol = (cells.get("Pair") or cells["Market"]).replace("/", "")
    if "Executed" in cells:
        quote_quantity, quote = _with_asset(cells, "Amount")
        base = symbol.removesuffix(quote)
        quantity, base = _with_asset(cells, "Executed", base)
        fee, fee_asset = _with_asset(cells, "Fee", base, quote)
    else:
        base, quote = split_symbol(cells["Market"])
        quantity, quote_quantity = _number(cells["Amount"]), _number(cells["Total"])
        fee, fee_asset = _number(cells["Fee"]), cells["Fee Coin"]
    return {
        "time_us": _time_us(cells.get("Date(UTC)") or cells.get("Time") or cells["Date"]),
        "symbol": symbol,
        "base": base,
        "quote": quote,
        "side": side_of(cells.get("Side") or cells.get("Type")),
        "price": amount(_number(cells["Price"])),
        "quantity": amount(quantity),
        "quote_quantity": amount(quote_quantity),
        "fee": amount(fee),
        "fee_asset": fee_asset,
    }


def _with_asset(cells: Mapping[str, str], column: str, *likely: str) -> tuple[str, str]:
    """Split an amount from its asset: 100.51INCH is 100.5 of 1INCH where that is a `likely` asset."""
    cell = cells[column]
    for asset in likely:
        number = cell.removesuffix(asset).strip()
        if asset and number != cell and _AMOUNT_WITH_ASSET.match(f"{number}X"):
            return _number(number), asset
    match = _AMOUNT_WITH_ASSET.match(cell)
    if match is None or match[2].isdigit():
        raise ValueError(f"{column} {cell!r} is not an amount with its asset, such as 0.5BTC")
    return _number(match[1]), match[2]


def _number(text: str) -> str:
    return text.replace(",", "")


def _time_us(text: str) -> int:
    for pattern in ("%Y-%m-%d %H:%M:%S", "%y-%m-%d %H:%M:%S"):
        try:
            moment = datetime.strptime(text, pattern).replace(tzinfo=UTC)
        except ValueError:
            continue
        return int(moment.timestamp()) * 1_000_000
    raise ValueError(f"{text!r} is not a date and time such as 2025-01-31 23:59:59")
