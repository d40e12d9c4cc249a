"""The histories under `/sapi`: everything that moved a balance and was no trade, read in their windows and pages.

Each history has a longest period for one request, a way of paging, and a weight of its own. A history that cannot be
read is named with its reason; the others are read nevertheless. A testnet has none of them.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from decimal import InvalidOperation
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from infra.binance import history_rows as rows_of
from infra.binance.errors import KeyRefused, MalformedEvent, RequestRefused
from infra.binance.history_rows import Decode, Movement
from infra.binance.rest import BinanceRest
from infra.binance.times import epoch_us, milliseconds
from portfolio.errors import PortfolioError

log = logging.getLogger(__name__)

_DAY_US = 86_400_000_000
_TRANSFER_TYPES = (
    "MAIN_UMFUTURE", "UMFUTURE_MAIN", "MAIN_CMFUTURE", "CMFUTURE_MAIN", "MAIN_MARGIN", "MARGIN_MAIN",
    "MAIN_FUNDING", "FUNDING_MAIN", "MAIN_OPTION", "OPTION_MAIN", "MAIN_PORTFOLIO_MARGIN", "PORTFOLIO_MARGIN_MAIN",
)  # fmt: skip
MISREAD = (msgspec.ValidationError, PortfolioError, InvalidOperation, ValueError, KeyError, TypeError, OverflowError)
"""What reading a row of an unexpected shape may raise; it becomes a `MalformedEvent` that names the history."""


class HistoriesRead(NamedTuple):
    """What the histories told."""

    movements: dict[str, Movement]
    """By id."""
    problems: dict[str, str]
    """Why a history could not be read, by its name; empty when all were."""


class _Paging(NamedTuple):
    """How the rows of one period are asked for, page by page.

    Attributes:
        size: Rows of a full page; a shorter one is the last.
        parameters: What asks for a page, by its number from zero; none: the period is made shorter instead.
        size_name: The parameter that says how many rows a page has; empty where there is none.
        time_name: Field of a row with its time, by which the period is made shorter.
    """

    size: int
    parameters: Callable[[int], dict[str, str]] | None = None
    size_name: str = ""
    time_name: str = ""


class _History(NamedTuple):
    """One history.

    Attributes:
        name: What it is called in problems.
        path: Below `sapi/v1/`.
        rows_at: Where in the answer its rows are.
        decode: Rows to movements.
        paging: How its pages are asked for.
        window_days: Longest period of one request.
        margin_days: How long after the time that a row is listed under the balance may change.
        more: Parameters of its own.
    """

    name: str
    path: str
    rows_at: tuple[str, ...]
    decode: Decode
    paging: _Paging
    window_days: int
    margin_days: int = 1
    more: Mapping[str, str] = MappingProxyType({})


_OFFSET = _Paging(1_000, lambda page: {"offset": str(page * 1_000)}, "limit")
_CURRENT = _Paging(100, lambda page: {"current": str(page + 1)}, "size")
_EARN = "simple-earn"


def _earn_history(path: str, decode: Decode, **more: str) -> _History:
    return _History(f"Earn {path}", f"{_EARN}/{path}", ("rows",), decode, _CURRENT, 30, more=more)


_HISTORIES = (
    _History("deposits", "capital/deposit/hisrec", (), rows_of.decode_deposits, _OFFSET, 90, margin_days=30),
    _History("withdrawals", "capital/withdraw/history", (), rows_of.decode_withdrawals, _OFFSET, 90, margin_days=30),
    *(
        _History(f"transfers {kind}", "asset/transfer", ("rows",), rows_of.decode_transfers, _CURRENT, 180,
                 more={"type": kind})
        for kind in _TRANSFER_TYPES
    ),
    _History("dust", "asset/dribblet", ("userAssetDribblets",), rows_of.decode_dribblets,
             _Paging(100, time_name="operateTime"), 90),
    _History("dividends", "asset/assetDividend", ("rows",), rows_of.decode_dividends,
             _Paging(500, size_name="limit", time_name="divTime"), 180),
    _History("conversions", "convert/tradeFlow", ("list",), rows_of.decode_conversions,
             _Paging(1_000, size_name="limit", time_name="createTime"), 30),
    _History("rebates", "rebate/taxQuery", ("data", "data"), rows_of.decode_rebates,
             _Paging(500, lambda page: {"page": str(page + 1)}), 30),
    _earn_history("flexible/history/subscriptionRecord", rows_of.decode_flexible_subscriptions),
    _earn_history("flexible/history/redemptionRecord", rows_of.decode_flexible_redemptions),
    _earn_history("flexible/history/rewardsRecord", rows_of.decode_rewards, type="ALL"),
    _earn_history("locked/history/subscriptionRecord", rows_of.decode_locked_subscriptions),
    _earn_history("locked/history/redemptionRecord", rows_of.decode_locked_redemptions),
    _earn_history("locked/history/rewardsRecord", rows_of.decode_rewards),
)  # fmt: skip


async def read_histories(
    rest: BinanceRest, since_us: int, until_us: int, *, is_open_ended: bool = False
) -> HistoriesRead:
    """Read everything that happened in a period besides trades.

    Args:
        rest: A client with the account's key.
        since_us: Where the period begins, epoch microseconds; rows that were listed before it and may have moved the
            balance within it are read too.
        until_us: Where it ends.
        is_open_ended: Go on into the past, window by window, for as long as a window has rows.
    """
    movements: dict[str, Movement] = {}
    problems: dict[str, str] = {}
    for history in _HISTORIES:
        try:
            async for movement in _movements(rest, history, since_us, until_us, is_open_ended=is_open_ended):
                movements[movement.id] = movement
        except (RequestRefused, KeyRefused, MalformedEvent) as error:
            problems[history.name] = str(error)
    return HistoriesRead(movements, problems)


async def _movements(
    rest: BinanceRest, history: _History, since_us: int, until_us: int, *, is_open_ended: bool
) -> AsyncIterator[Movement]:
    start_us = max(0, since_us - history.margin_days * _DAY_US)
    end_us, count = until_us, 1
    while end_us > start_us or (is_open_ended and count and end_us > 0):
        begin_us = max(0, end_us - history.window_days * _DAY_US)
        begin_us = begin_us if is_open_ended else max(begin_us, start_us)
        rows = await _rows(rest, history, begin_us, end_us)
        count = len(rows)
        for movement in _decoded(history, rows, until_us):
            yield movement
        end_us = begin_us


async def _rows(rest: BinanceRest, history: _History, begin_us: int, end_us: int) -> list[object]:
    """All rows of a period that one request may span."""
    paging = history.paging
    rows: list[object] = []
    page, last_ms = 0, milliseconds(end_us)
    while True:
        params = {"startTime": str(milliseconds(begin_us)), "endTime": str(last_ms), **history.more}
        if paging.size_name:
            params[paging.size_name] = str(paging.size)
        if paging.parameters is not None:
            params |= paging.parameters(page)
        found = _listed(history, await rest.read(f"sapi/v1/{history.path}", **params))
        rows += found
        if len(found) < paging.size:
            return rows
        page += 1
        if paging.parameters is None:
            oldest_ms = min(_time_ms(history, row) for row in found)
            if oldest_ms >= last_ms:
                raise MalformedEvent(f"{history.path} has {len(found)} rows in one millisecond and cannot tell more")
            last_ms = oldest_ms


def _listed(history: _History, answer: Any) -> list[object]:  # noqa: ANN401 - whatever JSON the exchange answers
    for name in history.rows_at:
        answer = answer.get(name) if isinstance(answer, dict) else None
    if not isinstance(answer, list):
        raise MalformedEvent(f"{history.path} is no list")
    return answer


def _time_ms(history: _History, row: object) -> int:
    try:
        return milliseconds(epoch_us(int(row[history.paging.time_name])))  # type: ignore[index]  # JSON
    except MISREAD as error:
        raise MalformedEvent(f"row of {history.path} has no time: {error!r}") from error


def _decoded(history: _History, rows: list[object], until_us: int) -> Iterator[Movement]:
    try:
        yield from history.decode(rows, until_us)
    except MISREAD as error:
        raise MalformedEvent(f"row of {history.path} cannot be read: {error}") from error
