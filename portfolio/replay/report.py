"""What a replay tells of an account: decimals as strings in full, times in epoch milliseconds."""

from collections.abc import Iterable
from decimal import Decimal

import msgspec

from portfolio.money import exact_arithmetic, plain
from portfolio.positions import Position
from portfolio.replay.accounts import AccountReplay
from portfolio.valuation import HoldingValue, value_book


class HoldingReport(msgspec.Struct, frozen=True, kw_only=True):
    """A holding at its mark."""

    asset: str
    quantity: str
    cost: str
    average_cost: str | None
    mark: str | None
    value: str
    unrealized: str


class PositionReport(msgspec.Struct, frozen=True, kw_only=True):
    """A position, open or closed."""

    symbol: str
    side: str
    quantity: str
    entry_price: str | None
    exit_price: str | None
    realized: str
    fees: str
    status: str
    open_time: int
    close_time: int | None
    fills: int
    asset: str
    peak_quantity: str
    missing_quantity: str


class SymbolReport(msgspec.Struct, frozen=True, kw_only=True):
    """What trading a symbol came to."""

    symbol: str
    realized: str
    fees: str
    volume: str
    fills: int


class AccountReport(msgspec.Struct, frozen=True, kw_only=True):
    """An account at the end of a file. `identity_error` is equity - (net_flows + realized + unrealized): zero."""

    account: str
    reporting: str
    sequence: int
    equity: str
    net_flows: str
    realized: str
    unrealized: str
    fees: str
    fees_by_asset: dict[str, str]
    identity_error: str
    holdings: tuple[HoldingReport, ...]
    positions: tuple[PositionReport, ...]
    by_symbol: tuple[SymbolReport, ...]
    duplicates: int
    warnings: tuple[str, ...]


def report_account(replay: AccountReplay) -> AccountReport:
    """Tell of an account, valued at the last marks and prices that the file gave."""
    book = replay.book
    with exact_arithmetic():
        value = value_book(book)
        return AccountReport(
            account=book.account,
            reporting=book.reporting,
            sequence=book.sequence,
            equity=plain(value.equity),
            net_flows=plain(value.net_flows),
            realized=plain(value.realized),
            unrealized=plain(value.unrealized),
            fees=plain(value.fees),
            fees_by_asset={asset: plain(fee) for asset, fee in book.fees_by_asset.items()},
            identity_error=plain(value.identity_error),
            holdings=tuple(_report_holding(line) for line in value.holdings),
            positions=tuple(_report_positions(replay)),
            by_symbol=tuple(
                SymbolReport(
                    symbol=symbol,
                    realized=plain(totals.realized),
                    fees=plain(totals.fees),
                    volume=plain(totals.volume),
                    fills=totals.fills,
                )
                for symbol, totals in book.symbols.items()
            ),
            duplicates=replay.duplicates,
            warnings=tuple(replay.warnings),
        )


def _report_holding(line: HoldingValue) -> HoldingReport:
    return HoldingReport(
        asset=line.asset,
        quantity=plain(line.quantity),
        cost=plain(line.cost),
        average_cost=_optional(line.average_cost),
        mark=_optional(line.mark),
        value=plain(line.value),
        unrealized=plain(line.unrealized),
    )


def _report_positions(replay: AccountReplay) -> Iterable[PositionReport]:
    costs = {asset: holding.cost for asset, holding in replay.book.holdings.items()}
    still_open = [h.position for h in replay.book.holdings.values() if h.position is not None]
    for position in sorted((*replay.closed, *still_open), key=_opened):
        yield PositionReport(
            symbol=position.symbol,
            side=position.side,
            quantity=plain(position.quantity),
            entry_price=_optional(position.entry_price(costs[position.asset] if position.is_open else Decimal(0))),
            exit_price=_optional(position.exit_price),
            realized=plain(position.realized),
            fees=plain(position.fees),
            status="open" if position.is_open else "closed",
            open_time=position.open_time_us // 1_000,
            close_time=None if position.close_time_us is None else position.close_time_us // 1_000,
            fills=position.fills,
            asset=position.asset,
            peak_quantity=plain(position.peak_quantity),
            missing_quantity=plain(position.missing_quantity),
        )


def _opened(position: Position) -> int:
    return int(position.id.rpartition("-")[2])


def _optional(number: Decimal | None) -> str | None:
    return None if number is None else plain(number)
